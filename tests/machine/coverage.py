"""What a run of the machine has reached: rules, faults of the store, deaths and rests at failpoints."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from imagerepo.testing.faults import Fault, Op
from tests import steps


class Coverage:
    """Counts over all stories of this process. Failpoints are known once some process has passed them."""

    def __init__(self) -> None:
        self.rules: Counter[str] = Counter()
        self.faults: Counter[tuple[Op, Fault]] = Counter()
        self.ended: Counter[str] = Counter()
        """Deaths and rests by failpoint."""
        self.facts: Counter[str] = Counter()
        self._drawn: Counter[str] = Counter()
        self._known: defaultdict[str, set[str]] = defaultdict(set)

    def passed(self, role: str, names: set[str]) -> None:
        self._known[role] |= names

    def failpoint(self, role: str, number: int, *, within: str = "") -> str:
        """One that a process of this role passes, in a step that has `within` in its name; "" while none is known.

        Of those that were given least often.
        """
        known = sorted(name for name in self._known[role] if within in name)
        least = min((self._drawn[name] for name in known), default=0)
        few = [name for name in known if self._drawn[name] == least]
        chosen = few[number % len(few)] if few else ""
        self._drawn[chosen] += 1
        return chosen

    def unreached(self, rules: set[str], faults: set[tuple[Op, Fault]], wanted: set[str]) -> Iterator[str]:
        """What a long run should have reached and did not; `wanted` are steps."""
        yield from (f"rule {name}" for name in sorted(rules - self.rules.keys()))
        yield from (f"fault {op} {fault}" for op, fault in sorted(faults - self.faults.keys()))
        yield from (f"step {name}" for name in sorted(wanted - self.steps()))
        yield from (f"failpoint {name}" for _, name in self.unmet())

    def steps(self) -> set[str]:
        """Those that some process has passed a failpoint of."""
        return {step for names in self._known.values() for name in names for step in steps.of(name)}

    def unmet(self) -> list[tuple[str, str]]:
        """Role and name of each failpoint that was passed, and where nobody died or rested."""
        every = {name: role for role, names in self._known.items() for name in names}
        return sorted((role, name) for name, role in every.items() if not self.ended[name])

    def report(self) -> Iterator[str]:
        known = set[str]().union(*self._known.values())
        yield _line("rules", self.rules)
        yield _line("what came of it", self.facts)
        yield _line("faults of the store", Counter({f"{op} {fault}": n for (op, fault), n in self.faults.items()}))
        yield f"failpoints: {len(known)} passed, {len(self.ended)} died or rested at, {self.ended.total()} times"


def _line(title: str, counted: Counter[str]) -> str:
    return f"{title}: " + ", ".join(f"{name} {count}" for name, count in sorted(counted.items()))
