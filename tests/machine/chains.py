"""What a start would find in the store now, restored beside and read with nothing but SQLite."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagerepo.durability import chain, epochs, restore
from imagerepo.durability.settle import Patience
from imagerepo.errors import ObjectNotFound
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.reference import NOTHING_SAID, Live

PATIENCE = Patience(most_questions=1)


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
    """The last record that a start would build on."""
    newest = epochs.first_absent(lambda epoch: epochs.exists(store, epoch, PATIENCE))
    return chain.find_end(store, newest, PATIENCE)


def view(store: ObjectStore, snapshot: chain.Snapshot) -> View:
    """What a restore of this snapshot shows."""
    with tempfile.TemporaryDirectory(dir=_quick()) as folder:
        database = Path(folder) / "restored.sqlite3"
        restore.build(store, snapshot, database, PATIENCE)
        with closing(sqlite3.connect(database)) as connection:
            return _read(connection, snapshot.header.head_after)


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
