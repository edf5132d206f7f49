"""Where the chain ends: the record that a start builds on.

It is found by asking for names, newest epoch first. A listing may add to what asking finds, never take away: Swift's
listings lag, and a name that it shows but can't be read is a reason to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial

from imagerepo.durability import chain, deltas, epochs, lookup, manifests
from imagerepo.durability.settle import Patience
from imagerepo.errors import Damaged, DamagedEnd, InvalidName
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.failpoints import step

_NOT_ALL = (
    "it is not showing all of this repository, and committed images could be lost by whoever went on from what it "
    "shows. Check that all of Swift's servers are up, and try again"
)


def find(store: ObjectStore, before: int, patience: Patience, without: Collection[str] = ()) -> chain.Snapshot | None:
    """The last record of the newest opened epoch below `before`; None where no epoch was ever opened.

    Raises DamagedEnd where it is not sound, and Damaged where a record is lost: others are listed from there on.
    Manifests whose names are in `without` are passed over, but only where none of its epoch's records was pruned: else
    it is Damaged, too.
    """
    with chain.must_be_there():
        last = find_last(store, before, patience, without)
        for passed_over in without:
            _check_unpruned(store, passed_over, last, patience)
        if last is None:
            return None
        try:
            with step("start.find"):
                end = chain.read(store, names.build(last), patience)
            if end.header.kind == "delta":
                deltas.check(end.header, end.payload)
            return end
        except Damaged as error:
            raise DamagedEnd(str(error), name=error.name) from None


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
    """As `find`, but the name only: it is not read.

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
