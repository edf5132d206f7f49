"""The facts about the schema that keep a commit's delta small: each was measured once (bench/snapshots.py)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.core.management import call_command

OF_EVERY_IMAGE = ("imagerepo_image", "imagerepo_imageversion", "imagerepo_stagedimage")


@pytest.fixture
def schema(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        yield connection


def tables(schema: sqlite3.Connection) -> list[str]:
    found = schema.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'imagerepo%'")
    return [name for (name,) in found]


def columns(schema: sqlite3.Connection, table: str) -> list[tuple[str, str, bool]]:
    """Name, type, and whether it is the primary key."""
    return [(name, kind, bool(key)) for _, name, kind, _, _, key in schema.execute(f"PRAGMA table_info({table})")]


def test_rows_have_small_keys(schema: sqlite3.Connection) -> None:
    """An ident for a key would double both the database and every delta."""
    for table in OF_EVERY_IMAGE:
        (kind,) = [kind for _, kind, is_key in columns(schema, table) if is_key]
        assert kind == "INTEGER", f"{table}: any other type than SQLite's own row id costs an index of its own"


def test_an_ident_is_32_bytes_and_stands_in_no_child(schema: sqlite3.Connection) -> None:
    idents = {table: kind for table in tables(schema) for name, kind, _ in columns(schema, table) if name == "ident"}
    assert {"imagerepo_image", "imagerepo_stagedimage"} <= idents.keys()
    assert "imagerepo_imageversion" not in idents
    assert set(idents.values()) == {"BLOB"}


def test_pages_are_of_4_kib(schema: sqlite3.Connection) -> None:
    assert schema.execute("PRAGMA page_size").fetchone() == (4096,)


def test_there_is_no_table_of_tags(schema: sqlite3.Connection) -> None:
    """Its reverse index alone was two thirds of the pages that a hundred images dirtied."""
    assert not [table for table in tables(schema) if "tag" in table.replace("stagedimage", "")]


def test_images_have_few_indexes(schema: sqlite3.Connection) -> None:
    """Each is dirtied by every commit, those over random values at a page a row: `ident` alone is such."""
    query = "SELECT tbl_name, count(*) FROM sqlite_schema WHERE type = 'index' GROUP BY tbl_name"
    counts = dict(schema.execute(query).fetchall())
    assert (counts["imagerepo_image"], counts["imagerepo_imageversion"], counts["imagerepo_stagedimage"]) == (1, 2, 1)


@pytest.mark.usefixtures("database")
def test_the_migrations_make_all_that_the_models_say() -> None:
    call_command("makemigrations", check_changes=True, dry_run=True, verbosity=0)
