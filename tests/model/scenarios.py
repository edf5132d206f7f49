"""How wide the chain is explored: small in the suite, wide in `python -m tests.model.soak`."""

from __future__ import annotations

from typing import NamedTuple

from tests.model.chain import Chain
from tests.model.facts import Left


class Scenario(NamedTuple):
    """`images[i]` is what session i adds; `in_chain[i]`, whether the first record knows it."""

    name: str
    images: tuple[str, ...]
    in_chain: tuple[bool, ...]
    left: Left = Left()

    def within(self, **left: int) -> Scenario:
        return self._replace(left=Left(**left))

    def of(self, model: type[Chain] = Chain) -> Chain:
        return model([frozenset(images) for images in self.images], self.in_chain, self.left)

    def __str__(self) -> str:
        bounds = ", ".join(f"{value} {name}" for name, value in self.left._asdict().items() if value)
        return f"{self.name}: {bounds or 'nothing goes wrong'}"


KNOWN = Scenario("one session", ("a",), (True,))
STAGED = Scenario("one session that is only staged", ("a",), (False,))
TWO = Scenario("two sessions", ("a", "b"), (True, False))
RIVALS = Scenario("two sessions in conflict", ("a", "a"), (True, False))
THREE = Scenario("three sessions, two pairs in conflict", ("a", "ab", "b"), (True, False, True))

SMALL = (
    KNOWN.within(starts=2, deaths=2),
    STAGED.within(starts=2, bases=1),
    TWO.within(starts=1, deaths=1, doubts=1),
    TWO.within(worker_deaths=1, doubts=2, bases=1, deadlines=1),
    RIVALS.within(starts=1, deaths=1, worker_deaths=1, doubts=1),
)
WIDE = (
    KNOWN.within(starts=2, deaths=2, worker_deaths=1, doubts=1),
    TWO.within(starts=1, deaths=1, worker_deaths=1, doubts=1, bases=1, deadlines=1),
    TWO.within(starts=2, deaths=2),
    TWO.within(starts=1, deaths=1, worker_deaths=1, doubts=2),
    RIVALS.within(starts=1, deaths=1, worker_deaths=1, doubts=1, bases=1, deadlines=1),
    RIVALS.within(starts=2, deaths=2),
    RIVALS.within(starts=2, deaths=1, doubts=1),
    THREE.within(starts=1, deaths=1, doubts=1),
)
