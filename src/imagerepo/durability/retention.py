"""Pruning: what of the chain no restore that is promised will ever read.

Kept is all that a restore to any moment since `cutoff` reads: everything from the newest base that is at
least as old as that. Of the epoch which that base lies in, the owner, the opening record and the manifests
stay for ever, as a start finds the chain by them; the epochs before it go whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from imagerepo.durability import chain
from imagerepo.durability.records import Header, Manifest
from imagerepo.durability.settle import Patience
from imagerepo.durability.writer import Writer
from imagerepo.errors import InvalidName, ObjectNotFound
from imagerepo.store import names
from imagerepo.store.objects import ObjectInfo, ObjectStore
from imagerepo.testing.failpoints import step

BATCH = 100
"""Names deleted between two looks for a newer epoch."""


@dataclass(frozen=True)
class Plan:
    """Objects that may go, and the base that everything kept can be restored from."""

    base: Header | Manifest | None
    objects: tuple[ObjectInfo, ...]

    @property
    def bytes(self) -> int:
        return sum(info.size for info in self.objects)


def plan(store: ObjectStore, end: chain.Snapshot, cutoff: datetime, patience: Patience) -> Plan:
    """What may be deleted so that every state since `cutoff` can still be restored. Deletes nothing."""
    base = _base_before(store, end, cutoff, patience)
    if base is None:
        return Plan(None, ())
    parts = _parts_before(store, base, patience) - _parts_from(store, base, patience)
    listed = patience.ask(lambda: list(store.list(names.DB)))
    return Plan(base, tuple(info for info in listed if _may_go(info.name, base, parts)))


def apply(writer: Writer, pruning: Plan) -> int:
    """Delete what the plan says, oldest names first. Gives how many. Raises Fenced."""
    with step("prune.delete"):
        for batch in _batches([info.name for info in pruning.objects]):
            writer.look_for_newer_epoch()
            writer.store.delete(batch)
    return len(pruning.objects)


def _base_before(
    store: ObjectStore, end: chain.Snapshot, cutoff: datetime, patience: Patience
) -> Header | Manifest | None:
    manifests = chain.Manifests(store, patience)
    with suppress(ObjectNotFound):  # what lies behind was pruned before
        for snapshot in chain.back(store, end, patience):
            if snapshot.header.created_at > cutoff:
                continue
            if manifest := manifests.of(snapshot):
                return manifest
            # A start counts the newest epoch's records from its newest manifest on, so only that may have a gap
            # before it.
            if snapshot.header.kind == "base" and snapshot.header.epoch < end.header.epoch:
                return snapshot.header
    return None


def _parts_from(store: ObjectStore, base: Header | Manifest, patience: Patience) -> set[str]:
    """Parts that the base, and the bases after it in its epoch, consist of."""
    later = [manifest for manifest in _manifests(store, base, patience) if manifest.seq >= base.seq]
    records = chain.forward(store, base.epoch, base.writer, base.seq, patience)
    return _names(base, *later, *(snapshot.header for snapshot in records))


def _parts_before(store: ObjectStore, base: Header | Manifest, patience: Patience) -> set[str]:
    """Parts that the bases before it in its epoch consist of. What nothing names may be under way: it stays."""
    earlier: list[Header | Manifest] = [
        manifest for manifest in _manifests(store, base, patience) if manifest.seq < base.seq
    ]
    with suppress(ObjectNotFound):  # what lies behind was pruned before
        start = chain.read(store, names.record(base.epoch, base.writer, base.seq), patience)
        for snapshot in chain.back(store, start, patience):
            if snapshot.header.epoch == base.epoch and snapshot.header.seq < base.seq:
                earlier.append(snapshot.header)  # noqa: PERF401  # what was read before the end counts
    return _names(*earlier)


def _manifests(store: ObjectStore, base: Header | Manifest, patience: Patience) -> list[Manifest]:
    count = chain.manifests(store, base.epoch, base.writer, patience)
    every = (names.manifest(base.epoch, base.writer, number) for number in range(count))
    return [chain.read_manifest(store, name, patience) for name in every]


def _names(*bases: Header | Manifest) -> set[str]:
    return {part.name for base in bases for part in base.parts}


def _may_go(name: str, base: Header | Manifest, parts: set[str]) -> bool:
    try:
        thing = names.parse(name)
    except InvalidName:
        return False
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


def _batches(every: list[str]) -> Iterator[Iterable[str]]:
    return (every[start : start + BATCH] for start in range(0, len(every), BATCH))
