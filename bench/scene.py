"""What the benchmarks of durability run on: a whole repository in this process, and many rows in it.

Import this before any model: it sets Django up.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

_UNUSED = tempfile.mkdtemp(prefix="imagerepo-bench-")
atexit.register(shutil.rmtree, _UNUSED, ignore_errors=True)
os.environ["IMAGEREPO_DATA_DIR"] = _UNUSED

from imagerepo.boot import boot  # noqa: E402

boot()

from django.db import connection, connections  # noqa: E402

from imagerepo.catalogue.models import FOREVER  # noqa: E402
from imagerepo.config import get_config  # noqa: E402
from imagerepo.sessions import lifecycle, merge, recovery, service, staging  # noqa: E402
from imagerepo.sessions.committer import Committer  # noqa: E402
from imagerepo.sessions.models import UploadSession  # noqa: E402
from imagerepo.sessions.service import Service  # noqa: E402
from imagerepo.store.formats import Decoded  # noqa: E402
from imagerepo.store.intake import Decoder  # noqa: E402
from imagerepo.store.manager import Manager  # noqa: E402
from imagerepo.store.objects import ObjectStore  # noqa: E402
from imagerepo.store.spool import Spool  # noqa: E402

IMAGES_PER_REVISION = 100
_FIRST = datetime(2015, 1, 1, tzinfo=UTC)


@contextmanager
def repository(folder: Path, store: ObjectStore, *, committing: bool = False) -> Iterator[Service]:
    """A repository over `store`, its disk in `folder`. Without `committing`, the caller takes the lane himself."""
    os.environ["IMAGEREPO_DATA_DIR"] = str(folder)
    get_config.cache_clear()
    connection.close()
    connection.settings_dict["NAME"] = str(folder / "catalogue.sqlite3")
    config, stop = get_config(), threading.Event()
    started = recovery.start(config, stop=stop, store=store)
    spool, writer = Spool(folder / "spool"), started.writer
    committer = Committer(config, store, spool, writer, stop)
    made = Service(config, store, spool, Decoder(config), Manager(config, store), writer, committer)
    if committing:
        committer.start()
    service.use(made)
    try:
        yield made
    finally:
        service.use(None)
        if committing:
            committer.stop()
        made.manager.close()
        made.decoder.close()
        started.release()
        connections.close_all()


# ---- many rows, as a repository that grew by sessions of a hundred has them


class Author:
    """Writes metadata: words of a vocabulary, the common ones often. The same seed writes the same."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        letters = random.Random(0)
        words = ["".join(letters.choices("etaoinshrdlucmwfgypb", k=letters.randint(3, 10))) for _ in range(5000)]
        self._words, self._weights = words, [1000 / (10 + rank) for rank in range(len(words))]
        self._tags = words[100:1100]
        self._pool = [self._sentence(6, 22) for _ in range(20_000)]

    def _sentence(self, least: int, most: int) -> str:
        chosen = self._random.choices(self._words, self._weights, k=self._random.randint(least, most))
        return " ".join(chosen).capitalize()

    def metadata(self) -> dict[str, Any]:
        pick = self._random
        return {
            "title": " ".join(pick.choices(self._words, k=pick.randint(2, 6))).capitalize(),
            "description": f"{pick.choice(self._pool)}. {pick.choice(self._pool)}.",
            "alt_text": pick.choice(self._pool),
            "creator": f"{pick.choice(self._tags)} {pick.choice(self._tags)}".title(),
            "rights": "CC BY-SA 4.0",
            "tags": sorted(pick.sample(self._tags, pick.randint(3, 7))),
            "attributes": {"camera": pick.choice(self._tags), "shot": pick.randint(1, 9999)},
        }

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)


def fill(database: Path, count: int) -> None:
    """`count` live images, written in bulk past the repository's own doors: the next record is a base."""
    author = Author(seed=1)
    with closing(sqlite3.connect(database, isolation_level=None)) as bulk:
        bulk.execute("PRAGMA synchronous=OFF")
        bulk.execute("PRAGMA cache_size=-1000000")
        bulk.execute("BEGIN")
        bulk.executemany(
            "INSERT INTO imagerepo_image (id, ident, format, width, height, frames, byte_size, md5, has_alpha) "
            "VALUES (?, ?, 'jpeg', 6000, 4000, 1, ?, ?, 0)",
            ((number, author.bytes(32), 900_000 + number, author.bytes(16)) for number in range(1, count + 1)),
        )
        bulk.executemany(
            "INSERT INTO imagerepo_imageversion (id, image_id, valid_from, valid_to, added_at, updated_at, filename, "
            "title, description, alt_text, creator, rights, taken_at, tags, attributes) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (_version(number, author.metadata()) for number in range(1, count + 1)),
        )
        bulk.executemany(
            "INSERT INTO imagerepo_revision (number, session, title, owner, committed_at, added, updated, removed) "
            "VALUES (?, ?, '', 'bench', ?, ?, 0, 0)",
            ((number, author.bytes(16).hex(), _moment(number), IMAGES_PER_REVISION) for number in _revisions(count)),
        )
        bulk.execute("UPDATE imagerepo_head SET revision = ?", (max(_revisions(count)),))
        bulk.execute("COMMIT")
        bulk.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _revisions(count: int) -> range:
    return range(1, (count - 1) // IMAGES_PER_REVISION + 2)


def _moment(number: int) -> str:
    return (_FIRST + timedelta(seconds=number * 60)).strftime("%Y-%m-%d %H:%M:%S.%f")


def _version(number: int, said: dict[str, Any]) -> tuple[Any, ...]:
    revision, moment = (number - 1) // IMAGES_PER_REVISION + 1, _moment(number)
    return (
        number, number, revision, FOREVER, moment, moment, f"DSC_{number:07}.jpg", said["title"], said["description"],
        said["alt_text"], said["creator"], said["rights"], moment, json.dumps(said["tags"]),
        json.dumps(said["attributes"]),
    )  # fmt: skip


def ship(repository: Service) -> None:
    """Make the database as it stands durable."""
    with repository.writer.lane():
        repository.writer.ship(head=merge.head(), head_after=merge.newest_revision())


# ---- sessions


DECODED = Decoded("jpeg", "image/jpeg", 6000, 4000, 1, False, _FIRST)


def stage_images(repository: Service, author: Author, count: int, *, size: int = 64) -> UploadSession:
    """A session with `count` new images, each staged as an upload of its own, with all its metadata."""
    session = lifecycle.open_session("bench", title="a session")
    for number in range(count):
        spooled = repository.spool.receive([author.bytes(size)], limit=size, length=size)
        said = author.metadata()
        staging.stage_image(session, spooled, DECODED, filename=f"DSC_{number:07}.jpg", metadata=said)
    return session


def stage_title(ident: str, title: str) -> UploadSession:
    """A session that changes one live image's title."""
    session = lifecycle.open_session("bench")
    staging.stage_metadata(session, ident, {"title": title})
    return session
