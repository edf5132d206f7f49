"""What does a commit's snapshot cost, and which pages are in it? At two sizes of repository, beside full copies.

    python bench/snapshots.py [--rows 100000 1000000] [--sessions 5] [--write]

In each repository: sessions of 100 images through the real staging, merge and cut; one-title sessions; and in
the same run VACUUM INTO and SQLite's backup, each followed by zstd -3. CPU is that of the shipping thread:
reading the log, compressing, the outbox, and a PUT into memory. Some minutes at a million rows.
"""

from __future__ import annotations

import argparse
import math
import sqlite3
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import zstandard

import results
import scene
from imagerepo.catalogue.models import Image
from imagerepo.durability import chain, deltas
from imagerepo.durability.records import Header
from imagerepo.durability.settle import Patience
from imagerepo.sessions import commit, lane, merge
from imagerepo.sessions.models import UploadSession
from imagerepo.sessions.service import Service
from imagerepo.store.backends import open_memory

IMAGES = 100
MB, KB = 1_000_000, 1_000


@dataclass(frozen=True)
class Shipped:
    """One session's delta: its bytes in the store, CPU seconds of shipping it, its pages' numbers."""

    stored: float
    cpu: float
    pages: frozenset[int]


@dataclass(frozen=True)
class Copy:
    """A full copy: CPU seconds, bytes once compressed."""

    cpu: float
    stored: int


@dataclass(frozen=True)
class Measured:
    rows: int
    database_bytes: int
    sessions: list[Shipped]
    titles: list[Shipped]
    copies: dict[str, Copy]
    owners: dict[int, str]


def measure(rows: int, sessions: int) -> Measured:
    with tempfile.TemporaryDirectory(prefix="imagerepo-bench-") as name:
        folder, author = Path(name), scene.Author(seed=rows)
        with scene.repository(folder / "data", open_memory()) as repository:
            database = repository.writer.disk.database
            scene.fill(database, rows)
            scene.ship(repository)
            # The first session's delta lacks the flip of one before.
            staged = [_ship(repository, scene.stage_images(repository, author, IMAGES)) for _ in range(sessions + 1)]
            titles = [_ship(repository, scene.stage_title(ident, "anew")) for ident in _some(rows, sessions + 1)]
            copies = {name: _copy(make, database, folder / "copy") for name, make in COPIES.items()}
            return Measured(rows, database.stat().st_size, staged[1:], titles[1:], copies, _owners(database))


