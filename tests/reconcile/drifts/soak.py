"""The long run: `python -m tests.reconcile.drifts.soak [--drifts N] [--seed S]`.

Plays stories of drifts and says what they reached. Fails at the first one after which anything is one-sided or lost,
and where a step of commits, plans or their application was never passed, or nobody died at a failpoint that was. What
chance has not met is sought.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence

DRIFTS = 1000
AT_ONCE = 50
"""Drawn by one seed."""
LEAST_DRIFTS_FOR_ALL = 500
"""A shorter run is not expected to reach everything."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="imagerepo-soak-") as folder:
        os.environ |= {"DJANGO_SETTINGS_MODULE": "imagerepo.settings", "IMAGEREPO_DATA_DIR": folder}
        from imagerepo.boot import boot

        boot()
        return soak(options.drifts, options.seed)


def soak(drifts: int, seed: int) -> int:
    """Gives the exit status: 0 if all held and, in a run that is long enough, everything was reached."""
    from tests.machine import running as machine
    from tests.machine.coverage import Coverage
    from tests.reconcile.drifts import running

    _say(f"--seed {seed} draws these drifts again")
    coverage, numbers, begun = Coverage(), random.Random(seed), time.monotonic()
    with machine.nursery() as nursery:
        while coverage.facts["drifts"] < drifts:
            some = min(AT_ONCE, drifts - coverage.facts["drifts"])
            try:
                running.run(nursery, coverage, number=numbers.randrange(1 << 32), drifts=some)
            finally:
                _say(f"{time.monotonic() - begun:.0f} s")
                for line in coverage.report():
                    _say(f"  {line}")
        if drifts >= LEAST_DRIFTS_FOR_ALL:
            running.seek_all(nursery, coverage)
            _say(f"{time.monotonic() - begun:.0f} s, with what chance had not met")
    missed = list(running.missed(coverage))
    for each in missed:
        _say(f"nobody died at {each}")
    unpassed = running.unpassed(coverage)
    for each in unpassed:
        _say(f"nobody ever passed {each}")
    wanting = unpassed + [each for each in missed if not running.is_excused(each)]
    return int(bool(wanting) and drifts >= LEAST_DRIFTS_FOR_ALL)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.reconcile.drifts.soak", description=__doc__)
    parser.add_argument("--drifts", type=int, default=DRIFTS, help="how many")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="draws them")
    return parser


if __name__ == "__main__":
    sys.exit(main())
