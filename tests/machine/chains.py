"""What a start would find in the store now, restored beside and read with nothing but SQLite."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

from imagerepo.durability import chain, chain_end, epochs, restore
from imagerepo.durability.settle import Patience
from imagerepo.errors import Damaged, ObjectNotFound
from imagerepo.store import names
from imagerepo.store.objects import ObjectInfo, ObjectReader, ObjectStore
from imagerepo.testing.reference import NOTHING_SAID, Live

PATIENCE = Patience(most_questions=1)
T = TypeVar("T")


@dataclass(frozen=True)
class View:
    """A repository at one revision: `log` has the key of the session that became revision n at n - 1.

    `referred`: the images that any version refers to, live or retained. `removals`: the sessions of purge and
    reconcile, and what each removed.
    """

    log: tuple[str, ...]
    live: Live
    tokens: frozenset[str] = frozenset()
    referred: frozenset[str] = frozenset()
    removals: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def revision(self) -> int:
        return len(self.log)


def end(store: ObjectStore) -> chain.Snapshot | None:
    """The last record that a start would build on. Where it would refuse, what it was told stands in a note."""
    witness = Witness(store)
    try:
        return _end(cast(ObjectStore, witness))
    except Damaged as error:
        error.add_note("\n".join(["What a start would be told:", *witness.told, *_afterwards(store)]))
        raise


def _end(store: ObjectStore) -> chain.Snapshot | None:
    return chain_end.find(store, epochs.first_unclaimed(store, PATIENCE), PATIENCE)


def _afterwards(store: ObjectStore) -> Iterator[str]:
    """Whether that was of a moment, or lasts."""
    yield "What is there now, and since when:"
    yield from (f"{info.modified:%H:%M:%S.%f}  {info.name}" for info in store.list(names.DB))
    try:
        found = _end(store)
        yield f"Asked again, it ends with {found.link.name if found else 'nothing'}"
    except Damaged as error:
        yield f"Asked again: {error}"


class Witness:
    """The questions by which a chain's end is found, passed on to a store; `told` are they and their answers."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.told: list[str] = []

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        found = [*self._store.list(prefix)]
        self._note(f"list {prefix}: {' '.join(info.name for info in found)}")
        return iter(found)

    def stat(self, name: str, *, newest: bool = False) -> ObjectInfo:
        return self._noting(f"stat {name}", lambda: self._store.stat(name, newest=newest))

    def get(self, name: str, *, newest: bool = False) -> ObjectReader:
        return self._noting(f"get {name}", lambda: self._store.get(name, newest=newest))

    def _noting(self, question: str, ask: Callable[[], T]) -> T:
        try:
            answer = ask()
        except ObjectNotFound:
            self._note(f"{question}: absent")
            raise
        self._note(f"{question}: there")
        return answer

    def _note(self, what: str) -> None:
        self.told.append(f"{datetime.now(UTC):%H:%M:%S.%f}  {what}")


def view(store: ObjectStore, snapshot: chain.Snapshot, revision: int | None = None) -> View:
    """What a restore of this snapshot shows, at `revision` if it has that."""
    head = chain.shown(snapshot.header, revision)
    assert head is not None, f"{snapshot.header.name} does not show revision {revision}"
    with tempfile.TemporaryDirectory(dir=_quick()) as folder:
        database = Path(folder) / "restored.sqlite3"
        restore.build(store, snapshot, database, PATIENCE)
        with closing(sqlite3.connect(database)) as connection:
            return _read(connection, head)


def removed_by(store: ObjectStore, end: chain.Snapshot, number: int, key: str) -> frozenset[str]:
    """What a session of purge or reconcile removed, which became the revision `number`.

    By the record that brought it: history may have ended since.
    """
    bringing = end
    with suppress(ObjectNotFound):  # those behind were pruned
        for snapshot in chain.back(store, end, PATIENCE):
            if snapshot.header.head_after < number:
                break
            bringing = snapshot
    return view(store, bringing).removals[key]


def without_base(store: ObjectStore, idents: Iterable[str]) -> set[str]:
    """Those of the images whose base is not in the store, byte for byte."""
    return {ident for ident in idents if not _is_there(store, ident)}


def _is_there(store: ObjectStore, ident: str) -> bool:
    try:
        with store.get(names.base(ident)) as reader:
            return hashlib.sha256(reader.read()).hexdigest() == ident
    except ObjectNotFound:
        return False


def _quick() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def _read(connection: sqlite3.Connection, head: int) -> View:
    columns = [*NOTHING_SAID]
    log = connection.execute(
        "SELECT number, session, owner, title FROM imagerepo_revision WHERE number <= ? ORDER BY number", [head]
    ).fetchall()
    assert [number for number, *_ in log] == list(range(1, head + 1)), f"revisions up to {head}: {log}"
    rows = connection.execute(
        f"SELECT hex(ident), {', '.join(columns)} FROM imagerepo_imageversion v "  # noqa: S608
        "JOIN imagerepo_image i ON i.id = v.image_id WHERE valid_from <= ? AND valid_to > ?",
        [head, head],
    ).fetchall()
    live = {ident.lower(): _description(dict(zip(columns, said, strict=True))) for ident, *said in rows}
    assert len(live) == len(rows), "an image is live twice"
    tokens = connection.execute("SELECT name FROM imagerepo_token").fetchall()
    referred = connection.execute(f"SELECT hex(ident) FROM imagerepo_image i WHERE {_HAS_VERSIONS}").fetchall()  # noqa: S608
    return View(
        tuple(key for _, key, *_ in log),
        live,
        frozenset(name for (name,) in tokens),
        frozenset(ident.lower() for (ident,) in referred),
        {key: _removed(connection, number, title) for number, key, owner, title in log if _is_repair(owner, title)},
    )


_HAS_VERSIONS = "EXISTS (SELECT 1 FROM imagerepo_imageversion v WHERE v.image_id = i.id)"
_OF_PURGE = "purge of "


def _is_repair(owner: str, title: str) -> bool:
    return owner == "reconcile" or title.startswith(_OF_PURGE)


def _removed(connection: sqlite3.Connection, number: int, title: str) -> frozenset[str]:
    """What the revision removed; of a purge its title says it, as the rows are gone by now."""
    found = connection.execute(
        "SELECT hex(ident) FROM imagerepo_imageversion v JOIN imagerepo_image i ON i.id = v.image_id "
        "WHERE valid_to = ?",
        [number],
    ).fetchall()
    purged = {title.removeprefix(_OF_PURGE)} if title.startswith(_OF_PURGE) else set()
    return frozenset(purged | {ident.lower() for (ident,) in found})


def _description(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "tags": json.loads(row["tags"]), "attributes": json.loads(row["attributes"])}
