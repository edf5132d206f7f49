"""A commit, a start and a background base, under each fault of the store at each call; some on a real Swift."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagerepo.config import get_config
from imagerepo.testing.swift import Swift
from tests.durability.trials import STORIES, Past, Story, in_memory, on_swift, tell, traced, trials
from tests.sampling import sample

TRIALS, TRIALS_ON_SWIFT = 8, 3
"""Of each story; in a soak all."""


@pytest.fixture
def past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Past]:
    monkeypatch.setenv("IMAGEREPO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("IMAGEREPO_COMMIT_WAIT_SECONDS", "20")
    yield Past(tmp_path / "past")
    get_config.cache_clear()


@contextmanager
def named(what: object) -> Iterator[None]:
    """An error inside says which trial it was."""
    try:
        yield
    except BaseException as error:
        error.add_note(str(what))
        raise


@pytest.mark.parametrize("story", STORIES)
def test_whatever_fails_at_whichever_call_it_is_durable_or_nothing_has_changed(
    tmp_path: Path, past: Past, story: Story
) -> None:
    calls = traced(story, in_memory(tmp_path / "traced"), past)
    for trial in sample(trials(calls), TRIALS, about=story.__name__):
        with named(trial):
            tell(story, trial, in_memory(tmp_path / "trial"), past)
        shutil.rmtree(tmp_path / "trial")


@pytest.mark.parametrize("story", STORIES)
def test_so_it_is_on_a_real_swift(tmp_path: Path, past: Past, story: Story, swift: Swift) -> None:
    with on_swift(tmp_path / "traced", swift) as place:
        calls = traced(story, place, past)
    for trial in sample(trials(calls), TRIALS_ON_SWIFT, about=f"{story.__name__} on Swift"):
        with named(trial), on_swift(tmp_path / "trial", swift) as place:
            tell(story, trial, place, past)
        shutil.rmtree(tmp_path / "trial")
