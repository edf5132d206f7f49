"""The flip in a restored file that no server has: its rows then show what its snapshot makes live.

Plain SQL on the file, as Django's connection is the data folder's. What it means is in merge.py.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from imagerepo.errors import Damaged

_MADE_LIVE = "FROM imagerepo_uploadsession WHERE state = 'merged' AND revision <= :head"
_FLIP = (
    "UPDATE imagerepo_head SET revision = :head WHERE revision < :head",
    f"DELETE FROM imagerepo_stagedimage WHERE session_id IN (SELECT id {_MADE_LIVE})",  # noqa: S608
    f"UPDATE imagerepo_uploadsession SET state = 'live' WHERE id IN (SELECT id {_MADE_LIVE})",  # noqa: S608
)


def flip(database: Path, head: int) -> None:
    """Make every session merged up to `head` live, in a file that nobody has open.

    Raises Damaged where its rows are malformed.
    """
    with closing(sqlite3.connect(database)) as connection:
        try:
            with connection:
                for statement in _FLIP:
                    connection.execute(statement, {"head": head})
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # those below are of a full disk, of bugs
                raise
            raise Damaged(f"the rows are malformed: {error}") from error
