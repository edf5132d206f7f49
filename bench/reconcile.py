"""How long does a survey of many images take, and how much memory?

    python bench/reconcile.py [--images 1000000] [--write]

A generated listing against as many rows in a database on this disk; one in ten thousand is an orphan, as many
are missing, and each twentieth has a derivative. A child process of its own is measured: seconds, and the most
memory over what it had before.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import results

EACH_ODD = 10_000
EACH_WITH_DERIVATIVE = 20
WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)
SIZE = 1000
TARGET_SECONDS, TARGET_MEGABYTES = 60, 100


def ident(number: int, images: int) -> str:
    """Evenly spread, and sorted by number: so that nothing need be kept to be sorted."""
    return f"{number * ((1 << 64) // images):016x}" + hashlib.sha256(b"%d" % number).hexdigest()[:48]


class Generated:
    """A store as far as a survey asks: one orphan in EACH_ODD images, one missing."""

    def __init__(self, images: int) -> None:
        self._images = images

    def list(self, prefix: str, *, after: str = "", foreign: bool = False) -> Iterator[object]:
        from imagerepo.store.objects import ObjectInfo

        assert prefix == "images/"
        for number in range(self._images):
            if number % EACH_ODD == 1:
                continue
            name = f"images/{ident(number, self._images)}"
            if name > after:
                yield ObjectInfo(name, SIZE, WRITTEN, "0" * 32, "image/jpeg")
                if number % EACH_WITH_DERIVATIVE == 0:
                    yield ObjectInfo(f"{name}-341x256.jpg", SIZE, WRITTEN, "1" * 32, "image/jpeg")

    def stat(self, name: str, *, newest: bool = False) -> object:
        from imagerepo.errors import ObjectNotFound

        raise ObjectNotFound(f"{name}: no such object", op="stat", name=name)


def fill(database: Path, images: int) -> None:
    """Rows of all but the orphans."""
    with sqlite3.connect(database) as connection:
        numbers = (number for number in range(images) if number % EACH_ODD != 2)
        rows = ((number + 1, bytes.fromhex(ident(number, images)), SIZE, bytes(16)) for number in numbers)
        connection.executemany(
            "INSERT INTO imagerepo_image (id, ident, format, width, height, frames, byte_size, md5, has_alpha) "
            "VALUES (?, ?, 'jpeg', 640, 480, 1, ?, ?, 0)",
            rows,
        )
        connection.execute(
            "INSERT INTO imagerepo_imageversion (image_id, valid_from, valid_to, added_at, updated_at, filename, "
            "title, description, alt_text, creator, rights, tags, attributes) SELECT id, 1, ?, '2026-01-01', "
            "'2026-01-01', '', '', '', '', '', '', '[]', '{}' FROM imagerepo_image",
            [(1 << 62) - 1],
        )


def survey(images: int) -> None:
    """In the child: prints findings, seconds, and megabytes over the idle process."""
    from imagerepo.boot import boot

    boot()
    from imagerepo.durability.settle import Patience
    from imagerepo.reconcile.rows import how_many
    from imagerepo.reconcile.survey import Survey

    how_many()
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = Survey(Generated(images), before=WRITTEN + timedelta(1), patience=Patience())  # type: ignore[arg-type]
    begun, found = time.monotonic(), 0
    for batch in made.images():
        found += len(batch.findings)
    seconds = time.monotonic() - begun
    over = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024
    print(found, round(seconds, 1), round(over, 1))


def measure(images: int) -> tuple[int, float, float]:
    with tempfile.TemporaryDirectory() as folder:
        environ = {**os.environ, "IMAGEREPO_DATA_DIR": folder}
        subprocess.run([sys.executable, "-m", "imagerepo", "manage", "migrate", "-v0"], env=environ, check=True)
        fill(Path(folder) / "catalogue.sqlite3", images)
        command = [sys.executable, __file__, "--child", "--images", str(images)]
        answer = subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout.split()
    return int(answer[0]), float(answer[1]), float(answer[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true", help="put the result into RESULTS.md")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        survey(given.images)
        return
    rows = []
    for images in (given.images // 10, given.images):
        found, seconds, over = measure(images)
        rows.append((f"{images:,}", f"{found:,}", seconds, over))
    target = f"Target at 1,000,000: at most {TARGET_SECONDS} s and {TARGET_MEGABYTES} MB over the idle process."
    columns = ("images", "findings", "seconds", "MB over idle")
    text = results.section(
        "A survey of a million",
        "python bench/reconcile.py",
        target,
        results.table(columns, rows),
        results.machine("django"),
    )
    results.publish(text, write=given.write)


if __name__ == "__main__":
    main()
