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

SHARDS = 6
SAMPLED = 1
"""Points of each shard."""


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
