"""Running stories: how many, by which seed, how long each is; and what a run has reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RULE_MARKER, run_state_machine_as_test

from imagerepo.testing.faults import APPLIES_TO, Fault, Op
from tests import steps
from tests.machine import sweep
from tests.machine.coverage import Coverage
from tests.machine.machine import Machine
from tests.machine.processes import Nursery
from tests.machine.story import Story

STEPS = 30


@contextmanager
def nursery() -> Iterator[Nursery]:
    """A zygote; whatever it has borne ends with it."""
    made = Nursery()
    try:
        yield made
    finally:
        made.close()


def run(nursery: Nursery, coverage: Coverage, *, number: int, stories: int, kind: type[Story] = Machine) -> None:
    """Play `stories` stories drawn by the seed `number`. Raises what the first bad one found, with its story.

    Nothing is shrunk and nothing remembered: a story played again is not quite the same, as its servers are
    real processes.
    """
    failures: list[Exception] = []
    machine = type("Stories", (kind,), {"nursery": nursery, "coverage": coverage, "failures": failures})
    how = settings(
        max_examples=stories,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    try:
        run_state_machine_as_test(seed(number)(machine), settings=how)
    except BaseException:
        if failures:
            raise failures[0] from None
        raise


def sweep_all(nursery: Nursery, coverage: Coverage) -> None:
    """Play a story for each failpoint, and each fault of the store, that chance has not met."""
    sought = set[str]()
    while left := [each for each in coverage.unmet() if each[1] not in sought and not is_by_chance(each[1])]:
        for role, name in left:  # the stories pass others that nobody has passed before
            sought.add(name)
            for trouble in sweep.troubles(name):
                if not coverage.ended[name]:
                    sweep.sweep(_story(nursery, coverage), role, name, trouble)
    for op, fault in sorted(faults() - coverage.faults.keys()):
        sweep.sweep_fault(_story(nursery, coverage), op, fault)


def wanting(coverage: Coverage) -> list[str]:
    """What a long run must have reached and did not; of steps also those that no process has ever passed."""
    return list(coverage.unreached(rules(), faults(), steps.of_the_code()))


def is_by_chance(name: str) -> bool:
    """Whether a long run may miss it."""
    return any(part in name for part in sweep.BY_CHANCE)


def _story(nursery: Nursery, coverage: Coverage) -> Machine:
    return type("Sweep", (Machine,), {"nursery": nursery, "coverage": coverage, "failures": []})()


def rules() -> set[str]:
    """All that a long run must have done."""
    return {name for name in dir(Machine) if hasattr(getattr(Machine, name), RULE_MARKER)}


def faults() -> set[tuple[Op, Fault]]:
    """All that a store must have done to the machine."""
    return {(op, fault) for fault, ops in APPLIES_TO.items() for op in ops}
