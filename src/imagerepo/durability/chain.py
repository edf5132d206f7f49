"""Reading the chain: where an older epoch ends, and what lies behind a record.

The chain is found by asking for names, newest epoch first, and walked backwards by parent and digest.
A listing may add to what asking finds, never take away: Swift's listings lag, and a name that it shows
but can't be read is a reason to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from imagerepo.durability import epochs, lookup, manifests
from imagerepo.durability.records import Header, Link, Manifest, decode, digest
from imagerepo.durability.settle import Patience
from imagerepo.errors import Damaged, InvalidName, ObjectNotFound, StoreError
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.failpoints import step

READ_AHEAD = 8
"""Records fetched at once on the way back."""
ONCE = Patience(most_questions=1)
_NOT_ALL = (
    "it is not showing all of this repository, and committed images could be lost by whoever went on from what it "
    "shows. Check that all of Swift's servers are up, and try again"
)


@dataclass(frozen=True)
class Snapshot:
    """A record read from the store."""

    header: Header
    link: Link
    payload: bytes = b""


def read(store: ObjectStore, name: str, patience: Patience) -> Snapshot:
    """The record `name`, its newest copy. Raises ObjectNotFound, and Damaged where it is not sound."""
    content = lookup.content(store, name, patience)
    header, payload = decode(content, name=name)
    return Snapshot(header, Link(name=name, digest=digest(content)), payload)


def follow(store: ObjectStore, link: Link, patience: Patience) -> Snapshot:
    """The record that `link` names. Raises Damaged where it is absent, or its bytes are not those that were linked."""
    with _must_be_there():
        return _linked(read(store, link.name, patience), link)


@contextmanager
def _must_be_there() -> Iterator[None]:
    try:
        yield
    except ObjectNotFound as error:
        raise Damaged(
            f"{error.name} is part of the chain, but the store answers that it is absent: "
            "check that all of Swift's servers are up, and try again",
            name=error.name,
        ) from error


def _linked(snapshot: Snapshot, link: Link) -> Snapshot:
    if snapshot.link != link:
        found = snapshot.link.digest
        raise Damaged(f"{link.name} has the digest {found}, but {link.digest} was linked", name=link.name)
    return snapshot


def back(store: ObjectStore, end: Snapshot, patience: Patience) -> Iterator[Snapshot]:
    """`end` and every snapshot before it, newest first, across epochs.

    A reign's records have numbers without gaps, so those before are fetched ahead; what is believed is the
    link of each to its parent. Nobody waits for one that is not needed: it may be one that can't be had.
    """
    snapshot = end
    yield snapshot
    threads = ThreadPoolExecutor(READ_AHEAD)
    try:
        ahead: dict[str, Future[Snapshot]] = {}
        while link := snapshot.header.parent:
            for name in _names_before(snapshot.header, len(ahead) + 1, READ_AHEAD):  # those nearer are in it
                if name not in ahead:
                    ahead[name] = threads.submit(read, store, name, ONCE)
            snapshot = _linked(_fetched(ahead.pop(link.name, None)) or read(store, link.name, patience), link)
            yield snapshot
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _fetched(ahead: Future[Snapshot] | None) -> Snapshot | None:
    """What was fetched ahead. None: it was not, or in vain, so it is asked for with all patience."""
    with suppress(StoreError, Damaged):
        return ahead.result() if ahead else None
    return None


def _names_before(header: Header, first: int, last: int) -> Iterator[str]:
    """The names of the `first` to the `last` record before this one, of its reign, as far as there are so many."""
    seqs = range(header.seq - first, max(-1, header.seq - last - 1), -1)
    return (names.record(header.epoch, header.writer, seq) for seq in seqs)


def kept(
    store: ObjectStore, end: Snapshot, patience: Patience, without: Collection[str] = ()
) -> Iterator[Header | Manifest]:
    """`end` and every snapshot before it that is kept, newest first, each record after the base made of it.

    Raises Damaged where a record is missing that no base stands in for: it was not pruned. Bases whose names are in
    `without` are not looked at.
    """
    for snapshot, manifest in _with_bases(store, end, patience, without):
        if manifest:
            yield manifest
        yield snapshot.header


def _with_bases(
    store: ObjectStore, end: Snapshot, patience: Patience, without: Collection[str] = ()
) -> Iterator[tuple[Snapshot, Manifest | None]]:
    made: dict[str, Manifest] = {}
    epoch, has_base = 0, False
    try:
        for snapshot in back(store, end, patience):
            header = snapshot.header
            if header.epoch != epoch:
                epoch = header.epoch
                every = manifests.every(store, epoch, header.writer, patience, without=without)
                made = {each.of.name: each for each in every}
            manifest = made.get(header.name)
            yield snapshot, manifest if manifest and manifest.of == snapshot.link else None
            has_base = has_base or header.kind == "base" or manifest is not None
    except ObjectNotFound as error:
        if not has_base:
            raise Damaged(f"the chain is broken: {error}", name=error.name) from error


def forward(store: ObjectStore, epoch: int, writer: str, seq: int, patience: Patience) -> Iterator[Snapshot]:
    """The records of one epoch from number `seq` on."""
    while lookup.exists(store, name := names.record(epoch, writer, seq), patience):
        yield read(store, name, patience)
        seq += 1


def find_end(store: ObjectStore, before: int, patience: Patience, without: Collection[str] = ()) -> Snapshot | None:
    """The last record of the newest opened epoch below `before`; None where no epoch was ever opened.

    Raises Damaged where it is not sound, or a record is lost: others are listed from there on. Manifests whose names
    are in `without` are passed over, but only where none of its epoch's records was pruned: else it is Damaged, too.
    """
    with _must_be_there():
        last = find_last(store, before, patience, without)
        for passed_over in without:
            _check_unpruned(store, passed_over, last, patience)
        if last is None:
            return None
        with step("start.find"):
            return read(store, names.build(last), patience)


def _check_unpruned(store: ObjectStore, manifest: str, last: names.Record | None, patience: Patience) -> None:
    """Raise Damaged unless `last` is of the manifest's reign, and all of that is there: pruning takes number 1 first.

    Asked after `last` was found, so no gap was taken for the end, whatever a listing leaves out.
    """
    found = names.parse(manifest)
    assert isinstance(found, names.Manifest)  # noqa: S101  # whoever passes over one has its name
    if last is None or (last.epoch, last.writer) != (found.epoch, found.writer):
        raise Damaged(f"{manifest} is of a reign whose opening record is absent")
    if not lookup.exists(store, first := names.record(last.epoch, last.writer, 1), patience):
        raise Damaged(f"{first} is absent, and {manifest} can't say whether it was pruned")


def _refuse(lost: Damaged) -> None:
    raise lost


def find_last(
    store: ObjectStore,
    before: int,
    patience: Patience,
    without: Collection[str] = (),
    pass_over: Callable[[Damaged], None] = _refuse,
) -> names.Record | None:
    """As `find_end`, but the name only: it is not read.

    Where a record is lost `pass_over` hears of it. Unless that raises, the newest after it
    is taken, or else the last before it.

    Manifests whose names are in `without` are passed over. Records that were pruned behind such a one are then taken
    for the end, unless a listing shows those after them: nothing that goes on from there may do without asking.
    """
    with step("start.find"):
        listed = _listed(store, patience)
        for epoch in range(before - 1, 0, -1):
            last = _last_of(store, epoch, listed, patience, without, pass_over)
            if last:
                return last
        if strays := sorted(map(names.build, (record for record in listed if record.epoch < before))):
            raise Damaged(f"the store lists {strays[0]}, but no epoch that is its writer's: {_NOT_ALL}")
        return None


def _last_of(
    store: ObjectStore,
    epoch: int,
    listed: set[names.Record],
    patience: Patience,
    without: Collection[str],
    pass_over: Callable[[Damaged], None],
) -> names.Record | None:
    mine = {record for record in listed if record.epoch == epoch}
    writer = epochs.owner(store, epoch, patience)
    if writer is None:
        if mine:
            a_record = min(map(names.build, mine))
            raise Damaged(f"{names.owner(epoch)} is absent, though the store lists {a_record}: {_NOT_ALL}")
        return None
    seq = _last_seq(store, epoch, writer, patience, without)
    later = sorted(record.seq for record in mine if record.writer == writer and record.seq > seq)
    if not later:
        return names.Record(epoch, writer, seq) if seq >= 0 else None
    lost = names.Record(epoch, writer, seq + 1)
    if lookup.exists(store, names.build(lost), patience):  # it came back
        return _last_of(store, epoch, listed, patience, without, pass_over)
    return _last_beside(store, lost, later, patience, pass_over)


def _last_beside(
    store: ObjectStore, lost: names.Record, later: list[int], patience: Patience, pass_over: Callable[[Damaged], None]
) -> names.Record:
    """The last record of a reign that lost one, by what `pass_over` allows. It was listed, or those `later` were.

    Raises Damaged where no other is left.
    """
    name = partial(names.record, lost.epoch, lost.writer)
    there = next((seq for seq in reversed(later) if lookup.exists(store, name(seq), patience)), None)
    listed = "it" if later[-1] == lost.seq else name(later[-1])
    shown = f"lists {listed}" if there is None else f"has {name(there)}"
    error = Damaged(f"{lost} is absent, though the store {shown}: {_NOT_ALL}", name=str(lost))
    if there is None and lost.seq == 0:
        raise error
    pass_over(error)
    if there is None:
        return names.Record(lost.epoch, lost.writer, lost.seq - 1)
    after = lookup.how_many(store, name, patience, first=there + 1)
    return names.Record(lost.epoch, lost.writer, there + after)


def last_before(store: ObjectStore, record: names.Record, patience: Patience) -> names.Record | None:
    """The newest record of the same reign before this one that is there, as far as it is listed or the next."""
    reign = (record.epoch, record.writer)
    listed = {each.seq for each in _listed(store, patience) if (each.epoch, each.writer) == reign}
    for seq in sorted(filter(record.seq.__gt__, listed | {0, record.seq - 1}), reverse=True):
        before = names.Record(record.epoch, record.writer, seq)
        if lookup.exists(store, names.build(before), patience):
            return before
    return None


def shown(header: Header, revision: int | None) -> int | None:
    """The newest revision up to `revision` that the rows of a snapshot show; None where they may be of later ones only.

    They show each that it makes live: what that changed is in them, and history ends behind the head at the latest.
    """
    if revision is None or header.head_after <= revision:
        return header.head_after
    return revision if header.head < revision else None


def select(
    store: ObjectStore,
    end: Snapshot,
    patience: Patience,
    *,
    revision: int | None = None,
    at: datetime | None = None,
    without: Collection[str] = (),
) -> Snapshot:
    """The newest snapshot up to a revision and a moment. Raises Damaged where none is that old, or kept.

    It may make newer revisions live too, by a group commit: `shown` says at which it is wanted. Bases whose names are
    in `without` are not looked at.
    """
    if revision is None and at is None:
        return end
    chosen, oldest = None, end.header
    for snapshot, manifest in _with_bases(store, end, patience, without):
        header = snapshot.header
        if shown(header, revision) is not None and (at is None or header.created_at <= at):
            chosen = chosen or snapshot
        if header.kind == "base" or manifest:
            if chosen:
                return chosen
            oldest = header
    raise Damaged(
        f"no snapshot is that old: the oldest that is kept is of {oldest.created_at:%Y-%m-%d %H:%M:%S} UTC, "
        f"revision {oldest.head_after}"
    )


def _last_seq(store: ObjectStore, epoch: int, writer: str, patience: Patience, without: Collection[str]) -> int:
    """The last record of an epoch, from its newest manifest on: those before may be pruned. -1: it has none."""
    while True:
        count = manifests.how_many(store, epoch, writer, patience)
        manifest = manifests.newest(store, epoch, writer, patience, count=count, without=without)
        first = manifest.seq + 1 if manifest else 0
        after = lookup.how_many(store, partial(names.record, epoch, writer), patience, first=first)
        if not lookup.exists(store, names.manifest(epoch, writer, count), patience):
            return first - 1 + after
        # A base was finished meanwhile, and records that were asked for may have gone.


def _listed(store: ObjectStore, patience: Patience) -> set[names.Record]:
    records = set()
    for info in patience.ask(lambda: list(store.list(names.DB))):
        with suppress(InvalidName):
            thing = names.parse(info.name)
            if isinstance(thing, names.Record):
                records.add(thing)
    return records
