"""Whether a database file is sound, while no other SQLite has it open."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagerepo.errors import Damaged


def check_header(database: Path, page_count: int) -> None:
    """Raise Damaged where the file does not begin as a database of `page_count` pages, or its schema is unreadable."""
    with _reading(database) as connection:
        connection.execute("SELECT name FROM sqlite_schema").fetchall()
        (found,) = connection.execute("PRAGMA page_count").fetchone()
    if found != page_count:
        raise Damaged(f"{database} is not a sound database: it has {found} pages, and should have {page_count}")


def quick_check(database: Path) -> None:
    """Raise Damaged where SQLite finds the file malformed. Looks at every page."""
    with _reading(database) as connection:
        answer = connection.execute("PRAGMA quick_check").fetchall()
    if answer != [("ok",)]:
        raise Damaged(f"{database} is not a sound database: {answer[0][0]}")


@contextmanager
def _reading(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a file that no other SQLite has open."""
    connection = sqlite3.connect(f"{database.absolute().as_uri()}?immutable=1", uri=True)
    try:
        yield connection
    except sqlite3.DatabaseError as error:
        raise Damaged(f"{database} is not a sound database: {error}") from None
    finally:
        connection.close()
