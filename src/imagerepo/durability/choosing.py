"""Choosing: which snapshot to restore, where it is not simply the newest, or the newest is damaged.

A snapshot that can't be restored is never passed over silently: `tell` hears of each, and only where the
caller allowed it is another one taken. Going back loses as little as can be: a base made in the background
that is damaged costs nothing, as the base before it and the deltas give the same; a damaged record costs all
from that record on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path

from imagerepo.durability import chain, chain_end, manifests, restore
from imagerepo.durability.fetching import Progress, unseen
from imagerepo.durability.restore import is_background_base
from imagerepo.durability.settle import Patience
from imagerepo.durability.state import Weight
from imagerepo.errors import Damaged, DurabilityError, ObjectNotFound
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore


@dataclass(frozen=True)
class Wanted:
    """The newest snapshot up to a revision and a moment; `to_last_good`: the newest of these that is whole."""

    revision: int | None = None
    at: datetime | None = None
    to_last_good: bool = False


@dataclass(frozen=True)
class Chosen:
    """A snapshot, which of the revisions that its rows show is wanted, and what had to be read for it."""

    snapshot: chain.Snapshot
    revision: int
    weight: Weight = field(default_factory=Weight)


@dataclass(frozen=True)
class _From:
    """Where to look for it: from the record `last` back, or the chain's end, leaving bases out."""

    last: names.Record | None = None
    without: frozenset[str] = frozenset()


def restore_wanted(
    store: ObjectStore,
    before: int,
    database: Path,
    wanted: Wanted,
    patience: Patience,
    *,
    progress: Progress = unseen,
    tell: Callable[[str], None] = lambda sentence: None,
    finish: Callable[[Path, int], None] = lambda database, revision: None,
    place: str = "the store",
) -> Chosen:
    """Make `database` the wanted snapshot of the chain that ends below the epoch `before`, and give that.

    `finish` hears of the new file, before it takes its place, and of the revision that is wanted of it. `place` is
    what people call the store.

    Raises DurabilityError where there is no chain, and Damaged, naming what is, also where nothing that is kept is old
    enough.
    """
    start, tell = _From(), _once(tell)
    while True:
        try:
            end = _end(store, before, start, wanted, patience, tell)
            if end is None:
                raise DurabilityError(f"{place} holds no snapshot: is its URL right?")
            chosen = _choose(store, end, start, wanted, patience)
            weight = _restore(store, chosen, database, start, wanted, patience, progress, finish)
        except Damaged as error:
            if not wanted.to_last_good:
                hint = "; --to-last-good takes the newest snapshot that is whole" if error.name else ""
                raise Damaged(f"{error}{hint}", name=error.name) from None
            tell(str(error))
            start = _before(store, start, error, patience, tell)
        else:
            return replace(chosen, weight=weight)


def _choose(store: ObjectStore, end: chain.Snapshot, start: _From, wanted: Wanted, patience: Patience) -> Chosen:
    found = chain.select(store, end, patience, revision=wanted.revision, at=wanted.at, without=start.without)
    revision = chain.shown(found.header, wanted.revision)
    assert revision is not None  # noqa: S101  # it was chosen by that
    return Chosen(found, revision)


def _restore(
    store: ObjectStore,
    chosen: Chosen,
    database: Path,
    start: _From,
    wanted: Wanted,
    patience: Patience,
    progress: Progress,
    finish: Callable[[Path, int], None],
) -> Weight:
    def finish_named(new: Path) -> None:
        try:
            finish(new, chosen.revision)
        except Damaged as error:
            name = chosen.snapshot.header.name
            raise Damaged(f"{name}: {error}", name=name) from None

    return restore.restore(
        store,
        chosen.snapshot,
        database,
        patience,
        progress,
        without=start.without,
        thorough=wanted.to_last_good,
        finish=finish_named,
    )


def _once(tell: Callable[[str], None]) -> Callable[[str], None]:
    """As `tell`, but of the same only once: what is passed over is met again by each try."""
    told: set[str] = set()

    def first_time(sentence: str) -> None:
        if sentence not in told:
            told.add(sentence)
            tell(sentence)

    return first_time


def _end(
    store: ObjectStore, before: int, start: _From, wanted: Wanted, patience: Patience, tell: Callable[[str], None]
) -> chain.Snapshot | None:
    def pass_over(lost: Damaged) -> None:
        if not wanted.to_last_good:
            raise lost
        tell(str(lost))

    last = start.last or chain_end.find_last(store, before, patience, start.without, pass_over)
    return _read(store, last, patience) if last else None


def _read(store: ObjectStore, record: names.Record, patience: Patience) -> chain.Snapshot:
    try:
        return chain.read(store, names.build(record), patience)
    except ObjectNotFound as error:
        raise Damaged(f"the chain is broken: {error}", name=error.name) from None


def _before(store: ObjectStore, start: _From, error: Damaged, patience: Patience, tell: Callable[[str], None]) -> _From:
    """Where to go on from what the error says. Raises it again where nothing is left."""
    bad = names.parse(error.name) if error.name else None
    if is_background_base(error) and error.name not in start.without:
        return _From(start.last, start.without | {error.name})
    if isinstance(bad, names.Record) and (before := _record_before(store, bad, patience, tell)):
        return _From(before, start.without)
    raise error


def _record_before(
    store: ObjectStore, bad: names.Record, patience: Patience, tell: Callable[[str], None]
) -> names.Record | None:
    if bad.seq:
        return chain_end.last_before(store, bad, patience)
    with suppress(Damaged, ObjectNotFound):  # only its parts are damaged, perhaps: then it names its parent
        parent = chain.read(store, names.build(bad), patience).header.parent
        found = names.parse(parent.name) if parent else None
        return found if isinstance(found, names.Record) else None
    return _read_by(store, bad, patience, tell)


def _read_by(
    store: ObjectStore, opening: names.Record, patience: Patience, tell: Callable[[str], None]
) -> names.Record | None:
    """The record that a start read as the chain's end, where its opening record can't name it.

    A later one may have arrived from a writer that was fenced by then: no start knew of it, and what it holds was
    called lost. So it is found by its place in the chain, or told as a guess.
    """
    last = chain_end.find_last(store, opening.epoch, patience)
    if last is None:
        return None
    sequence = _sequence(store, opening, patience)
    with suppress(Damaged, ObjectNotFound):
        if sequence:
            for snapshot in chain.back(store, chain.read(store, names.build(last), patience), patience):
                found = names.parse(snapshot.link.name)
                if snapshot.header.sequence == sequence - 1 and isinstance(found, names.Record):
                    return found
    tell(
        f"nothing that can be read says what {opening} came after. It is a guess that it was {last}: that may have "
        f"arrived too late for the server of epoch {opening.epoch} to know of it"
    )
    return last


def _sequence(store: ObjectStore, opening: names.Record, patience: Patience) -> int | None:
    """An opening record's place in the chain, by the first that can be read of those after it."""
    with suppress(ObjectNotFound):
        for seq in count(1):
            with suppress(Damaged):
                name = names.record(opening.epoch, opening.writer, seq)
                return chain.read(store, name, patience).header.sequence - seq
    with suppress(Damaged):
        base = manifests.newest(store, opening.epoch, opening.writer, patience)
        return base.sequence - base.seq if base else None
    return None
