"""Taking over: which disk may be kept, and what becomes of one that may not (docs/durability.md, "The start")."""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace

from imagerepo.durability import chain, choosing, restore
from imagerepo.durability.fetching import Progress
from imagerepo.durability.outbox import Outbox
from imagerepo.durability.pages import Pages, connect, log_holds
from imagerepo.durability.records import Header
from imagerepo.durability.settle import Patience
from imagerepo.durability.state import ChainState, Disk, Final, Weight
from imagerepo.errors import Damaged, DamagedEnd
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.failpoints import effect, step

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    """A database that is what the record `final` says: `kept` as it was, or restored; or a new one, without any.

    `keeper` holds its log for as long as it is open. `harm`: why the chain up to there can't be restored.
    """

    keeper: sqlite3.Connection
    kept: bool
    repository: str
    final: Final | None
    weight: Weight = field(default_factory=Weight)
    harm: Damaged | None = None

    @property
    def restored(self) -> bool:
        return self.final is not None and not self.kept

    def state(self, epoch: int, writer: str) -> ChainState:
        """What this disk knows of the chain, as its writer in the new epoch."""
        return ChainState(repository=self.repository, epoch=epoch, writer=writer, final=self.final, weight=self.weight)


def take_over(
    disk: Disk, store: ObjectStore, end: chain.Snapshot | None, patience: Patience, progress: Progress
) -> Taken:
    """Bring this disk in line with the chain's end. Raises Damaged where going on could lose data."""
    state = disk.state()
    _refuse_contradictions(disk, state, end)
    with step("start.disk"):
        Outbox(disk.bases).clear()  # of an older epoch: it would be nobody's
        if end and (taken := _keep(disk, end.link.name, digest=end.link.digest)):
            return taken
        _forget(disk)
        return _restored(disk, store, end, patience, progress) if end else _new(disk)


def keep_despite(disk: Disk, harm: DamagedEnd) -> Taken | None:
    """This disk as it is, where it is the chain's end, of which the store has only a damaged copy; else None.

    By its name alone, which no other record ever has: its digest is known here.
    """
    with step("start.disk"):
        if taken := _keep(disk, harm.name):
            Outbox(disk.bases).clear()
            return replace(taken, harm=harm)
        return None


def go_back(
    disk: Disk,
    store: ObjectStore,
    before: int,
    patience: Patience,
    progress: Progress,
    tell: Callable[[str], None],
    place: str,
) -> Taken:
    """Make this disk the newest snapshot that is whole. What was committed after it is lost.

    Somebody has to want this: the chain goes on from there, and what is passed over, of which `tell` hears, is off it
    for good. Raises Damaged where nothing is whole, or this disk has seen more of this repository, or another one's.
    """
    beside = disk.scratch / disk.database.name
    with step("start.disk"):
        wanted = choosing.Wanted(to_last_good=True)
        chosen = choosing.restore_wanted(
            store, before, beside, wanted, patience, progress=progress, tell=tell, place=place
        )
        try:
            _refuse_contradictions(disk, disk.state(), chosen.snapshot, seen_more=_GOES_NOT_BACK)
            Outbox(disk.bases).clear()
            _forget(disk)
            restore.install(beside, disk.database)
        finally:
            beside.unlink(missing_ok=True)
        return _adopted(disk, chosen.snapshot, chosen.weight)


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


def _forget(disk: Disk) -> None:
    """What this disk has is not kept."""
    disk.forget_state()
    Outbox(disk.outbox).clear()


def _restored(disk: Disk, store: ObjectStore, end: chain.Snapshot, patience: Patience, progress: Progress) -> Taken:
    weight = restore.around_damaged_bases(
        lambda without: restore.restore(store, end, disk.database, patience, progress, without=without), log.warning
    )
    return _adopted(disk, end, weight)


def _adopted(disk: Disk, snapshot: chain.Snapshot, weight: Weight) -> Taken:
    keeper = connect(disk.database)
    with closing(Pages(disk.database, disk.gate_lock)) as pages, effect("pages.adopt"):
        following = pages.adopt()
    final = Final.of(snapshot.header, snapshot.link.digest).model_copy(update={"following": following})
    return Taken(keeper, kept=False, repository=snapshot.header.repository, final=final, weight=weight)


def _new(disk: Disk) -> Taken:
    for suffix in ("", "-wal", "-shm"):
        disk.database.with_name(disk.database.name + suffix).unlink(missing_ok=True)
    return Taken(connect(disk.database), kept=False, repository=secrets.token_hex(16), final=None)


_OLD_COPY = (
    "the store shows snapshot {end} as its newest, but {folder} saw {seen} made durable: the store is showing an old "
    "copy. Check that all of Swift's servers are up, and start again."
)
_GOES_NOT_BACK = (
    "the newest snapshot that is whole is {end}, but {folder} saw {seen} made durable, and its database is not "
    "overwritten with less: copy its catalogue.sqlite3* to a safe place, if what came after is wanted. To give that "
    "up, start with an empty data folder and --to-last-good"
)


def _refuse_contradictions(
    disk: Disk, state: ChainState | None, end: chain.Snapshot | None, *, seen_more: str = _OLD_COPY
) -> None:
    """Raise Damaged where what this disk knows can't be of a chain that ends so; `seen_more`: where it ended later."""
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
        raise Damaged(seen_more.format(end=end.header.sequence, folder=disk.data_dir, seen=state.final.sequence))


def _keep(disk: Disk, end: str, *, digest: str | None = None) -> Taken | None:
    """This disk as it is, where its rows are the record `end`, of this digest, with what was staged since."""
    state = disk.state()
    known = _known(disk, state, end) if state and not disk.distrusted() else None
    if not known or not known.final or digest not in (None, known.final.digest) or not disk.database.exists():
        return None
    try:
        keeper = connect(disk.database)
    except sqlite3.DatabaseError:
        return None
    if not _is_sound(keeper):
        keeper.close()
        return None
    if known is not state:
        disk.save_state(known)  # or a death after the next line takes with it that this disk may be kept
    Outbox(disk.outbox).clear()
    return Taken(keeper, kept=True, repository=known.repository, final=known.final, weight=known.weight)


def _known(disk: Disk, state: ChainState, record: str) -> ChainState | None:
    """What this disk knows of the chain up to a record that its rows are; None where they are not."""
    if state.final and state.final.name == record:
        return state
    entry = Outbox(disk.outbox).pending()
    if entry is None or entry.header.name != record:
        return None
    # It was in the outbox and did arrive. The rows must hold its merge: a power cut may have taken it.
    header = entry.header
    assert isinstance(header, Header)  # noqa: S101  # manifests have an outbox of their own
    return state.after(header, entry.digest) if log_holds(disk.database, header.position, header.page_size) else None


def _is_sound(connection: sqlite3.Connection) -> bool:
    try:
        return bool(connection.execute("PRAGMA quick_check").fetchone() == ("ok",))
    except sqlite3.DatabaseError:
        return False
