"""A start that has to recover from a death dies too, at any of its failpoints; the one after it is whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from imagerepo.config import Config
from imagerepo.store.backends import open_store
from imagerepo.testing.servers import Server
from tests import sampling
from tests.conftest import ADMIN_TOKEN
from tests.crash import stories
from tests.crash.conftest import Past
from tests.crash.stories import LAST, Told
from tests.crash.wrecks import Wreck, dies_while_it_starts, points_of_a_start
from tests.inprocess import running

FIRST_DEATHS = (
    "commit.claim/transaction/after#1",
    "commit.upload/store.put images/after#1",
    "commit.merge/transaction/before#1",
    "commit.merge/transaction/after#2",
    "snapshot.cut/file.write .record/after#1",
    "snapshot.put/store.put db/record/before#2",
    "snapshot.put/store.put db/record/after#1",
    "snapshot.final/store.stat epochs/after#2",
    "snapshot.final/file.write .json/after#1",
    "commit.flip/transaction/before#1",
    "commit.flip/transaction/after#2",
    "start.claim/store.create_exclusive epochs/after#1",
    "start.disk>restore.install/file.rename/after#1",
    "start.open>snapshot.put/store.put db/record/after#1",
)
"""One at least in each phase of a start and of a commit."""
SAMPLED_FIRST_DEATHS = 5
SAMPLED_SECOND_DEATHS = 1
"""Of each first death, with its disk kept, and as many with its disk lost."""
SHARDS = 24

Choose = Callable[..., list[str]]


@pytest.mark.parametrize("first", sampling.sample(FIRST_DEATHS, SAMPLED_FIRST_DEATHS, about="first deaths"))
def test_a_death_while_recovering_from_a_death_loses_nothing_either(past: Past, first: str, tmp_path: Path) -> None:
    _survives_twice(past, first, sampling.sample, tmp_path)


def test_what_is_staged_outlives_two_deaths_on_a_disk_that_is_kept(past: Past, tmp_path: Path) -> None:
    """The first start finds that the record in the outbox arrived, and dies before it has made its own."""
    wreck = _died_at("snapshot.put/store.put db/record/after#1", _beginning(past, tmp_path / "first"))
    _dies_again(wreck, "start.recover/transaction/before#1", kept=True, kept_again=True)


if sampling.SOAK:

    @pytest.mark.parametrize("shard", range(SHARDS))
    def test_so_it_is_after_every_first_death(past: Past, shard: int, tmp_path: Path) -> None:
        for number, first in enumerate(point for point in past.points if stories.in_shard(point, shard, SHARDS)):
            _survives_twice(past, first, sampling.draw, tmp_path / str(number))


def _survives_twice(past: Past, first: str, choose: Choose, folder: Path) -> None:
    wreck = _died_at(first, _beginning(past, folder / "first"))
    for kept in (True, False):
        start = wreck.copied(folder / f"kept-{kept}", keep_disk=kept)
        points = points_of_a_start(start, folder / f"traced-{kept}")
        seconds = choose(points, SAMPLED_SECOND_DEATHS, about=f"second deaths {first} {kept}")
        for second, kept_again in product(seconds, (True, False)):
            twice = start.copied(folder / "twice")
            try:
                _dies_again(twice, second, kept=kept, kept_again=kept_again)
            except BaseException as error:
                error.add_note(f"died at {first} (disk kept: {kept}), then at {second} (disk kept: {kept_again})")
                raise
            shutil.rmtree(twice.folder)


def _beginning(past: Past, folder: Path) -> Wreck[Told]:
    shutil.copytree(past.store, folder / "store")
    return Wreck(folder, past.copy())


def _died_at(point: str, wreck: Wreck[Told]) -> Wreck[Told]:
    server = Server(
        wreck.disk, f"file://{wreck.store}", admin_token=ADMIN_TOKEN, environ={"IMAGEREPO_FAILPOINT": point}
    )
    try:
        stories.starts_and_dies_or_tells(server, wreck.told)
    finally:
        server.kill()
    return wreck


def _dies_again(wreck: Wreck[Told], point: str, *, kept: bool, kept_again: bool) -> None:
    kept = kept and kept_again
    dies_while_it_starts(wreck, point, keeps_disk=kept_again)
    wreck.disk.mkdir(exist_ok=True)
    store = open_store(f"file://{wreck.store}", config=Config())
    with running(wreck.disk, store=store) as third:
        stories.check(third, wreck.told, kept=kept)
        stories.add(third, wreck.told, LAST)
        stories.check(third, wreck.told, kept=kept)
        if kept:
            stories.commit_aside(third, wreck.told)
