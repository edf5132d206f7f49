"""One of several processes that write, read and cut one database at once: `python -m tests.durability.together`.

It stops when its input ends, prints the numbers of its first and its last row, and fails where a promise was
broken: a reader's transaction sees one state, and a cut has every row that was committed before it.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from imagerepo.durability import pages
from imagerepo.durability.locks import exclusive
from imagerepo.durability.pages import Pages
from imagerepo.durability.records import Position

RECYCLE_BYTES = 100_000
ROWS = 1_000_000
"""Process k writes the rows from k times this on."""
PAUSE_SECONDS = 0.02


class Shared:
    """Files that all processes use: the database, what a restore would build, and the place where that ends."""

    def __init__(self, folder: Path) -> None:
        self.database, self.copy = folder / "live.sqlite3", folder / "copy"
        self.gate, self.lane, self._place = folder / "gate", folder / "lane", folder / "place"

    @property
    def place(self) -> Position:
        return Position.model_validate_json(self._place.read_text())

    @place.setter
    def place(self, position: Position) -> None:
        self._place.write_text(position.model_dump_json())

    def begin(self) -> sqlite3.Connection:
        """Make an empty database, and its first cut. Gives the connection that keeps the log."""
        keeper = pages.connect(self.database)
        keeper.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
        with closing(Pages(self.database, self.gate)) as cutter:
            self.place = cutter.base(self.copy).position
        return keeper

    def cut(self, cutter: Pages) -> None:
        """Bring the copy to the state of now. Holders of the lane only."""
        delta = cutter.delta(self.place)
        pages.write_pages(self.copy, delta.pages, delta.cut.page_count, delta.cut.page_size, sync=False)
        self.place = delta.following

    def copied(self, first: int, last: int) -> int:
        """How many of these rows the copy has."""
        with closing(sqlite3.connect(f"{self.copy.as_uri()}?immutable=1", uri=True)) as connection:
            (rows,) = connection.execute("SELECT count(*) FROM t WHERE a BETWEEN ? AND ?", (first, last)).fetchone()
            return int(rows)


class Process:
    """Its threads write, read, come and go, and cut."""

    def __init__(self, shared: Shared, number: int) -> None:
        self._shared = shared
        self.first = number * ROWS + 1
        self.last = self.first - 1
        self._chance = random.Random(number)
        self._over = threading.Event()
        self._broken: list[BaseException] = []

    def run(self) -> None:
        """Until the input ends. Raises what the first thread that failed raised."""
        works = [self._write, self._read, self._read, self._come_and_go, self._cut]
        threads = [threading.Thread(target=self._guarded, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        self._over.set()
        for thread in threads:
            thread.join()
        for error in self._broken:
            raise error

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._broken.append(error)

    def _rest(self) -> bool:
        """False: it is over."""
        return not self._over.wait(self._chance.uniform(0, PAUSE_SECONDS))

    def _write(self) -> None:
        with closing(pages.connect(self._shared.database)) as connection:
            while self._rest():
                for row in range(self.last + 1, self.last + 6):
                    with exclusive(self._shared.gate):
                        connection.execute("INSERT INTO t VALUES (?, ?)", (row, os.urandom(900)))
                    self.last = row

    def _read(self) -> None:
        with closing(pages.connect(self._shared.database)) as connection:
            while self._rest():
                self._read_twice(connection)

    def _come_and_go(self) -> None:
        while self._rest():
            with closing(pages.connect(self._shared.database)) as connection:
                self._read_twice(connection)

    def _read_twice(self, connection: sqlite3.Connection) -> None:
        question = "SELECT count(*), sum(a), sum(length(b)) FROM t"
        connection.execute("BEGIN")
        before = connection.execute(question).fetchone()
        self._rest()
        after = connection.execute(question).fetchone()
        connection.execute("COMMIT")
        assert before == after, f"one transaction saw {before}, and then {after}"

    def _cut(self) -> None:
        cutter = Pages(self._shared.database, self._shared.gate, recycle_bytes=RECYCLE_BYTES)
        while self._rest():
            with exclusive(self._shared.lane):
                last = self.last
                self._shared.cut(cutter)
                found, committed = self._shared.copied(self.first, last), last - self.first + 1
            assert found == committed, f"{committed} rows were committed, and {found} of them cut"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("number", type=int)
    given = parser.parse_args()
    process = Process(Shared(given.folder), given.number)
    process.run()
    sys.stdout.write(f"{process.first} {process.last}\n")


if __name__ == "__main__":
    main()
