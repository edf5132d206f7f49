"""A store that fails on demand, around any other. Its faults are what real stores were seen to do.

faulty = FaultyStore(MemoryStore())
faulty.fail("put", "cut-after", name="db/1-")      # the next PUT below db/1- applies, its answer is lost
faulty.fail("stat", "hang", call=3)                # the third question from now is not answered in time
faulty.fail("put", "refused", times=FOR_GOOD)      # until `heal`
"""

from __future__ import annotations

import heapq
import io
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO, TypeVar

from imagerepo.errors import InDoubt, ObjectNotFound, StoreError, StoreRefused, StoreUnavailable
from imagerepo.store import names
from imagerepo.store.objects import ObjectInfo, ObjectReader, ObjectStore
from imagerepo.store.reading import FileReader, clip
from imagerepo.testing.faults import APPLIES_TO, FAULTS, FOR_GOOD, OPS, Fault, Hung, Op, Orders
from imagerepo.testing.history import History

__all__ = ["APPLIES_TO", "FAULTS", "FOR_GOOD", "OPS", "Fault", "FaultyStore", "Op"]

T = TypeVar("T")

HANG_SECONDS = 1.0
PHANTOMS = (names.record(1, "f" * 16, 1 << 20), names.base("f" * 64))
"""Names that a phantom listing shows and nobody wrote."""


@dataclass(frozen=True)
class _Copy:
    info: ObjectInfo
    content: bytes


class FaultyStore:
    """Eight methods of a store, each failing as ordered with `fail`; `calls` are those it saw, in order.

    A fault stands for the whole of a backend's call, its own repeats included. Every call takes
    `latency_seconds` longer; one that hangs fails after `hang_seconds`.
    """

    def __init__(self, store: ObjectStore, *, latency_seconds: float = 0.0, hang_seconds: float = HANG_SECONDS) -> None:
        self._store = store
        self.latency_seconds, self.hang_seconds = latency_seconds, hang_seconds
        self.properties = store.properties
        self._orders = Orders()
        self._hung = Hung()
        self._history: History[_Copy] = History()
        self._late: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Operation and name of every call; of `list` the prefix."""
        return self._orders.calls

    @property
    def failed(self) -> list[tuple[Op, Fault]]:
        """The operation and the fault of every call that failed as ordered."""
        return self._orders.failed

    def fail(self, op: Op, fault: Fault, *, name: str = "", call: int = 1, times: float = 1) -> None:
        """Let `op` on names that begin with `name` fail `times` times, beginning with the `call`-th from now.

        Raises ValueError where the operation can't fail so (APPLIES_TO).
        """
        self._orders.add(op, fault, name=name, call=call, times=times)

    def heal(self) -> None:
        """Forget all orders. What hangs fails now; what is late stays so."""
        self._orders.clear()
        self._hung.release()

    def deliver(self) -> None:
        """Apply what is late, in the order in which it was sent."""
        with self._lock:
            late, self._late = self._late, []
        for apply in late:
            with suppress(StoreError):  # nobody hears the answer
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
            info = self._store.put(
                name, io.BytesIO(content), media_type=media_type, md5=md5, expires_after=expires_after
            )
            self._history.wrote(name, _Copy(info, content))
            return info

        return self._write("put", name, apply)

    def get(self, name: str, *, newest: bool = False, byte_range: tuple[int, int] | None = None) -> ObjectReader:
        fault = self._read("get", name)
        if fault == "stale" and (older := self._older("get", name)):
            begin, length = clip(older.info, byte_range)
            return FileReader(older.info, io.BytesIO(older.content[begin : begin + length]), length)
        reader = self._store.get(name, newest=newest, byte_range=byte_range)
        return _truncated(reader) if fault == "truncated" else reader

    def stat(self, name: str, *, newest: bool = False) -> ObjectInfo:
        if self._read("stat", name) == "stale" and (older := self._older("stat", name)):
            return older.info
        return self._store.stat(name, newest=newest)

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            self._write("delete", name, lambda name=name: self._delete(name))  # type: ignore[misc]

    def list(self, prefix: str, *, after: str = "", foreign: bool = False) -> Iterator[ObjectInfo]:
        fault = self._read("list", prefix)
        listing = self._store.list(prefix, after=after, foreign=foreign)
        if fault == "lagging":
            unseen = self._history.lately()
            return (info for info in listing if info.name not in unseen)
        return self._with_phantoms(listing, prefix, after) if fault == "phantom" else listing

    def create_exclusive(self, name: str) -> bool:
        return self._write("create_exclusive", name, lambda: self._store.create_exclusive(name))

    def signed_url(self, name: str, *, seconds: float) -> str | None:
        return self._store.signed_url(name, seconds=seconds)

    def close(self) -> None:
        self._hung.release()
        self._store.close()

    def _delete(self, name: str) -> None:
        self._store.delete([name])
        self._history.deleted(name)

    def _older(self, op: Op, name: str) -> _Copy | None:
        """The older copy of `name`; None where the name is absent. Of a name written once there is none: 503."""
        older = self._history.older(name)
        if older is None:
            with suppress(ObjectNotFound):
                self._store.stat(name)
                raise _unavailable(op, name)
        return older

    def _with_phantoms(self, listing: Iterator[ObjectInfo], prefix: str, after: str) -> Iterator[ObjectInfo]:
        never = [ObjectInfo(name, 1, datetime.now(UTC)) for name in PHANTOMS]
        shown = [copy.info for copy in self._history.gone().values()] + never
        phantoms = sorted(
            (info for info in shown if info.name.startswith(prefix) and info.name > after), key=lambda info: info.name
        )
        return heapq.merge(listing, phantoms, key=lambda info: info.name)

    def _read(self, op: Op, name: str) -> Fault | None:
        fault = self._next(op, name)
        _refuse(fault, op, name)
        if fault == "absent":
            raise ObjectNotFound(f"{op} {name}: 404", op=op, name=name)
        if fault in ("cut-before", "hang"):
            raise StoreUnavailable(f"{op} {name}: the answer was lost", op=op, name=name)
        return fault

    def _write(self, op: Op, name: str, apply: Callable[[], T]) -> T:
        fault = self._next(op, name)
        if fault is None:
            return apply()
        _refuse(fault, op, name)
        if fault == "cut-after":
            apply()
        elif fault in ("late", "hang"):
            with self._lock:
                self._late.append(apply)
        elif fault == "accepted" and op == "create_exclusive":
            apply()
            return False  # type: ignore[return-value]
        raise InDoubt(f"{op} {name}: the answer was lost", op=op, name=name)

    def _next(self, op: Op, name: str) -> Fault | None:
        time.sleep(self.latency_seconds)
        fault = self._orders.next(op, name)
        if fault == "hang":
            self._hung.wait(self.hang_seconds)
        return fault


def _refuse(fault: Fault | None, op: Op, name: str) -> None:
    if fault == "unavailable":
        raise _unavailable(op, name)
    if fault == "refused":
        raise StoreRefused(f"{op} {name}: 403, not allowed", op=op, name=name)


def _unavailable(op: Op, name: str) -> StoreUnavailable:
    return StoreUnavailable(f"{op} {name}: 503, try later", op=op, name=name)


def _truncated(reader: ObjectReader) -> ObjectReader:
    """A reader of the first half of what `reader` has, which announces the whole."""
    with reader:
        content = reader.read()
    return FileReader(reader.info, io.BytesIO(content[: len(content) // 2]), len(content))
