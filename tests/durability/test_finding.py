"""Finding the chain's end beside a live writer: between any two questions records may come, and pruned ones go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from imagerepo.durability import bases, chain, epochs, retention
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.faulty import FaultyStore
from tests.durability.reign import ONCE, Reign

QUESTIONS = 24
"""At least as many as it takes."""


class Interrupted:
    """A store before whose question number `at` something happens, once: `done` says whether."""

    def __init__(self, store: ObjectStore, at: int, what: Callable[[], object]) -> None:
        self._store, self._left, self._what = store, at, what
        self.done = False

    def __getattr__(self, op: str) -> Callable[..., object]:
        def ask(*names: str, **options: object) -> object:
            self._left -= 1
            if not self._left:
                self.done = True
                self._what()
            return getattr(self._store, op)(*names, **options)

        return ask


@pytest.fixture
def reign(tmp_path: Path, store: FaultyStore) -> Iterator[Reign]:
    """One that has a base, records after it, and none but its opening record before it."""
    reign = Reign(tmp_path / "data", store).start()
    for _ in range(3):
        reign.commit()
    prunes_behind_a_base(reign)
    for _ in range(4):
        reign.commit()
    yield reign
    reign.close()


def commits(reign: Reign) -> None:
    reign.commit()


def prunes_behind_a_base(reign: Reign) -> None:
    assert bases.make(reign.writer)
    retention.prune(reign.writer, reign.now() + timedelta(days=1), ONCE, abandoned=reign.now(), delete=True)


def prunes_twice(reign: Reign) -> None:
    for _ in range(2):
        reign.commit()
        prunes_behind_a_base(reign)


@pytest.mark.parametrize("what", [commits, prunes_behind_a_base, prunes_twice])
def test_whatever_a_writer_adds_and_prunes_between_two_questions_the_end_is_found(
    reign: Reign, what: Callable[[Reign], None]
) -> None:
    happened = []
    for at in range(1, QUESTIONS + 1):
        before = reign.writer.state.final
        asked = Interrupted(reign.store, at, lambda: what(reign))
        found = chain.find_last(cast(ObjectStore, asked), epochs.first_unclaimed(reign.store, ONCE), ONCE)
        assert found is not None
        assert before.seq <= found.seq <= reign.writer.state.final.seq
        assert names.build(found) in {info.name for info in reign.store.list(names.DB)}
        happened.append(asked.done)
    assert any(happened) and not happened[-1], "there are more questions"
