"""What of older epochs no restore can reach: it lies off the ancestry of this reign.

Fenced writers leave records that landed too late, and parts of bases that they did not finish. Nothing is judged
in this reign, as what it is writing now may not be known yet; nor in epochs from which pruning has begun to
take, as it will take the rest.

A part goes when no record or manifest names it that stays in the store, whether anything leads to that one or not.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from imagerepo.durability import chain, manifests
from imagerepo.durability.records import Header, Part
from imagerepo.durability.settle import Patience
from imagerepo.durability.state import ChainState
from imagerepo.errors import Damaged, ObjectNotFound
from imagerepo.store import names
from imagerepo.store.objects import ObjectInfo, ObjectStore

log = logging.getLogger(__name__)

Now: TypeAlias = ChainState | Header
"""What says of which epoch and writer this reign is."""
_Snapshots: TypeAlias = dict[int, list[tuple[names.Record | names.Manifest, ObjectInfo]]]
_Parts: TypeAlias = dict[int, list[ObjectInfo]]


def unreachable(store: ObjectStore, now: Now, before: datetime, patience: Patience) -> list[ObjectInfo]:
    """Records, manifests and parts of older epochs, written before that moment, that nothing leads to.

    Raises Damaged where the ancestry can't be read: then nothing is known.
    """
    past = _Past(store, now, lambda: store.list(names.DB), patience)
    off = past.off(before)
    unnamed = past.unnamed(before, going={info.name for info in off})
    return sorted([*off, *unnamed], key=lambda info: info.name)


def abandoned(
    store: ObjectStore, now: Now, listed: Collection[ObjectInfo], before: datetime, patience: Patience
) -> list[ObjectInfo]:
    """Of the objects `listed`, the parts of older epochs, written before that moment, that nothing names.

    Raises Damaged as `unreachable` does.
    """
    return _Past(store, now, lambda: listed, patience).unnamed(before, going=())


@dataclass(frozen=True)
class _Reign:
    """A reign that the ancestry passes through, up to its record `last`. `pruned`: its opening record is gone.

    `over`: when the opening record after it was cut.
    """

    last: names.Record
    over: datetime
    pruned: bool

    def has(self, thing: names.Record | names.Manifest) -> bool:
        """Whether it is of this reign, and not after the last record of it that anybody continued.

        Manifests always are: a base is only ever made of a final record, which every later start reads.
        """
        if (thing.epoch, thing.writer) != (self.last.epoch, self.last.writer):
            return False
        return isinstance(thing, names.Manifest) or thing.seq <= self.last.seq


class _Past:
    """What a listing shows of the epochs that are judged, without the records of the ancestry.

    Of these there may be millions, as of this reign's: they are passed over as they come, and known by their numbers.
    """

    def __init__(
        self, store: ObjectStore, now: Now, listing: Callable[[], Iterable[ObjectInfo]], patience: Patience
    ) -> None:
        self._store, self._patience = store, patience
        opening = chain.read(store, names.record(now.epoch, now.writer, 0), patience)
        reigns = list(_reigns(store, opening, patience))
        self._opened = opening.header.created_at
        self._reigns = {reign.last.epoch: reign for reign in reigns}
        first = reigns[-1].last.epoch + 1 if reigns and reigns[-1].pruned else 1
        judged = range(first, now.epoch)
        self._snapshots, self._parts = patience.ask(lambda: self._sorted_out(listing(), judged))

    def _sorted_out(self, listed: Iterable[ObjectInfo], judged: range) -> tuple[_Snapshots, _Parts]:
        snapshots: _Snapshots = defaultdict(list)
        parts: _Parts = defaultdict(list)
        for info in listed:
            match names.parse(info.name):
                case names.Part(epoch=epoch) if epoch in judged:
                    parts[epoch].append(info)
                case names.Manifest(epoch=epoch) as manifest if epoch in judged:
                    snapshots[epoch].append((manifest, info))
                case names.Record(epoch=epoch) as record if epoch in judged and not self._leads_to(record):
                    snapshots[epoch].append((record, info))
        return snapshots, parts

    def _leads_to(self, thing: names.Record | names.Manifest) -> bool:
        """Whether it is of the ancestry."""
        reign = self._reigns.get(thing.epoch)
        return reign is not None and reign.has(thing)

    def off(self, before: datetime) -> list[ObjectInfo]:
        """Old records and manifests that nothing leads to."""
        return [
            info
            for found in self._snapshots.values()
            for thing, info in found
            if info.modified < before and not self._leads_to(thing)
        ]

    def unnamed(self, before: datetime, going: Collection[str]) -> list[ObjectInfo]:
        """Old parts that no record or manifest names, but for those that are `going` themselves.

        Their epoch is over as long, too: whoever made them may have sent what names them much later.
        """
        return [
            info
            for epoch, parts in self._parts.items()
            if self._over(epoch) < before
            for info in self._unnamed(epoch, {info.name: info for info in parts if info.modified < before}, going)
        ]

    def _over(self, epoch: int) -> datetime:
        """When no writer of the epoch could make anything final any more, at the latest."""
        reign = self._reigns.get(epoch)
        return reign.over if reign else self._opened

    def _unnamed(self, epoch: int, left: dict[str, ObjectInfo], going: Collection[str]) -> Iterable[ObjectInfo]:
        """Those of the parts `left`. Snapshots are read only as long as there are any.

        None where one of these is damaged: what it names can't be known.
        """
        try:
            for name in self._names_of_snapshots(epoch) if left else ():
                for part in () if name in going else self._named_by(name):
                    left.pop(part.name, None)
                if not left:
                    break
        except Damaged as error:
            log.warning("no part of epoch %d is deleted: %s", epoch, error)
            return ()
        return left.values()

    def _names_of_snapshots(self, epoch: int) -> Iterator[str]:
        """Those off the ancestry; and by their numbers, as a listing may lag, those that it may have there.

        Manifests first, then opening records: these name most parts, and of the others there may be many.
        """
        known = [info.name for _, info in self._snapshots[epoch]]
        reign = self._reigns.get(epoch)
        if reign:
            writer = reign.last.writer
            made = range(manifests.how_many(self._store, epoch, writer, self._patience))
            known += [names.manifest(epoch, writer, number) for number in made]
            known += [names.record(epoch, writer, 0)]
        yield from dict.fromkeys(sorted(known, key=_likely_first))
        if reign:
            yield from (names.record(epoch, reign.last.writer, seq) for seq in range(1, reign.last.seq + 1))

    def _named_by(self, name: str) -> tuple[Part, ...]:
        with suppress(ObjectNotFound):  # pruned
            if isinstance(names.parse(name), names.Manifest):
                return manifests.read(self._store, name, self._patience).parts
            return chain.read(self._store, name, self._patience).header.parts
        return ()


def _likely_first(name: str) -> int:
    thing = names.parse(name)
    return 0 if isinstance(thing, names.Manifest) else 1 if isinstance(thing, names.Record) and not thing.seq else 2


def _reigns(store: ObjectStore, opening: chain.Snapshot, patience: Patience) -> Iterator[_Reign]:
    """The reigns before this one, newest first: each opening record names the record that it continues."""
    while link := opening.header.parent:
        last = names.parse(link.name)
        assert isinstance(last, names.Record)  # noqa: S101  # what a header links is a record
        over = opening.header.created_at
        try:
            opening = chain.read(store, names.record(last.epoch, last.writer, 0), patience)
        except ObjectNotFound:
            yield _Reign(last, over, pruned=True)
            return
        yield _Reign(last, over, pruned=False)
