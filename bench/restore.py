"""How long does a restore take, and how much memory? Beside downloading, decompressing and hashing the same bytes.

    python bench/restore.py [--rows 1000000] [--deltas 200] [--images 25] [--rounds 3] [--write]

The repository is a base of all rows, and a delta per session of some new images. It lies in a folder of this disk,
where a download is the reading of a file, and in a real Swift on this machine (its virtual environment:
IMAGEREPO_SWIFT_VENV), where it is one. Each run is a process of its own, so that its peak memory is its own; all ways
use as many threads.

Before each, this process takes some memory and gives it back, and what a way wrote is deleted before the next. A
virtual machine has free memory that its host has yet to give it, and each page of a file that comes from there costs:
measured, up to 3 s and 3 s of CPU more for a database of 835 MB, that are the machine's and not the restore's. The
column "system s" shows where it happened nevertheless.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeAlias, cast

import zstandard

import results
import scene
from imagerepo.config import get_config
from imagerepo.durability import chain_end, fetching, restore
from imagerepo.durability.checks import quick_check
from imagerepo.durability.records import decode
from imagerepo.durability.settle import Patience
from imagerepo.sessions import commit, lane
from imagerepo.sessions.models import UploadSession
from imagerepo.store import names
from imagerepo.store.backends import open_store
from imagerepo.store.objects import ObjectReader, ObjectStore
from imagerepo.testing.swift import Swift

MB = 1_000_000
FLOOR = "download, decompress, hash"
Run: TypeAlias = dict[str, float]
"""What a run measured, by name of the column."""
Runs: TypeAlias = dict[str, list[Run]]
"""By way; those of a round have the same place."""
_BUFFER_BYTES = 1 << 18
_MEMORY_BYTES = 3 << 30
"""More than a run takes, and the servers beside it."""


def prepare(folder: Path, rows: int, deltas: int, images: int) -> str:
    """Make the repository, lose its disk, and give its store's URL."""
    url, author = f"file://{folder / 'store'}", scene.Author(seed=rows)
    store = open_store(url, config=get_config())
    with (
        tempfile.TemporaryDirectory(dir=folder) as data,
        scene.repository(Path(data) / "data", store) as repository,
    ):
        scene.fill(repository.writer.disk.database, rows)
        scene.ship(repository)
        for _ in range(deltas):
            session = scene.stage_images(repository, author, images)
            commit.claim(session, "bench")
            UploadSession.objects.filter(pk=session.pk).update(uploaded=True)
            lane.run(repository.writer)
            repository.spool.drop_session(session.key)
    return url


def copy_into(swift: Swift, url: str) -> str:
    """Put all objects of this store into a container of Swift, and give its URL."""
    os.environ |= swift.environ
    source, target = open_store(url, config=get_config()), open_store("swift://restore", config=get_config())
    for info in list(source.list("")):
        with source.get(info.name) as reader, tempfile.TemporaryFile() as file:
            shutil.copyfileobj(cast(IO[bytes], reader), file, _BUFFER_BYTES)
            file.seek(0)
            target.put(info.name, file, media_type=info.media_type)
    return "swift://restore"


# ---- one run, in a process of its own


def restored(store: ObjectStore, folder: Path) -> Run:
    patience = Patience(most_questions=1)
    end = chain_end.find(store, before=2, patience=patience)  # `prepare` was the first epoch
    assert end is not None
    weight = restore.restore(store, end, folder / "restored.sqlite3", patience)
    return {"MB": (weight.base + weight.deltas) / MB}


def downloaded(store: ObjectStore, folder: Path, *, keep: bool = False) -> Run:
    found = [info.name for info in store.list("db/") if isinstance(names.parse(info.name), names.Record | names.Part)]
    with ThreadPoolExecutor(fetching.FETCH_THREADS) as threads:
        return {"MB": sum(threads.map(lambda name: _download(store, name, folder if keep else None), found)) / MB}


def _download(store: ObjectStore, name: str, folder: Path | None) -> int:
    """Download, decompress and hash one object, and write and sync it where a folder is given. Gives its bytes.

    By a buffer, as a restore does: a megabyte at once takes a third longer.
    """
    sha, buffer = hashlib.sha256(), memoryview(bytearray(_BUFFER_BYTES))
    kept = folder / name.replace("/", "!") if folder else Path(os.devnull)
    with store.get(name, newest=True) as reader, kept.open("wb") as file:
        with zstandard.ZstdDecompressor().stream_reader(_packed(reader, name)) as unpacked:
            while size := unpacked.readinto(buffer):
                sha.update(buffer[:size])
                if folder:
                    file.write(buffer[:size])
        if folder:
            file.flush()
            os.fsync(file.fileno())
        return reader.info.size


def _packed(reader: ObjectReader, name: str) -> IO[bytes]:
    if isinstance(names.parse(name), names.Record):
        return io.BytesIO(decode(reader.read(), name=name)[1])
    return cast(IO[bytes], reader)


def downloaded_to_disk(store: ObjectStore, folder: Path) -> Run:
    """The same, and what was unpacked is written to files: as one would by hand, and as a restore must."""
    return downloaded(store, folder, keep=True)


