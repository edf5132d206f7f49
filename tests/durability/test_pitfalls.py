"""What about SQLite would lose data without a word, where no other test of cutting shows it (docs/durability.md)."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from imagerepo.catalogue.models import Token
from imagerepo.durability import bases, pages
from imagerepo.durability.gate import write
from imagerepo.durability.locks import acquire
from imagerepo.durability.pages import Pages
from imagerepo.store.backends import open_memory
from imagerepo.testing.servers import Server
from tests.api.caller import Caller
from tests.conftest import NewServer
from tests.crash import stories
from tests.durability.node import Node
from tests.durability.reign import ONCE, Reign
from tests.inprocess import running
from tests.processes import workers

ROOT = Path(__file__).parents[2]
LOG_PAGES = 1000
"""SQLite would checkpoint by itself after so many, unless told not to."""


@pytest.fixture
def reign(tmp_path: Path) -> Iterator[Reign]:
    reign = Reign(tmp_path / "data", open_memory()).start()
    yield reign
    reign.close()


# ---- a descriptor of the database or of -shm, closed, drops all locks of the process

_watched: list[str] | None = None


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _watched is not None and isinstance(arguments[0], str | bytes):
        _watched.append(os.fsdecode(arguments[0]))


@contextmanager
def opened_by_hand() -> Iterator[list[str]]:
    """Every path that Python opens meanwhile; what SQLite opens is its own affair."""
    global _watched
    if _hook not in _installed:
        sys.addaudithook(_hook)  # for ever: there is no way to remove one
        _installed.append(_hook)
    _watched = found = []
    try:
        yield found
    finally:
        _watched = None


_installed: list[object] = []


def test_nobody_opens_the_database_or_its_shm_beside_connections(reign: Reign) -> None:
    with opened_by_hand() as opened:
        reign.commit()
        reign.forget_the_log()
        assert reign.commit().kind == "base"
        reign.commit()
        reign.writer.changed()
        bases.make(reign.writer)
        with bases.restored(reign.writer, ONCE):
            pass
    database = str(reign.disk.database)
    assert f"{database}-wal" in opened, "nothing was watched"
    assert not {database, f"{database}-shm"} & set(opened)


def test_one_sqlite_is_in_a_worker_and_no_other(server: Server) -> None:
    """Two libraries in one process don't know of each other's locks: two writers are let in."""
    (worker, *_) = workers(server)
    maps = Path(f"/proc/{worker}/maps").read_text()
    libraries = {Path(line.split(maxsplit=5)[5]) for line in maps.splitlines() if ".so" in line}
    with_sqlite = [each.name for each in libraries if b"SQLite format 3\0" in each.read_bytes()]
    assert len(with_sqlite) == 1, with_sqlite


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.txt")), ids=lambda path: path.name)
def test_no_other_sqlite_is_installed(lock: Path) -> None:
    assert not re.search(r"^(apsw|pysqlite|sqlcipher|libsql|sqlean|duckdb)", lock.read_text(), re.MULTILINE)


# ---- the log must outlive idle moments


def salts(wal: Path) -> bytes:
    return wal.read_bytes()[16:24]


OPEN_AND_CLOSE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
connection.close()
"""


def test_the_log_outlives_the_last_worker(new_server: NewServer) -> None:
    """The last connection that closes checkpoints and deletes the log: the parent keeps one."""
    server = new_server().start()
    stories.add(server, stories.Told(), stories.OLD)
    database = server.data_dir / "catalogue.sqlite3"
    wal = database.with_name("catalogue.sqlite3-wal")
    before = salts(wal)
    (worker,) = workers(server)
    os.kill(worker, signal.SIGKILL)  # its successor comes after a second
    subprocess.run([sys.executable, "-c", OPEN_AND_CLOSE, database], check=True, timeout=60)
    assert wal.exists()
    assert salts(wal) == before


def test_a_request_leaves_its_connection_open(tmp_path: Path) -> None:
    with running(tmp_path):
        ask = Caller(None)
        assert ask("GET", "/api/v1/images").status_code == 200
        before = connection.connection
        assert ask("GET", "/api/v1/images").status_code == 200
        assert before is not None
        assert connection.connection is before


def test_no_connection_checkpoints_by_itself(node: Node) -> None:
    node.commit("a" * 64)
    for number in range(4):
        with write():
            Token.objects.create(
                name=f"t{number}", role="x" * 4096 * LOG_PAGES, digest=bytes([number]), created_at=timezone.now()
            )
    node.commit("b" * 64)
    assert next(node.writer.snapshots()).kind == "delta"


def test_no_connection_of_the_cutters_does_either(reign: Reign) -> None:
    reign.commit()
    for number in range(4):
        with closing(pages.connect(reign.disk.database)) as other:
            other.execute("INSERT INTO t VALUES (?, ?)", (100 + number, os.urandom(4096 * LOG_PAGES)))
    assert reign.commit().kind == "delta"


# ---- checkpoints, and the queue of writers


@pytest.fixture
def cutter(reign: Reign) -> Iterator[Pages]:
    """Begins the log anew at every delta."""
    cutter = Pages(reign.disk.database, reign.disk.gate_lock, recycle_bytes=0)
    yield cutter
    cutter.close()


def test_checkpoints_are_made_under_the_write_lock_and_passively(reign: Reign, cutter: Pages, tmp_path: Path) -> None:
    """SQLite before 3.51.3 may lose frames when a checkpoint overlaps a commit that restarts the log."""
    seen: list[tuple[str, bool]] = []

    def on_statement(statement: str) -> None:
        if "wal_checkpoint" in statement:
            seen.append((statement, _is_locked(reign.disk.database)))

    cutter._checkpointer.set_trace_callback(on_statement)
    position = cutter.base(tmp_path / "copy").position
    for _ in range(3):
        position = cutter.delta(position).following
    cutter.changed_since(position)
    assert len(seen) > 6
    assert {statement for statement, _ in seen} == {"PRAGMA wal_checkpoint(PASSIVE)"}
    assert all(locked for _, locked in seen)


def _is_locked(database: Path) -> bool:
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        other.execute("ROLLBACK")
        return False


def test_a_cut_queues_with_the_writers(reign: Reign, cutter: Pages, tmp_path: Path) -> None:
    """SQLite's own lock is not fair: beside two busy writers a cut would wait for ever."""
    in_its_turn: list[bool] = []

    def on_statement(statement: str) -> None:
        if statement == "BEGIN IMMEDIATE":
            gate = acquire(reign.disk.gate_lock, wait=False)
            in_its_turn.append(gate is None)
            if gate:
                gate.release()

    cutter._writer.set_trace_callback(on_statement)
    position = cutter.base(tmp_path / "copy").position
    cutter.changed_since(cutter.delta(position).following)
    assert len(in_its_turn) >= 6
    assert all(in_its_turn)


# ---- locks of files


def test_a_lock_goes_with_its_holder_though_the_holders_children_live(tmp_path: Path) -> None:
    code = """
import subprocess, sys
from pathlib import Path
from imagerepo.durability.locks import acquire
lock = acquire(Path(sys.argv[1]))
child = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
sys.stdin.read()
"""
    lock = tmp_path / "lane.lock"
    holder = subprocess.Popen([sys.executable, "-c", code, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child = int(holder.stdout.readline())
    try:
        assert acquire(lock, wait=False) is None
        holder.kill()
        holder.communicate()
        assert Path(f"/proc/{child}").exists()
        taken = acquire(lock, wait=False)
        assert taken is not None
        taken.release()
    finally:
        os.kill(child, signal.SIGKILL)
