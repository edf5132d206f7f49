"""A store that fails on demand, around any other. Its faults are what real stores were seen to do.

faulty = FaultyStore(MemoryStore())
faulty.fail("put", "cut-after", name="db/1-")   # the next PUT below db/1- applies, its answer is lost
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal, TypeAlias, TypeVar

from imagerepo.errors import InDoubt, StoreRefused, StoreUnavailable
from imagerepo.store.objects import ObjectInfo, ObjectReader, ObjectStore

T = TypeVar("T")
Fault: TypeAlias = Literal["cut-before", "cut-after", "late", "unavailable", "refused"]
"""cut-before: nothing applies, the answer is lost · cut-after: it applies, the answer is lost · late: the
answer is lost and it applies at `deliver` · unavailable: 503 · refused: 403."""


@dataclass
class _Order:
    op: str
    fault: Fault
    name: str
    times: int


class FaultyStore:
    """Eight methods of a store, each failing as ordered with `fail`; `calls` are those it saw, in order.

    Every call takes `latency_seconds` longer.
    """

    def __init__(self, store: ObjectStore, *, latency_seconds: float = 0.0) -> None:
        self._store = store
        self.latency_seconds = latency_seconds
        self.properties = store.properties
        self.calls: list[tuple[str, str]] = []
        self._orders: list[_Order] = []
        self._late: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    def fail(self, op: str, fault: Fault, *, name: str = "", times: int = 1) -> None:
        """Let the next `times` calls of `op` on names that begin with `name` fail."""
        with self._lock:
            self._orders.append(_Order(op, fault, name, times))

    def heal(self) -> None:
        """Forget all orders."""
        with self._lock:
            self._orders.clear()

    def deliver(self) -> None:
        """Apply what is late, in the order in which it was sent."""
        late, self._late = self._late, []
        for apply in late:
            apply()

    def put(
        self,
        name: str,
        body: BinaryIO,
        *,
        media_type: str,
        md5: str | None = None,
        expires_after: float | None = None,
    ) -> ObjectInfo:
        content = body.read()

        def apply() -> ObjectInfo:
            return self._store.put(
                name, io.BytesIO(content), media_type=media_type, md5=md5, expires_after=expires_after
            )

        return self._write("put", name, apply)

    def get(self, name: str, *, newest: bool = False, byte_range: tuple[int, int] | None = None) -> ObjectReader:
        self._read("get", name)
        return self._store.get(name, newest=newest, byte_range=byte_range)

    def stat(self, name: str, *, newest: bool = False) -> ObjectInfo:
        self._read("stat", name)
        return self._store.stat(name, newest=newest)

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            self._write("delete", name, lambda name=name: self._store.delete([name]))  # type: ignore[misc]

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        self._read("list", prefix)
        return self._store.list(prefix, after=after)

    def create_exclusive(self, name: str) -> bool:
        return self._write("create_exclusive", name, lambda: self._store.create_exclusive(name))

    def signed_url(self, name: str, *, seconds: float) -> str | None:
        return self._store.signed_url(name, seconds=seconds)

    def close(self) -> None:
        self._store.close()

    def _read(self, op: str, name: str) -> None:
        if fault := self._next(op, name):
            raise _definite(fault, op, name) or StoreUnavailable(f"{op} {name}: the answer was lost", op=op, name=name)

    def _write(self, op: str, name: str, apply: Callable[[], T]) -> T:
        fault = self._next(op, name)
        if fault is None:
            return apply()
        if error := _definite(fault, op, name):
            raise error
        if fault == "cut-after":
            apply()
        elif fault == "late":
            self._late.append(apply)
        raise InDoubt(f"{op} {name}: the answer was lost", op=op, name=name)

    def _next(self, op: str, name: str) -> Fault | None:
        time.sleep(self.latency_seconds)
        with self._lock:
            self.calls.append((op, name))
            for order in self._orders:
                if order.op == op and name.startswith(order.name) and order.times:
                    order.times -= 1
                    return order.fault
        return None


def _definite(fault: Fault, op: str, name: str) -> Exception | None:
    if fault == "unavailable":
        return StoreUnavailable(f"{op} {name}: 503, try later", op=op, name=name)
    if fault == "refused":
        return StoreRefused(f"{op} {name}: 403, not allowed", op=op, name=name)
    return None
