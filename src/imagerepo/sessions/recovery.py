"""The start: claim the next epoch, take over the chain, bring this disk in line, and open the epoch.

Nothing may be answered before `start` returns: a record of an older writer could still arrive, and only
the opening record, durable and final, makes it an orphan for ever. The rules are in docs/durability.md.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from dataclasses import dataclass

from django.core.management import call_command
from django.db import connection

from imagerepo.catalogue.models import Head
from imagerepo.config import Config
from imagerepo.durability import chain, epochs, pages, restore
from imagerepo.durability.gate import write
from imagerepo.durability.locks import FileLock, acquire
from imagerepo.durability.outbox import Entry, Outbox
from imagerepo.durability.settle import Patience
from imagerepo.durability.state import ChainState, Disk, Final
from imagerepo.durability.writer import Writer
from imagerepo.errors import Damaged, InUse
from imagerepo.sessions import merge
from imagerepo.sessions.models import StagedImage, State, UploadSession, move
from imagerepo.store.backends import open_store
from imagerepo.store.objects import ObjectStore
from imagerepo.store.spool import Spool
from imagerepo.testing.failpoints import effect, step

LOST = {
    "code": "staging-lost",
    "detail": "the server was restored from the store; what was staged here was on the lost disk: stage it again",
}


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
    progress: restore.Progress = lambda done, total: None,
    store: ObjectStore | None = None,
) -> Started:
    """Take the repository into service on this data folder, and fence every writer before.

    Raises InUse where a server or one of its workers still has the folder, Damaged where serving could
    lose data, Fenced where somebody took over meanwhile, and StoreRefused; a store that does not answer
    is asked for ever, until `stop`.
    """
    disk = Disk(config.data_dir.absolute())
    disk.prepare()
    lock, workers = _lock(disk)
    snapshots = store or open_store(config.resolved_snapshot_url, config=config)
    disk.clear_trouble()
    writer = Writer(disk, snapshots, stop=stop, refusals_end=True)
    patience = writer.patience
    writer_id, epoch = _reign(snapshots, patience)
    end = chain.find_end(snapshots, epoch, patience)
    kept = _prepare_disk(disk, snapshots, end, patience, progress)
    keeper = _open_database(disk)
    _recover(end, kept=kept)
    Spool(disk.spool).clear(_staged_keys())
    disk.save_state(_state(disk, end, epoch, writer_id))
    _open_epoch(writer)
    workers.release()
    return Started(disk, writer, epoch, restored=end is not None and not kept, keeper=keeper, lock=lock)


def _lock(disk: Disk) -> tuple[FileLock, FileLock]:
    server = acquire(disk.server_lock, wait=False)
    if server is None:
        raise InUse(f"{disk.data_dir} is in use by another server: stop it, or give this one its own folder")
    workers = acquire(disk.workers_lock, wait=False)
    if workers is None:
        server.release()
        raise InUse(f"{disk.data_dir} is still in use by a worker or a command of an earlier server: wait for it")
    return server, workers


def _reign(store: ObjectStore, patience: Patience) -> tuple[str, int]:
    while True:
        writer_id = secrets.token_hex(8)
        epoch = epochs.claim(store, patience)
        if epochs.become_owner(store, epoch, writer_id, patience):
            return writer_id, epoch


def _prepare_disk(
    disk: Disk, store: ObjectStore, end: chain.Snapshot | None, patience: Patience, progress: restore.Progress
) -> bool:
    """Make the database what the chain's end says. True: it was kept as it is."""
    state, outbox = disk.state(), Outbox(disk.outbox)
    entry = outbox.pending() if state else None
    _refuse_contradictions(disk, state, end)
    with step("start.disk"):
        if end and state and _may_be_kept(disk, state, entry, end):
            outbox.clear()
            return True
        disk.forget_state()
        outbox.clear()
        if end:
            restore.restore(store, end, disk.database, patience, progress)
        else:
            _remove_database(disk)
    return False


