"""Snapshots out of SQLite's write-ahead log, at an exact place in it, while others read and write.

The steps are numbered as in docs/durability.md, "Cutting". Three hazards, each with a test:

* Never open the database or its -shm in a process that has SQLite connections: closing such a
  descriptor drops all of the process's POSIX locks, and the next write of ours is lost. The -wal
  carries no locks and may be read. The database file is copied by a child process.
* Never checkpoint with TRUNCATE or RESTART, nor without the write lock: writers commit in between.
* The last connection that closes would checkpoint and delete the log: somebody keeps one open.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import subprocess
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from imagerepo.durability.checks import quick_check
from imagerepo.durability.locks import exclusive
from imagerepo.durability.records import Position
from imagerepo.errors import DiskFails, Doubtful

WAL_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
RECYCLE_BYTES = 16 << 20
"""Beyond this the log is begun anew: reading it costs every snapshot."""
_INIT = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=NORMAL",
    "PRAGMA wal_autocheckpoint=0",
    "PRAGMA secure_delete=ON",
)


@dataclass(frozen=True)
class Cut:
    """What a snapshot holds: the database as it was at `position`."""

    position: Position
    page_size: int
    page_count: int


@dataclass(frozen=True)
class Delta:
    """The changed pages by number, up to `cut`; the next delta begins at `following`."""

    pages: dict[int, memoryview]
    cut: Cut
    following: Position


def connect(path: Path, *, timeout: float = 30.0) -> sqlite3.Connection:
    """A connection in autocommit mode that has read, so that it counts as open for other closers."""
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    for pragma in _INIT:
        connection.execute(pragma).fetchall()
    _read(connection)
    return connection


def _read(connection: sqlite3.Connection) -> None:
    connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()


def _bump(connection: sqlite3.Connection) -> None:
    """Commit a change of no meaning, inside the transaction that is open: user_version + 1."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version={(version + 1) & 0x7FFFFFFF}")
    connection.execute("COMMIT")


