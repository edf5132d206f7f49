"""The proof, sampled: stories of clients, servers, deaths and a store that fails, drawn by the run's seed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import sampling
from tests.machine import running
from tests.machine.coverage import Coverage
from tests.machine.machine import Mending
from tests.machine.processes import Nursery

SAMPLES = 8
STORIES = 5
"""Each; the first is the empty one."""
SAMPLES_OF_REPAIRS = 12 if sampling.SOAK else 2
STORIES_OF_REPAIRS = 7


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with running.nursery() as made:
        yield made


@pytest.mark.parametrize("sample", range(SAMPLES_OF_REPAIRS))
def test_repairs_lose_nothing_that_is_alive_whatever_dies_rests_or_comes_back(nursery: Nursery, sample: int) -> None:
    coverage = Coverage()
    number = sampling.chance(f"stories of repairs {sample}").randrange(1 << 32)
    running.run(nursery, coverage, number=number, stories=STORIES_OF_REPAIRS, kind=Mending)
    assert coverage.facts["started"] >= STORIES_OF_REPAIRS


@pytest.mark.parametrize("sample", range(SAMPLES))
def test_what_clients_are_told_stays_true_whatever_dies_rests_or_fails(nursery: Nursery, sample: int) -> None:
    coverage = Coverage()
    number = sampling.chance(f"stories {sample}").randrange(1 << 32)
    running.run(nursery, coverage, number=number, stories=STORIES)
    assert coverage.facts["started"] >= STORIES
