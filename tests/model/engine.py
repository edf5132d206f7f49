"""Explores every state that a model can reach, breadth first: so the first trace found is a shortest one."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

STEP = re.compile(r"\b[a-z]+\.[a-z_]+\b")
"""A protocol step in the label of a transition: `W1 snapshot.put 1/1: 201`."""

S = TypeVar("S", bound=Hashable)
T = TypeVar("T")


class Model(Protocol[S]):
    """States, what can happen in each, and what must be true in all of them."""

    def first(self) -> S: ...

    def after(self, state: S, /) -> Iterator[tuple[str, S]]:
        """Everything that can happen next, with its label."""
        ...

    def broken(self, state: S, /) -> str | None:
        """The invariant that this state breaks, if any."""
        ...


@dataclass(frozen=True)
class Explored:
    """What was found. Without a violation, and `complete`, the invariants hold within the model's bounds."""

    violation: str | None
    trace: tuple[str, ...]
    states: int
    transitions: int
    seconds: float
    complete: bool
    labels: frozenset[str]
    """Of every transition that was taken."""

    @property
    def steps(self) -> frozenset[str]:
        """The protocol steps that were taken anywhere."""
        return frozenset(step for label in self.labels for step in STEP.findall(label))

    def __str__(self) -> str:
        verdict = self.violation or ("holds" if self.complete else "holds as far as it was explored")
        numbers = f"{self.states:,} states, {self.transitions:,} transitions, {self.seconds:.1f} s"
        lines = [f"{verdict} ({numbers})"]
        lines += [f"  {number:2}. {label}" for number, label in enumerate(self.trace, 1)]
        return "\n".join(lines)


def explore(model: Model[S], *, most_states: int | None = None) -> Explored:
    """Visit every state, up to `most_states`, or up to the first that breaks an invariant."""
    return _Search(model).run(most_states)


class _Search(Generic[S]):
    def __init__(self, model: Model[S]) -> None:
        self._model = model
        self._began = time.perf_counter()
        self._came_from: dict[S, tuple[S, str] | None] = {}
        self._waiting: deque[S] = deque()
        self._transitions = 0
        self._labels: set[str] = set()

    def run(self, most_states: int | None) -> Explored:
        first = self._model.first()
        if violation := self._visit(first, None):
            return self._report(violation, first)
        while self._waiting:
            state = self._waiting.popleft()
            for label, after in self._model.after(state):
                self._transitions += 1
                self._labels.add(label)
                if after in self._came_from:
                    continue
                if violation := self._visit(after, (state, label)):
                    return self._report(violation, after)
            if most_states and len(self._came_from) >= most_states:
                break
        return self._report(None, None)

    def _visit(self, state: S, origin: tuple[S, str] | None) -> str | None:
        self._came_from[state] = origin
        self._waiting.append(state)
        return self._model.broken(state)

    def _report(self, violation: str | None, end: S | None) -> Explored:
        return Explored(
            violation=violation,
            trace=tuple(self._trace(end))[::-1],
            states=len(self._came_from),
            transitions=self._transitions,
            seconds=time.perf_counter() - self._began,
            complete=not self._waiting,
            labels=frozenset(self._labels),
        )

    def _trace(self, end: S | None) -> Iterator[str]:
        while end is not None and (origin := self._came_from[end]):
            end, label = origin
            yield label


def replaced(items: tuple[T, ...], index: int, item: T) -> tuple[T, ...]:
    """The tuple with another item in one place: states are never changed, only made anew."""
    return (*items[:index], item, *items[index + 1 :])