def _some(rows: int, count: int) -> list[str]:
    return [Image.objects.get(pk=1 + number * rows // count).ident for number in range(count)]


def _ship(repository: Service, session: UploadSession) -> Shipped:
    """Commit a session as the committer does; the images' own PUTs are left out, they are not the snapshot's."""
    writer = repository.writer
    commit.claim(session, "bench")
    UploadSession.objects.filter(pk=session.pk).update(uploaded=True)
    with writer.lane():
        merge.merge_waiting()
        before = time.thread_time()
        header = writer.ship(head=merge.head(), head_after=merge.newest_revision())
        cpu = time.thread_time() - before
    lane.run(writer)
    repository.spool.drop_session(session.key)
    return Shipped(header.stored_bytes, cpu, frozenset(_pages(repository, header)))


def _pages(repository: Service, header: Header) -> set[int]:
    assert header.kind == "delta", "a base was taken where a delta was due"
    snapshot = chain.read(repository.store, header.name, Patience(most_questions=1))
    return {number for number, _ in deltas.unpack(header, snapshot.payload)}


def _owners(database: Path) -> dict[int, str]:
    """Which table or index each page belongs to."""
    with closing(sqlite3.connect(database)) as reader:
        tables = dict(reader.execute("SELECT name, tbl_name FROM sqlite_schema"))
        found = reader.execute("SELECT pageno, name FROM dbstat").fetchall()
    return {page: _title(name, tables.get(name, name)) for page, name in found}


def _title(name: str, of: str) -> str:
    short = name.removeprefix("imagerepo_")
    return short if name == of else f"{of.removeprefix('imagerepo_')}: {short}"


# ---- the peers: a full copy per commit


def _vacuum_into(database: Path, target: Path) -> None:
    with closing(sqlite3.connect(database)) as source:
        source.execute("VACUUM INTO ?", (str(target),))


def _backup(database: Path, target: Path) -> None:
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


COPIES = {"VACUUM INTO + zstd -3": _vacuum_into, "backup API + zstd -3": _backup}


def _copy(make: Callable[[Path, Path], None], database: Path, target: Path) -> Copy:
    before = time.thread_time()
    make(database, target)
    compressor = zstandard.ZstdCompressor(level=3)
    with target.open("rb") as file:
        stored = sum(len(chunk) for chunk in compressor.read_to_iter(file, read_size=1 << 20))
    cpu = time.thread_time() - before
    target.unlink()
    return Copy(cpu, stored)


# ---- the report


def report(measured: Sequence[Measured], command: str) -> str:
    return results.section(
        "What a commit's snapshot costs",
        command,
        f"Medians (largest) of {len(measured[0].sessions)} sessions each. {results.machine('zstandard')}",
        results.table(["", *(f"{each.rows:,} rows" for each in measured), "exponent"], _costs(measured)),
        results.targets(_targets(measured)),
        f"Pages in the delta of a {IMAGES}-image session, and of a one-title session; medians:",
        results.table(["table or index", *_page_columns(measured)], _page_rows(measured)),
    )


def _targets(measured: Sequence[Measured]) -> list[results.Target]:
    largest = measured[-1]
    sizes = [statistics.median(x.stored for x in each.sessions) for each in measured]
    cpu = [statistics.median(x.cpu for x in each.sessions) for each in measured]
    found: list[results.Target] = [
        (f"MB of {IMAGES} images", sizes[-1] / MB, "≤", 1.5),
        (f"CPU ms of {IMAGES} images", cpu[-1] * 1e3, "≤", 150),
        ("KB of one title", statistics.median(x.stored for x in largest.titles) / KB, "≤", 60),
    ]
    if len(measured) > 1:
        found.append(("exponent of the bytes", _exponent(measured, sizes), "≤", 0.15))
        found.append(("exponent of the CPU time", _exponent(measured, cpu), "≤", 0.15))
    return found


def _costs(measured: Sequence[Measured]) -> list[list[str]]:
    rows = [
        _row(f"{IMAGES} images: delta, KB", measured, lambda each: [x.stored / KB for x in each.sessions]),
        _row(f"{IMAGES} images: CPU, ms", measured, lambda each: [x.cpu * 1e3 for x in each.sessions]),
        _row(f"{IMAGES} images: pages", measured, lambda each: [len(x.pages) for x in each.sessions]),
        _row("one title: delta, KB", measured, lambda each: [x.stored / KB for x in each.titles]),
        _row("one title: CPU, ms", measured, lambda each: [x.cpu * 1e3 for x in each.titles]),
        _row("database, MB", measured, lambda each: [each.database_bytes / MB]),
    ]
    for name in COPIES:
        rows.append(_row(f"{name}: MB", measured, lambda each, name=name: [each.copies[name].stored / MB]))
        rows.append(_row(f"{name}: CPU, ms", measured, lambda each, name=name: [each.copies[name].cpu * 1e3]))
    return rows


def _row(title: str, measured: Sequence[Measured], values: Callable[[Measured], list[float]]) -> list[str]:
    found = [values(each) for each in measured]
    cells = [f"{statistics.median(x):,.1f}" + (f" ({max(x):,.1f})" if len(x) > 1 else "") for x in found]
    medians = [statistics.median(x) for x in found]
    return [title, *cells, f"{_exponent(measured, medians):.2f}" if len(measured) > 1 else ""]


def _exponent(measured: Sequence[Measured], values: Sequence[float]) -> float:
    return math.log(values[-1] / values[0]) / math.log(measured[-1].rows / measured[0].rows)


def _page_columns(measured: Sequence[Measured]) -> list[str]:
    return [f"{each.rows:,}: {what}" for each in measured for what in (f"{IMAGES} images", "one title")]


def _page_rows(measured: Sequence[Measured]) -> list[list[str]]:
    columns = [_by_owner(each, shipped) for each in measured for shipped in (each.sessions, each.titles)]
    names = sorted({name for column in columns for name in column}, key=lambda name: -columns[-2].get(name, 0))
    return [[name, *(f"{column.get(name, 0):.0f}" for column in columns)] for name in names]


def _by_owner(measured: Measured, shipped: Sequence[Shipped]) -> dict[str, float]:
    counts = [Counter(measured.owners.get(page, "(free)") for page in each.pages) for each in shipped]
    return {name: statistics.median(count[name] for count in counts) for name in set().union(*counts)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--sessions", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    options = parser.parse_args()
    measured = [measure(rows, options.sessions) for rows in options.rows]
    rows = " ".join(map(str, options.rows))
    command = f"python bench/snapshots.py --rows {rows} --sessions {options.sessions}"
    results.publish(report(measured, command), write=options.write)


if __name__ == "__main__":
    main()
