"""The proof of reconcile, sampled: any drifts, deaths anywhere, commits all along; drawn by the run's seed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import sampling
from tests.machine.coverage import Coverage
from tests.machine.processes import Nursery
from tests.machine.running import nursery as new_nursery
from tests.reconcile.drifts import running

SAMPLES = 2
DRIFTS = 12
"""Each; the long run is soak.py."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with new_nursery() as made:
        yield made


@pytest.mark.parametrize("sample", range(SAMPLES))
def test_whatever_drifts_and_dies_while_writers_commit_nothing_is_one_sided_and_nothing_alive_is_lost(
    nursery: Nursery, sample: int
) -> None:
    coverage = Coverage()
    number = sampling.chance(f"drifts {sample}").randrange(1 << 32)
    running.run(nursery, coverage, number=number, drifts=DRIFTS)
    assert coverage.ended, "nobody died"
    assert coverage.facts["commits acknowledged"] > 2 * DRIFTS, "nobody but the admin committed"
