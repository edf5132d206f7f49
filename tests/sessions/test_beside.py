"""A restore beside: the rows of its file show the revision that it is of, and nothing above."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from imagerepo.durability import choosing, epochs
from imagerepo.durability.choosing import Wanted
from imagerepo.sessions import beside, lane
from imagerepo.testing.faulty import FaultyStore
from tests.durability.node import A, B, C, D, Node
from tests.durability.reign import ONCE


def restored(store: FaultyStore, database: Path, **wanted: object) -> choosing.Chosen:
    before = epochs.first_unclaimed(store, ONCE)
    return choosing.restore_wanted(store, before, database, Wanted(**wanted), ONCE, finish=beside.flip)


@pytest.mark.parametrize("revision", [None, 4, 3, 2, 1, 0])
def test_the_restored_file_shows_what_it_is_said_to_be(
    node: Node, snapshots: FaultyStore, tmp_path: Path, revision: int | None
) -> None:
    node.commit(A)
    keys = [node.stage(ident).key for ident in (B, C, D)]
    lane.run(node.writer)
    given = 4 if revision is None else revision
    database = tmp_path / "restored.sqlite3"
    assert restored(snapshots, database, revision=revision).revision == given
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT revision FROM imagerepo_head").fetchall() == [(given,)]
        states = dict(connection.execute("SELECT key, state FROM imagerepo_uploadsession"))
        assert [states.get(key) == "live" for key in keys] == [given >= number for number in (2, 3, 4)]
        staged = connection.execute(
            "SELECT count(*) FROM imagerepo_stagedimage i JOIN imagerepo_uploadsession s ON s.id = session_id "
            "WHERE s.state = 'live'"
        )
        assert staged.fetchone() == (0,)
        live = connection.execute(
            "SELECT lower(hex(ident)) FROM imagerepo_imageversion JOIN imagerepo_image i ON i.id = image_id, "
            "imagerepo_head h WHERE valid_from <= h.revision AND valid_to > h.revision ORDER BY ident"
        )
        assert [ident for (ident,) in live] == [A, B, C, D][:given]
    assert list(tmp_path.glob("restored.sqlite3*")) == [database], "SQLite left nothing beside it"
