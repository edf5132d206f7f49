"""What a backend that fails is asked for, what may be heard of it, and what is true."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import count

from imagerepo.errors import InDoubt, ObjectNotFound, StoreError, StoreRefused, StoreUnavailable
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.faults import APPLIES_TO, FAULTS, FOR_GOOD, Fault, Op
from imagerepo.testing.faulty import PHANTOMS
from tests.contracts.failing import Failing

NAME, ONCE, GONE = (names.base(digit * 64) for digit in "abc")
OLD, NOW, NEW = b"what it held before" * 1000, b"what it holds", b"what is written to it"
WRITES = ("put", "delete", "create_exclusive")


def put(store: ObjectStore, name: str, content: bytes) -> None:
    store.put(name, io.BytesIO(content), media_type="image/png")


def read(store: ObjectStore, name: str) -> bytes:
    with store.get(name, newest=True) as reader:
        return reader.read()


class Scene:
    """An object that was overwritten, one written once, one that was deleted; and an epoch that is free."""

    def __init__(self, failing: Failing) -> None:
        self.kind, self.store, self.behind, self.faults = failing.kind, failing.store, failing.behind, failing.faults
        self._leftovers = failing.leftovers
        self._epochs = map(names.epoch, count(1))
        put(self.store, ONCE, NOW)
        put(self.store, GONE, OLD)
        self.store.delete([GONE])

    def courses(self, op: Op) -> Iterator[Fault]:
        """Each fault of `op` in turn that is heard at once, with everything as it was at first."""
        for fault in FAULTS:
            if op in APPLIES_TO[fault] and fault != "hang":
                self.renew()
                yield fault

    def renew(self) -> None:
        put(self.store, NAME, OLD)
        put(self.store, NAME, NOW)
        self.epoch = next(self._epochs)

    def call(self, op: Op, store: ObjectStore) -> object:
        calls: dict[Op, Callable[[], object]] = {
            "put": lambda: put(store, NAME, NEW),
            "get": lambda: read(store, NAME),
            "stat": lambda: store.stat(NAME, newest=True).size,
            "delete": lambda: store.delete([NAME]),
            "list": lambda: {info.name for info in store.list("images/")},
            "create_exclusive": lambda: store.create_exclusive(self.epoch),
        }
        return calls[op]()

    def heard(self, op: Op) -> object:
        """What the call gives, or the kind of its error. Errors that are not the seam's are raised."""
        try:
            return self.call(op, self.store)
        except StoreError as error:
            assert error.op == op
            return type(error)

    def assert_true(self, op: Op, fault: Fault, answer: object) -> None:
        """A definite answer is so, and stays so when what is late has arrived; a listing may err as listings do."""
        if op in WRITES:
            assert self._state(op) in possible(op, answer), fault
            self.faults.deliver()
            assert self._state(op) in possible(op, answer), fault
        else:
            assert answer in (self.call(op, self.behind), expected(self.kind, op, fault)), fault

    def fail_and_heal(self, op: Op, fault: Fault) -> None:
        """Let the fault stay: it is told for what it is. Heal it: nothing is taken back."""
        self.faults.fail(op, fault, times=FOR_GOOD)
        answer = self.heard(op)
        assert answer == expected(self.kind, op, fault), fault
        self.assert_true(op, fault, answer)
        self.faults.heal()
        if op == "create_exclusive":
            assert [answer, *(self.heard(op) for _ in range(2))].count(True) <= 1, fault

    def assert_sound(self, *, lags: bool = False) -> None:
        """The store does all that it promises; where its listing really lags, that may show what it likes."""
        epoch = next(self._epochs)
        assert [self.store.create_exclusive(epoch) for _ in range(2)] == [True, False]
        for name in (NAME, GONE):
            put(self.store, name, NEW)
            assert read(self.store, name) == read(self.behind, name) == NEW
        assert read(self.store, ONCE) == NOW
        assert lags or self.call("list", self.store) == {NAME, ONCE, GONE}
        self.store.delete([NAME, GONE])
        assert self._content() is None
        assert lags or self.call("list", self.store) == {ONCE}
        assert self._leftovers() == []

    def _state(self, op: Op) -> object:
        return self._is_taken() if op == "create_exclusive" else self._content()

    def _content(self) -> bytes | None:
        try:
            return read(self.behind, NAME)
        except ObjectNotFound:
            return None

    def _is_taken(self) -> bool:
        try:
            return bool(self.behind.stat(self.epoch))
        except ObjectNotFound:
            return False


def expected(kind: str, op: Op, fault: Fault) -> object:
    """What is heard of `op` under a fault that stays."""
    if fault == "refused":
        return StoreRefused
    if op in WRITES:
        if (op, fault) == ("create_exclusive", "accepted"):
            return False
        # A 503 of Swift's may come from a proxy that heard of too few servers: some may have carried it out.
        return StoreUnavailable if fault == "unavailable" and kind != "swift" else InDoubt
    answers = {
        "stale": OLD if op == "get" else len(OLD),
        "lagging": {ONCE},
        "phantom": {NAME, ONCE, GONE, PHANTOMS[1]},
        "absent": ObjectNotFound,
    }
    return answers.get(fault, StoreUnavailable)


def possible(op: Op, answer: object) -> set[object]:
    """What may be in the store after this answer to a write."""
    before, after = {"put": (NOW, NEW), "delete": (NOW, None), "create_exclusive": (False, True)}[op]
    if answer is InDoubt:
        return {before, after}
    return {before} if isinstance(answer, type) else {after}
