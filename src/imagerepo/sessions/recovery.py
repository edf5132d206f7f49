"""The start: claim the next epoch, take over the chain, bring this disk in line, and open the epoch.

Nothing may be answered before `start` returns: a record of an older writer could still arrive, and only
the opening record, durable and final, makes it an orphan for ever. The rules are in docs/durability.md.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from django.core.management import call_command
from django.db import DatabaseError, connection

from imagerepo.catalogue.models import Head
from imagerepo.config import Config
from imagerepo.durability import damage, epochs, healing, restore, takeover
from imagerepo.durability.fetching import Progress
from imagerepo.durability.gate import write
from imagerepo.durability.locks import FileLock, acquire
from imagerepo.durability.settle import Patience
from imagerepo.durability.state import Disk
from imagerepo.durability.writer import Writer
from imagerepo.errors import Damaged, DamagedEnd, InUse, StoreError
from imagerepo.sessions import merge, tally
from imagerepo.sessions.models import StagedImage, State, UploadSession, move
from imagerepo.store.backends import open_store
from imagerepo.store.objects import ObjectStore
from imagerepo.store.spool import Spool
from imagerepo.testing.failpoints import effect, step

LOST = {
    "code": "staging-lost",
    "detail": "the server was restored from the store; what was staged here was on the lost disk: stage it again",
}

LOCK_TRIES, LOCK_PAUSE_SECONDS = 10, 0.05
"""A command that asks whether a server has the folder holds its lock for a moment, and is none."""

log = logging.getLogger(__name__)


@dataclass
class Started:
    """A data folder in service. Its server lock is held until the process ends, or `release`."""

    disk: Disk
    writer: Writer
    epoch: int
    restored: bool
    keeper: sqlite3.Connection
    lock: FileLock

    def release(self) -> None:
        """For commands and tests: close what a server keeps open to its end."""
        self.writer.close()
        connection.close()
        self.keeper.close()
        self.lock.release()


def start(
    config: Config,
    *,
    stop: threading.Event | None = None,
    progress: Progress = lambda done, total: None,
    store: ObjectStore | None = None,
    go_back: Callable[[str], None] | None = None,
    tell: Callable[[str], None] = lambda reason: None,
) -> Started:
    """Take the repository into service on this data folder, and fence every writer before.

    Where the newest snapshot can't be restored, `go_back` allows that an older one is taken, and hears what that
    passes over: what was committed since is lost. `tell` hears each time that the store fails, and is asked again.

    Raises InUse where a server or one of its workers still has the folder, Damaged where serving could
    lose data, Fenced where somebody took over meanwhile, and StoreRefused; a store that does not answer
    is asked for ever, until `stop`.
    """
    disk = Disk(config.data_dir.absolute())
    disk.prepare()
    lock, workers = _lock(disk)
    snapshots = store or open_store(config.resolved_snapshot_url, config=config)
    disk.clear_trouble()
    writer = Writer(disk, snapshots, stop=stop, refusals_end=True, tell=tell)
    patience = writer.patience
    writer_id, epoch = _reign(snapshots, patience)
    back = None
    if go_back:
        back = partial(
            takeover.go_back, disk, snapshots, epoch, patience, progress, tell=go_back, place=config.snapshot_place
        )
    with epochs.reading(snapshots, epoch, patience):
        try:
            end = restore.find_end(snapshots, epoch, patience, log.warning)
            if end is None:
                images = store or open_store(config.resolved_store_url, config=config)
                _check_beginning(images, snapshots, epoch, patience)
            taken = takeover.take_over(disk, snapshots, end, patience, progress)
        except Damaged as harm:
            taken = _despite(harm, disk, back)
        taken = _make_usable(disk, taken, back)
    Spool(disk.spool).clear(_staged_keys())
    tally.clear(disk.workers)
    disk.save_state(taken.state(epoch, writer_id))
    if taken.harm:
        healing.note(disk, taken.harm)
    _open_epoch(writer)
    if taken.final is not None:
        _learn_of_damage(disk, store or open_store(config.resolved_store_url, config=config), snapshots)
    workers.release()
    return Started(disk, writer, epoch, restored=taken.restored, keeper=taken.keeper, lock=lock)


Back: TypeAlias = Callable[[], takeover.Taken] | None
"""How the newest snapshot that is whole is taken, where that is allowed."""


def _despite(harm: Damaged, disk: Disk, back: Back) -> takeover.Taken:
    """What can be served although the chain's end can't be restored. Raises `harm` again where nothing is."""
    if isinstance(harm, DamagedEnd) and (taken := takeover.keep_despite(disk, harm)):
        log.warning("%s; this disk has what it held, and is kept", harm)
        return taken
    if back is None or not harm.name:
        raise _hinting(harm)
    return back()


def _make_usable(disk: Disk, taken: takeover.Taken, back: Back) -> takeover.Taken:
    """Migrate and recover what was taken, or else what `back` gives."""
    try:
        with _naming(taken), disk.distrusting():
            _migrate()
            _recover(taken)
    except Damaged as harm:
        if back is None:
            raise _hinting(harm) from None
        connection.close()
        taken.keeper.close()
        return _make_usable(disk, back(), None)
    return taken


def _hinting(harm: Damaged) -> Damaged:
    """As `harm`, with the way out where there is one: where it names a snapshot, an older one may be whole."""
    if not harm.name:
        return harm
    return Damaged(
        f"{harm}. `imagerepo restore --to DIR --to-last-good` shows the newest snapshot that is whole; "
        "`imagerepo serve --to-last-good` goes on from it, and gives up what came after",
        name=harm.name,
    )


def _lock(disk: Disk) -> tuple[FileLock, FileLock]:
    server = _lock_of_server(disk)
    if server is None:
        raise InUse(f"{disk.data_dir} is in use by another server: stop it, or give this one its own folder")
    workers = acquire(disk.workers_lock, wait=False)
    if workers is None:
        server.release()
        raise InUse(f"{disk.data_dir} is still in use by a worker or a command of an earlier server: wait for it")
    return server, workers


def _lock_of_server(disk: Disk) -> FileLock | None:
    for _ in range(LOCK_TRIES - 1):
        if lock := acquire(disk.server_lock, wait=False):
            return lock
        time.sleep(LOCK_PAUSE_SECONDS)
    return acquire(disk.server_lock, wait=False)


def _reign(store: ObjectStore, patience: Patience) -> tuple[str, int]:
    while True:
        writer_id = secrets.token_hex(8)
        epoch = epochs.claim(store, patience)
        if epochs.become_owner(store, epoch, writer_id, patience):
            return writer_id, epoch


def _check_beginning(images: ObjectStore, snapshots: ObjectStore, epoch: int, patience: Patience) -> None:
    try:
        takeover.check_beginning(images, snapshots, epoch, patience)
    finally:
        if images is not snapshots:
            images.close()


@contextmanager
def _naming(taken: takeover.Taken) -> Iterator[None]:
    """Say which snapshot it is whose rows SQLite finds malformed."""
    try:
        yield
    except DatabaseError as error:
        if taken.final is None or type(error) is not DatabaseError:  # those below are of a full disk, of locks, of bugs
            raise
        raise Damaged(f"the rows of {taken.final.name} are malformed: {error}", name=taken.final.name) from error


def _migrate() -> None:
    with step("start.migrate"), effect("migrate"):
        call_command("migrate", verbosity=0, interactive=False)


def _recover(taken: takeover.Taken) -> None:
    """Give every session the state that the chain's end says, whatever its row says.

    Merged up to the end: live. On a kept disk, merged above it stays merged (forward only: the opening
    record carries it) and committing goes back to open. Restored: what was staged is lost.
    """
    with step("start.recover"), write(durable=True):
        Head.objects.get_or_create(id=1)
        for session in UploadSession.objects.filter(state=State.COMMITTING):
            move(session, "give_back", committer="", uploaded=False)
        if not taken.kept:
            _lose_open_sessions()
    merge.flip(taken.final.head_after if taken.final else 0)


def _lose_open_sessions() -> None:
    lost = list(UploadSession.objects.filter(state=State.OPEN))
    for session in lost:
        move(session, "lose", error=LOST)
    StagedImage.objects.filter(session__in=lost).delete()


def _open_epoch(writer: Writer) -> None:
    """Make the opening record durable and final, with whatever is merged; that then is live."""
    with step("start.open"), writer.lane():
        header = writer.ship(head=merge.head(), head_after=merge.newest_revision())
        merge.flip(header.head_after)


def _learn_of_damage(disk: Disk, images: ObjectStore, snapshots: ObjectStore) -> None:
    """Let this disk know which bases were found damaged, before anybody asks for a part of one.

    Where the store can't tell now, reconcile asks it again: serving does not wait for that.
    """
    try:
        damage.learn(disk, images)
    except StoreError as error:
        log.warning("what is known to be damaged can't be read; it is tried again: %s", error)
    finally:
        if images is not snapshots:
            images.close()


def _staged_keys() -> set[str]:
    """Sessions whose staged bytes are still wanted."""
    states = [State.OPEN, State.COMMITTING, State.MERGED]
    return set(UploadSession.objects.filter(state__in=states).values_list("key", flat=True))
