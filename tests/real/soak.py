"""The long race: 50 rounds of 20 starts at once, on a Swift of one replica and on one of three.

Prints a line a round. Ends with an AssertionError where two could commit, or something was lost.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from imagerepo.testing.swift import Swift
from tests.real.races import SPREADS, STARTERS, Race
from tests.real.starters import Starters

ROUNDS = 50


def main() -> None:
    for replicas in (1, 3):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with (
                Swift(folder / "swift", replicas=replicas) as swift,
                Starters(STARTERS, folder, "races", swift.environ) as starters,
            ):
                _race(Race(starters), f"{STARTERS} starts at once, replicas: {replicas}")


def _race(race: Race, title: str) -> None:
    for number in range(1, ROUNDS + 1):
        began = time.monotonic()
        told = ", ".join(
            f"{name} {value}" for name, value in race.run(SPREADS[number % len(SPREADS)])._asdict().items()
        )
        sys.stdout.write(f"{title}, round {number}: {told}; {time.monotonic() - began:.1f} s\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
