"""How much does group commit give? Sessions committed at once, against the same sessions one after another.

    python bench/commits.py [--sessions 50] [--rounds 3] [--write]

Twice: one-title sessions over a store in memory whose every call takes 50 ms, and one-image sessions on a
real Swift on this machine (its virtual environment: IMAGEREPO_SWIFT_VENV). Interleaved rounds in one
process, through the committer as a request uses it. About a minute.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.db import connection

import results
import scene
from imagerepo.catalogue.models import Image
from imagerepo.config import get_config
from imagerepo.sessions.models import State, UploadSession
from imagerepo.sessions.service import Service
from imagerepo.store.backends import open_memory, open_store
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.faulty import FaultyStore
from imagerepo.testing.swift import Swift

LATENCY_SECONDS = 0.05
IMAGE_BYTES = 100_000
ROWS = 1000
WAIT_SECONDS = 120.0


@dataclass(frozen=True)
class Round:
    """Seconds for all sessions, and how many records they took."""

    seconds: float
    records: int


Stage = Callable[[Service, scene.Author, int], list[UploadSession]]


def titles(repository: Service, author: scene.Author, count: int) -> list[UploadSession]:
    # Each changes an image of its own, else they would conflict.
    idents = [image.ident for image in Image.objects.order_by("id")[:count]]
    return [scene.stage_title(ident, author.metadata()["title"]) for ident in idents]


def images(repository: Service, author: scene.Author, count: int) -> list[UploadSession]:
    return [scene.stage_images(repository, author, 1, size=IMAGE_BYTES) for _ in range(count)]


def measure(store: ObjectStore, stage: Stage, sessions: int, rounds: int) -> dict[str, list[Round]]:
    author = scene.Author(seed=3)
    found: dict[str, list[Round]] = {"one after another": [], "at once": []}
    with (
        tempfile.TemporaryDirectory(prefix="imagerepo-bench-") as name,
        scene.repository(Path(name) / "data", store, committing=True) as repository,
    ):
        scene.fill(repository.writer.disk.database, ROWS)
        scene.ship(repository)
        for _ in range(rounds):
            for way, threads in (("one after another", 1), ("at once", sessions)):
                found[way].append(_commit_all(repository, stage(repository, author, sessions), threads))
    return found


def _commit_all(repository: Service, sessions: list[UploadSession], threads: int) -> Round:
    with _requests(threads) as pool:
        before, last = time.perf_counter(), _last(repository)
        done = list(pool.map(lambda session: repository.committer.commit(session, wait=WAIT_SECONDS), sessions))
        seconds = time.perf_counter() - before
    assert {session.state for session in done} == {State.LIVE}
    return Round(seconds, _last(repository) - last)


def _last(repository: Service) -> int:
    final = repository.writer.state.final
    return final.sequence if final else 0


@contextmanager
def _requests(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads as a server has them: each connected to the database before any request comes."""
    all_there = threading.Barrier(threads)

    def each(act: Callable[[], None]) -> None:
        list(pool.map(lambda _: (act(), all_there.wait()), range(threads)))

    with ThreadPoolExecutor(threads) as pool:
        each(lambda: connection.ensure_connection())  # looked up in the thread, which has one of its own
        yield pool
        each(lambda: connection.close())


@contextmanager
def _swift() -> Iterator[ObjectStore]:
    with tempfile.TemporaryDirectory(prefix="imagerepo-bench-") as name, Swift(Path(name)) as swift:
        os.environ |= swift.environ
        store = open_store("swift://bench", config=get_config())
        try:
            yield store
        finally:
            store.close()


# ---- the report


def report(measured: dict[str, dict[str, list[Round]]], sessions: int, rounds: int) -> str:
    rows = [row for what, found in measured.items() for row in _rows(what, found, sessions)]
    titles, images = measured.values()
    return results.section(
        "What group commit gives",
        f"python bench/commits.py --sessions {sessions} --rounds {rounds}",
        f"{sessions} sessions; medians of {rounds} interleaved rounds. {results.machine('python-swiftclient')}",
        results.table(["", "way", "commits/s", "records (most)", "times"], rows),
        results.targets(
            [
                ("titles at once, times", _ratio(titles), "≥", 10),
                ("titles at once, records", max(each.records for each in titles["at once"]), "≤", 6),
                ("images at once, times", _ratio(images), "≥", 3),
            ]
        ),
    )


def _rows(what: str, found: dict[str, list[Round]], sessions: int) -> Iterator[list[str]]:
    for way, rounds in found.items():
        speed = sessions / statistics.median(each.seconds for each in rounds)
        times = f"{_ratio(found):.1f}" if way == "at once" else ""
        yield [what, way, f"{speed:.1f}", str(max(each.records for each in rounds)), times]


def _ratio(found: dict[str, list[Round]]) -> float:
    slow, fast = found.values()
    return statistics.median(one.seconds / other.seconds for one, other in zip(slow, fast, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    options = parser.parse_args()
    measured = {}
    slow = FaultyStore(open_memory(), latency_seconds=LATENCY_SECONDS)
    measured["one title, 50 ms a call"] = measure(slow, titles, options.sessions, options.rounds)
    with _swift() as store:
        measured["one image, real Swift"] = measure(store, images, options.sessions, options.rounds)
    results.publish(report(measured, options.sessions, options.rounds), write=options.write)


if __name__ == "__main__":
    main()
