"""What this disk knows of the chain, in files that every process of the data folder shares.

<data>/catalogue.sqlite3     the rows
<data>/chain.json            ChainState: whose epoch this is, and the last record known to be final
<data>/outbox/               the record that may be under way (outbox.py)
<data>/bases/                a base made in the background, and its manifest, which may be under way
<data>/fenced-<epoch>        present: this disk may only read in that epoch; why
<data>/trouble.json          present: the store fails while something is being shipped
<data>/fixity.json           which bases are known to be damaged, and how far their checking has come
<data>/distrusted            present: this disk failed under the database; the next start restores
<data>/drill.json            what the last drill found (drill.py)
<data>/unrestorable.json     Unrestorable: the chain can't be read back, and waits for a base (healing.py)
<data>/reconcile/            plans of reconcile, a folder each (reconcile/plans.py)
<data>/scratch/              what may go at any time: copies in the making, restores beside
<data>/workers/              a file for each worker, locked while it lives; how far uploads are (sessions/tally.py)
<data>/server.lock           held alone by `serve`; one server per disk
<data>/workers.lock          shared by every process that writes; a start takes it alone
<data>/lane.lock gate.lock   the commit lane, and the queue of write transactions
<data>/bases.lock            held by whoever restores beside: for a base in the background, for a drill
<data>/fixity.lock           held while fixity.json is changed
<data>/reconcile.lock        held by the process that carries plans out
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from imagerepo.durability.records import Digest, Frozen, Header, Link, Position
from imagerepo.errors import ConfigError, Damaged
from imagerepo.files import unlink_durably, write_durably
from imagerepo.testing.failpoints import effect


class Final(Frozen):
    """The last record that this disk saw final."""

    name: str
    digest: Digest
    epoch: int
    writer: str
    seq: int
    sequence: int
    head_after: int
    position: Position
    following: Position

    @classmethod
    def of(cls, header: Header, digest: str) -> Self:
        return cls(
            name=header.name,
            digest=digest,
            epoch=header.epoch,
            writer=header.writer,
            seq=header.seq,
            sequence=header.sequence,
            head_after=header.head_after,
            position=header.position,
            following=header.following,
        )

    @property
    def link(self) -> Link:
        return Link(name=self.name, digest=self.digest)


class Weight(Frozen):
    """Bytes in the store that a restore would read: of the newest base, and of the deltas after it."""

    base: int = 0
    deltas: int = 0

    def with_record(self, header: Header) -> Self:
        if header.kind == "base":
            return type(self)(base=header.stored_bytes)
        return self.model_copy(update={"deltas": self.deltas + header.stored_bytes})


class ChainState(Frozen):
    """`final` is null only between a first start's claim and its opening record."""

    repository: str
    epoch: int
    writer: str
    final: Final | None
    weight: Weight = Weight()

    def after(self, header: Header, digest: str) -> Self:
        """What is known once this record is final."""
        changes = {"final": Final.of(header, digest), "weight": self.weight.with_record(header)}
        return self.model_copy(update=changes)


class Trouble(Frozen):
    """The store fails, `since` when, and how."""

    since: datetime
    reason: str

    @property
    def sentence(self) -> str:
        return f"the object store fails since {self.since:%Y-%m-%dT%H:%M:%SZ}: {self.reason}"


class Disk:
    """The files of one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.database = data_dir / "catalogue.sqlite3"
        self.outbox = data_dir / "outbox"
        self.bases = data_dir / "bases"
        self.spool = data_dir / "spool"
        self.scratch = data_dir / "scratch"
        self.plans = data_dir / "reconcile"
        self.workers = data_dir / "workers"
        self.server_lock = data_dir / "server.lock"
        self.workers_lock = data_dir / "workers.lock"
        self.lane_lock = data_dir / "lane.lock"
        self.bases_lock = data_dir / "bases.lock"
        self.reconcile_lock = data_dir / "reconcile.lock"
        self.gate_lock = data_dir / "gate.lock"
        self.drill = data_dir / "drill.json"
        self.unrestorable = data_dir / "unrestorable.json"
        self.fixity = data_dir / "fixity.json"
        self.fixity_lock = data_dir / "fixity.lock"
        self._state = data_dir / "chain.json"
        self._trouble = data_dir / "trouble.json"
        self._distrusted = data_dir / "distrusted"

    def prepare(self) -> None:
        """Create the folders. Raises ConfigError where they can't be."""
        try:
            with effect("file.mkdir"):
                for folder in (self.data_dir, self.outbox, self.bases, self.spool, self.scratch, self.plans):
                    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(f"IMAGEREPO_DATA_DIR: {self.data_dir} can't be used: {error.strerror}") from None

    def state(self) -> ChainState | None:
        """None where no start has finished on this disk. Raises Damaged where the file is not readable."""
        try:
            return ChainState.model_validate_json(self._state.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise Damaged(
                f"{self._state} is damaged: delete the data folder (it is ephemeral) and start again"
            ) from None

    def save_state(self, state: ChainState) -> None:
        write_durably(self._state, state.model_dump_json(indent=1).encode())

    def forget_state(self) -> None:
        """This disk counts as empty from now on."""
        unlink_durably([self._state])
        unlink_durably([self._distrusted, self.unrestorable])

    def distrusted(self) -> bool:
        """Whether a write of the database failed here: then the next start restores, and keeps nothing."""
        return self._distrusted.exists()

    @contextmanager
    def distrusting(self) -> Iterator[None]:
        """Do something with the database. Where the disk fails at that, it is not trusted again.

        After a failed fsync a later one reports success for pages that the kernel has dropped (LWN 752063, on
        PostgreSQL's fsync): SQLite can't tell, and a power cut would then take rows that records hold.
        """
        try:
            yield
        except Exception as error:
            if _is_of_the_disk(error):
                write_durably(self._distrusted, str(error).encode())
            raise

    def fenced(self, epoch: int) -> str | None:
        """Why this disk may only read in `epoch`; None where it may write."""
        try:
            return self._fence(epoch).read_text() or "another server took over this repository"
        except FileNotFoundError:
            return None

    def fence(self, epoch: int, why: str) -> None:
        write_durably(self._fence(epoch), why.encode())

    def _fence(self, epoch: int) -> Path:
        return self.data_dir / f"fenced-{epoch}"

    def trouble(self) -> Trouble | None:
        try:
            return Trouble.model_validate_json(self._trouble.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def report_trouble(self, reason: str) -> None:
        """Say that the store fails, keeping the moment when it began."""
        before = self.trouble()
        since = before.since if before else datetime.now(UTC)
        write_durably(self._trouble, Trouble(since=since, reason=reason).model_dump_json().encode())

    def clear_trouble(self) -> None:
        self._trouble.unlink(missing_ok=True)


def _is_of_the_disk(error: BaseException | None) -> bool:
    """Whether SQLite failed at reading or writing a file: SQLITE_IOERR in any of its forms. Django wraps it."""
    if isinstance(error, sqlite3.Error):
        return str(getattr(error, "sqlite_errorname", "")).startswith("SQLITE_IOERR")
    return error is not None and _is_of_the_disk(error.__cause__)
