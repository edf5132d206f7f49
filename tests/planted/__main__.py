"""The proof of the proof: `python -m tests.planted`. Each bug is planted in a copy of the tree, and must be caught.

A suite that turns red counts only if it is green without the bug when it draws by the same seed.

Fails where a bug is missed, a patch doesn't apply, or a suite is red without any bug.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.planted import trees
from tests.planted.bugs import Bug, every
from tests.planted.catching import Clean, RedWithoutIt, catch
from tests.planted.suites import Suite


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    bugs = [bug for bug in every() if not options.only or bug.name in options.only]
    if options.list:
        for bug in bugs:
            say(f"{bug.name}\n    {bug.breaks}\n    {bug.harm}\n    {' '.join(suite.name for suite in bug.suites)}")
        return 0
    say(f"seed {options.seed}: {len(bugs)} bugs")
    suites = dict.fromkeys(suite for bug in bugs for suite in bug.suites)
    clean = Clean()
    with ThreadPoolExecutor(options.jobs) as threads:
        green = [threads.submit(is_green, suite, options.seed, clean) for suite in suites if not options.planted_only]
        caught = [threads.submit(is_caught, bug, options.seed, clean) for bug in bugs]
    good = [each.result() for each in green + caught]
    say(f"{good.count(True)} of {len(good)} as they should be")
    return int(not all(good))


def is_green(suite: Suite, seed: int, clean: Clean) -> bool:
    """Whether the suite passes where no bug was planted; says so."""
    try:
        run = clean.run(suite, seed)
    except trees.NotTried as error:
        say(str(error))
        return False
    if run.red:
        say(f"RED without any bug: {suite.name}, {run.red}: {run.why}\n{run.output}")
    else:
        say(f"green without any bug: {suite.name} in {run.seconds:.0f} s")
    return run.red is None


def is_caught(bug: Bug, seed: int, clean: Clean) -> bool:
    """Whether one of the bug's suites turns red; says which, or that none did."""
    begun = time.monotonic()
    try:
        caught = catch(bug.patch, bug.suites, seed, clean)
    except trees.NotTried as error:
        say(f"NOT TRIED {bug.name}: {error}")
        return False
    except RedWithoutIt as error:
        say(f"NOT COUNTED {bug.name}: red without it, too: {error}")
        return False
    seconds = time.monotonic() - begun
    if caught:
        say(f"CAUGHT {bug.name} by {caught.red} in {seconds:.0f} s: {caught.why}")
    else:
        say(f"MISSED {bug.name} in {seconds:.0f} s")
    return caught is not None


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument("--list", action="store_true", help="say what the bugs are, and stop")
    parser.add_argument("--only", metavar="NAME", action="append", help="plant this one (may be repeated)")
    parser.add_argument(
        "--planted-only", action="store_true", help="run suites without a bug only where one is red with it"
    )
    parser.add_argument("--jobs", metavar="N", type=int, default=os.cpu_count(), help="how many at once")
    parser.add_argument(
        "--seed", metavar="N", type=int, default=random.randrange(1 << 32), help="what the suites draw by"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
