"""What a long run under load is told: for how long, and by which seed."""

from __future__ import annotations

import argparse
import random
import sys

SECONDS = 600.0


def given(about: str | None) -> argparse.Namespace:
    """`seconds` and `seed` of the command line, for a program that is `about` this; prints the seed."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    told = parser.parse_args()
    sys.stdout.write(f"seed {told.seed}\n")
    sys.stdout.flush()
    return told
