"""Bases out of the log, and each pitfall of SQLite that would lose data without a word."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagerepo.durability import checks, pages
from imagerepo.durability.locks import exclusive
from imagerepo.durability.pages import Pages
from imagerepo.durability.restore import install
from imagerepo.errors import Damaged, Doubtful


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "live.sqlite3"
    keeper = pages.connect(path)
    keeper.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    yield path
    keeper.close()


@pytest.fixture
def cutter(database: Path) -> Iterator[Pages]:
    cutter = Pages(database, database.with_name("gate"))
    yield cutter
    cutter.close()


@pytest.fixture
def quick_recycler(database: Path) -> Iterator[Pages]:
    """Begins the log anew at every delta that it can."""
    cutter = Pages(database, database.with_name("gate"), recycle_bytes=0)
    yield cutter
    cutter.close()


class Copy:
    """What a restore would build: a base, and every delta after it."""

    def __init__(self, cutter: Pages, path: Path) -> None:
        self._cutter, self.path = cutter, path
        self.following = cutter.base(path).position

    def catch_up(self) -> pages.Delta:
        delta = self._cutter.delta(self.following)
        pages.write_pages(self.path, delta.pages, delta.cut.page_count, delta.cut.page_size, sync=False)
        self.following = delta.following
        return delta

    def rows(self) -> list[int]:
        checks.quick_check(self.path)
        return rows(self.path)


def rows(path: Path) -> list[int]:
    connection = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)
    try:
        return [row[0] for row in connection.execute("SELECT a FROM t ORDER BY a")]
    finally:
        connection.close()


def insert(path: Path, *numbers: int, size: int = 500) -> None:
    connection = pages.connect(path)
    for number in numbers:
        connection.execute("INSERT INTO t VALUES (?, ?)", (number, os.urandom(size)))
    connection.close()


def in_another_process(code: str, *arguments: object) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=True
    )
    return run.stdout.strip()


def test_a_base_is_the_database_as_committed(database: Path, cutter: Pages, tmp_path: Path) -> None:
    insert(database, 1, 2, 3)
    cut = cutter.base(tmp_path / "base")
    assert rows(tmp_path / "base") == [1, 2, 3]
    assert (tmp_path / "base").stat().st_size == cut.page_count * cut.page_size


def spill_and_roll_back(path: Path) -> None:
    """More dirty pages than the cache holds: SQLite writes them into the log before the rollback."""
    writer = pages.connect(path)
    writer.execute("PRAGMA cache_size=10")
    writer.execute("BEGIN")
    for number in range(100, 300):
        writer.execute("INSERT INTO t VALUES (?, ?)", (number, os.urandom(3000)))
    writer.execute("ROLLBACK")
    writer.close()


def test_a_base_leaves_out_what_is_not_committed(database: Path, cutter: Pages, tmp_path: Path) -> None:
    insert(database, 1)
    spill_and_roll_back(database)
    cutter.base(tmp_path / "base")
    assert rows(tmp_path / "base") == [1]


def test_a_base_is_sound_after_vacuum_and_deletes(database: Path, cutter: Pages, tmp_path: Path) -> None:
    insert(database, *range(200), size=3000)
    other = pages.connect(database)
    other.execute("DELETE FROM t WHERE a >= 10")
    other.execute("VACUUM")
    other.close()
    cut = cutter.base(tmp_path / "base")
    assert rows(tmp_path / "base") == list(range(10))
    assert (tmp_path / "base").stat().st_size == cut.page_count * cut.page_size < 100_000


@pytest.fixture
def busy(database: Path) -> Iterator[list[int]]:
    """Two writers and a reader at work: the last number that each writer was told is committed."""
    stop, acknowledged = threading.Event(), [0, 1_000_000]

    def write(lane: int) -> None:
        connection = pages.connect(database)
        while not stop.is_set():
            with exclusive(database.with_name("gate")):
                connection.execute("INSERT INTO t VALUES (?, ?)", (acknowledged[lane] + 1, os.urandom(900)))
            acknowledged[lane] += 1
        connection.close()

    def read() -> None:
        connection = pages.connect(database)
        while not stop.is_set():
            connection.execute("SELECT count(*), sum(a) FROM t").fetchall()
        connection.close()

    threads = [threading.Thread(target=write, args=(lane,)) for lane in (0, 1)] + [threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    yield acknowledged
    stop.set()
    for thread in threads:
        thread.join()


def nothing_is_missing(found: list[int], before: list[int]) -> None:
    low = [number for number in found if number < 1_000_000]
    high = [number for number in found if number > 1_000_000]
    assert low == list(range(1, len(low) + 1))
    assert high == list(range(1_000_001, 1_000_001 + len(high)))
    assert len(low) >= before[0]
    assert len(high) >= before[1] - 1_000_000


def test_every_base_under_busy_writers_has_all_rows_acknowledged_before_it(
    busy: list[int], cutter: Pages, tmp_path: Path
) -> None:
    for _ in range(8):
        before = list(busy)
        cutter.base(tmp_path / "base")
        nothing_is_missing(rows(tmp_path / "base"), before)


@pytest.mark.parametrize("recycle_bytes", [0, 200_000, pages.RECYCLE_BYTES])
def test_every_delta_under_busy_writers_has_all_rows_acknowledged_before_it(
    database: Path, busy: list[int], tmp_path: Path, recycle_bytes: int
) -> None:
    cutter = Pages(database, database.with_name("gate"), recycle_bytes=recycle_bytes)
    copy = Copy(cutter, tmp_path / "copy")
    for _ in range(30):
        before = list(busy)
        copy.catch_up()
        nothing_is_missing(copy.rows(), before)
    cutter.close()


def test_a_delta_holds_the_changed_pages_and_no_others(database: Path, cutter: Pages, tmp_path: Path) -> None:
    insert(database, *range(2000))
    copy = Copy(cutter, tmp_path / "copy")
    insert(database, 2000)
    delta = copy.catch_up()
    assert copy.rows() == list(range(2001))
    assert len(delta.pages) < 6 < delta.cut.page_count


def test_a_delta_leaves_out_what_was_rolled_back(database: Path, cutter: Pages, tmp_path: Path) -> None:
    copy = Copy(cutter, tmp_path / "copy")
    spill_and_roll_back(database)
    insert(database, 1)
    copy.catch_up()
    assert copy.rows() == [1]


def test_a_delta_follows_a_database_that_shrinks(database: Path, cutter: Pages, tmp_path: Path) -> None:
    insert(database, *range(200), size=3000)
    copy = Copy(cutter, tmp_path / "copy")
    other = pages.connect(database)
    other.execute("DELETE FROM t WHERE a >= 10")
    other.execute("VACUUM")
    other.close()
    copy.catch_up()
    assert copy.rows() == list(range(10))
    assert copy.path.stat().st_size < 100_000


def test_the_log_begins_anew_and_the_deltas_go_on(database: Path, quick_recycler: Pages, tmp_path: Path) -> None:
    copy = Copy(quick_recycler, tmp_path / "copy")
    salts = set()
    for number in range(6):
        insert(database, number)
        copy.catch_up()
        assert copy.following.frame == 0
        salts.add(copy.following.salts)
    assert copy.rows() == list(range(6))
    assert len(salts) == 6


def test_a_reader_of_an_older_state_keeps_it_and_the_log_goes_on(
    database: Path, quick_recycler: Pages, tmp_path: Path
) -> None:
    copy = Copy(quick_recycler, tmp_path / "copy")
    insert(database, 1)
    reader = pages.connect(database)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM t").fetchall()
    insert(database, 2)
    assert copy.catch_up().following.frame > 0
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (1,)
    reader.close()
    assert copy.catch_up().following.frame == 0
    assert copy.rows() == [1, 2]


def test_a_reader_holds_the_log_up_once_anything_is_behind_its_state(database: Path, cutter: Pages) -> None:
    insert(database, 1)
    assert not cutter.held_up()
    reader = pages.connect(database)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM t").fetchall()
    insert(database, 2)
    assert cutter.held_up()
    reader.execute("ROLLBACK")
    assert not cutter.held_up()
    reader.close()


def test_how_much_of_the_log_lies_behind_a_place_is_told_also_of_a_log_begun_anew_since(
    database: Path, quick_recycler: Pages, tmp_path: Path
) -> None:
    insert(database, 1)
    copy = Copy(quick_recycler, tmp_path / "copy")
    place = copy.following
    assert quick_recycler.log_bytes(place) == 0
    insert(database, 2)
    assert 0 < quick_recycler.log_bytes(place) < quick_recycler.log_bytes()
    copy.catch_up()
    assert quick_recycler.log_bytes(place) == quick_recycler.log_bytes()


def test_how_much_of_the_log_is_used_is_seen_though_its_file_never_shrinks(
    database: Path, quick_recycler: Pages, tmp_path: Path
) -> None:
    insert(database, *range(300), size=3000)
    before = quick_recycler.log_bytes()
    assert 0 < before <= quick_recycler.wal.stat().st_size
    copy = Copy(quick_recycler, tmp_path / "copy")
    copy.catch_up()
    assert quick_recycler.log_bytes() < before / 10
    assert quick_recycler.wal.stat().st_size >= before


@pytest.mark.parametrize("how", ["TRUNCATE", "RESTART"])
def test_a_checkpoint_by_somebody_else_is_noticed(database: Path, cutter: Pages, tmp_path: Path, how: str) -> None:
    copy = Copy(cutter, tmp_path / "copy")
    insert(database, 1)
    other = pages.connect(database)
    other.execute(f"PRAGMA wal_checkpoint({how})")
    insert(database, 2)
    with pytest.raises(Doubtful):
        copy.catch_up()
    other.close()


def test_a_place_of_another_log_is_no_place_to_go_on_from(database: Path, cutter: Pages, tmp_path: Path) -> None:
    copy = Copy(cutter, tmp_path / "copy")
    insert(database, 1)
    for wrong in ({"frame": copy.following.frame + 1}, {"checksum": "0" * 16}, {"frame": 10_000}):
        with pytest.raises(Doubtful):
            cutter.delta(copy.following.model_copy(update=wrong))


def test_deltas_after_a_restore_begin_where_its_log_begins(database: Path, cutter: Pages, tmp_path: Path) -> None:
    insert(database, 1)
    restored = tmp_path / "restored.sqlite3"
    cutter.base(restored)
    copy = tmp_path / "copy"
    copy.write_bytes(restored.read_bytes())
    after = Pages(restored, tmp_path / "gate-after")
    following = after.adopt()
    insert(restored, 2)
    delta = after.delta(following)
    pages.write_pages(copy, delta.pages, delta.cut.page_count, delta.cut.page_size)
    assert rows(copy) == [1, 2]
    after.close()


def test_a_cut_keeps_this_process_locks(database: Path, cutter: Pages, tmp_path: Path) -> None:
    """Opening the database or -shm by hand would drop them: another process, closing last, deletes the log."""
    insert(database, 1)
    cutter.base(tmp_path / "base")
    code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM t').fetchall(); c.close()"
    in_another_process(code, database)
    assert cutter.wal.exists()
    assert cutter.log_bytes() > 0


def test_nobody_else_writes_while_the_log_is_read(database: Path, cutter: Pages) -> None:
    code = """
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try: c.execute("INSERT INTO t VALUES (99, 0)"); print("wrote")
except sqlite3.OperationalError as error: print(error)
"""
    with cutter._frozen():
        assert "locked" in in_another_process(code, database)
    assert in_another_process(code, database) == "wrote"


def test_a_log_left_beside_a_restored_file_is_not_replayed_into_it(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from imagerepo.durability import checks, pages
c = pages.connect(Path(sys.argv[1]))
c.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
c.execute("INSERT INTO t VALUES (1, 1)")
pages.Pages(Path(sys.argv[1]), Path(sys.argv[1] + '.gate')).base(Path(sys.argv[2]))
for number in range(2, 500): c.execute("INSERT INTO t VALUES (?, 1)", (number,))
os._exit(0)
"""
    live, base = tmp_path / "live.sqlite3", tmp_path / "base"
    in_another_process(code, live, base)
    assert (tmp_path / "live.sqlite3-wal").stat().st_size > 0
    install(base, live)
    connection = sqlite3.connect(live)
    assert connection.execute("SELECT a FROM t").fetchall() == [(1,)]
    connection.close()


