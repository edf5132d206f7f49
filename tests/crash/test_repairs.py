"""A server dies at any failpoint of a plan, its repair, a purge, of fixity and of the end of history, with its disk."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from imagerepo.testing.servers import Server, ServerFailed
from tests import sampling
from tests.conftest import NewServer
from tests.crash import repairs, stories
from tests.crash.conftest import Drifted
from tests.crash.repairs import Asked
from tests.crash.wrecks import Wreck, dies_while_it_starts, points_of_a_start

SHARDS = 6
SAMPLED = 1
"""Points of each shard."""
FIRST_DEATHS = (
    "reconcile.condemn>publish.change/transaction/after#1",
    "reconcile.condemn>snapshot.put/store.put db/record/after#1",
    "reconcile.condemn>snapshot.final/file.write .json/after#1",
    "reconcile.delete/store.delete images/before#1",
    "reconcile.delete/store.delete images/after#2",
    "reconcile.clear/transaction/after#1",
    "purge.forget>publish.change/transaction/after#1",
    "purge.forget>snapshot.put/store.put db/record/before#1",
    "purge.forget>snapshot.final/store.stat epochs/after#1",
)
"""One at least in each phase of a deletion and of a purge."""
SAMPLED_FIRST_DEATHS = 1


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_death_in_mid_repair_loses_nothing_and_is_repaired(
    drifted: Drifted, shard: int, tmp_path: Path, new_server: NewServer
) -> None:
    points = [point for point in drifted.points if stories.in_shard(point, shard, SHARDS)]
    for number, point in enumerate(sampling.sample(points, SAMPLED, about=f"deaths in mid repair {shard}")):
        store = tmp_path / f"store{number}"
        shutil.copytree(drifted.store, store)
        given = {"store_url": f"file://{store}", **repairs.SETTINGS}
        try:
            survive(
                new_server(f"dying{number}", environ={"IMAGEREPO_FAILPOINT": point}, **given),
                new_server(f"successor{number}", **given),
            )
        except BaseException as error:
            error.add_note(f"died at {point}")
            raise


@pytest.mark.parametrize(
    "first", sampling.sample(FIRST_DEATHS, SAMPLED_FIRST_DEATHS, about="first deaths in mid repair")
)
@pytest.mark.parametrize("kept", [True, False])
def test_so_it_is_when_the_start_after_it_dies_too(
    drifted: Drifted, first: str, kept: bool, tmp_path: Path, new_server: NewServer
) -> None:
    wreck = Wreck(tmp_path / "wreck", Asked())
    shutil.copytree(drifted.store, wreck.store)
    given = {"store_url": f"file://{wreck.store}", **repairs.SETTINGS}
    dying = new_server("wreck/data", environ={"IMAGEREPO_FAILPOINT": first}, **given)
    starts_and_dies_or_tells(dying, wreck.told)
    dying.kill()
    if not kept:
        wreck.lose_disk()
    points = points_of_a_start(wreck, tmp_path / "traced")
    (second,) = sampling.draw(points, 1, about=f"second deaths in mid repair {first} {kept}")
    dies_while_it_starts(wreck, second, keeps_disk=kept)
    with new_server("wreck/data", **given) as successor:
        repairs.check(successor, wreck.told)


def survive(dying: Server, successor: Server) -> None:
    asked = Asked()
    starts_and_dies_or_tells(dying, asked)
    dying.kill()
    if dying.data_dir.exists():
        dying.lose_disk()
    with successor as server:
        repairs.check(server, asked)


def starts_and_dies_or_tells(server: Server, asked: Asked) -> None:
    try:
        server.start()
        repairs.tell(server, asked)
        server.wait()
    except ServerFailed:
        return
    except subprocess.TimeoutExpired:
        raise AssertionError(f"the failpoint was not reached:\n{server.output()}") from None
