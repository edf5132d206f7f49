"""Reading the chain: a record, what lies behind it, and which of these is wanted.

It is walked backwards, by parent and digest; where it ends is found by chain_end.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from imagerepo.durability import lookup, manifests
from imagerepo.durability.records import Header, Link, Manifest, decode, digest
from imagerepo.durability.settle import Patience
from imagerepo.errors import Damaged, ObjectNotFound, StoreError
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore

READ_AHEAD = 8
"""Records fetched at once on the way back."""
ONCE = Patience(most_questions=1)


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
    with must_be_there():
        return _linked(read(store, link.name, patience), link)


@contextmanager
def must_be_there() -> Iterator[None]:
    """While something is read that is part of the chain for certain. Raises Damaged in place of ObjectNotFound."""
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

    Raises Damaged where a record is missing before any base was met: it was not pruned. Bases whose names are in
    `without` are not looked at.
    """
    for snapshot, manifest in _with_bases(store, end, patience, manifests.Every(store, patience, without)):
        if manifest:
            yield manifest
        yield snapshot.header


def _with_bases(
    store: ObjectStore, end: Snapshot, patience: Patience, made: manifests.Every
) -> Iterator[tuple[Snapshot, Manifest | None]]:
    has_base = False
    try:
        for snapshot in back(store, end, patience):
            manifest = made.of(snapshot.link)
            yield snapshot, manifest
            has_base = has_base or snapshot.header.kind == "base" or manifest is not None
    except ObjectNotFound as error:
        if not has_base:
            raise Damaged(f"the chain is broken: {error}", name=error.name) from error


def forward(store: ObjectStore, epoch: int, writer: str, seq: int, patience: Patience) -> Iterator[Snapshot]:
    """The records of one epoch from number `seq` on."""
    while lookup.exists(store, name := names.record(epoch, writer, seq), patience):
        yield read(store, name, patience)
        seq += 1


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
    made = manifests.Every(store, patience, without)
    for snapshot, manifest in _with_bases(store, end, patience, made):
        header = snapshot.header
        if shown(header, revision) is not None and (at is None or header.created_at <= at):
            chosen = chosen or snapshot
        if header.kind == "base" or manifest:
            if chosen:
                return chosen
            oldest = header
        if chosen and header.parent and made.of(header.parent):  # the record itself is not needed then
            return chosen
    raise Damaged(
        f"no snapshot is that old: the oldest that is kept is of {oldest.created_at:%Y-%m-%d %H:%M:%S} UTC, "
        f"revision {oldest.head_after}"
    )
