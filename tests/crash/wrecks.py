"""What a death leaves behind, and the start after it, which may die too."""

from __future__ import annotations

import copy
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from tests.crash import stories
from tests.crash.recovering import die_starting, trace_a_start

T = TypeVar("T")


@dataclass(frozen=True)
class Wreck(Generic[T]):
    """What a death left: a store, a disk that may be lost, and what clients were told."""

    folder: Path
    told: T

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def disk(self) -> Path:
        return self.folder / "data"

    def copied(self, folder: Path, *, keep_disk: bool = True) -> Wreck[T]:
        shutil.copytree(self.folder, folder)
        wreck = Wreck(folder, copy.deepcopy(self.told))
        if not keep_disk:
            wreck.lose_disk()
        return wreck

    def lose_disk(self) -> None:
        shutil.rmtree(self.disk, ignore_errors=True)


def points_of_a_start(wreck: Wreck[T], folder: Path) -> list[str]:
    """The failpoints that the next start on it passes."""
    traced = wreck.copied(folder)
    trace = folder / "trace"
    trace_a_start(traced.disk, traced.store, trace)
    points = stories.failpoints_of(trace)
    shutil.rmtree(folder)
    return points


def dies_while_it_starts(wreck: Wreck[T], point: str, *, keeps_disk: bool) -> None:
    """Let the next start die at the failpoint."""
    ended = die_starting(wreck.disk, wreck.store, point)
    assert ended == -signal.SIGKILL, f"the start ended with {ended} and did not pass {point}"
    if not keeps_disk:
        wreck.lose_disk()
