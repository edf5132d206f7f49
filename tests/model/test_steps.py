"""Code, model and document call the protocol's steps by the same names, in the same order."""

from __future__ import annotations

import re
from pathlib import Path

from tests import steps
from tests.model.engine import STEP
from tests.model.scenarios import KNOWN
from tests.model.vocabulary import IN_CHAIN, IN_CLAIMING, IN_CONDEMNING, IN_PRUNING, NOT_MODELLED

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/durability.md").read_text()
MODELLED = IN_CHAIN | IN_CLAIMING | IN_PRUNING | IN_CONDEMNING


def test_the_code_takes_the_models_steps_and_those_that_are_said_not_to_be_modelled() -> None:
    assert steps.of_the_code() == MODELLED | NOT_MODELLED.keys()
    assert not MODELLED & NOT_MODELLED.keys()


def test_the_document_has_every_step_of_the_code_and_no_other() -> None:
    areas = {step.partition(".")[0] for step in steps.of_the_code()}
    quoted = {name for name in re.findall(r"`([a-z]+\.[a-z_]+)`", DOCUMENT) if name.partition(".")[0] in areas}
    assert quoted == steps.of_the_code()


def test_a_commit_takes_the_documents_steps_in_their_order() -> None:
    table = re.findall(r"^\| `([a-z]+\.[a-z_]+)` \|", DOCUMENT, re.MULTILINE)
    assert _undisturbed("W1", starts=0) == [step for step in table if step in IN_CHAIN]


def test_a_start_takes_the_documents_steps_in_their_order() -> None:
    numbered = re.findall(r"^\d\. \*\*\w+\*\* \(`(start\.[a-z_]+)`\)", DOCUMENT, re.MULTILINE)
    taken = [step for step in _undisturbed("W2", starts=1) if step.startswith("start.")]
    assert taken == [step for step in numbered if step in IN_CHAIN]


def _undisturbed(server: str, *, starts: int) -> list[str]:
    """The steps of one server while nothing goes wrong and nobody else moves."""
    chain = KNOWN.within(starts=starts).of()
    state, taken = chain.first(), list[str]()
    while following := [(label, after) for label, after in chain.after(state) if label.startswith(server)]:
        label, state = following[0]
        taken += STEP.findall(label)
    return list(dict.fromkeys(taken))
