"""The long run: `python -m tests.machine.soak [--seconds N] [--seed S]`.

Plays stories until the time is over and says what they reached. Fails at the first story in which something
told was not true, and where a rule, a fault of the store, a failpoint or a step of the code was never met. What chance
has not met is sought in the end (sweep.py).
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence

ROUND = 5
"""Stories drawn by one seed."""
LEAST_SECONDS_FOR_ALL = 1800.0
"""A shorter run is not expected to reach everything."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="imagerepo-soak-") as folder:
        os.environ |= {"DJANGO_SETTINGS_MODULE": "imagerepo.settings", "IMAGEREPO_DATA_DIR": folder}
        from imagerepo.boot import boot

        boot()
        return soak(options.seconds, options.seed)


def soak(seconds: float, seed: int) -> int:
    """Gives the exit status: 0 if all held and, in a run that is long enough, everything was reached."""
    from tests.machine import running
    from tests.machine.coverage import Coverage
    from tests.machine.machine import Machine, Mending

    _say(f"--seed {seed} draws these stories again")
    coverage, numbers, begun = Coverage(), random.Random(seed), time.monotonic()
    with running.nursery() as nursery:
        while time.monotonic() - begun < seconds:
            try:
                for kind in (Machine, Mending):
                    running.run(nursery, coverage, number=numbers.randrange(1 << 32), stories=ROUND, kind=kind)
            finally:
                _say(f"{time.monotonic() - begun:.0f} s")
                for line in coverage.report():
                    _say(f"  {line}")
        if seconds >= LEAST_SECONDS_FOR_ALL:
            running.sweep_all(nursery, coverage)
            _say(f"{time.monotonic() - begun:.0f} s, with a story for each failpoint that chance had not met")
    missed = running.wanting(coverage)
    for each in missed:
        _say(f"never met: {each}")
    wanting = [each for each in missed if not running.is_by_chance(each)]
    return int(bool(wanting) and seconds >= LEAST_SECONDS_FOR_ALL)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.machine.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800.0, help="begin no more stories after so long")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="draws the stories")
    return parser


if __name__ == "__main__":
    sys.exit(main())
