"""Pruning: what of the chain no restore that is promised will ever read.

Kept is all that a restore to any moment since `cutoff` reads: everything from the newest base that is at
least as old as that. Of the epoch which that base lies in, the owner, the opening record and the manifests
stay for ever, as a start finds the chain by them; the epochs before it go whole. Parts of a base that was never
finished go once its epoch is over and they are old.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from imagerepo.durability import ancestry, bases, chain, manifests
from imagerepo.durability.locks import exclusive
from imagerepo.durability.outbox import Outbox
from imagerepo.durability.records import Header, Manifest
from imagerepo.durability.restore import around_damaged_bases
from imagerepo.durability.settle import Patience
from imagerepo.durability.writer import Writer
from imagerepo.errors import Damaged, ObjectNotFound
from imagerepo.store import names
from imagerepo.store.objects import ObjectInfo, ObjectStore
from imagerepo.testing.failpoints import step

log = logging.getLogger(__name__)

BATCH = 100
"""Names deleted between two looks for a newer epoch."""


@dataclass(frozen=True)
class Plan:
    """Objects that may go, and the base that everything kept can be restored from; `end` was the newest record."""

    base: Header | Manifest | None
    objects: tuple[ObjectInfo, ...]
    end: Header

    @property
    def bytes(self) -> int:
        return sum(info.size for info in self.objects)


def prune(writer: Writer, cutoff: datetime, patience: Patience, *, abandoned: datetime, delete: bool) -> Plan:
    """Plan, and `delete` what may go, while no base is in the making. Raises Fenced.

    A base that is made meanwhile could consist of parts that an older one had.
    """
    with exclusive(writer.disk.bases_lock):
        if delete:
            bases.settle(writer)
        final = writer.state.final
        assert final is not None  # noqa: S101  # a server runs, so its opening record is final
        end = chain.follow(writer.store, final.link, patience)
        pruning = plan(writer.store, end, cutoff, patience, abandoned=abandoned)
        if delete:
            apply(writer, pruning)
    return pruning


def plan(
    store: ObjectStore, end: chain.Snapshot, cutoff: datetime, patience: Patience, *, abandoned: datetime | None = None
) -> Plan:
    """What may be deleted so that every state since `cutoff` can still be restored. Deletes nothing.

    Parts of older epochs that nothing names go too if they were written before `abandoned`.

    Raises Damaged where the newest manifest is: a start that passes over it needs the records behind it.
    """
    manifests.newest(store, end.header.epoch, end.header.writer, patience)
    base = around_damaged_bases(lambda without: _base_before(store, end, cutoff, patience, without), log.warning)
    listed = patience.ask(lambda: list(store.list(names.DB)))
    going: set[str] = set()
    if base:
        parts = _parts_not_needed(store, base, patience)
        going = {info.name for info in listed if _may_go(info.name, base, parts)}
    if abandoned:
        unnamed = ancestry.abandoned(store, end.header, listed, abandoned, patience)
        going |= {info.name for info in unnamed}
    return Plan(base, tuple(info for info in listed if info.name in going), end.header)


def apply(writer: Writer, pruning: Plan) -> int:
    """Delete what the plan says. Gives how many. Raises Fenced.

    Parts go first, as they are found by the records that name them; and in the lane, as a record that is cut
    meanwhile could name them again. Of the records of a reign number 1 goes before all others: while that is there,
    none is missing (`chain_end.find` relies on it).
    """
    going = [info.name for info in pruning.objects]
    with step("prune.delete"):
        for batch in _batches([name for name in going if _is_part(name)]):
            with writer.lane():
                _delete(writer, sorted(set(batch) - _named_since(writer, pruning.end)))
        others = [name for name in going if not _is_part(name)]
        first = _first_records(others)
        for batch in (*_batches(first), *_batches([name for name in others if name not in first])):
            _delete(writer, batch)
    return len(going)


def _first_records(going: list[str]) -> list[str]:
    """Number 1 of each reign of which a record goes, listed or not."""
    records = (thing for thing in map(names.parse, going) if isinstance(thing, names.Record))
    return sorted({names.record(record.epoch, record.writer, 1) for record in records})


def _delete(writer: Writer, batch: list[str]) -> None:
    writer.look_for_newer_epoch()
    writer.store.delete(batch)


def _named_since(writer: Writer, end: Header) -> set[str]:
    """Parts that records after `end` name, also the one that is owed."""
    records = chain.forward(writer.store, end.epoch, end.writer, end.seq + 1, writer.patience)
    owed = Outbox(writer.disk.outbox).pending()
    return _names(*(snapshot.header for snapshot in records), *([owed.header] if owed else []))


def _base_before(
    store: ObjectStore, end: chain.Snapshot, cutoff: datetime, patience: Patience, without: Collection[str]
) -> Header | Manifest | None:
    made = manifests.OnTheWay(store, patience, without)
    with suppress(ObjectNotFound):  # what lies behind was pruned before
        for snapshot in chain.back(store, end, patience):
            if snapshot.header.created_at > cutoff:
                continue
            if manifest := made.of(snapshot.link):
                return manifest
            # A start counts the newest epoch's records from its newest manifest on, so only that may have a gap
            # before it.
            if snapshot.header.kind == "base" and snapshot.header.epoch < end.header.epoch:
                return snapshot.header
    return None


def _parts_not_needed(store: ObjectStore, base: Header | Manifest, patience: Patience) -> set[str]:
    """Parts of its epoch that only bases before it consist of. None while one of its snapshots can't tell its parts."""
    try:
        return _parts_before(store, base, patience) - _parts_from(store, base, patience)
    except Damaged as error:
        log.warning("no part of epoch %d is deleted: %s", base.epoch, error)
        return set()


