"""Commits beside repairs for long: `python -m tests.load.beside.soak [--seconds N] [--seed N]`.

Prints what was seen; fails where a promise was broken.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from imagerepo.testing.swift import Swift
from tests.load.beside.scene import Scene

SECONDS = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = parser.parse_args()
    sys.stdout.write(f"seed {given.seed}\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as folder, Swift(Path(folder) / "swift") as swift:
        scene = Scene(swift, "beside", Path(folder), random.Random(given.seed))
        sys.stdout.write(f"{scene.play(seconds=given.seconds)}\n")


if __name__ == "__main__":
    main()
