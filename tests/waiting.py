"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

LONGEST_SECONDS = 30.0
LOOK_SECONDS = 0.01

T = TypeVar("T")


def until(
    holds: Callable[[], T],
    *,
    seconds: float = LONGEST_SECONDS,
    every: float = LOOK_SECONDS,
    tell: Callable[[], object] = lambda: "it never held",
) -> T:
    """Look until it holds, and give what it then is. After so many seconds, fail with what `tell` has to say.

    A look that costs something is taken less often: `every` so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, tell()
        time.sleep(every)
    return found
