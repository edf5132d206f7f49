"""Every external effect of a start and of commits has a failpoint on both sides, and each is survived.

The points are not listed by hand: a run of the story is traced. What SQLite and Python's audit events report
from below, and no failpoint surrounds, is an effect that somebody forgot to wrap.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from imagerepo.config import Config
from imagerepo.store.backends import open_store
from imagerepo.testing.servers import Server
from imagerepo.testing.swift import Swift
from tests.conftest import NewServer
from tests.crash import stories
from tests.crash.conftest import Past
from tests.crash.stories import LAST, Told

SHARDS = 24
SWIFT_SHARDS = 12


def survive(dying: Server, successor: Server, told: Told) -> None:
    stories.starts_and_dies_or_tells(dying, told)
    dying.kill()
    if dying.data_dir.exists():
        dying.lose_disk()
    with successor as server:
        stories.check(server, told)
        stories.add(server, told, LAST)
        stories.check(server, told)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_death_at_any_point_loses_nothing_that_was_answered(
    past: Past, shard: int, tmp_path: Path, new_server: NewServer
) -> None:
    for number, point in enumerate(point for point in past.points if stories.in_shard(point, shard, SHARDS)):
        store = tmp_path / f"store{number}"
        shutil.copytree(past.store, store)
        url = f"file://{store}"
        try:
            survive(
                new_server(f"dying{number}", store_url=url, environ={"IMAGEREPO_FAILPOINT": point}),
                new_server(f"successor{number}", store_url=url),
                past.copy(),
            )
        except BaseException as error:
            error.add_note(f"died at {point}")
            raise


def protocol_points(past: Past) -> list[str]:
    """Points around what the protocol asks of the store."""
    return [point for point in past.points if "store." in point and "images" not in point]


@pytest.mark.parametrize("shard", range(SWIFT_SHARDS))
def test_on_swift_too(
    past: Past, shard: int, swift: Swift, container: str, swift_environ: dict[str, str], new_server: NewServer
) -> None:
    source = open_store(f"file://{past.store}", config=Config())
    points = [point for point in protocol_points(past) if stories.in_shard(point, shard, SWIFT_SHARDS)]
    for number, point in enumerate(points):
        url = f"swift://{container}/{number}"
        target = open_store(url, config=Config())
        stories.copy_repository(source, target, epochs=1)
        try:
            survive(
                new_server(f"dying{number}", store_url=url, environ={**swift_environ, "IMAGEREPO_FAILPOINT": point}),
                new_server(f"successor{number}", store_url=url, environ=swift_environ),
                past.copy(),
            )
        except BaseException as error:
            error.add_note(f"died at {point}")
            raise
        finally:
            target.close()
    source.close()


def test_every_transaction_and_every_change_of_the_store_lies_between_two_failpoints(past: Past) -> None:
    uncovered = list(_uncovered(past.trace, past))
    assert uncovered == []


def test_every_step_of_the_documented_protocol_has_a_failpoint(past: Past) -> None:
    documented = set()
    document = (Path(__file__).parents[2] / "docs/durability.md").read_text()
    # Other steps are those of no commit and no start that goes well.
    for line in document.partition("Other steps")[0].splitlines():
        documented |= {word.strip("`()*.:,") for word in line.split() if word.strip("*(").startswith("`")}
    steps = {step for step in documented if step.startswith(("commit.", "snapshot.", "start."))}
    passed = {name for point in past.points for name in point.split("/")[0].split(">")}
    assert len(steps) >= 15
    assert steps <= passed


def _uncovered(trace: Path, past: Past) -> list[str]:
    """Effects seen from below, in a thread that is not between a `…/before` and its `…/after`."""
    inside: dict[str, int] = {}
    found = []
    roots = (str(past.trace.parent / "traced-store"), str(past.trace.parent / "traced"))
    for line in trace.read_text().splitlines():
        thread, _, what = line.partition(" ")
        if what.endswith("/before"):
            inside[thread] = inside.get(thread, 0) + 1
        elif what.endswith("/after"):
            inside[thread] -= 1
        elif not inside.get(thread) and _lasts(what, roots):
            found.append(line)
    return found


_OF_NO_CONSEQUENCE = (
    "/spool",
    ".lock",
    "/workers",
    "/scratch",
    "/incoming",
    "/restoring",
    "-wal",
    "trouble.json",
    ".log",
)


def _lasts(what: str, roots: tuple[str, str]) -> bool:
    """Whether a crash between this effect and the next could be told from a crash before it, by a later start."""
    if what == "!commit":
        return True
    return any(root in what for root in roots) and not any(part in what for part in _OF_NO_CONSEQUENCE)
