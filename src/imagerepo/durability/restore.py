"""Restore: from the chain's end back to its newest base, and from there to a database file."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Collection
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from imagerepo.durability import chain, chain_end, manifests
from imagerepo.durability.checks import check_header, quick_check
from imagerepo.durability.fetching import Base, Progress, fetch, unchanged, unseen
from imagerepo.durability.overlay import Overlay
from imagerepo.durability.records import Header
from imagerepo.durability.settle import Patience
from imagerepo.durability.state import Weight
from imagerepo.errors import Damaged, Missing, NoRoom, ObjectNotFound
from imagerepo.files import sync, unlink_durably
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.failpoints import effect, step

T = TypeVar("T")

MOST_TRIES = 3
"""To read what is missing: a damaged chain is known by then from one that was pruned meanwhile."""
BUILDING = "restoring"
"""Folder beside the database in which the new one is built."""
CHANGED = "changed-pages"
"""File beside the new one, for as long as it is built."""
ROOM_SHARE, ROOM_BYTES = 1.5, 32 << 20
"""What to have free for a restore, of the database's size and besides: the file, with the pages that deltas changed
beside it, and later compressed parts."""


def restore(
    store: ObjectStore,
    end: chain.Snapshot,
    database: Path,
    patience: Patience,
    progress: Progress = unseen,
    *,
    without: Collection[str] = (),
    thorough: bool = False,
    finish: Callable[[Path], None] = lambda _: None,
) -> Weight:
    """Make `database` the database as of `end`. Gives what had to be read for it.

    The old file is replaced only by a whole, checked one, which `finish` may change before.

    Every byte is what was cut, by the digests of the records and parts. `thorough` proves besides that what
    was cut is a database: it looks at every page, and at the digest of the whole base.

    No SQLite may have `database` open. Raises Damaged where anything is not what it should be; then the old
    file is untouched. Bases whose names are in `without` are not used.
    """
    folder = database.with_name(BUILDING)
    shutil.rmtree(folder, ignore_errors=True)  # of a restore that died
    folder.mkdir()
    try:
        weight = build(store, end, folder / database.name, patience, progress, without=without, thorough=thorough)
        finish(folder / database.name)
        with step("restore.install"):
            install(folder / database.name, database)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return weight


def in_the_way(database: Path) -> Path | None:
    """A file that a restore to `database` would delete or replace, and that no restore and no server has made."""
    if database.exists() and not _is_ours(database):
        return database
    folder = database.with_name(BUILDING)
    if not folder.is_dir():
        return folder if folder.exists() else None
    made = (f"{database.name}*", f"{CHANGED}*")
    return next((file for file in sorted(folder.iterdir()) if not any(map(file.match, made))), None)


def _is_ours(database: Path) -> bool:
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"{database.as_uri()}?mode=ro&immutable=1", uri=True)) as file,
    ):
        return bool(file.execute("SELECT 1 FROM sqlite_schema WHERE name = 'imagerepo_head'").fetchone())
    return False


def build(
    store: ObjectStore,
    end: chain.Snapshot,
    database: Path,
    patience: Patience,
    progress: Progress = unseen,
    *,
    without: Collection[str] = (),
    thorough: bool = False,
) -> Weight:
    """Make a new file `database` that is the database as of `end`. Checks and raises as `restore` does.

    What is missing may have been pruned meanwhile, behind a newer base: then it begins again.
    """
    for _ in range(MOST_TRIES - 1):
        with suppress(Missing):
            return _build(store, end, database, patience, progress, without, thorough)
    return _build(store, end, database, patience, progress, without, thorough)


def _build(
    store: ObjectStore,
    end: chain.Snapshot,
    database: Path,
    patience: Patience,
    progress: Progress,
    without: Collection[str],
    thorough: bool,
) -> Weight:
    with Overlay(database.with_name(CHANGED), end.header) as overlay:
        with step("restore.fetch"):
            with effect("file.write deltas"):
                base, weight = _collect(store, end, overlay, patience, without)
            fetch(store, base, database, patience, progress, unchanged if thorough else overlay.lay)
            if thorough:
                _check_whole(base, database)
        with step("restore.apply"), effect("file.write restoring"):
            overlay.finish(database, laid_on=0 if thorough else base.page_count)
    _check_database(database, end.header, thorough=thorough)
    return weight


def _check_database(database: Path, header: Header, *, thorough: bool) -> None:
    try:
        check_header(database, header.page_count)
        if thorough:
            quick_check(database)
    except Damaged as error:
        raise Damaged(f"{header.name} was not cut as it should be: {error}", name=header.name) from None


def around_damaged_bases(attempt: Callable[[frozenset[str]], T], tell: Callable[[str], object]) -> T:
    """What `attempt` gives without the bases made in the background that it finds damaged; `tell` hears of each.

    It loses nothing to do without one: the base before it and the deltas give the same, proven by the same digests.
    Where these are gone, what was found damaged first is raised.
    """
    first, without = None, frozenset[str]()
    while True:
        try:
            return attempt(without)
        except Damaged as error:
            first = first or error
            if error.name in without or not is_background_base(error):
                raise first from None
            tell(f"{error}; the base before it is used")
            without |= {error.name}


def find_end(
    store: ObjectStore, before: int, patience: Patience, tell: Callable[[str], object]
) -> chain.Snapshot | None:
    """As `chain_end.find`, without the manifests that are found damaged; `tell` hears of each."""
    return around_damaged_bases(lambda without: chain_end.find(store, before, patience, without), tell)


def is_background_base(error: Damaged) -> bool:
    """Whether what can't be used stands in for a record, and is not one."""
    return bool(error.name) and isinstance(names.parse(error.name), names.Manifest)