def _parts_from(store: ObjectStore, base: Header | Manifest, patience: Patience) -> set[str]:
    """Parts that the base, and the bases after it in its epoch, consist of."""
    made = manifests.every(store, base.epoch, base.writer, patience)
    later = [manifest for manifest in made if manifest.seq >= base.seq]
    records = chain.forward(store, base.epoch, base.writer, base.seq, patience)
    return _names(base, *later, *(snapshot.header for snapshot in records))


def _parts_before(store: ObjectStore, base: Header | Manifest, patience: Patience) -> set[str]:
    """Parts that the bases before it in its epoch consist of. What nothing names may be under way: it stays.

    The opening record stays, and with nothing between them it can be reached: then it stays whole.
    """
    if base.seq <= 1:
        return set()
    made = manifests.every(store, base.epoch, base.writer, patience)
    earlier = (manifest for manifest in made if manifest.seq < base.seq)
    return _names(*earlier, *_records_before(store, base, patience))


def _records_before(store: ObjectStore, base: Header | Manifest, patience: Patience) -> list[Header]:
    """The records before it in its epoch."""
    found: list[Header] = []
    with suppress(ObjectNotFound):  # what lies behind was pruned before
        start = chain.read(store, names.record(base.epoch, base.writer, base.seq), patience)
        for snapshot in chain.back(store, start, patience):
            if snapshot.header.epoch != base.epoch:
                break
            if snapshot.header.seq < base.seq:
                found.append(snapshot.header)
    return found


def _is_part(name: str) -> bool:
    return isinstance(names.parse(name), names.Part)


def _names(*bases: Header | Manifest) -> set[str]:
    return {part.name for base in bases for part in base.parts}


def _may_go(name: str, base: Header | Manifest, parts: set[str]) -> bool:
    thing = names.parse(name)
    match thing:
        case names.Owner():
            return thing.n < base.epoch
        case names.Manifest():
            return thing.epoch < base.epoch
        case names.Record():
            return thing.epoch < base.epoch or (thing.epoch == base.epoch and 0 < thing.seq < base.seq)
        case names.Part():
            return thing.epoch < base.epoch or name in parts
        case _:
            return False


def _batches(every: list[str]) -> Iterator[list[str]]:
    return (every[start : start + BATCH] for start in range(0, len(every), BATCH))