def _refuse_contradictions(disk: Disk, state: ChainState | None, end: chain.Snapshot | None) -> None:
    if state is None or state.final is None:
        return
    if end is None:
        raise Damaged(
            f"the store is empty, but {disk.data_dir} holds {state.final.name} of a repository: is "
            "IMAGEREPO_STORE_URL right? To begin a new repository, give it an empty data folder."
        )
    if end.header.repository != state.repository:
        raise Damaged(
            f"{disk.data_dir} belongs to another repository than the store: give this store its own data folder"
        )
    if state.final.sequence > end.header.sequence:
        raise Damaged(
            f"the store shows snapshot {end.header.sequence} as its newest, but {disk.data_dir} saw "
            f"{state.final.sequence} made durable: the store is showing an old copy. Check that all of Swift's "
            "servers are up, and start again."
        )


def _may_be_kept(disk: Disk, state: ChainState, entry: Entry | None, end: chain.Snapshot) -> bool:
    """Whether the rows on this disk are the chain's end, with what was staged since."""
    if not disk.database.exists():
        return False
    if state.final and state.final.link == end.link:
        return _sound(disk)
    if entry is None or entry.digest != end.link.digest or entry.header.name != end.link.name:
        return False
    # It was in the outbox and did arrive. The rows must hold its merge: a power cut may have taken it.
    header = entry.header
    return pages.log_holds(disk.database, header.position, header.page_size) and _sound(disk)


def _sound(disk: Disk) -> bool:
    check = sqlite3.connect(disk.database)
    try:
        return bool(check.execute("PRAGMA quick_check").fetchone() == ("ok",))
    except sqlite3.DatabaseError:
        return False
    finally:
        check.close()


def _remove_database(disk: Disk) -> None:
    for suffix in ("", "-wal", "-shm"):
        disk.database.with_name(disk.database.name + suffix).unlink(missing_ok=True)


def _open_database(disk: Disk) -> sqlite3.Connection:
    """Open and migrate it. The connection that is kept holds the log for as long as this process lives."""
    keeper = pages.connect(disk.database)
    with step("start.migrate"), effect("migrate"):
        call_command("migrate", verbosity=0, interactive=False)
    return keeper


def _recover(end: chain.Snapshot | None, *, kept: bool) -> None:
    """Give every session the state that the chain's end says, whatever its row says.

    Merged up to the end: live. On a kept disk, merged above it stays merged (forward only: the opening
    record carries it) and committing goes back to open. Restored: what was staged is lost.
    """
    head_after = end.header.head_after if end else 0
    with step("start.recover"), write(durable=True):
        Head.objects.get_or_create(id=1)
        for session in UploadSession.objects.filter(state=State.COMMITTING):
            move(session, "give_back", committer="", uploaded=False)
        if not kept:
            _lose_open_sessions()
    merge.flip(head_after)


def _lose_open_sessions() -> None:
    lost = list(UploadSession.objects.filter(state=State.OPEN))
    for session in lost:
        move(session, "lose", error=LOST)
    StagedImage.objects.filter(session__in=lost).delete()


def _state(disk: Disk, end: chain.Snapshot | None, epoch: int, writer_id: str) -> ChainState:
    final = Final.of(end.header, end.link.digest) if end else None
    repository = end.header.repository if end else secrets.token_hex(16)
    return ChainState(repository=repository, epoch=epoch, writer=writer_id, final=final)


def _open_epoch(writer: Writer) -> None:
    """Make the opening record durable and final, with whatever is merged; that then is live."""
    with step("start.open"), writer.lane():
        header = writer.ship(head=merge.head(), head_after=merge.newest_revision())
        merge.flip(header.head_after)


def _staged_keys() -> set[str]:
    """Sessions whose staged bytes are still wanted."""
    states = [State.OPEN, State.COMMITTING, State.MERGED]
    return set(UploadSession.objects.filter(state__in=states).values_list("key", flat=True))