def check_room(folder: Path, end: chain.Snapshot) -> None:
    """Raise NoRoom where the disk of `folder` can't hold what `build` makes there, and a base packed from it."""
    size = end.header.page_count * end.header.page_size
    needed, free = int(size * ROOM_SHARE) + ROOM_BYTES, shutil.disk_usage(folder).free
    if free < needed:
        raise NoRoom(
            f"restoring {end.header.name} beside takes up to {needed:,} bytes, and {folder} has {free:,} free: "
            "give it more room"
        )


def _collect(
    store: ObjectStore, end: chain.Snapshot, overlay: Overlay, patience: Patience, without: Collection[str]
) -> tuple[Base, Weight]:
    """The newest base at or before `end`, with the deltas after it in `overlay`, and what both weigh."""
    stored = 0
    made = manifests.OnTheWay(store, patience, without)
    base: Base | None = made.of(end.link)
    try:
        for snapshot in chain.back(store, end, patience):
            if snapshot.header.kind == "base":
                base = snapshot.header
            if base is None:
                _check_page_size(snapshot.header, end.header)
                overlay.add(snapshot.header, snapshot.payload)
                stored += snapshot.header.stored_bytes
                base = made.of(snapshot.header.parent) if snapshot.header.parent else None
            if base:
                _check_page_size(base, end.header)
                return base, Weight(base=base.stored_bytes, deltas=stored)
    except ObjectNotFound as error:
        raise Missing(f"the chain is broken: {error}", name=error.name) from error
    raise Damaged(f"no base lies behind {end.header.name}")


def _check_page_size(snapshot: Base, end: Header) -> None:
    """Of the end alone no link says what it is."""
    if snapshot.page_size != end.page_size:
        raise Damaged(
            f"{end.name} was not cut as it should be: its pages have {end.page_size} bytes, and those of "
            f"{snapshot.name} {snapshot.page_size}",
            name=end.name,
        )


def install(new: Path, database: Path) -> None:
    """Put a finished file in the place of `database`.

    A log left beside it would be replayed into the new file: it goes first.
    """
    unlink_durably([database.with_name(database.name + suffix) for suffix in ("-wal", "-shm")])
    with effect("file.rename"):
        new.replace(database)
        sync(database.parent)


def _check_whole(base: Base, database: Path) -> None:
    with database.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != base.payload_digest:
        raise Damaged(
            f"the database restored from {base.name} is not what its header says: its digest differs", name=base.name
        )
