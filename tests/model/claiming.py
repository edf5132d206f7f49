"""Several starts claim the next epoch of one reign, each asking the three replicas of a container one by one.

An epoch is created exclusively: 201 where it was not there, 202 where it was. An answer may be lost while the
request goes on at the replicas that it has not reached; the same number is then asked for again, and 202 is a
loss. The chain's model (chain.py) takes all this for one step.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import ClassVar, NamedTuple, TypeAlias

from tests.model.engine import replaced

REPLICAS = frozenset(range(3))
MAJORITY = 2
OLD = "W1"
"""It reigns in epoch 1 from the beginning."""


class Starter(NamedTuple):
    """`at` is what it does next, about the epoch `number`."""

    name: str
    at: str = "look"
    number: int = 2
    asked: frozenset[int] = frozenset()
    created: int = 0
    """Of the replicas asked, those that answered 201."""

    def __str__(self) -> str:
        return self.name


class Left(NamedTuple):
    starters: int = 2
    doubts: int = 1
    handoffs: int = 0
    """Replicas that can't be reached, and a hand-off answers 201 in their place."""


class Claims(NamedTuple):
    copies: tuple[frozenset[int], ...]
    """Which replicas have epoch 1, 2…"""
    owners: tuple[str, ...]
    """Of epoch 1, 2…: the writer's id, or nothing."""
    flying: frozenset[tuple[int, int]]
    """Number and replica of requests that nobody listens to any more."""
    starters: tuple[Starter, ...]
    left: Left


Transitions: TypeAlias = Iterator[tuple[str, Claims]]


class Claiming:
    after_doubt: ClassVar = "put"

    def __init__(self, left: Left) -> None:
        self._left = left
        self._most = 1 + left.starters + left.doubts + left.handoffs

    def first(self) -> Claims:
        starters = tuple(Starter(f"W{number + 2}") for number in range(self._left.starters))
        others = self._most - 1
        return Claims(
            (REPLICAS, *(frozenset[int](),) * others), (OLD, *("",) * others), frozenset(), starters, self._left
        )

    def broken(self, claims: Claims) -> str | None:
        reigns = [1, *sorted(starter.number for starter in claims.starters if starter.at == "reigns")]
        for older, newer in combinations(reigns, 2):
            if older == newer:
                return f"5: two servers reign in epoch {newer}"
            if not self.is_seen(claims, older + 1):
                return f"5: epoch {newer} reigns, and the writer of {older} looks for {older + 1}: absent"
        return None

    def is_seen(self, claims: Claims, number: int) -> bool:
        """By a writer that looks whether it is fenced: asking for the newest copy asks every replica."""
        return self._there(claims, number)

    @staticmethod
    def _there(claims: Claims, number: int) -> bool:
        return bool(claims.copies[number - 1])

    def after(self, claims: Claims) -> Transitions:
        for number, replica in claims.flying:
            landed = self._stored(claims, number, replica)
            rest = claims.flying - {(number, replica)}
            yield f"a late PUT of {number} arrives at replica {replica}", landed._replace(flying=rest)
        for starter in claims.starters:
            if starter.at != "reigns" and starter.number <= self._most:
                step = {
                    "look": self._look,
                    "put": self._put,
                    "own": self._own,
                    "write": self._write,
                    "read": self._read,
                }
                yield from step[starter.at](claims, starter)

    def _look(self, claims: Claims, starter: Starter) -> Transitions:
        number = starter.number
        if self._there(claims, number):
            yield f"{starter} start.claim: {number} is there", self._with(claims, self._next(starter))
        else:
            yield f"{starter} start.claim: {number} is absent", self._with(claims, starter._replace(at="put"))

    @staticmethod
    def _next(starter: Starter) -> Starter:
        return Starter(starter.name, "look", starter.number + 1)

    def _put(self, claims: Claims, starter: Starter) -> Transitions:
        if starter.asked == REPLICAS:
            yield from self._answered(claims, starter)
        for replica in REPLICAS - starter.asked:
            yield from self._ask(claims, starter, replica)
        if claims.left.doubts:
            yield from self._doubt(claims, starter)

    def _ask(self, claims: Claims, starter: Starter, replica: int) -> Transitions:
        put = f"{starter} start.claim {starter.number} at replica {replica}"
        new = replica not in claims.copies[starter.number - 1]
        asked = starter._replace(asked=starter.asked | {replica}, created=starter.created + new)
        stored = self._stored(claims, starter.number, replica)
        yield f"{put}: {201 if new else 202}", self._with(stored, asked)
        if claims.left.handoffs and not new:
            left = claims.left._replace(handoffs=claims.left.handoffs - 1)
            fooled = asked._replace(created=asked.created + 1)
            yield f"{put}: unreachable, a hand-off answers 201", self._with(claims._replace(left=left), fooled)

    def _answered(self, claims: Claims, starter: Starter) -> Transitions:
        if self.won(starter):
            yield f"{starter} start.claim {starter.number}: 201", self._with(claims, starter._replace(at="own"))
        else:
            yield f"{starter} start.claim {starter.number}: 202, lost", self._with(claims, self._next(starter))

    def won(self, starter: Starter) -> bool:
        return starter.created >= MAJORITY

    def _doubt(self, claims: Claims, starter: Starter) -> Transitions:
        left = claims.left._replace(doubts=claims.left.doubts - 1)
        flying = claims.flying | {(starter.number, replica) for replica in REPLICAS - starter.asked}
        again = Starter(starter.name, self.after_doubt, starter.number)
        after = claims._replace(left=left, flying=flying)
        yield f"{starter} start.claim {starter.number}: no answer", self._with(after, self.in_doubt(claims, again))

    def in_doubt(self, claims: Claims, starter: Starter) -> Starter:
        """The same number again."""
        return starter

    def _own(self, claims: Claims, starter: Starter) -> Transitions:
        owner = claims.owners[starter.number - 1]
        if owner:
            yield f"{starter} start.owner of {starter.number}: {owner}, lost", self._with(claims, self._next(starter))
        else:
            yield f"{starter} start.owner of {starter.number}: none", self._with(claims, starter._replace(at="write"))

    def _write(self, claims: Claims, starter: Starter) -> Transitions:
        owned = claims._replace(owners=replaced(claims.owners, starter.number - 1, starter.name))
        yield f"{starter} start.owner of {starter.number}: written", self._with(owned, starter._replace(at="read"))

    def _read(self, claims: Claims, starter: Starter) -> Transitions:
        owner = claims.owners[starter.number - 1]
        after = starter._replace(at="reigns") if owner == starter.name else self._next(starter)
        yield f"{starter} start.owner of {starter.number}: read back, {owner}", self._with(claims, after)

    @staticmethod
    def _stored(claims: Claims, number: int, replica: int) -> Claims:
        copies = claims.copies[number - 1] | {replica}
        return claims._replace(copies=replaced(claims.copies, number - 1, copies))

    @staticmethod
    def _with(claims: Claims, starter: Starter) -> Claims:
        starters = (starter if each.name == starter.name else each for each in claims.starters)
        return claims._replace(starters=tuple(starters))


