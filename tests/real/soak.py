"""The long race: 50 rounds of 20 starts at once, on a Swift of one replica and on one of three.

Between them are rounds whose starts are spread over some seconds, so that some serve while others claim. Prints a line
a round. Ends with an AssertionError where two could commit, or something was lost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from imagerepo.testing.swift import Swift
from tests.real.races import SPREADS, STARTERS, Race
from tests.real.starters import Starters

ROUNDS = 50
ROUNDS_A_REPOSITORY = 10
"""Every start reads the chain back to its beginning, which grows by some records a round."""


def main() -> None:
    argparse.ArgumentParser(prog="python -m tests.real.soak", description=__doc__).parse_args()
    for replicas in (1, 3):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with Swift(folder / "swift", replicas=replicas) as swift:
                for before in range(0, ROUNDS, ROUNDS_A_REPOSITORY):
                    with Starters(STARTERS, folder / f"{before}", f"races{before}", swift.environ) as starters:
                        _race(Race(starters), before, f"{STARTERS} starts, replicas: {replicas}")


def _race(race: Race, before: int, title: str) -> None:
    at_once, *spreads = SPREADS
    for number in range(before, before + ROUNDS_A_REPOSITORY):
        _run(race, at_once, f"{title}, round {number + 1}")
    for spread in spreads:
        _run(race, spread, f"{title}, within {spread:.0f} s")


def _run(race: Race, spread: float, title: str) -> None:
    began = time.monotonic()
    told = ", ".join(f"{name} {value}" for name, value in race.run(spread)._asdict().items())
    sys.stdout.write(f"{title}: {told}; {time.monotonic() - began:.1f} s\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
