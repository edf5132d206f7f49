"""What of older epochs no restore can reach: it lies off the ancestry of this reign.

Fenced writers leave records that landed too late, and parts of bases that they did not finish. Nothing is judged
in this reign, as what it is writing now may not be known yet; nor in epochs from which pruning has begun to
take, as it will take the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from imagerepo.durability import chain
from imagerepo.durability.records import Header, Manifest
from imagerepo.durability.settle import Patience
from imagerepo.durability.state import ChainState
from imagerepo.errors import ObjectNotFound
from imagerepo.store import names
from imagerepo.store.objects import ObjectInfo, ObjectStore


@dataclass(frozen=True)
class Reign:
    """A reign that the ancestry passes through, up to its record `last`. `pruned`: its opening record is gone."""

    last: names.Record
    pruned: bool

    def has(self, thing: names.Record | names.Manifest) -> bool:
        """Whether it is of this reign, and not after the last record of it that anybody continued.

        Manifests always are: a base is only ever made of a final record, which every later start reads.
        """
        if (thing.epoch, thing.writer) != (self.last.epoch, self.last.writer):
            return False
        return isinstance(thing, names.Manifest) or thing.seq <= self.last.seq


def unreachable(store: ObjectStore, state: ChainState, before: datetime, patience: Patience) -> list[ObjectInfo]:
    """Records, manifests and parts of older epochs, written before that moment, that nothing leads to.

    Raises Damaged where the ancestry can't be read: then nothing is known.
    """
    reigns = list(_reigns(store, state, patience))
    of_epoch = {reign.last.epoch: reign for reign in reigns}
    first = reigns[-1].last.epoch + 1 if reigns and reigns[-1].pruned else 1
    off: list[ObjectInfo] = []
    parts: dict[int, list[ObjectInfo]] = {}
    for info in patience.ask(lambda: list(store.list(names.DB))):
        thing = names.parse(info.name)
        if not isinstance(thing, names.Record | names.Manifest | names.Part) or info.modified > before:
            continue
        if not first <= thing.epoch < state.epoch:
            continue
        reign = of_epoch.get(thing.epoch)
        if isinstance(thing, names.Part) and reign and thing.writer == reign.last.writer:
            parts.setdefault(thing.epoch, []).append(info)
        elif isinstance(thing, names.Part) or reign is None or not reign.has(thing):
            off.append(info)
    for epoch, found in parts.items():
        off += _unnamed(store, of_epoch[epoch], found, patience)
    return sorted(off, key=lambda info: info.name)


def _reigns(store: ObjectStore, state: ChainState, patience: Patience) -> Iterator[Reign]:
    """The reigns before this one, newest first: each opening record names the record that it continues."""
    opening = chain.read(store, names.record(state.epoch, state.writer, 0), patience)
    while link := opening.header.parent:
        last = names.parse(link.name)
        assert isinstance(last, names.Record)  # noqa: S101  # what a header links is a record
        try:
            opening = chain.read(store, names.record(last.epoch, last.writer, 0), patience)
        except ObjectNotFound:
            yield Reign(last, pruned=True)
            return
        yield Reign(last, pruned=False)


def _unnamed(store: ObjectStore, reign: Reign, parts: Iterable[ObjectInfo], patience: Patience) -> Iterable[ObjectInfo]:
    """Those of a reign's parts that none of its bases consists of. Its records are read only while that is open."""
    left = {info.name: info for info in parts}
    for base in _bases(store, reign, patience):
        for part in base.parts:
            left.pop(part.name, None)
        if not left:
            break
    return left.values()


def _bases(store: ObjectStore, reign: Reign, patience: Patience) -> Iterator[Header | Manifest]:
    last = reign.last
    yield from chain.every_manifest(store, last.epoch, last.writer, patience)
    for seq in range(last.seq + 1):
        with suppress(ObjectNotFound):  # pruned
            yield chain.read(store, names.record(last.epoch, last.writer, seq), patience).header
