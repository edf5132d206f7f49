"""Many starts on one repository, round after round: in the end one writer can commit, and none of it is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from tests.real.starters import Outcome, Starters

STARTERS = 20
SPREADS = (0.0, 5.0, 20.0)
"""All claim before anybody reads; or some serve and commit while others claim."""


class Round(NamedTuple):
    """How many of the starts got so far as to serve, and how many commits were answered; the others were fenced."""

    started: int
    answered: int
    doubtful: int
    """Commits that heard "fenced" while starts went on: they may have been stored before that."""
    shown: int
    """Of those, how many a later start shows."""


class Race:
    """A repository and what it must hold. `run` a round as often as you like."""

    def __init__(self, starters: Starters) -> None:
        self._starters = starters
        self._live: frozenset[str] = frozenset()
        self._numbers = count()

    def run(self, spread: float) -> Round:
        """One round: all starts within `spread` seconds; when they are through, another commit of each.

        Raises AssertionError where more than one can commit, or the repository shows too much or too little.
        """
        first, second = self._idents(), self._idents()
        early = self._starters.start_together(first, spread)
        for outcome in early:
            assert _fenced_while_starting(outcome) or self._live <= outcome.seen <= self._live | set(first), outcome
        late = self._starters.commit(second)
        _one_can_commit(late)
        self._starters.end()
        answered = _told("live", first, early) | _told("live", second, late)
        # A record that was stored before a newer epoch was claimed is in the chain, whatever its writer heard.
        doubtful = _told("fenced", first, early)
        seen = self._starters.start_alone()
        assert self._live | answered <= seen <= self._live | answered | doubtful
        found = Round(sum(each.epoch > 0 for each in late), len(answered), len(doubtful), len(seen & doubtful))
        self._live = seen
        return found

    def _idents(self) -> list[str]:
        return [hashlib.sha256(str(next(self._numbers)).encode()).hexdigest() for _ in range(STARTERS)]


def _fenced_while_starting(outcome: Outcome) -> bool:
    return outcome.epoch == 0 and "another server took over this repository" in outcome.told


def _one_can_commit(outcomes: Sequence[Outcome]) -> None:
    """Once all have started: the one of the newest epoch."""
    started = [outcome for outcome in outcomes if outcome.epoch]
    newest = max(started, key=lambda outcome: outcome.epoch)
    assert newest.told == "live"
    assert {outcome.told for outcome in started if outcome is not newest} <= {"fenced"}


def _told(what: str, idents: Sequence[str], outcomes: Sequence[Outcome]) -> frozenset[str]:
    return frozenset(ident for ident, outcome in zip(idents, outcomes, strict=True) if outcome.told == what)
