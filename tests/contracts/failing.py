"""Every backend behind what makes it fail, and what is really in it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from imagerepo.errors import StoreError
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.local import INCOMING, LocalStore
from imagerepo.store.memory import MemoryStore
from imagerepo.store.objects import ObjectStore
from imagerepo.store.swift import SwiftStore
from imagerepo.store.swift_auth import credentials_of
from imagerepo.testing.faults import APPLIES_TO, FAULTS, FOR_GOOD, Fault, Op
from imagerepo.testing.faulty import FaultyStore
from imagerepo.testing.faulty_swift import FaultySwift
from imagerepo.testing.swift import Swift

PREFIX = "some/prefix"
PASSING: dict[Op, tuple[Fault, ...]] = {
    "put": ("cut-before", "cut-after", "unavailable"),
    "get": ("cut-before", "unavailable"),
    "stat": ("cut-before", "unavailable"),
    "list": ("cut-before", "unavailable"),
}
"""What a backend gets over by itself, by sending again. Where a second answer would hide the first, it must not."""
CASES = [(op, fault) for fault in FAULTS for op in APPLIES_TO[fault] if fault != "hang"]


@dataclass(frozen=True)
class Failing:
    """`backend` goes through `faults`, `bare` does not; `leftovers` are files that are no objects."""

    kind: str
    backend: ObjectStore
    bare: ObjectStore
    faults: FaultyStore | FaultySwift
    leftovers: Callable[[], list[Path]] = list

    @property
    def store(self) -> ObjectStore:
        """The failing backend behind the door that production puts before it."""
        return Door(self.backend)

    @property
    def behind(self) -> ObjectStore:
        """What is really there."""
        return Door(self.bare)


@contextmanager
def failing(
    kind: str, folder: Path, container: str, swift: Callable[[], Swift], *, time_limit: float = 30.0
) -> Iterator[Failing]:
    """A new, empty backend: `memory`, `local` or `swift`. It gives a call up after `time_limit` seconds."""
    if kind == "swift":
        with failing_swift(swift(), container, time_limit=time_limit) as made:
            yield made
        return
    inner = LocalStore(folder / "store") if kind == "local" else MemoryStore()
    faulty = FaultyStore(inner, hang_seconds=min(time_limit, 0.1))
    incoming = folder / "store" / INCOMING
    yield Failing(kind, faulty, inner, faulty, lambda: list(incoming.glob("*")))
    faulty.close()


@contextmanager
def failing_swift(swift: Swift, container: str, *, time_limit: float) -> Iterator[Failing]:
    with FaultySwift(swift, container, PREFIX) as faults:
        through = SwiftStore(container, PREFIX, credentials_of(faults.environ), timeout=time_limit)
        bare = SwiftStore(container, PREFIX, credentials_of(swift.environ), timeout=30.0)
        yield Failing("swift", through, bare, faults)
        through.close()
        bare.close()


def fail_and_heal(failing: Failing, number: int) -> None:
    """Let every call fail in one way, the `number`-th in turn, then none; nothing is left in the store."""
    name, epoch = names.owner(4000), names.epoch(4000)
    calls: dict[str, Callable[[], object]] = {
        "put": lambda: failing.store.put(name, io.BytesIO(b"content"), media_type="text/plain"),
        "get": lambda: failing.store.get(name).close(),
        "stat": lambda: failing.store.stat(name),
        "delete": lambda: failing.store.delete([name]),
        "list": lambda: list(failing.store.list("")),
        "create_exclusive": lambda: failing.store.create_exclusive(epoch),
    }
    op, fault = CASES[number % len(CASES)]
    failing.faults.fail(op, fault, times=FOR_GOOD)
    for call in calls.values():
        with suppress(StoreError):
            call()
    failing.faults.heal()
    failing.faults.deliver()
    failing.store.delete([name])


def fail_again_and_again(failing: Failing, number: int) -> None:
    """Let every third request of a kind fail in a way that passes, the `number`-th in turn.

    Swift's container is made before: a PUT without an answer, and after it a 404 for want of that, is in doubt.
    """
    name = names.owner(4000)
    failing.behind.put(name, io.BytesIO(b"somebody"), media_type="text/plain")
    failing.behind.delete([name])
    for op, faults in PASSING.items():
        for call in range(3, 600, 3):
            failing.faults.fail(op, faults[(number + call // 3) % len(faults)], call=call)
