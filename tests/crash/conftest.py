"""A repository with a past, from which each test goes on with a copy."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagerepo.testing.servers import Server
from tests.conftest import ADMIN_TOKEN
from tests.crash import repairs, stories
from tests.crash.stories import OLD, Told


@dataclass
class Past:
    """A repository with one committed image, whose server is gone; and the points that a story passes."""

    store: Path
    told: Told
    trace: Path

    def copy(self) -> Told:
        return Told(live=dict(self.told.live))

    @property
    def points(self) -> list[str]:
        return stories.failpoints_of(self.trace)


@pytest.fixture(scope="session")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    folder = tmp_path_factory.mktemp("past")
    told = Told()
    with Server(folder / "data", f"file://{folder / 'store'}", admin_token=ADMIN_TOKEN) as server:
        stories.add(server, told, OLD)
    trace = folder / "trace"
    shutil.copytree(folder / "store", folder / "traced-store")
    traced = Server(
        folder / "traced", f"file://{folder / 'traced-store'}", admin_token=ADMIN_TOKEN,
        environ={"IMAGEREPO_FAILPOINT_TRACE": str(trace)},
    )  # fmt: skip
    with traced as server:
        again = Told(live=dict(told.live))
        stories.tell(server, again)
        assert set(again.live.values()) == {stories.NEW, stories.OTHER}
    return Past(folder / "store", told, trace)


@dataclass
class Drifted:
    """A store that has lost a base and has an orphan, whose server is gone; and the points that its repair passes."""

    store: Path
    trace: Path

    @property
    def points(self) -> list[str]:
        return [point for point in stories.failpoints_of(self.trace) if repairs.is_of_repair(point)]


@pytest.fixture(scope="session")
def drifted(tmp_path_factory: pytest.TempPathFactory) -> Drifted:
    folder = tmp_path_factory.mktemp("drifted")
    url, traced_url = (f"file://{folder / name}" for name in ("store", "traced-store"))
    with Server(folder / "data", url, admin_token=ADMIN_TOKEN) as server:
        repairs.begin(server)
    repairs.drift(url)
    trace = folder / "trace"
    shutil.copytree(folder / "store", folder / "traced-store")
    traced = Server(
        folder / "traced", traced_url, admin_token=ADMIN_TOKEN,
        environ={"IMAGEREPO_FAILPOINT_TRACE": str(trace)}, **repairs.SETTINGS,
    )  # fmt: skip
    with traced as server:
        asked = repairs.Asked()
        repairs.tell(server, asked)
        assert asked == repairs.Asked(repaired=True, purged=True)
    return Drifted(folder / "store", trace)
