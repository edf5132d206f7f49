"""The planted bugs fit the tree as it is, and those that are cheap to catch are caught. `make soak` plants them all."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests import sampling
from tests.planted import trees
from tests.planted.bugs import Bug, every
from tests.planted.catching import Clean, RedWithoutIt, catch
from tests.planted.suites import Suite

OF_DURABILITY = {
    "success-before-the-snapshot",
    "flip-before-the-snapshot",
    "a-202-taken-for-success",
    "newest-found-by-listing-only",
    "no-newest-copy-header",
    "no-epoch-check",
    "epoch-not-sealed",
    "spool-deleted-before-the-flip",
    "a-number-cut-anew",
    "deltas-applied-by-number",
    "a-kept-disk-always-kept",
    "a-base-of-current-rows",
    "the-lane-not-taken",
    "recovery-rolls-back-what-is-in-the-chain",
    "shm-opened-by-hand",
    "truncate-after-the-lock",
    "workers-forked",
}
OF_RECONCILE = {
    "nothing-condemned",
    "condemned-by-the-plan",
    "a-mark-not-final",
    "presence-trusted",
    "no-look-before-a-deletion",
    "a-second-answer-settles",
}
LISTED = OF_DURABILITY | OF_RECONCILE
OUR_OWN = 3
SAMPLED = 2
FLAKY = Suite("red by its seed", ("tests/planted/red_by_seed.py",))
MISTAKES_OF_PYTHON = "E9,F63,F7,F82"
"""What ruff calls a syntax error, a name that is not there, and the like: these any test would catch."""


def test_every_bug_of_the_list_is_planted_and_some_of_our_own() -> None:
    names = {bug.name for bug in every()}
    assert names >= LISTED
    assert len(names - LISTED) >= OUR_OWN


def test_every_patch_fits_and_what_it_breaks_is_not_python() -> None:
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", MISTAKES_OF_PYTHON, "src"]
    with trees.copied() as tree:
        for bug in every():
            trees.plant(tree, bug.patch)
            checked = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
            assert checked.returncode == 0, f"{bug.name}: {checked.stdout}"
            trees.pull_out(tree, bug.patch)


@pytest.mark.parametrize(
    "bug",
    sampling.draw([bug for bug in every() if bug.suites[0].quick], SAMPLED, about="planted bugs"),
    ids=lambda bug: bug.name,
)
def test_what_is_cheap_to_catch_is_caught(bug: Bug) -> None:
    caught = catch(bug.patch, bug.suites[:1], sampling.SEED, Clean())
    assert caught, f"{bug.suites[0].name} does not see that {bug.breaks}"


def test_a_suite_that_is_red_without_the_bug_too_catches_nothing() -> None:
    patch, rounds = every()[0].patch, replace(FLAKY, rounds=2)
    with pytest.raises(RedWithoutIt, match=r"red by its seed with seed 3: tests/planted/red_by_seed\.py"):
        catch(patch, [rounds], 2, Clean())  # green in its first round, bug or not
    assert catch(patch, [FLAKY], 2, Clean()) is None


def test_without_a_bug_a_suite_runs_once_for_each_seed() -> None:
    clean = Clean()
    with ThreadPoolExecutor(2) as threads:
        first, second, other = threads.map(lambda seed: clean.run(FLAKY, seed), (1, 1, 2))
    assert first is second
    assert (first.red, other.red) == ("tests/planted/red_by_seed.py::test_the_seed_is_even", None)


def test_a_suite_that_can_not_be_run_is_told_to_all_who_ask() -> None:
    clean, nowhere = Clean(), replace(FLAKY, what=("tests/planted/nowhere.py",))
    for _ in range(2):
        with pytest.raises(trees.NotTried, match=r"nowhere\.py"):
            clean.run(nowhere, 1)