def test_the_position_is_found_in_the_log_until_the_log_begins_anew(database: Path, tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from imagerepo.durability import checks, pages
path = Path(sys.argv[1])
c = pages.connect(path)
c.execute("INSERT INTO t VALUES (1, 1)")
cutter = pages.Pages(path, Path(sys.argv[1] + '.gate'), recycle_bytes=0)
position = cutter.base(Path(sys.argv[2])).position
print(position.model_dump_json())
if sys.argv[3] == "recycle": assert cutter.delta(position).following.frame == 0
sys.stdout.flush()
os._exit(0)
"""
    copy = tmp_path / "copy.sqlite3"
    in_another_process("import sys, sqlite3; sqlite3.connect(sys.argv[1]).execute('CREATE TABLE t (a, b)')", copy)
    for what, held in (("keep", True), ("recycle", False)):
        answer = in_another_process(code, copy, tmp_path / "base", what)
        position = pages.Position.model_validate_json(answer)
        assert pages.log_holds(copy, position, 4096) is held
        further = position.model_copy(update={"frame": position.frame + 1})
        assert not pages.log_holds(copy, further, 4096)


def test_a_malformed_file_is_told_from_a_sound_one(database: Path, cutter: Pages, tmp_path: Path) -> None:
    insert(database, *range(100), size=3000)
    base = tmp_path / "base"
    cutter.base(base)
    checks.quick_check(base)
    with base.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xff" * 4096 * 3)
    with pytest.raises(Damaged, match="not a sound database"):
        checks.quick_check(base)


def test_only_cuts_in_between_are_no_change(database: Path, cutter: Pages, tmp_path: Path) -> None:
    insert(database, 1)
    position = cutter.base(tmp_path / "base").position
    assert not cutter.changed_since(position)
    assert not cutter.changed_since(position)
    insert(database, 2)
    assert cutter.changed_since(position)
