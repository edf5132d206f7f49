"""What a start would find in the store now, restored beside and read with nothing but SQLite."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagerepo.durability import chain, epochs, restore
from imagerepo.durability.settle import Patience
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.reference import NOTHING_SAID, Live

PATIENCE = Patience(most_questions=1)


@dataclass(frozen=True)
class View:
    """A repository at one revision: `log` has the key of the session that became revision n at n - 1."""

    log: tuple[str, ...]
    live: Live
    tokens: frozenset[str] = frozenset()

    @property
    def revision(self) -> int:
        return len(self.log)


def end(store: ObjectStore) -> chain.Snapshot | None:
    """The last record that a start would build on."""
    newest = epochs.first_absent(lambda epoch: epochs.exists(store, epoch, PATIENCE))
    return chain.find_end(store, newest, PATIENCE)


def view(store: ObjectStore, snapshot: chain.Snapshot) -> View:
    """What a restore of this snapshot shows. Checks that every base it names is in the store."""
    with tempfile.TemporaryDirectory(dir=_quick()) as folder:
        database = Path(folder) / "restored.sqlite3"
        restore.build(store, snapshot, database, PATIENCE)
        with closing(sqlite3.connect(database)) as connection:
            found = _read(connection, snapshot.header.head_after)
    for ident in found.live:
        with store.get(names.base(ident)) as reader:
            assert hashlib.sha256(reader.read()).hexdigest() == ident, f"the store's {ident} is something else"
    return found


def _quick() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


def _read(connection: sqlite3.Connection, head: int) -> View:
    columns = [*NOTHING_SAID]
    log = connection.execute(
        "SELECT number, session FROM imagerepo_revision WHERE number <= ? ORDER BY number", [head]
    ).fetchall()
    assert [number for number, _ in log] == list(range(1, head + 1)), f"revisions up to {head}: {log}"
    rows = connection.execute(
        f"SELECT hex(ident), {', '.join(columns)} FROM imagerepo_imageversion v "  # noqa: S608
        "JOIN imagerepo_image i ON i.id = v.image_id WHERE valid_from <= ? AND valid_to > ?",
        [head, head],
    ).fetchall()
    live = {ident.lower(): _description(dict(zip(columns, said, strict=True))) for ident, *said in rows}
    assert len(live) == len(rows), "an image is live twice"
    tokens = connection.execute("SELECT name FROM imagerepo_token").fetchall()
    return View(tuple(key for _, key in log), live, frozenset(name for (name,) in tokens))


def _description(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "tags": json.loads(row["tags"]), "attributes": json.loads(row["attributes"])}
