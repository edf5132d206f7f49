"""The wide run: `python -m tests.model.soak`. Some minutes.

Prints what was explored, and each mistake with the shortest trace to its harm. Fails where the protocol
breaks an invariant, or a mistake is not caught.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import product

from tests.model.claiming import CLAIMING_MUTATIONS, PARTED, Claiming
from tests.model.claiming import WIDE as MANY_CLAIMS
from tests.model.condemning import SMALL as ONE_IMAGE
from tests.model.condemning import WIDE as ONE_IMAGE_LONG
from tests.model.condemning import Condemning
from tests.model.condemning_mutations import CONDEMNING_MUTATIONS, RestsBeforeDelete
from tests.model.engine import Explored, explore
from tests.model.mutations import MUTATIONS
from tests.model.pruning import PRUNING_MUTATIONS, Pruning
from tests.model.pruning import SMALL as A_REIGN
from tests.model.pruning import WIDE as A_LONG_REIGN
from tests.model.scenarios import SMALL, WIDE

MOST_STATES = 2_000_000


def main() -> int:
    argparse.ArgumentParser(prog="python -m tests.model.soak", description=__doc__).parse_args()
    failed = False
    for title, explored, expected in _runs():
        caught = explored.violation is not None
        verdict = "" if caught == expected else "  <-- NOT AS IT SHOULD BE"
        failed |= caught != expected
        sys.stdout.write(f"{title}: {explored}{verdict}\n")
        sys.stdout.flush()
    return int(failed)


def _runs() -> Iterator[tuple[str, Explored, bool]]:
    """What was run, what was found, and whether that should have been a violation."""
    for scenario in SMALL + WIDE:
        yield f"the protocol, {scenario}", explore(scenario.of(), most_states=MOST_STATES), False
    yield "pruning", explore(Pruning(A_LONG_REIGN), most_states=MOST_STATES), False
    for claims in MANY_CLAIMS:
        yield f"claiming, {claims}", explore(Claiming(claims), most_states=MOST_STATES), False
    for long, live in product(ONE_IMAGE_LONG, (False, True)):
        yield f"condemning, {long}", explore(Condemning(long, live=live), most_states=MOST_STATES), False
    for mutation, scenario in MUTATIONS.items():
        yield f"{mutation.__name__}, {scenario}", explore(scenario.of(mutation)), True
    for mistake in PRUNING_MUTATIONS:
        yield f"pruning, {mistake.__name__}", explore(mistake(A_REIGN)), True
    for slip, left in CLAIMING_MUTATIONS.items():
        yield f"claiming, {slip.__name__}", explore(slip(left)), True
    for lapse in CONDEMNING_MUTATIONS:
        yield f"condemning, {lapse.__name__}", explore(lapse(ONE_IMAGE)), True
    yield "claiming while the replicas are parted: not promised", explore(Claiming(PARTED)), True
    yield "condemning, RestsBeforeDelete: not promised", explore(RestsBeforeDelete(ONE_IMAGE)), True


if __name__ == "__main__":
    sys.exit(main())
