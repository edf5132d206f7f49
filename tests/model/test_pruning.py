"""Pruning takes nothing that a start, at any of its questions, still needs."""

from __future__ import annotations

import pytest

from tests.model.engine import explore
from tests.model.pruning import PRUNING_MUTATIONS, SMALL, Pruning
from tests.model.vocabulary import IN_PRUNING


def test_pruning_holds_in_every_state_and_takes_every_step() -> None:
    explored = explore(Pruning(SMALL))
    assert explored.violation is None, str(explored)
    assert explored.complete
    assert explored.steps == IN_PRUNING


@pytest.mark.parametrize("mutation", PRUNING_MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_pruning_with_one_rule_left_out_is_caught(mutation: type[Pruning]) -> None:
    assert explore(mutation(SMALL)).violation
