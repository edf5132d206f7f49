"""The protocol holds in every state within small bounds, and no rule of it is there for nothing."""

from __future__ import annotations

import pytest

from tests.model.chain import Chain
from tests.model.engine import explore
from tests.model.mutations import MUTATIONS
from tests.model.scenarios import SMALL, TWO, Scenario
from tests.model.vocabulary import IN_CHAIN


@pytest.mark.parametrize("scenario", SMALL, ids=str)
def test_the_protocol_holds_in_every_state(scenario: Scenario) -> None:
    explored = explore(scenario.of())
    assert explored.violation is None, str(explored)
    assert explored.complete
    # What the start refuses, and a writer stops for, needs a store that shows an old copy.
    assert not [label for label in explored.labels if "refuses" in label or "stops" in label]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_protocol_with_one_rule_left_out_is_caught(mutation: type[Chain]) -> None:
    assert explore(MUTATIONS[mutation].of(mutation)).violation


def test_every_step_of_the_chain_is_taken() -> None:
    scenario = TWO.within(starts=1, deaths=1, bases=1, deadlines=1)
    assert explore(scenario.of()).steps == IN_CHAIN


def test_a_trace_is_a_shortest_one_and_is_told_in_the_protocols_steps() -> None:
    (mutation,) = (each for each in MUTATIONS if each.__name__ == "SuccessBeforeSnapshot")
    explored = explore(MUTATIONS[mutation].of(mutation))
    assert explored.trace == ("W1 commit.claim s0", "W1 commit.merge")
    assert str(explored).splitlines()[1:] == ["   1. W1 commit.claim s0", "   2. W1 commit.merge"]
