"""How commands print: data on stdout, as a table or as JSON; everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from imagerepo.durability.settle import Patience

PIPED_WIDTH = 160
"""Of tables that no terminal gives a width."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def show(rows: Sequence[Mapping[str, Any]], *, as_json: bool, empty: str) -> None:
    """Print one line for each row; `empty` (on stderr) if there is none."""
    if as_json:
        sys.stdout.write(orjson.dumps(list(rows), option=orjson.OPT_INDENT_2).decode() + "\n")
    elif not rows:
        note(empty)
    else:
        console = Console(markup=False, highlight=False)
        if not console.is_terminal:
            console.width = PIPED_WIDTH
        console.print(_table(rows))


def show_lines(rows: Sequence[dict[str, Any]], *, as_json: bool, line: Callable[[dict[str, Any]], str]) -> None:
    """Print each row as JSON, or as what `line` makes of it."""
    if as_json:
        show(rows, as_json=True, empty="")
    else:
        sys.stdout.write("\n".join(map(line, rows)))


def show_one(row: Mapping[str, Any], *, as_json: bool, line: str) -> None:
    """Print one thing: all of it as JSON, or `line`."""
    sys.stdout.write((orjson.dumps(row, option=orjson.OPT_INDENT_2).decode() if as_json else line) + "\n")


def show_with(row: Mapping[str, Any], name: str, items: Iterable[Any]) -> None:
    """Print one thing as JSON, with a member `name` that may be longer than memory holds."""
    head = orjson.dumps(row, option=orjson.OPT_INDENT_2).decode().removesuffix("\n}")
    sys.stdout.write(f'{head},\n  "{name}": [')
    separator = ""
    for item in items:
        sys.stdout.write(f"{separator}\n    {orjson.dumps(item).decode()}")
        separator = ","
    sys.stdout.write("\n  ]\n}\n" if separator else "]\n}\n")


def note(line: str) -> None:
    """Tell the person at the terminal."""
    sys.stderr.write(f"{line}\n")


def patience(**options: Any) -> Patience:
    """A command's with the store: a refusal ends it, and the person at the terminal hears why it takes long."""
    return Patience(refusals_end=True, report=waiting, **options)


def waiting(reason: str) -> None:
    """Tell why nothing seems to happen."""
    note(f"waiting for the store: {reason}")


@contextmanager
def byte_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes on stderr, moved by calls with those done and all; nothing where that is no terminal."""
    with _bar(title, DownloadColumn(), TransferSpeedColumn()) as move:
        yield move


@contextmanager
def progress_of(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of things counted, likewise."""
    with _bar(title, MofNCompleteColumn(), TimeElapsedColumn()) as move:
        yield move


@contextmanager
def _bar(title: str, *more: ProgressColumn) -> Iterator[Callable[[int, int], None]]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), *more)
    # What is printed meanwhile goes above the bar, on stderr; but data that are piped go where they are piped to.
    above = sys.stdout.isatty()
    with Progress(*columns, console=console, disable=not console.is_terminal, redirect_stdout=above) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows[0]:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    return "" if value is None else str(value)
