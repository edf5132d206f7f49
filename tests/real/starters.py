"""Processes that all start on one repository at once, and commit: `imagerepo serve` without its HTTP.

Real servers would take a minute a race here. These are forked from one process that has imported everything
and has no connections, then each does `recovery.start` and commits through the lane, on a disk of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from imagerepo.boot import boot

boot()

from imagerepo.errors import Fenced  # noqa: E402
from imagerepo.sessions.models import State  # noqa: E402
from imagerepo.store.door import Door  # noqa: E402
from imagerepo.store.swift import SwiftStore  # noqa: E402
from imagerepo.store.swift_auth import credentials_of  # noqa: E402
from tests.durability.node import Node  # noqa: E402

ANSWER_SECONDS = 200.0


@dataclass(frozen=True)
class Outcome:
    """Of one starter: its epoch, what it saw live once started, and what its commit was told.

    `epoch` is 0 where the start was fenced, and then nothing was committed.
    """

    epoch: int
    seen: frozenset[str]
    told: str


class Starters:
    """So many processes, to be used again and again; as a context manager, they end with it."""

    def __init__(self, how_many: int, folder: Path, container: str, environ: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._barrier = context.Barrier(how_many)  # it is unlinked with its last object in this process
        given = container, dict(environ), self._barrier
        self._hands = [_Hand(context, folder / f"starter{number}", *given) for number in range(how_many)]

    def start_together(self, idents: Sequence[str], spread: float) -> list[Outcome]:
        """All start within `spread` seconds, and each commits its ident as soon as it may."""
        return self._all("start_together", [(ident, random.uniform(0, spread)) for ident in idents])

    def commit(self, idents: Sequence[str]) -> list[Outcome]:
        """Those that have started commit once more, all of them fenced but one."""
        return self._all("commit", [(ident,) for ident in idents])

    def end(self) -> None:
        """All die and lose their disks."""
        self._all("end", [()] * len(self._hands))

    def start_alone(self) -> frozenset[str]:
        """What a start sees that nobody disturbs."""
        first = self._hands[0]
        first.ask("start")
        seen = first.answer().seen
        first.ask("end")
        first.answer()
        return seen

    def _all(self, what: str, given: Sequence[tuple[Any, ...]]) -> list[Outcome]:
        for hand, each in zip(self._hands, given, strict=True):
            hand.ask(what, *each)
        return [hand.answer() for hand in self._hands]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hand in self._hands:
            hand.kill()


class _Hand:
    """One starter, as seen from here."""

    def __init__(self, context: ForkServerContext, *given: Any) -> None:
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=_live, args=(theirs, *given), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, what: str, *given: Any) -> None:
        self._line.send((what, given))

    def answer(self) -> Outcome:
        """Raises what was raised there, but Fenced."""
        if not self._line.poll(ANSWER_SECONDS):
            raise TimeoutError("a starter does not answer")
        outcome = self._line.recv()
        if isinstance(outcome, Exception):
            raise outcome
        assert isinstance(outcome, Outcome)
        return outcome

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._line.close()


def _live(line: Connection, folder: Path, container: str, environ: dict[str, str], barrier: Barrier) -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    starter = _Starter(folder, container, environ, barrier)
    while True:
        what, given = line.recv()
        try:
            line.send(getattr(starter, what)(*given))
        except Exception as error:  # it is raised again where the question came from
            line.send(RuntimeError(f"{what}: {type(error).__name__}: {error}"))


def _end_with_the_parent() -> None:
    """Else a starter that waits for its store, which went with the parent, would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


class _Starter:
    def __init__(self, folder: Path, container: str, environ: dict[str, str], barrier: Barrier) -> None:
        self._folder, self._barrier, self._disks = folder, barrier, count()
        self._store = Door(SwiftStore(container, "", credentials_of(environ), timeout=60.0))

    def start_together(self, ident: str, after: float) -> Outcome:
        self._barrier.wait(ANSWER_SECONDS)
        time.sleep(after)
        outcome = self.start()
        return self.commit(ident) if outcome.epoch else outcome

    def start(self) -> Outcome:
        # A start that fails keeps its locks until its process ends, so the next one has a disk of its own.
        self._node = Node(self._folder / str(next(self._disks)), self._store)
        try:
            self._node.start()
        except Fenced as error:
            return Outcome(0, frozenset(), str(error))
        self._seen = frozenset(self._node.live())
        return self._outcome("started")

    def commit(self, ident: str) -> Outcome:
        if self._node.started is None:
            return Outcome(0, frozenset(), "")
        try:
            session = self._node.commit(ident)
        except Fenced:
            return self._outcome("fenced")
        return self._outcome("live" if session.state == State.LIVE else str(session.state))

    def end(self) -> Outcome:
        if self._node.started:
            self._node.lose_disk()
        return Outcome(0, frozenset(), "")

    def _outcome(self, told: str) -> Outcome:
        assert self._node.started
        return Outcome(self._node.started.epoch, self._seen, told)
