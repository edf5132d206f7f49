"""What the chain's model is made of: rows, records, disks, writers, and the world that holds them."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class Row(NamedTuple):
    """One session in a database: its state, and its revision from the merge on."""

    state: str
    revision: int = 0


Rows: TypeAlias = tuple[Row, ...]
"""A database: the sessions in the order of their ids."""


class Name(NamedTuple):
    epoch: int
    seq: int
    kind: str = "record"

    def __str__(self) -> str:
        return f"{self.epoch}/{self.seq}"


class Link(NamedTuple):
    """A record by name and digest. Equal digests mean equal records."""

    name: Name
    digest: int


class Record(NamedTuple):
    """`changes` are the rows that differ from those of the record before, as a delta's pages do."""

    parent: Link | None
    changes: tuple[tuple[int, Row], ...]
    head_after: int


Content: TypeAlias = Record | Rows | int
"""Of an object: a record, a base's rows, or an owner's id."""
Store: TypeAlias = tuple[tuple[Name, Content], ...]
"""The objects in the order of their names."""


class Final(NamedTuple):
    """The newest record that a disk knows to be final, and the rows when it was cut."""

    link: Link
    head_after: int
    rows: Rows


class Outbox(NamedTuple):
    """The record that is owed to the store, and the rows when it was cut."""

    name: Name
    record: Record
    rows: Rows


class Disk(NamedTuple):
    """`final` is None from the beginning of a restore to the end of its recovery."""

    rows: Rows
    final: Final | None
    outbox: Outbox | None = None


class Writer(NamedTuple):
    """A server. `at` is the step it takes next; in the lane the disk alone says that."""

    name: int
    at: str
    epoch: int = 0
    disk: Disk | None = None
    end: Name | None = None
    serving: bool = False

    def __str__(self) -> str:
        return f"W{self.name}"


class Left(NamedTuple):
    """The bounds: how often each thing may still happen."""

    starts: int = 0
    deaths: int = 0
    worker_deaths: int = 0
    doubts: int = 0
    bases: int = 0
    deadlines: int = 0


class World(NamedTuple):
    claimed: int
    """Epochs 1 to this one were claimed."""
    store: Store
    flying: Store
    """PUTs that were sent and may still arrive: whoever sent them no longer listens."""
    writers: tuple[Writer, ...]
    told: tuple[str, ...]
    """What each session's client was told last: nothing, `success` or `failed`."""
    shown: frozenset[tuple[int, int]]
    """Revision and session, as any browser ever saw them."""
    left: Left


def fetch(store: Store, name: Name) -> Content | None:
    for found, content in store:
        if found == name:
            return content
    return None


def stored(store: Store, name: Name, content: Content) -> Store:
    """PUT: atomic, and the last to arrive stands."""
    return tuple(sorted([*(pair for pair in store if pair[0] != name), (name, content)], key=_name))


def _name(pair: tuple[Name, Content]) -> Name:
    return pair[0]


def newest_revision(rows: Rows) -> int:
    return max(row.revision for row in rows)


def live(rows: Rows) -> frozenset[tuple[int, int]]:
    """What a browser sees: revision and session."""
    return frozenset((row.revision, session) for session, row in enumerate(rows) if row.state == "live")


def flipped(rows: Rows, head_after: int) -> Rows:
    return tuple(
        Row("live", row.revision) if row.state == "merged" and row.revision <= head_after else row for row in rows
    )
