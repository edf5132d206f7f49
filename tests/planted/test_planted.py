"""The planted bugs fit the tree as it is, and those that are cheap to catch are caught. `make soak` plants them all."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import sampling
from tests.planted import trees
from tests.planted.bugs import Bug, every

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
    with trees.copied() as tree:
        trees.plant(tree, bug.patch)
        caught = trees.first_red(tree, bug.suites[:1], sampling.SEED)
    assert caught, f"{bug.suites[0].name} does not see that {bug.breaks}"
