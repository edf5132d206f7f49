"""What counts as a catch: a suite that is red with the bug, and green without it when it draws by the same seed."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path

from tests.planted import trees
from tests.planted.suites import Suite
from tests.planted.trees import Run


class RedWithoutIt(Exception):
    """What turned red with the bug does so without it, too: a suite that fails now and then, or the tree is broken."""


class Clean:
    """Suites on the tree without any bug: run once for each seed, whoever asks, from any thread."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, int], Future[Run]] = {}
        self._asking = threading.Lock()

    def run(self, suite: Suite, seed: int) -> Run:
        """Raises NotTried."""
        mine = Future[Run]()
        with self._asking:
            run = self._runs.setdefault((suite.name, seed), mine)
        if run is mine:
            try:
                with trees.copied() as tree:
                    run.set_result(trees.run(tree, suite, seed))
            except BaseException as error:  # whoever waits for it gets it, too
                run.set_exception(error)
        return run.result()


def catch(patch: Path, suites: Iterable[Suite], seed: int, clean: Clean) -> Run | None:
    """The run that a bug turns red; None where none does. Raises NotTried and RedWithoutIt."""
    with trees.copied() as tree:
        trees.plant(tree, patch)
        red = trees.first_red(tree, suites, seed)
    if red is None:
        return None
    without = clean.run(red.suite, red.seed)
    if without.red:
        raise RedWithoutIt(
            f"{red.suite.name} with seed {red.seed}: {red.red}: {red.why}; and without the bug {without.red}: "
            f"{without.why}\n{without.output}"
        )
    return red
