"""A real commit, and real starts, whose k-th write, fsync or rename fails, or is the last: the next start is whole."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import sampling
from tests.strace.grounds import CHANGED, WARMED_UP, Grounds, look
from tests.strace.hurting import HARMS, Ground, Harm, Place, Story, hurt, places_of, unhurt
from tests.strace.power import Platter
from tests.strace.test_order import STORED

SHARDS = 48 if sampling.SOAK else 1
COMMITS, RESTORES, KEEPS = 8, 4, 3
"""Cases of a sample."""
FAILING = (503, 507)
"""What a client may be answered while the disk fails or is full."""


@dataclass(frozen=True)
class Case:
    place: Place
    harm: Harm

    @property
    def kind(self) -> str:
        """Alike for calls that differ in their number only, and in names made by chance."""
        return re.sub(r"[0-9a-f]{8,}", "*", f"{self.place.thread} {self.place.call} {self.place.path} {self.harm}")


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_commit_is_durable_or_not_told_so(grounds: Grounds, shard: int, tmp_path: Path) -> None:
    for case in _cases(grounds.begun, "commit", shard, COMMITS, tmp_path):
        ground = grounds.begun.copied(tmp_path / "hurt", disk=False)
        story = _hurt(ground, "commit", case)
        try:
            _judge_the_answers(story, case.harm)
            _is_whole(ground, story, _may_be_shown(story))
        except BaseException as error:
            error.add_note(f"{case.harm} at {case.place}; told: {story.told}")
            raise
        shutil.rmtree(ground.folder)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_restore_over_an_older_disk_is_whole_or_refused(grounds: Grounds, shard: int, tmp_path: Path) -> None:
    _hurt_starts(grounds.behind, shard, RESTORES, tmp_path)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_so_is_the_start_on_a_disk_that_is_kept(grounds: Grounds, shard: int, tmp_path: Path) -> None:
    _hurt_starts(grounds.left, shard, KEEPS, tmp_path)


def _hurt_starts(left: Ground, shard: int, most: int, folder: Path) -> None:
    for case in _cases(left, "start", shard, most, folder):
        ground = left.copied(folder / "hurt")
        story = _hurt(ground, "start", case)
        try:
            _is_whole(ground, story, [CHANGED])
        except BaseException as error:
            error.add_note(f"{case.harm} at {case.place}; told: {story.told}")
            raise
        shutil.rmtree(ground.folder)


def _cases(ground: Ground, story: str, shard: int, most: int, folder: Path) -> list[Case]:
    """All of the shard's in a soak; else some of every kind's, as the calls that write pages are most by far."""
    traced = ground.copied(folder / "traced", disk=story == "start")
    cases = [Case(place, harm) for place in places_of(unhurt(traced, story), traced) for harm in HARMS]
    if sampling.SOAK:
        return cases[shard::SHARDS]
    by_kind = {case.kind: case for case in sampling.chance(f"{folder.name} cases").sample(cases, len(cases))}
    return sampling.draw(list(by_kind.values()), most, about=folder.name)


def _hurt(ground: Ground, story: str, case: Case) -> Story:
    told = hurt(ground, story, case.place, case.harm)
    harmed = not told.told or "listing" not in told.told[-1] or any(call.injected for call in told.calls)
    # A pool's threads share their calls by chance, and strace counts for each: none may come to a second one.
    by_chance = not case.place.thread and case.place.number > 1
    assert harmed or by_chance, f"the call was not made: {case.place}"
    return told


def _judge_the_answers(story: Story, harm: Harm) -> None:
    """Failures are told as such; and where a commit only goes on, as the disk fails for good, /readyz says that."""
    for told in story.told:
        if "status" in told and told["status"] >= 400:
            assert told["status"] in FAILING and told["type"] == "application/problem+json", told
    goes_on = any(told.get("step") == "commit" and told["status"] == 202 for told in story.told)
    if goes_on and harm.lasting:
        assert {told["ready"] for told in story.told if "ready" in told} <= {503}


def _may_be_shown(story: Story) -> list[dict[str, str]]:
    """What later starts may show, by what the client heard."""
    answers = {told["step"]: told for told in story.told if "step" in told}  # of each step the last
    staged = [told["status"] < 300 for told in story.told if told.get("step") == "stage"]
    if "commit" not in answers:
        return [WARMED_UP, CHANGED] if staged and all(staged) else [WARMED_UP]
    status, body = answers["commit"]["status"], answers["commit"]["body"]
    if status == 200:
        return [CHANGED]
    in_doubt = status == 202 or body.get("state") == "merged"
    return [WARMED_UP, CHANGED] if in_doubt else [WARMED_UP]


def _is_whole(ground: Ground, story: Story, may_be_shown: list[dict[str, str]]) -> None:
    """Of what was shown or promised, neither a power cut nor a later start, its disk lost or kept, takes anything."""
    shown = story.told[-1].get("listing") if story.told else None
    assert shown in (None, WARMED_UP, *may_be_shown)
    if shown == CHANGED:
        may_be_shown = [CHANGED]
        assert not (harmed := _harmed_by_a_power_cut(ground, story)), f"a power cut could take {harmed}"
    lost = ground.copied(ground.folder.with_name("lost"), disk=False)
    for left in (lost, ground):
        assert look(left.disk, left.store) in may_be_shown, f"the disk was {'lost' if left is lost else 'kept'}"
    shutil.rmtree(lost.folder)


def _harmed_by_a_power_cut(ground: Ground, story: Story) -> set[str]:
    platter = Platter(ground.folder, story.there)
    for call in story.calls:
        platter.follow(call)
    return platter.harmed(*STORED)
