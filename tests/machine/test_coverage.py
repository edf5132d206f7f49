"""A long run fails where something was never reached, also what no process has ever passed."""

from __future__ import annotations

from imagerepo.testing.faults import APPLIES_TO
from tests import steps
from tests.machine import running
from tests.machine.coverage import Coverage
from tests.reconcile.drifts import running as drifts


def test_a_run_that_has_passed_every_step_and_ended_there_wants_nothing() -> None:
    assert running.wanting(_of_everything_but("")) == []


def test_a_step_that_no_story_has_ever_passed_is_wanted() -> None:
    assert running.wanting(_of_everything_but("commit.flip")) == ["step commit.flip"]
    assert not running.is_by_chance("step commit.flip")


def test_a_step_is_passed_in_another_one_too() -> None:
    coverage = _of_everything_but("snapshot.put")
    _ends_at(coverage, "start.open>snapshot.put/store.put db/record/before")
    assert running.wanting(coverage) == []


def test_a_failpoint_that_was_passed_and_where_nobody_ended_is_wanted() -> None:
    coverage = _of_everything_but("")
    coverage.passed("worker", {"commit.flip/transaction/after"})
    assert running.wanting(coverage) == ["failpoint commit.flip/transaction/after"]


def test_a_step_of_commits_and_repairs_that_no_drift_has_ever_passed_is_wanted() -> None:
    assert drifts.unpassed(_of_everything_but("")) == []
    assert drifts.unpassed(_of_everything_but("reconcile.clear")) == ["reconcile.clear"]


def _of_everything_but(unpassed: str) -> Coverage:
    coverage = Coverage()
    coverage.rules.update(running.rules())
    coverage.faults.update((op, fault) for fault, ops in APPLIES_TO.items() for op in ops)
    for step in steps.of_the_code() - {unpassed}:
        _ends_at(coverage, f"{step}/transaction/before")
    return coverage


def _ends_at(coverage: Coverage, failpoint: str) -> None:
    coverage.passed("worker", {failpoint})
    coverage.ended[failpoint] += 1
