"""The general suites: what they explore is the service, and none was written for one of the bugs.

A test of exactly the line that a bug changes catches it too, and proves nothing about the others.
"""

from __future__ import annotations

from dataclasses import dataclass

PYTEST = ("pytest", "-x", "-q", "--timeout=0", "-p", "no:cacheprovider", "-p", "tests.planted.at_once")
"""Without a time limit for each test: one that is slow sees no bug. A suite has one."""


@dataclass(frozen=True)
class Suite:
    """`what` are pytest's arguments. A run that takes longer than `seconds` counts as none."""

    name: str
    what: tuple[str, ...]
    seconds: float = 1800.0
    quick: bool = False
    """Seconds, and not minutes: `make test` may plant a bug for it."""
    rounds: int = 1
    """A suite that draws what it does may need more than one draw."""

    whole: bool = False
    """All of what is otherwise sampled."""

    def command(self, seed: int) -> tuple[str, ...]:
        """For `python -m`."""
        return *PYTEST, f"--hypothesis-seed={seed}", *self.what


SUITES = {
    suite.name: suite
    for suite in (
        # Stories of clients, servers, deaths, rests and a store that fails, in any order.
        Suite("machine", ("tests/machine",), rounds=6),
        # Of them those of drift and its repair, with clients who commit and deletions that come late.
        Suite("repairs", ("tests/machine", "-k", "repairs"), whole=True, rounds=4),
        # Random drifts, repaired beside commits and across deaths.
        Suite("drifts", ("tests/reconcile/test_drifts.py", "tests/reconcile/drifts"), rounds=2),
        # Several processes that write, read and cut one database.
        Suite(
            "pages",
            ("tests/durability/test_pages_together.py", "tests/durability/test_pages.py", "-k", "busy or at_once"),
            quick=True,
            rounds=6,
        ),
        # Random histories of one writer, its bases and prunings, each moment of them restored.
        Suite("histories", ("tests/durability/test_pruned_histories.py",), quick=True, rounds=2),
        # Each fault of the store at each call of a commit, and of a start on an empty disk.
        Suite("faults-of-commits", ("tests/durability/test_faults.py", "-k", "nothing and commit"), whole=True),
        Suite("faults-of-starts", ("tests/durability/test_faults.py", "-k", "nothing and empty"), whole=True),
        # A real server dies at every failpoint of a start and of two commits, its disk lost.
        Suite("crash", ("tests/crash/test_failpoints.py", "-k", "loses_nothing")),
        # A real server dies in a commit or a start, its disk kept or lost, and so does the start after it.
        Suite("second-deaths", ("tests/crash/test_second_death.py",), rounds=8),
        # Power cuts under 8 writers and 16 readers.
        Suite("storm", ("tests/load/test_storm.py",), rounds=3),
        # 8 writers who want the very images that are being deleted, on a Swift that dawdles.
        Suite("beside", ("tests/load/beside",), rounds=2),
        # The store's contract, on every backend, and under every fault.
        Suite(
            "contracts",
            (
                "tests/contracts/test_faults.py",
                "tests/contracts/test_object_store.py",
                "tests/contracts/test_listing.py",
            ),
        ),
        # The same on three replicas, of which one is down, or hangs, or lags.
        Suite("replicas", ("tests/real/test_swift_of_three.py",)),
        # Two servers on one real Swift, of which the older rests anywhere in a commit.
        Suite("reigns", ("tests/real/test_reigns.py", "-k", "one")),
    )
}
