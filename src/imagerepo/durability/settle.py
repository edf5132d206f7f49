"""Settling: from a write that was sent to a write that is known.

A name of the chain is written once, with one content. So a write in doubt is settled by reading the
name back: our bytes there, it is applied; nothing there, the same bytes again; other bytes, stop.
"""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from imagerepo.errors import Damaged, ObjectNotFound, StoreError, StoreRefused
from imagerepo.store.objects import ObjectStore
from imagerepo.store.reading import hash_all

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0
RECORD_TYPE = "application/octet-stream"

T = TypeVar("T")


class Stopped(BaseException):
    """The process is to end while it waits for the store; what is in the outbox stays there."""


class Patience:
    """Asks a store for ever, or `most_questions` times, with pauses that grow, until it is `stop`ped.

    `report` hears the reason of each failure, `recovered` that an answer came after failures. At a start
    a definite no (wrong credentials, say) is better told than repeated: `refusals_end`.
    """

    def __init__(
        self,
        *,
        stop: threading.Event | None = None,
        report: Callable[[str], None] = lambda _reason: None,
        recovered: Callable[[], None] = lambda: None,
        refusals_end: bool = False,
        longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
        most_questions: int | None = None,
    ) -> None:
        self._most_questions = most_questions
        self._longest_pause = longest_pause_seconds
        self.stop = stop or threading.Event()
        self._refusals_end = refusals_end
        self._report, self._recovered = report, recovered

    def tries(self) -> Iterator[int]:
        """Numbers 0, 1, 2…, with a pause before each but the first. Raises Stopped."""
        pause = FIRST_PAUSE_SECONDS
        number = 0
        while True:
            yield number
            number += 1
            # Spread, so that writers that failed together don't come back together.
            if self.stop.wait(pause * random.uniform(0.5, 1.5)):  # noqa: S311
                raise Stopped
            pause = min(pause * 2, self._longest_pause)

    def failed(self, error: StoreError) -> None:
        """Note a failure. Raises it again where it is a refusal and those end the asking."""
        if self._refusals_end and isinstance(error, StoreRefused):
            raise error
        self._report(str(error))

    def answered(self, number: int) -> None:
        """Note an answer to try `number`: after failures, the trouble is over."""
        if number:
            self._recovered()

    def stored(self) -> None:
        """Note that the store takes what it is sent: whoever said otherwise, dead by now perhaps, is refuted."""
        self._recovered()

    def ask(self, question: Callable[[], T], *, before_retry: Callable[[], None] = lambda: None) -> T:
        """The answer to a question that is safe to repeat; ObjectNotFound is an answer, too."""
        for number in self.tries():
            if number:
                before_retry()
            try:
                answer = question()
            except ObjectNotFound:
                self.answered(number)
                raise
            except StoreError as error:
                self.failed(error)
                if number + 1 == self._most_questions:
                    raise
            else:
                self.answered(number)
                return answer
        raise AssertionError("tries() never ends")


def settle(
    store: ObjectStore,
    name: str,
    body: Path | bytes,
    *,
    patience: Patience,
    before_retry: Callable[[], None] = lambda: None,
) -> None:
    """Make the object `name` hold `body`, or the bytes of that file, and know that it does.

    `before_retry` runs before the store is called again: it looks for a newer epoch and raises Fenced. One call may
    send the same bytes several times (store/attempts.py).
    Raises Damaged where other bytes are found under the name. Returns only when it is settled.
    """
    for number in patience.tries():
        if number:
            before_retry()
        try:
            with _opened(body) as file:
                store.put(name, file, media_type=RECORD_TYPE)
        except StoreError as error:
            patience.failed(error)
        else:
            patience.stored()
            return
        if patience.ask(lambda: holds(store, name, body), before_retry=before_retry):
            return


def holds(store: ObjectStore, name: str, body: Path | bytes) -> bool:
    """Whether the newest copy of `name` is these bytes; false where there is none. Raises Damaged."""
    try:
        with store.get(name, newest=True) as reader, _opened(body) as file:
            if hash_all(reader) == hash_all(file):
                return True
    except ObjectNotFound:
        return False
    raise Damaged(
        f"{name} holds other bytes than this writer's: two writers share an epoch, or the store is damaged. "
        "Stop both servers and keep the data folder for an inspection."
    )


def _opened(body: Path | bytes) -> BinaryIO:
    return io.BytesIO(body) if isinstance(body, bytes) else body.open("rb")
