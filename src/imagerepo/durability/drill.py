"""The drill: restore the newest snapshot beside, look at all of it, and compare some images with their names.

It proves what a restore would give on the day when it is needed. It claims nothing and changes nothing in
the store. What it found is kept in the data folder, where every process of the server reads it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from imagerepo.catalogue import soundness
from imagerepo.durability import epochs, restore
from imagerepo.durability.bases import Restored, restored_beside
from imagerepo.durability.fetching import Progress, unseen
from imagerepo.durability.records import Frozen
from imagerepo.durability.settle import Patience
from imagerepo.durability.state import Disk
from imagerepo.errors import DurabilityError, Fenced, ObjectNotFound, StoreError
from imagerepo.files import write_durably
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.store.reading import hash_object

SAMPLE = 20
"""Images whose bytes are compared with their names, where nothing else is asked for."""
SAMPLE_THREADS = 4
QUESTIONS = 10
"""How often the store is asked one thing: a drill of a store that stays silent has failed."""

log = logging.getLogger(__name__)


class Result(Frozen):
    """What a drill found. `stored_bytes` were read for a database of `database_bytes`.

    Numbers are null where it did not come so far.
    """

    at: datetime
    seconds: float
    whole: bool
    problems: tuple[str, ...] = ()
    snapshot: str | None = None
    epoch: int | None = None
    sequence: int | None = None
    revision: int | None = None
    stored_bytes: int | None = None
    database_bytes: int | None = None
    images: int | None = None
    revisions: int | None = None
    sampled: int | None = None

    @property
    def summary(self) -> dict[str, Any]:
        """What anybody may know: no names of images."""
        return {
            "at": self.at,
            "age_seconds": round(max(0.0, (datetime.now(UTC) - self.at).total_seconds())),
            "whole": self.whole,
            "problems": len(self.problems),
            "revision": self.revision,
            "sequence": self.sequence,
            "seconds": self.seconds,
        }


def run(
    restoring: AbstractContextManager[Restored],
    images: ObjectStore,
    patience: Patience,
    *,
    sample: int = SAMPLE,
    use: Callable[[Restored], object] = lambda found: None,
) -> Result:
    """Restore, look, and `use` what was restored while it is there.

    Whatever goes wrong is in the result; only Fenced is raised, and what `use` raises is taken for the drill's.
    """
    at, begun = datetime.now(UTC), time.monotonic()
    try:
        with restoring as found:
            seen = _look(found, images, patience, sample)
            use(found)
    except Fenced:
        raise
    except (DurabilityError, StoreError, OSError) as error:
        seen = {"problems": (str(error),)}
    return Result(at=at, seconds=round(time.monotonic() - begun, 3), whole=not seen["problems"], **seen)


@contextmanager
def newest(
    store: ObjectStore, folder: Path, patience: Patience, progress: Progress = unseen, *, place: str = "the store"
) -> Iterator[Restored]:
    """What a start would restore from this store now, restored below `folder`. Claims nothing.

    `place` is what people call the store.

    Raises DurabilityError where there is nothing, NoRoom, and Damaged.
    """
    before, passed_over = epochs.first_unclaimed(store, patience), list[str]()
    end = restore.find_end(store, before, patience, passed_over.append)
    if end is None:
        raise DurabilityError(f"{place} holds no snapshot: is its URL right?")
    with restored_beside(store, end, folder, patience, progress) as found:
        yield replace(found, passed_over=tuple(dict.fromkeys([*passed_over, *found.passed_over])))


def _look(found: Restored, images: ObjectStore, patience: Patience, sample: int) -> dict[str, Any]:
    header = found.end.header
    rows = soundness.check(found.database, head=header.head, head_after=header.head_after)
    picked = soundness.sample(found.database, head=header.head_after, count=sample) if rows.live else []
    return {
        "problems": (*found.passed_over, *rows.problems, *_damaged(images, picked, patience)),
        "snapshot": header.name,
        "epoch": header.epoch,
        "sequence": header.sequence,
        "revision": header.head_after,
        "stored_bytes": found.weight.base + found.weight.deltas,
        "database_bytes": found.database.stat().st_size,
        "images": rows.live,
        "revisions": rows.revisions,
        "sampled": len(picked),
    }


def _damaged(images: ObjectStore, picked: Iterable[tuple[str, int]], patience: Patience) -> list[str]:
    """A sentence for each of the images, by ident and size, that the store does not hold byte for byte."""
    with ThreadPoolExecutor(SAMPLE_THREADS, "drill") as threads:
        found = threads.map(lambda image: _damage(images, image[0], image[1], patience), picked)
        return [sentence for sentence in found if sentence]


def _damage(images: ObjectStore, ident: str, size: int, patience: Patience) -> str | None:
    name = names.base(ident)
    try:
        found, read = patience.ask(lambda: hash_object(images, name))
    except ObjectNotFound:
        return f"{name} is live, and missing in the store"
    if found != ident:
        return f"{name} is damaged: its {read} bytes ({size} were committed) have the digest {found}"
    return None


def note(disk: Disk, result: Result) -> None:
    """Keep the result for whoever asks on this data folder, and tell the log of a bad one."""
    write_durably(disk.drill, result.model_dump_json(indent=1).encode())
    if not result.whole:
        log.error("the restore drill failed: %s", "; ".join(result.problems))


def last(disk: Disk) -> Result | None:
    """The last result on this data folder, if there is one."""
    try:
        return Result.model_validate_json(disk.drill.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
