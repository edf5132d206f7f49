"""Reading the chain: where an older epoch ends, and what lies behind a record.

The chain is found by asking for names, newest epoch first, and walked backwards by parent and digest.
A listing may add to what asking finds, never take away: Swift's listings lag, and a name that it shows
but can't be read is a reason to stop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from imagerepo.durability import epochs
from imagerepo.durability.records import Header, Link, decode, digest
from imagerepo.durability.settle import Patience
from imagerepo.errors import Damaged, InvalidName, ObjectNotFound
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.failpoints import step


@dataclass(frozen=True)
class Snapshot:
    """A record read from the store."""

    header: Header
    link: Link


def read(store: ObjectStore, name: str, patience: Patience) -> Snapshot:
    """The record `name`, its newest copy. Raises ObjectNotFound, and Damaged where it is not sound."""

    def ask() -> bytes:
        with store.get(name, newest=True) as reader:
            return reader.read()

    content = patience.ask(ask)
    header, _ = decode(content, name=name)
    return Snapshot(header, Link(name=name, digest=digest(content)))


def follow(store: ObjectStore, link: Link, patience: Patience) -> Snapshot:
    """The record that `link` names. Raises Damaged where its bytes are not those that were linked."""
    snapshot = read(store, link.name, patience)
    if snapshot.link != link:
        raise Damaged(f"{link.name} has the digest {snapshot.link.digest}, but {link.digest} was linked")
    return snapshot


def back(store: ObjectStore, end: Snapshot, patience: Patience) -> Iterator[Snapshot]:
    """`end` and every snapshot before it, newest first, across epochs."""
    snapshot = end
    yield snapshot
    while snapshot.header.parent:
        snapshot = follow(store, snapshot.header.parent, patience)
        yield snapshot


def find_end(store: ObjectStore, before: int, patience: Patience) -> Snapshot | None:
    """The last record of the newest opened epoch below `before`; None where no epoch was ever opened.

    Raises Damaged where the listing shows records that asking by name does not find.
    """
    with step("start.find"):
        listed = _listed(store, patience)
        for epoch in range(before - 1, 0, -1):
            end = _end_of(store, epoch, listed, patience)
            if end:
                return end
        _refuse_unreadable(record for record in listed if record.epoch < before)
        return None


def _end_of(store: ObjectStore, epoch: int, listed: set[names.Record], patience: Patience) -> Snapshot | None:
    mine = {record for record in listed if record.epoch == epoch}
    writer = epochs.owner(store, epoch, patience)
    if writer is None:
        _refuse_unreadable(mine)
        return None
    count = epochs.first_absent(lambda number: _exists(store, names.record(epoch, writer, number - 1), patience)) - 1
    _refuse_unreadable(record for record in mine if record.writer == writer and record.seq >= count)
    return read(store, names.record(epoch, writer, count - 1), patience) if count else None


def _exists(store: ObjectStore, name: str, patience: Patience) -> bool:
    with suppress(ObjectNotFound):
        patience.ask(lambda: store.stat(name, newest=True))
        return True
    return False


def _listed(store: ObjectStore, patience: Patience) -> set[names.Record]:
    records = set()
    for info in patience.ask(lambda: list(store.list(names.DB))):
        with suppress(InvalidName):
            thing = names.parse(info.name)
            if isinstance(thing, names.Record):
                records.add(thing)
    return records


def _refuse_unreadable(records: Iterable[names.Record]) -> None:
    found = sorted(names.build(record) for record in records)
    if found:
        raise Damaged(
            f"the store lists {found[0]} ({len(found)} such), but answers that it is absent: it is not showing "
            "all of this repository. Starting now could lose committed images. "
            "Check that all of Swift's servers are up, and start again."
        )
