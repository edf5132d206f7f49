"""Commits beside repairs for long: `python -m tests.load.beside.soak [--seconds N] [--seed N]`.

Prints what was seen; fails where a promise was broken.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from imagerepo.testing.swift import Swift
from tests.load.beside.scene import Scene
from tests.load.given import given


def main() -> None:
    told = given(__doc__)
    with tempfile.TemporaryDirectory() as folder, Swift(Path(folder) / "swift") as swift:
        scene = Scene(swift, "beside", Path(folder), random.Random(told.seed))
        sys.stdout.write(f"{scene.play(seconds=told.seconds)}\n")


if __name__ == "__main__":
    main()
