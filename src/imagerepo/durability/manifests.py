"""The manifests of one epoch: bases made in the background, each standing in for a record. Numbered from 0, no gaps.

Those whose names are in `without` are passed over: they were found damaged, and the base before gives the same.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from functools import partial

from imagerepo.durability import lookup
from imagerepo.durability.records import Link, Manifest, decode_manifest
from imagerepo.durability.settle import Patience
from imagerepo.errors import Damaged, InvalidName
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore


def how_many(store: ObjectStore, epoch: int, writer: str, patience: Patience) -> int:
    return lookup.how_many(store, partial(names.manifest, epoch, writer), patience)


def read(store: ObjectStore, name: str, patience: Patience) -> Manifest:
    """The manifest `name`, its newest copy. Raises ObjectNotFound, and Damaged where it is not sound."""
    return decode_manifest(lookup.content(store, name, patience), name=name)


def every(
    store: ObjectStore, epoch: int, writer: str, patience: Patience, *, without: Collection[str] = ()
) -> list[Manifest]:
    """All of an epoch, oldest first."""
    found = (names.manifest(epoch, writer, number) for number in range(how_many(store, epoch, writer, patience)))
    return [read(store, name, patience) for name in found if name not in without]


def newest(
    store: ObjectStore,
    epoch: int,
    writer: str,
    patience: Patience,
    *,
    count: int | None = None,
    up_to: int | None = None,
    without: Collection[str] = (),
) -> Manifest | None:
    """The newest of an epoch's first `count`, of a record up to the number `up_to`."""
    for number in reversed(range(how_many(store, epoch, writer, patience) if count is None else count)):
        name = names.manifest(epoch, writer, number)
        if name in without:
            continue
        manifest = read(store, name, patience)
        if up_to is None or manifest.seq <= up_to:
            return manifest
    return None


class OnTheWay:
    """The newest manifest of each epoch that a walk back comes through, from where it enters."""

    def __init__(self, store: ObjectStore, patience: Patience, without: Collection[str] = ()) -> None:
        self._store, self._patience, self._without = store, patience, without
        self._epoch = 0
        self._newest: Manifest | None = None

    def of(self, link: Link) -> Manifest | None:
        """The one that stands in for exactly this record, which need not be there."""
        record = record_of(link)
        if record.epoch != self._epoch:
            self._epoch = record.epoch
            self._newest = newest(
                self._store, record.epoch, record.writer, self._patience, up_to=record.seq, without=self._without
            )
        return self._newest if self._newest and self._newest.of == link else None


class Every:
    """All manifests of each epoch that a walk back comes through."""

    def __init__(self, store: ObjectStore, patience: Patience, without: Collection[str] = ()) -> None:
        self._store, self._patience, self._without = store, patience, without
        self._epoch = 0
        self._by_record: dict[Link, Manifest] = {}

    def of(self, link: Link) -> Manifest | None:
        """The newest that stands in for exactly this record, which need not be there."""
        record = record_of(link)
        if record.epoch != self._epoch:
            self._epoch = record.epoch
            made = every(self._store, record.epoch, record.writer, self._patience, without=self._without)
            self._by_record = {manifest.of: manifest for manifest in made}
        return self._by_record.get(link)


def record_of(link: Link) -> names.Record:
    """Raises Damaged where it names anything else."""
    with suppress(InvalidName):
        record = names.parse(link.name)
        if isinstance(record, names.Record):
            return record
    raise Damaged(f"{link.name!r} is linked as a record, and is no name of one")
