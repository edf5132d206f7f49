"""How much of a long run is taken: a sample, drawn by a seed that is printed; in a soak, all of it.

IMAGEREPO_SEED=N   draws the samples of an earlier run again
IMAGEREPO_SOAK=1   takes everything
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TypeVar

VARIABLES = ("IMAGEREPO_SEED", "IMAGEREPO_SOAK")
# Set for pytest's worker processes, which inherit it: all draw by one seed.
SEED = int(os.environ.setdefault("IMAGEREPO_SEED", str(random.randrange(1 << 32))))
SOAK = os.environ.get("IMAGEREPO_SOAK") == "1"

T = TypeVar("T")


def chance(about: str) -> random.Random:
    """Random numbers of the seed; each `about` has its own, so that one test's draws don't move another's."""
    return random.Random(f"{SEED} {about}")


def sample(population: Sequence[T], most: int, *, about: str) -> list[T]:
    """Up to `most` of these, in their order; in a soak all of them."""
    return list(population) if SOAK else draw(population, most, about=about)


def draw(population: Sequence[T], most: int, *, about: str) -> list[T]:
    """Up to `most` of these, in their order; in a soak too."""
    if most >= len(population):
        return list(population)
    chosen = sorted(chance(about).sample(range(len(population)), most))
    return [population[index] for index in chosen]
