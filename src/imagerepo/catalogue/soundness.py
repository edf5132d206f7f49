"""What must be true of the rows of any snapshot, looked at in a database file that nobody has open.

Plain SQL on a file: a drill asks it of a copy, without Django's connection and perhaps on another machine.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

MOST_TOLD = 5
"""Findings of one kind that are named; more of them would tell nothing new."""


@dataclass(frozen=True)
class Soundness:
    """`live` images at the head, the log's `revisions`, and a sentence for each thing that can't be."""

    live: int
    revisions: int
    problems: tuple[str, ...]


def check(database: Path, *, head: int, head_after: int) -> Soundness:
    """Look at every page, and at the rows of a snapshot of which its record says `head` and `head_after`."""
    with closing(_open(database)) as connection:
        try:
            live, revisions = _counts(connection, head_after)
            return Soundness(live, revisions, tuple(_problems(connection, head, head_after)))
        except sqlite3.DatabaseError as error:
            return Soundness(0, 0, (f"the rows can't be read: {error}",))


def sample(database: Path, *, head: int, count: int) -> list[tuple[str, int]]:
    """Ident and size in bytes of up to `count` images that are live at `head`, picked at random."""
    with closing(_open(database)) as connection:
        rows = connection.execute(
            "SELECT ident, byte_size FROM imagerepo_imageversion JOIN imagerepo_image image ON image.id = image_id "
            "WHERE valid_from <= :head AND valid_to > :head ORDER BY random() LIMIT :count",
            {"head": head, "count": count},
        )
        return [(bytes(ident).hex(), size) for ident, size in rows]


def _open(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.absolute().as_uri()}?immutable=1", uri=True)


def _one(connection: sqlite3.Connection, query: str, head: int) -> int:
    from imagerepo.catalogue.models import FOREVER  # models may be imported only once Django is set up

    (number,) = connection.execute(query, {"head": head, "forever": FOREVER}).fetchone()
    return int(number)


def _counts(connection: sqlite3.Connection, head: int) -> tuple[int, int]:
    live = "SELECT count(*) FROM imagerepo_imageversion WHERE valid_from <= :head AND valid_to > :head"
    return _one(connection, live, head), _one(connection, "SELECT count(*) FROM imagerepo_revision", head)


def _problems(connection: sqlite3.Connection, head: int, head_after: int) -> Iterator[str]:
    for (line,) in connection.execute(f"PRAGMA integrity_check({MOST_TOLD})"):
        if line != "ok":
            yield f"SQLite finds: {line}"
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchmany(MOST_TOLD):
        yield f"row {row} of {table} names a row of {parent} that is not there"
    (live_head,) = connection.execute("SELECT coalesce(max(revision), 0) FROM imagerepo_head").fetchone()
    if live_head != head:
        yield f"its rows have revision {live_head} live, its record says {head}"
    yield from _of_the_log(connection, head_after)


def _of_the_log(connection: sqlite3.Connection, head: int) -> Iterator[str]:
    """The log of revisions, and the versions of images that it must account for."""
    log = "SELECT count(*), coalesce(min(number), 1), coalesce(max(number), 0) FROM imagerepo_revision"
    count, first, last = connection.execute(log).fetchone()
    if (count, first, last) != (head, 1, head):
        yield f"its log has {count} revisions from {first} to {last}, and {head} were committed"
    live, _ = _counts(connection, head)
    changes = "SELECT coalesce(sum(added) - sum(removed), 0) FROM imagerepo_revision"
    if live != (expected := _one(connection, changes, head)):
        yield f"{live} images are live, and its revisions added and removed {expected}"
    twice = (
        "SELECT count(*) - count(DISTINCT image_id) FROM imagerepo_imageversion "
        "WHERE valid_from <= :head AND valid_to > :head"
    )
    if found := _one(connection, twice, head):
        yield f"{found} images are live twice"
    beyond = (
        "SELECT count(*) FROM imagerepo_imageversion "
        "WHERE valid_from > :head OR (valid_to > :head AND valid_to <> :forever)"
    )
    if found := _one(connection, beyond, head):
        yield f"{found} versions of images are of revisions that were never committed"
