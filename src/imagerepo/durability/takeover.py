"""Taking over: which disk may be kept, and what becomes of one that may not (docs/durability.md, "The start")."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass, field

from imagerepo.durability import chain, restore
from imagerepo.durability.fetching import Progress
from imagerepo.durability.outbox import Entry, Outbox
from imagerepo.durability.pages import Pages, connect, log_holds
from imagerepo.durability.records import Header, Position
from imagerepo.durability.settle import Patience
from imagerepo.durability.state import ChainState, Disk, Weight
from imagerepo.errors import Damaged
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.failpoints import effect, step

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    """A database that is what the chain's end says: `kept` as it was, or restored, or new.

    `keeper` holds its log for as long as it is open. The next delta begins at `following`; None: take a base.
    """

    keeper: sqlite3.Connection
    kept: bool
    following: Position | None
    weight: Weight = field(default_factory=Weight)


def take_over(
    disk: Disk, store: ObjectStore, end: chain.Snapshot | None, patience: Patience, progress: Progress
) -> Taken:
    """Bring this disk in line with the chain's end. Raises Damaged where going on could lose data."""
    state, outbox = disk.state(), Outbox(disk.outbox)
    entry = outbox.pending() if state else None
    _refuse_contradictions(disk, state, end)
    with step("start.disk"):
        Outbox(disk.bases).clear()  # of an older epoch: it would be nobody's
        trusted = state and not disk.distrusted()
        if end and state and trusted and (taken := _keep(disk, state, entry, end)):
            outbox.clear()
            return taken
        disk.forget_state()
        outbox.clear()
        return _restored(disk, store, end, patience, progress) if end else _new(disk)


def check_beginning(images: ObjectStore, snapshots: ObjectStore, epoch: int, patience: Patience) -> None:
    """Where a start found no chain below its epoch: raise Damaged unless both stores are those of nobody.

    A new, empty repository beside images that somebody committed would be worse than none.
    """
    with step("start.find"):
        image = patience.ask(lambda: next(images.list(names.IMAGES), None))
        record = patience.ask(lambda: _first_record(snapshots, epoch))
        found = record or (image.name if image else None)
        if found is None:
            return
        raise Damaged(
            f"there is {found}, but no chain of snapshots that begins before it: are IMAGEREPO_STORE_URL and "
            "IMAGEREPO_SNAPSHOT_URL right, and is all of the store there? To begin a new repository, name an empty "
            "store or another prefix."
        )


def _first_record(snapshots: ObjectStore, after: int) -> str | None:
    """A listed record of an epoch after this one. Those before are the chain's to explain (`chain_end.find`)."""
    for info in snapshots.list(names.DB):
        thing = names.parse(info.name)
        if isinstance(thing, names.Record) and thing.epoch > after:
            return info.name
    return None


def _restored(disk: Disk, store: ObjectStore, end: chain.Snapshot, patience: Patience, progress: Progress) -> Taken:
    weight = restore.around_damaged_bases(
        lambda without: restore.restore(store, end, disk.database, patience, progress, without=without), log.warning
    )
    keeper = connect(disk.database)
    pages = Pages(disk.database, disk.gate_lock)
    with effect("pages.adopt"):
        following = pages.adopt()
    pages.close()
    return Taken(keeper, kept=False, following=following, weight=weight)


def _new(disk: Disk) -> Taken:
    for suffix in ("", "-wal", "-shm"):
        disk.database.with_name(disk.database.name + suffix).unlink(missing_ok=True)
    return Taken(connect(disk.database), kept=False, following=None)


def _refuse_contradictions(disk: Disk, state: ChainState | None, end: chain.Snapshot | None) -> None:
    if state is None or state.final is None:
        return
    if end is None:
        raise Damaged(
            f"the store is empty, but {disk.data_dir} holds {state.final.name} of a repository: are "
            "IMAGEREPO_STORE_URL and IMAGEREPO_SNAPSHOT_URL right? To begin a new repository, give it an empty data "
            "folder."
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


def _keep(disk: Disk, state: ChainState, entry: Entry | None, end: chain.Snapshot) -> Taken | None:
    """This disk as it is, where its rows are the chain's end with what was staged since."""
    following = _following(disk, state, entry, end)
    if following is None or not disk.database.exists():
        return None
    try:
        keeper = connect(disk.database)
    except sqlite3.DatabaseError:
        return None
    if not _is_sound(keeper):
        keeper.close()
        return None
    return Taken(keeper, kept=True, following=following, weight=state.weight)


def _following(disk: Disk, state: ChainState, entry: Entry | None, end: chain.Snapshot) -> Position | None:
    if state.final and state.final.link == end.link:
        return state.final.following
    if entry is None or entry.digest != end.link.digest or entry.header.name != end.link.name:
        return None
    # It was in the outbox and did arrive. The rows must hold its merge: a power cut may have taken it.
    header = entry.header
    assert isinstance(header, Header)  # noqa: S101  # manifests have an outbox of their own
    return header.following if log_holds(disk.database, header.position, header.page_size) else None


def _is_sound(connection: sqlite3.Connection) -> bool:
    try:
        return bool(connection.execute("PRAGMA quick_check").fetchone() == ("ok",))
    except sqlite3.DatabaseError:
        return False
