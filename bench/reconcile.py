"""How long does it take to bring a million images in line with a million rows, and how much memory?

    python bench/reconcile.py [--images 1000000] [--write]

A generated listing against as many rows in a database on this disk; one in ten thousand is an orphan, as many
are missing, and each twentieth has a derivative. Half as many records of its own reign are listed, too. A whole
repository in a process of its own is measured: it makes a plan, and applies it. Seconds, and the most memory over what
it had before. Some minutes, most of them to prepare. Ends with status 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import results
from imagerepo.errors import ObjectNotFound
from imagerepo.store import names
from imagerepo.store.local import LocalStore
from imagerepo.store.objects import ObjectInfo

EACH_ODD = 10_000
EACH_WITH_DERIVATIVE = 20
IMAGES_PER_RECORD = 2
FIRST_SEQ = 1_000_000
"""Of the generated records: beyond those that are there, and each with as many digits, so that they are sorted."""
WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)
SIZE = 1000
TARGET_SECONDS, TARGET_MEGABYTES = 60, 100


def ident(number: int, images: int) -> str:
    """Evenly spread, and sorted by number: so that nothing need be kept to be sorted."""
    return f"{number * _step(images):016x}" + hashlib.sha256(b"%d" % number).hexdigest()[:48]


def _step(images: int) -> int:
    return (1 << 64) // images


class Generated:
    """A store of images without bytes, beside a folder of snapshots. Of EACH_ODD images one is missing.

    Once `reign` is set, the listing shows many more records of it.
    """

    def __init__(self, images: int, kept: LocalStore) -> None:
        self._images, self._kept = images, kept
        self._deleted: set[str] = set()
        self.reign: tuple[int, str] | None = None
        """Its epoch and its writer."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kept, name)

    def list(self, prefix: str, *, after: str = "", foreign: bool = False) -> Iterator[ObjectInfo]:
        kept = self._kept.list(prefix, after=after, foreign=foreign)
        yield from heapq.merge(kept, self._records(prefix, after), key=lambda info: info.name)
        if not prefix.startswith(names.IMAGES):
            return
        for number in range(self._images):
            if number % EACH_ODD == 1:
                continue
            name = names.base(ident(number, self._images))
            if name > after and name.startswith(prefix) and name not in self._deleted:
                yield _info(name)
                if number % EACH_WITH_DERIVATIVE == 0:
                    yield _info(f"{name}-341x256.jpg")

    def _records(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        if self.reign and names.DB.startswith(prefix) and after < names.DB:
            epoch, writer = self.reign
            for number in range(self._images // IMAGES_PER_RECORD):
                yield ObjectInfo(names.record(epoch, writer, FIRST_SEQ + number), SIZE, WRITTEN)

    def stat(self, name: str, *, newest: bool = False) -> ObjectInfo:
        if not name.startswith(names.IMAGES):
            return self._kept.stat(name, newest=newest)
        number = int(name.removeprefix(names.IMAGES)[:16], 16) // _step(self._images)
        if number % EACH_ODD == 1 or name in self._deleted:
            raise ObjectNotFound(f"{name}: no such object", op="stat", name=name)
        return _info(name)

    def delete(self, names_: Iterator[str]) -> None:
        for name in names_:
            if name.startswith(names.IMAGES):
                self._deleted.add(name)
            else:
                self._kept.delete([name])


def _info(name: str) -> ObjectInfo:
    return ObjectInfo(name, SIZE, WRITTEN, "0" * 32, "image/jpeg")


def fill(database: Path, images: int) -> None:
    """Rows of all but the orphans, added by one revision."""
    with closing(sqlite3.connect(database, isolation_level=None)) as bulk:
        numbers = (number for number in range(images) if number % EACH_ODD != 2)
        rows = ((number + 1, bytes.fromhex(ident(number, images)), SIZE, bytes(16)) for number in numbers)
        bulk.execute("BEGIN")
        bulk.executemany(
            "INSERT INTO imagerepo_image (id, ident, format, width, height, frames, byte_size, md5, has_alpha) "
            "VALUES (?, ?, 'jpeg', 640, 480, 1, ?, ?, 0)",
            rows,
        )
        bulk.execute(
            "INSERT INTO imagerepo_imageversion (image_id, valid_from, valid_to, added_at, updated_at, filename, "
            "title, description, alt_text, creator, rights, tags, attributes) SELECT id, 1, ?, '2026-01-01', "
            "'2026-01-01', '', '', '', '', '', '', '[]', '{}' FROM imagerepo_image",
            [(1 << 62) - 1],
        )
        bulk.execute(
            "INSERT INTO imagerepo_revision (number, session, title, owner, committed_at, added, updated, removed) "
            "SELECT 1, ?, '', 'bench', '2026-01-01', count(*), 0, 0 FROM imagerepo_image",
            [bytes(16).hex()],
        )
        bulk.execute("UPDATE imagerepo_head SET revision = 1")
        bulk.execute("COMMIT")
        bulk.execute("PRAGMA wal_checkpoint(TRUNCATE)")


# ---- in a child process each


def prepare(folder: Path, images: int) -> None:
    import scene

    with scene.repository(folder / "data", LocalStore(folder / "store")) as repository:
        fill(repository.writer.disk.database, images)
        scene.ship(repository)


def repair(folder: Path, images: int) -> None:
    """Prints what was found, and of the plan and of its application the seconds, and the megabytes over before."""
    import scene
    from imagerepo.reconcile import orders
    from imagerepo.reconcile.carrying import Carrier
    from imagerepo.reconcile.deletion import Deleter
    from imagerepo.reconcile.plans import Plans, State

    store = Generated(images, LocalStore(folder / "store"))
    with scene.repository(folder / "data", store, committing=True) as repository:  # type: ignore[arg-type]
        disk, now = repository.writer.disk, repository.writer.state
        store.reign = now.epoch, now.writer
        deleter = Deleter(repository.store, repository.writer, settling_seconds=1.0, clock=time.monotonic)
        carrier = Carrier(repository, deleter, reading=False)
        plan = orders.plan(disk, percent=0)
        made = _measured(carrier.look)
        found = Plans(disk).find(plan.id)
        orders.apply(disk, plan.id, actor="bench", force=False)
        applied = _measured(carrier.look)
        done = Plans(disk).find(plan.id)
        deleter.close()
    if done.state != State.DONE or set(done.outcomes) != {"deleted", "removed"}:
        raise SystemExit(f"the plan was not applied: {done.reason or done.state}, {dict(done.outcomes)}")
    print(found.found, *made, *applied)


def _measured(what: Any) -> tuple[float, float]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, begun = _memory("VmRSS"), time.monotonic()
    what()
    return round(time.monotonic() - begun, 1), round((_memory("VmHWM") - before) / 1024, 1)


def _memory(which: str) -> int:
    """In KiB."""
    found = re.search(rf"{which}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


CHILDREN = {"prepare": prepare, "repair": repair}


def measure(images: int) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="imagerepo-bench-") as folder:
        for child in CHILDREN:
            command = [sys.executable, __file__, "--images", str(images), "--child", child, folder]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return answer.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true", help="put the result into RESULTS.md")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        CHILDREN[given.child[0]](Path(given.child[1]), given.images)
        return
    measured = {images: measure(images) for images in (given.images // 10, given.images)}
    _, planning, over_planning, applying, over_applying = map(float, measured[given.images])
    targets: list[results.Target] = [
        ("plan and apply, s", planning + applying, "≤", TARGET_SECONDS),
        ("most MB over idle", max(over_planning, over_applying), "≤", TARGET_MEGABYTES),
    ]
    columns = ("images", "findings", "plan, s", "MB over idle", "apply, s", "MB over idle")
    text = results.section(
        "To reconcile a million",
        f"python bench/reconcile.py --images {given.images}",
        results.table(columns, [(f"{images:,}", *told) for images, told in measured.items()]),
        results.targets(targets),
        results.machine("django"),
    )
    results.publish(text, write=given.write)
    if not results.all_hit(targets):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
