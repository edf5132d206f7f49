"""One winner an epoch at most, and every writer before it finds out."""

from __future__ import annotations

import pytest

from tests.model.claiming import CLAIMING_MUTATIONS, PARTED, SMALL, Claiming
from tests.model.engine import explore
from tests.model.vocabulary import IN_CLAIMING


def test_claiming_holds_in_every_state_and_takes_every_step() -> None:
    explored = explore(Claiming(SMALL))
    assert explored.violation is None, str(explored)
    assert explored.complete
    assert explored.steps == IN_CLAIMING


@pytest.mark.parametrize("mutation", CLAIMING_MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_claiming_with_one_rule_left_out_is_caught(mutation: type[Claiming]) -> None:
    assert explore(mutation(CLAIMING_MUTATIONS[mutation])).violation


def test_what_is_not_promised_while_hand_offs_answer_for_all_replicas_is_known() -> None:
    """docs/durability.md, "What Swift must be for this to hold"."""
    assert explore(Claiming(PARTED)).violation == "5: two servers reign in epoch 2"