class Pages:
    """The three connections of whoever holds the lane; used by one thread at a time.

    It queues for the write lock at the file lock `gate`, as every writer does.
    """

    def __init__(self, path: Path, gate: Path, *, recycle_bytes: int = RECYCLE_BYTES) -> None:
        self.path, self._gate, self._recycle_bytes = path, gate, recycle_bytes
        self.wal = path.with_name(f"{path.name}-wal")
        self._writer, self._pin = connect(path), connect(path)
        self._checkpointer = connect(path, timeout=0.2)
        (self.page_size,) = self._writer.execute("PRAGMA page_size").fetchone()
        self._frame_bytes = FRAME_HEADER_BYTES + self.page_size

    def close(self) -> None:
        """For tests. A server never calls it: it ends with its process."""
        for connection in (self._pin, self._checkpointer, self._writer):
            connection.close()

    def delta(self, since: Position) -> Delta:
        """The pages changed since `since`, which the last snapshot was cut at or its log begun anew after.

        Raises Doubtful where the log does not provably continue from there: then take a base.
        """
        with self._frozen() as frames:
            head, raw = self._read_log(frames, first=max(since.frame, 1))
            _require(frames >= since.frame, f"{self.wal} is shorter than the last snapshot's place in it")
            _require(head[16:24].hex() == since.salts, f"{self.wal} was begun anew by somebody else")
            checksum = bytes(raw[16:24]) if since.frame else head[24:32]
            _require(checksum.hex() == since.checksum, f"{self.wal} holds other frames than the last snapshot saw")
            pages, page_count = self._last_versions(head, raw[self._frame_bytes if since.frame else 0 :])
            end = self._position(head, raw, frames)
            following = self._begin_anew(end) if frames * self._frame_bytes > self._recycle_bytes else end
        return Delta(pages, Cut(end, self.page_size, page_count), following)

    def adopt(self) -> Position:
        """Where the log begins, right after a restore: nothing else may have opened the file before."""
        _require(self.log_bytes() == 0, f"{self.wal} has frames of before the restore")
        with self._frozen():
            head = self._head()
        return Position(salts=head[16:24].hex(), frame=0, checksum=head[24:32].hex())

    def base(self, target: Path) -> Cut:
        """Copy the database to `target` exactly as committed now; writers wait only while the log is read.

        Raises Doubtful when the log can't be read for certain, Damaged when the copy is not sound, DiskFails.
        """
        hold = connect(self.path)
        try:
            with self._frozen() as frames:
                hold.execute("BEGIN")
                _read(hold)  # its mark keeps both the file and these frames from changing
                head, raw = self._read_log(frames)
            pages, page_count = self._last_versions(head, raw)
            _copy(self.path, target)
            write_pages(target, pages, page_count, self.page_size)
        finally:
            hold.close()
        quick_check(target)
        return Cut(self._position(head, raw, frames), self.page_size, page_count)

    def log_bytes(self, since: Position | None = None) -> int:
        """About how much of the log is in use (0: there is none), or of that how much lies behind `since`.

        Its file never shrinks, and says nothing. Frames of the log's present generation come first, so the last is
        found by halving. All of them lie behind a place in a log before this one.
        """
        with suppress(FileNotFoundError), self.wal.open("rb", buffering=0) as log:
            salts = log.read(WAL_HEADER_BYTES)[16:24]
            frames = max(0, log.seek(0, os.SEEK_END) - WAL_HEADER_BYTES) // self._frame_bytes
            used: int = bisect_left(range(frames), True, key=lambda frame: self._salts_of(log, frame) != salts)
            before = since.frame if since and since.salts == salts.hex() else 0
            return (used - before) * int(self._frame_bytes)
        return 0

    def _salts_of(self, log: FileIO, frame: int) -> bytes:
        log.seek(WAL_HEADER_BYTES + frame * self._frame_bytes)
        return log.read(FRAME_HEADER_BYTES)[8:16]

    def changed_since(self, position: Position) -> bool:
        """Whether anything but cuts was committed since `position` was cut."""
        with self._frozen() as frames:
            head, raw = self._read_log(frames)
        same_generation = head[16:24].hex() == position.salts and frames > position.frame
        return not same_generation or any(self._numbers(raw, position.frame) - {1})

    def held_up(self) -> bool:
        """Whether somebody reads an older state: whatever is shipped now, the log is not begun anew after it."""
        with self._frozen() as frames:
            return not self._copied_wholly(frames - 1)  # the last lies behind the pin

    def _begin_anew(self, end: Position) -> Position:
        """Copy the whole log, which ends at `end`, into the database file, and begin it anew.

        Under the write lock. Gives the place where the next delta begins: `end`, if readers were in the way.
        Raises Doubtful where the log was begun anew more than once.
        """
        self._pin.execute("ROLLBACK")
        copied = self._copied_wholly(end.frame)
        self._begin_pin()  # from now on nobody else can checkpoint, so the log restarts once at most
        if not copied:
            return end
        self._writer.execute("ROLLBACK")
        self._writer.execute("BEGIN IMMEDIATE")
        _bump(self._writer)  # the first commit after a whole checkpoint restarts the log
        head = self._head()
        if head[16:24].hex() == end.salts:
            return end
        (first,), (before,) = struct.unpack(">I", head[16:20]), struct.unpack(">I", bytes.fromhex(end.salts[:8]))
        _require(first == (before + 1) & 0xFFFFFFFF, f"{self.wal} was begun anew more than once")
        return Position(salts=head[16:24].hex(), frame=0, checksum=head[24:32].hex())

    @contextmanager
    def _frozen(self) -> Iterator[int]:
        """Hold the write lock with the log unable to restart; gives its last frame as SQLite says it."""
        with exclusive(self._gate):
            try:
                self._begin_pin()  # (1) the log can't be wholly checkpointed past it, so no writer restarts it
                self._writer.execute("BEGIN IMMEDIATE")
                _bump(self._writer)  # (2) the log now reaches beyond the pin
                self._writer.execute("BEGIN IMMEDIATE")  # (3)
                yield self._passive()[0]  # (4)
            finally:
                for connection in (self._writer, self._pin):
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")

    def _begin_pin(self) -> None:
        self._pin.execute("BEGIN")
        _read(self._pin)

    def _passive(self) -> tuple[int, int]:
        """Frames in the log, and frames copied into the file."""
        for _ in range(100):
            busy, frames, copied = self._checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if not busy and frames >= 0:
                return frames, copied
            time.sleep(0.01)  # another process checkpoints; SQLite gives nothing to wait on
        raise Doubtful(f"{self.path}: another process keeps the checkpoint lock")

    def _copied_wholly(self, frames: int) -> bool:
        for _ in range(6):
            if self._passive()[1] >= frames:
                return True
            time.sleep(0.005)  # a reader of an older state; SQLite gives nothing to wait on
        return False

    def _head(self) -> bytes:
        with self.wal.open("rb", buffering=0) as log:
            return log.read(WAL_HEADER_BYTES)

    def _read_log(self, frames: int, first: int = 1) -> tuple[bytes, memoryview]:
        """The log's header, and its frames from `first` to the last."""
        wanted = max(0, frames - first + 1) * self._frame_bytes
        with self.wal.open("rb") as log:
            head = log.read(WAL_HEADER_BYTES)
            log.seek(WAL_HEADER_BYTES + (first - 1) * self._frame_bytes)
            raw = log.read(wanted)
        _require(len(head) == WAL_HEADER_BYTES and len(raw) == wanted, f"{self.wal} is shorter than SQLite says")
        return head, memoryview(raw)

    def _position(self, head: bytes, raw: memoryview, frames: int) -> Position:
        """Where the log ends, of which `raw` holds the last frames."""
        last = raw[len(raw) - self._frame_bytes :]
        return Position(salts=head[16:24].hex(), frame=frames, checksum=bytes(last[16:24]).hex())

    def _last_versions(self, head: bytes, raw: memoryview) -> tuple[dict[int, memoryview], int]:
        pages: dict[int, memoryview] = {}
        page_count = 0
        for start in range(0, len(raw), self._frame_bytes):
            number, page_count = struct.unpack_from(">II", raw, start)
            _require(raw[start + 8 : start + 16] == head[16:24], f"{self.wal}: a frame of another generation")
            pages[number] = raw[start + FRAME_HEADER_BYTES : start + self._frame_bytes]
        _require(page_count > 0, f"{self.wal}: its last frame is not a commit")
        return {number: page for number, page in pages.items() if number <= page_count}, page_count

    def _numbers(self, raw: memoryview, after: int) -> set[int]:
        starts = range(after * self._frame_bytes, len(raw), self._frame_bytes)
        return {struct.unpack_from(">I", raw, start)[0] for start in starts}


