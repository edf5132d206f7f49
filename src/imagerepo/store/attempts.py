"""Repeating a request to a store where that may help and harms nothing, and telling its failure truly.

A write whose answer was lost may apply now, later or never. Once one attempt of a call was lost, a refusal of
the next proves nothing: the call is in doubt. Only success settles it, for writes that may be sent twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from imagerepo.errors import InDoubt, ObjectNotFound, StoreError, StoreRefused, StoreUnavailable

T = TypeVar("T")

PAUSES_SECONDS = (0.1, 0.4, 1.0)
"""Before the second, third and fourth attempt."""
NOT_FOUND = 404


class AttemptFailed(Exception):
    """One attempt's failure, in the words of this file; its cause is the library's own.

    `passing`: a repeat may succeed. `lost`: a write may have been carried out, or be so later. `status`: the
    HTTP status, if an answer came.
    """

    def __init__(
        self, why: str, *, status: int | None = None, passing: bool = False, lost: bool = False, hint: str = ""
    ) -> None:
        super().__init__(why)
        self.status, self.passing, self.lost, self.hint = status, passing, lost, hint


@dataclass(frozen=True)
class Call:
    """One call of the seam."""

    op: str
    name: str
    writes: bool = False
    """A lost answer leaves it in doubt."""
    repeat_lost: bool = True
    """It may be sent again after its answer was lost. Not so where a second answer would hide the first."""

    def in_doubt(self, why: str) -> InDoubt:
        return InDoubt(f"{self}: {why}; it may still be carried out", op=self.op, name=self.name)

    def refused(self, why: str, hint: str = "") -> StoreRefused:
        message = f"{self}: {why}: {hint}" if hint else f"{self}: {why}"
        return StoreRefused(message, op=self.op, name=self.name, hint=hint)

    def error(self, failure: AttemptFailed, *, in_doubt: bool) -> StoreError:
        """What the caller is told of a call that ended with `failure`."""
        if in_doubt:
            return self.in_doubt(str(failure))
        if failure.status == NOT_FOUND:
            return ObjectNotFound(f"{self}: no such object", op=self.op, name=self.name)
        if failure.passing:
            return StoreUnavailable(f"{self}: {failure}", op=self.op, name=self.name, hint=failure.hint)
        return self.refused(str(failure), failure.hint)

    def __str__(self) -> str:
        return f"{self.op} {self.name}"


def repeat(call: Call, attempt: Callable[[], T], *, patience: float) -> T:
    """The result of the first attempt that succeeds. None is waited for when `patience` seconds are over.

    Raises ObjectNotFound, StoreUnavailable, StoreRefused or InDoubt.
    """
    begun = time.monotonic()
    pauses = iter(PAUSES_SECONDS)
    in_doubt = False
    while True:
        try:
            return attempt()
        except AttemptFailed as failure:
            in_doubt = in_doubt or (call.writes and failure.lost)
            pause = next(pauses, None)
            late = time.monotonic() - begun >= patience
            if pause is None or late or not failure.passing or (in_doubt and not call.repeat_lost):
                raise call.error(failure, in_doubt=in_doubt) from failure.__cause__
        time.sleep(pause)
