"""Whether what is written is synced before it is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

FULL = 2
"""Of the pragma `synchronous`."""


@contextmanager
def all_synced() -> Iterator[None]:
    """Every change of a row inside is committed with an fsync, and there is one."""
    levels: list[int] = []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(("INSERT", "UPDATE", "DELETE")):
            levels.append(connection.connection.execute("PRAGMA synchronous").fetchone()[0])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield
    assert set(levels) == {FULL}
