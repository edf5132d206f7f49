"""What stores were seen to do wrong, and when they shall do it: for `FaultyStore` and the proxy before a real Swift."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

Op: TypeAlias = Literal["put", "get", "stat", "delete", "list", "create_exclusive"]
Fault: TypeAlias = Literal[
    "cut-before", "cut-after", "late", "accepted", "absent", "stale",
    "lagging", "phantom", "truncated", "unavailable", "refused", "hang",
]  # fmt: skip
"""
cut-before   nothing applies, the answer is lost
cut-after    it applies, the answer is lost
late         the answer is lost, and it applies when it is delivered
accepted     202. An object is not written (Swift: something newer stands there), which is no success;
             an epoch is taken, and nobody's
absent       404, though it is there
stale        the copy of before it was overwritten or deleted, to whoever asks, for the newest too. A name
             written once has no older copy: 503
lagging      a listing without what was written last
phantom      a listing with what was deleted, and with what never was
truncated    200, and a body that ends early
unavailable  503: try later
refused      403
hang         no answer until it is released or the time limit; a write may yet be delivered
"""

OPS: Final[tuple[Op, ...]] = get_args(Op)
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)
FOR_GOOD: Final = math.inf
"""As `times`: from then on, until healed."""

_READS: Final[tuple[Op, ...]] = ("get", "stat")
_WRITES: Final[tuple[Op, ...]] = ("put", "delete", "create_exclusive")
APPLIES_TO: Final[Mapping[Fault, tuple[Op, ...]]] = {
    "cut-before": OPS,
    "cut-after": _WRITES,
    "late": _WRITES,
    "accepted": ("put", "create_exclusive"),
    "absent": _READS,
    "stale": _READS,
    "lagging": ("list",),
    "phantom": ("list",),
    "truncated": ("get",),
    "unavailable": OPS,
    "refused": OPS,
    "hang": OPS,
}
"""The operations that can fail so."""


@dataclass
class _Order:
    op: Op
    fault: Fault
    name: str
    calls_before: int
    times: float


class Orders:
    """Faults that are due at the n-th call of an operation on certain names, and the calls seen so far.

    `failed` are the faults that calls were given, each with the operation.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.failed: list[tuple[Op, Fault]] = []
        self._orders: list[_Order] = []
        self._lock = threading.Lock()

    def add(self, op: Op, fault: Fault, *, name: str, call: int, times: float) -> None:
        """From the `call`-th call of `op` on names that begin with `name`, counted from now, fail `times` times.

        Of several that are due at one call the oldest is carried out, and the others at the calls after it.
        """
        if op not in APPLIES_TO[fault]:
            raise ValueError(f"{op} can't fail so: {fault}")
        with self._lock:
            self._orders.append(_Order(op, fault, name, call - 1, times))

    def clear(self) -> None:
        with self._lock:
            self._orders.clear()

    def next(self, op: Op, name: str) -> Fault | None:
        """Note a call, and give the fault that it is due."""
        due: Fault | None = None
        with self._lock:
            self.calls.append((op, name))
            for order in self._orders:
                if order.op != op or not name.startswith(order.name):
                    continue
                if order.calls_before:
                    order.calls_before -= 1
                elif due is None and order.times:
                    order.times -= 1
                    due = order.fault
                    self.failed.append((op, due))
        return due


class Hung:
    """Where calls hang until they are released."""

    def __init__(self) -> None:
        self._released = threading.Event()

    def wait(self, seconds: float) -> None:
        self._released.wait(seconds)

    def release(self) -> None:
        """Let go everybody who hangs now; who comes later hangs again."""
        released, self._released = self._released, threading.Event()
        released.set()
