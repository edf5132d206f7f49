"""A writer of one small table, without sessions: commits, bases and restores cost milliseconds each."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from imagerepo.durability import chain, chain_end, epochs, takeover
from imagerepo.durability.locks import exclusive
from imagerepo.durability.records import Header
from imagerepo.durability.restore import unseen
from imagerepo.durability.settle import Patience
from imagerepo.durability.state import Disk
from imagerepo.durability.writer import Writer
from imagerepo.store.objects import ObjectStore

ONCE = Patience(most_questions=1)
FILLER_BYTES = 20_000


class Reign:
    """`start`, `commit`, `die` (the disk stays) or `lose_disk`, and `start` again as the next epoch.

    Revision n is a row of number n, with bytes that don't compress. Rows below 0 are what was staged.
    """

    def __init__(self, folder: Path, store: ObjectStore) -> None:
        self.disk, self.store = Disk(folder), store
        self.revision = 0

    def start(self) -> Reign:
        self.disk.prepare()
        epoch, writer_id = epochs.claim(self.store, ONCE), secrets.token_hex(8)
        assert epochs.become_owner(self.store, epoch, writer_id, ONCE)
        end = chain_end.find(self.store, epoch, ONCE)
        taken = takeover.take_over(self.disk, self.store, end, ONCE, unseen)
        self._keeper = taken.keeper
        self._keeper.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b)")
        self.disk.save_state(taken.state(epoch, writer_id))
        self.writer = Writer(self.disk, self.store)
        self.revision = end.header.head_after if end else 0
        self._ship(self.revision)
        return self

    def commit(self, together: int = 1) -> Header:
        """Make so many revisions, in one record."""
        head = self.revision
        for _ in range(together):
            self.revision += 1
            self._insert(self.revision)
        return self._ship(head)

    def stage(self) -> None:
        """Write a row that no record has yet."""
        self._insert(min([0, *self.rows()]) - 1)

    def rows(self) -> list[int]:
        """Those of the live database."""
        return _rows(self._keeper)

    def _insert(self, number: int) -> None:
        with exclusive(self.disk.gate_lock):
            self._keeper.execute("INSERT INTO t VALUES (?, ?)", (number, os.urandom(FILLER_BYTES)))

    def forget_the_log(self) -> None:
        """Bring the log in doubt: the next record is a base."""
        self._keeper.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def die(self) -> None:
        """As by SIGKILL: the disk stays as it is at this moment."""
        folder = self.disk.data_dir
        image = folder.with_name(f"{folder.name}-as-it-was")
        # By another process: opening the files in this one would drop SQLite's locks on them.
        subprocess.run(["cp", "-a", folder, image], check=True)
        self.close()
        shutil.rmtree(folder)
        image.rename(folder)

    def lose_disk(self) -> None:
        self.close()
        shutil.rmtree(self.disk.data_dir)

    def close(self) -> None:
        self.writer.close()
        self._keeper.close()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def last(self) -> chain.Snapshot:
        """What a restore begins at."""
        end = chain_end.find(self.store, epochs.first_unclaimed(self.store, ONCE), ONCE)
        assert end is not None
        return end

    def _ship(self, head: int) -> Header:
        with self.writer.lane():
            return self.writer.ship(head=head, head_after=self.revision)


def rows(database: Path) -> list[int]:
    """Those of a restored database."""
    with closing(sqlite3.connect(f"{database.as_uri()}?immutable=1", uri=True)) as connection:
        return _rows(connection)


def _rows(connection: sqlite3.Connection) -> list[int]:
    return [row for (row,) in connection.execute("SELECT a FROM t ORDER BY a")]