class NextNumberAfterDoubt(Claiming):
    """After a lost answer the next number is tried."""

    def in_doubt(self, claims: Claims, starter: Starter) -> Starter:
        return starter._replace(number=starter.number + 1)


class SeenAfterDoubtIsWon(Claiming):
    """After a lost answer the number is looked for, and taken for won where it is there."""

    def in_doubt(self, claims: Claims, starter: Starter) -> Starter:
        return starter._replace(at="own") if self._there(claims, starter.number) else starter


class AcceptedIsWon(Claiming):
    """202 is taken for success, as most clients of Swift do."""

    def won(self, starter: Starter) -> bool:
        return True


class OneReplicaIsAsked(Claiming):
    """A writer looks for a newer epoch at one replica, which may be the one that lacks it."""

    def is_seen(self, claims: Claims, number: int) -> bool:
        return claims.copies[number - 1] == REPLICAS


class OldEpochsDeleted(Claiming):
    """Once a newer one reigns, older epochs are deleted."""

    def after(self, claims: Claims) -> Transitions:
        yield from super().after(claims)
        newest = max((starter.number for starter in claims.starters if starter.at == "reigns"), default=0)
        for number in range(2, newest):
            if claims.copies[number - 1]:
                copies = replaced(claims.copies, number - 1, frozenset[int]())
                yield f"epoch {number} is deleted", claims._replace(copies=copies)


SMALL = Left()
WIDE = Left(doubts=2), Left(starters=3, doubts=0)
PARTED = Left(doubts=0, handoffs=2)
"""Not promised: while the replicas can't be reached and hand-offs answer, one number has two winners."""

CLAIMING_MUTATIONS: dict[type[Claiming], Left] = {
    NextNumberAfterDoubt: SMALL,
    SeenAfterDoubtIsWon: SMALL,
    AcceptedIsWon: Left(doubts=0),
    OneReplicaIsAsked: SMALL,
    OldEpochsDeleted: SMALL,
}
"""Each with bounds that are wide enough to show it."""