def _copy(database: Path, target: Path) -> None:
    copying = subprocess.run(
        ["cp", "--reflink=auto", "--", database, target], stderr=subprocess.PIPE, text=True, check=False
    )
    if copying.returncode:
        raise DiskFails(f"the database can't be copied: {copying.stderr.strip()}")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Doubtful(otherwise)


def log_holds(database: Path, position: Position, page_size: int) -> bool:
    """Whether the log beside `database` holds `position`. Call it while no SQLite has the database open."""
    wal = database.with_name(f"{database.name}-wal")
    with suppress(FileNotFoundError), wal.open("rb") as log:
        if log.read(WAL_HEADER_BYTES)[16:24].hex() != position.salts:
            return False
        log.seek(WAL_HEADER_BYTES + (position.frame - 1) * (FRAME_HEADER_BYTES + page_size))
        frame = log.read(FRAME_HEADER_BYTES)
        return frame[8:16].hex() == position.salts and frame[16:24].hex() == position.checksum
    return False


def write_pages(
    target: Path, pages: dict[int, memoryview], page_count: int, page_size: int, *, sync: bool = True
) -> None:
    """Write pages into a database file that no SQLite has open, cut it to `page_count`, and fsync it."""
    with target.open("r+b") as file:
        for number in sorted(pages):
            file.seek((number - 1) * page_size)
            file.write(pages[number])
        file.truncate(page_count * page_size)
        file.flush()
        if sync:
            os.fsync(file.fileno())