def checked(store: ObjectStore, folder: Path) -> Run:
    """The part of a restore that no download has: SQLite's look at the whole file."""
    database = folder / "restored.sqlite3"
    quick_check(database)
    return {"MB": database.stat().st_size / MB}


RESTORE, WRITE, CHECK = "restore", f"{FLOOR}, write", "(quick_check alone)"
WAYS: dict[str, Callable[[ObjectStore, Path], Run]] = {
    RESTORE: restored,
    FLOOR: downloaded,
    WRITE: downloaded_to_disk,
    CHECK: checked,
}
TOGETHER = ((RESTORE, CHECK), (FLOOR,), (WRITE,))
"""Each finds the folder as the one before it left it; the next ones find it empty."""
FOLDER, SWIFT = "a folder", "a real Swift"


def run_here(way: str, url: str, folder: Path) -> None:
    store = open_store(url, config=get_config())
    before, used = time.perf_counter(), os.times()
    found = WAYS[way](store, folder)
    seconds, after = time.perf_counter() - before, os.times()
    system = after.system - used.system
    cpu = after.user - used.user + system
    print(json.dumps(found | {"seconds": seconds, "CPU s": cpu, "system s": system, "peak MB": _peak()}))


def _peak() -> float:
    """Peak memory of this process. getrusage would give its parent's, where that was larger."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024 / MB


def run(way: str, url: str, folder: Path) -> Run:
    _take_memory(folder)
    command = [sys.executable, __file__, "--run", way, url, str(folder)]
    answer: Run = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    print(f"{way}: {answer}", file=sys.stderr, flush=True)
    return answer


def _take_memory(folder: Path) -> None:
    """Of the kind that is needed: the file's, as memory of other kinds is not given to files first."""
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_MEMORY_BYTES // _BUFFER_BYTES):
            file.write(bytes(_BUFFER_BYTES))


# ---- the report

TRIED = """What a restore does besides is to walk back through the deltas, one record after the other, and to write and
sync the database, which the pages of the deltas are laid over on the way. Tried: deltas written once the base is in the
file (one core is idle meanwhile, and what was synced is written again at random); two, three or eight threads instead
of four, buffers of 64 and 128 KB instead of 256, a sync each 8 or 32 MB instead of each part (no difference); buffers
of 512 KB (twice the time); the file's blocks allocated at once (kept: 0.2 s less); writes past the page cache (1.6
times, and steady; but the file is cold then, and SQLite's look at all of it takes 17 s instead of 1); one write at a
time, as four threads that write to one file hold each other up (nothing that the host's noise let be seen)."""
COLUMNS = ("seconds", "CPU s", "system s", "peak MB", "MB")


def report(runs: dict[str, Runs], options: argparse.Namespace) -> str:
    """`runs` are by store."""
    rows = [
        [store, way, *(f"{_median(found, column):,.2f}" for column in COLUMNS), f"{_ratio(found, ways[FLOOR]):.2f}"]
        for store, ways in runs.items()
        for way, found in ways.items()
    ]
    measured: list[results.Target] = [
        (f"restore from {store}, times of {FLOOR}", _ratio(ways[RESTORE], ways[FLOOR]), "≤", 1.5)
        for store, ways in runs.items()
    ]
    peak = max(each["peak MB"] for ways in runs.values() for each in ways[RESTORE])
    beside = ", ".join(f"{_ratio(ways[RESTORE], ways[WRITE]):.2f} times from {store}" for store, ways in runs.items())
    return results.section(
        "What a restore takes",
        f"python bench/restore.py --rows {options.rows} --deltas {options.deltas} --images {options.images} "
        f"--rounds {options.rounds}",
        f"{options.rows:,} rows, {options.deltas} deltas of {options.images} images each; medians of "
        f"{options.rounds} interleaved runs. {results.machine('zstandard', 'python-swiftclient')}",
        results.table(["store", "", *COLUMNS, "times"], rows),
        results.targets([*measured, ("restore, peak MB", peak, "≤", 200)])
        + f" Beside the same written to disk it takes as long: {beside}.",
        TRIED,
    )


def _ratio(found: Sequence[Run], base: Sequence[Run]) -> float:
    return statistics.median(each["seconds"] / other["seconds"] for each, other in zip(found, base, strict=True))


def _median(found: Sequence[Run], column: str) -> float:
    return statistics.median(each[column] for each in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--deltas", type=int, default=200)
    parser.add_argument("--images", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    parser.add_argument("--run", nargs=3, metavar=("WAY", "URL", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run_here(options.run[0], options.run[1], Path(options.run[2]))
        return
    with tempfile.TemporaryDirectory(prefix="imagerepo-bench-") as name, Swift(Path(name) / "swift") as swift:
        url = prepare(Path(name), options.rows, options.deltas, options.images)
        stores = {FOLDER: url, SWIFT: copy_into(swift, url)}
        runs: dict[str, Runs] = {store: {way: [] for way in WAYS} for store in stores}
        for _ in range(options.rounds):
            for store, ways in runs.items():
                for together in TOGETHER:
                    with tempfile.TemporaryDirectory(dir=name) as folder:
                        for way in together:
                            ways[way].append(run(way, stores[store], Path(folder)))
    results.publish(report(runs, options), write=options.write)


if __name__ == "__main__":
    main()
