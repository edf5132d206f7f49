"""Reconcile deletes no base that a commit relies on, whoever dies or takes over meanwhile."""

from __future__ import annotations

import pytest

from tests.model.condemning import SMALL, Condemning
from tests.model.condemning_mutations import CONDEMNING_MUTATIONS, RestsBeforeDelete
from tests.model.engine import explore
from tests.model.vocabulary import IN_CONDEMNING


@pytest.mark.parametrize("live", [False, True])
def test_condemning_holds_in_every_state_and_takes_every_step(live: bool) -> None:
    explored = explore(Condemning(SMALL, live=live))
    assert explored.violation is None, str(explored)
    assert explored.complete
    assert explored.steps == IN_CONDEMNING
    assert [label for label in explored.labels if "absent, put" in label]


@pytest.mark.parametrize("mutation", CONDEMNING_MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_condemning_with_one_rule_left_out_is_caught(mutation: type[Condemning]) -> None:
    assert explore(mutation(SMALL)).violation


def test_what_rests_on_time_alone_is_known() -> None:
    """docs/reconcile.md: no process rests between its last look and its DELETE longer than the settling time."""
    explored = explore(RestsBeforeDelete(SMALL))
    assert explored.violation == "2: success was answered for the image, and its base is gone"
