"""Images out of the store: bases as they are, derivatives found in the cache or made.

A derivative is made once however many ask for it at the same time, by processes that may be killed, from a
base whose bytes were checked against its name while they came in.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from imagerepo.config import Config
from imagerepo.errors import Busy, DamagedBase, ObjectNotFound, SpoolFull, TooCostlyToMake
from imagerepo.store import names, variants
from imagerepo.store.cache import DerivativeCache, Made, describe
from imagerepo.store.names import Variant
from imagerepo.store.objects import ObjectReader, ObjectStore
from imagerepo.store.reach import Reach
from imagerepo.store.spool import Spool, Spooled
from imagerepo.store.workers import Crashed, NoneFree, OverLimit, WorkerPool

SHARE_OF_THREADS = 0.75
"""Of the threads that answer reads, as many may wait for derivatives that are made; the others browse."""

WAITS_PER_RENDER = 3
"""A derivative waits for a free process for so many times the longest decode."""

MEMORY_FACTOR = 2
"""What may be allocated to make a derivative, as a multiple of what the base might take to decode: the
result and its encoder come on top (measured at 100 megapixels: AVIF 1.2 GiB, WebP 1.8)."""

SEARCHES = 3
"""How often a derivative that somebody else made is looked for before giving up."""

_log = logging.getLogger(__name__)


class Technical(Protocol):
    """What is known of a base: pixels, as displayed."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


class Manager:
    """Answers images of one store. One for each server process; safe for several threads."""

    def __init__(self, config: Config, store: ObjectStore) -> None:
        self._store = store
        self._folder = _own_folder(config.data_dir.absolute() / "scratch")
        self._bases = Spool(self._folder)
        self._cache = DerivativeCache(store, config.delete_settle_seconds)
        self._reach = Reach(store)
        self._flights = _Flights()
        self._room = threading.BoundedSemaphore(max(1, int(SHARE_OF_THREADS * config.reading_threads)))
        self._pool = WorkerPool(
            "render",
            config.derivative_workers,
            seconds=config.decode_seconds,
            memory_bytes=MEMORY_FACTOR * config.decode_memory_bytes,
            patience=WAITS_PER_RENDER * config.decode_seconds,
        )

    def base(self, ident: str, *, byte_range: tuple[int, int] | None = None) -> ObjectReader:
        """The base, unchecked. Raises DamagedBase if the store has none, StoreUnavailable, StoreRefused."""
        name = names.base(ident)
        try:
            return self._store.get(name, byte_range=byte_range)
        except ObjectNotFound:
            pass
        try:  # before calling it lost, every replica is asked
            return self._store.get(name, newest=True, byte_range=byte_range)
        except ObjectNotFound:
            raise DamagedBase(f"the store has lost {name}; whoever adds the image again mends it") from None

    def derivative(self, ident: str, technical: Technical, variant: Variant) -> ObjectReader:
        """The derivative, from the cache or made now.

        Raises LargerThanBase, TooCostlyToMake, DamagedBase, Busy, and StoreUnavailable when the base is
        needed and can't be had.
        """
        variants.check(variant, technical.width, technical.height)
        name = names.derivative(ident, variant)
        for _ in range(SEARCHES):
            reader = self._cache.find(name)
            if reader is None:
                with self._admitted():
                    reader = self._flights.once(name, lambda: self._make(ident, name, variant))
            if reader is not None:
                return reader
        raise Busy(f"{name} was made and not found again; try again in a while")

    def preview(self, path: Path, technical: Technical, variant: Variant) -> ObjectReader:
        """A derivative of the base in the file at `path`, which is not kept. Raises as `derivative` does."""
        variants.check(variant, technical.width, technical.height)
        with self._admitted():
            made = self._render(path, variant, name=f"preview.{variant.format}")
        reader = made.open()
        made.path.unlink()
        return reader

    def trouble(self) -> str | None:
        """Why images can't be had, or None. Answers within seconds, whatever the store does."""
        return self._reach.trouble()

    def wait_until_stored(self) -> None:
        """Return when every derivative made so far is in the store, or is given up."""
        self._cache.wait_until_stored()

    def close(self) -> None:
        """End the threads and processes, and remove the files."""
        self._pool.close()
        self._cache.close()
        self._reach.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _make(self, ident: str, name: str, variant: Variant) -> ObjectReader:
        if found := self._cache.find(name):  # made since it was looked for
            return found
        with self._fetched(ident) as base:
            made = self._render(base.path, variant, name=name)
        return self._cache.keep(made)

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if not self._room.acquire(blocking=False):
            raise Busy("too many images are being made; try again in a while")
        try:
            yield
        finally:
            self._room.release()

    @contextmanager
    def _fetched(self, ident: str) -> Iterator[Spooled]:
        """The base as a local file, its bytes checked against its name. Raises DamagedBase."""
        with self.base(ident) as reader:
            size = reader.info.size
            try:
                base = self._bases.receive(reader, limit=size, length=size)
            except SpoolFull:
                raise Busy("no room on the server's disk to make an image; try again in a while") from None
        try:
            if base.ident != ident:
                raise DamagedBase(f"the stored base {names.base(ident)} has the SHA-256 {base.ident}")
            yield base
        finally:
            base.discard()

    def _render(self, base: Path, variant: Variant, *, name: str) -> Made:
        """Have it made by a process: with libvips, and should that bring the process down, without."""
        target = self._folder / secrets.token_hex(16)
        task = {"path": str(base), "target": str(target), "variant": asdict(variant)}
        try:
            with _translating(name):
                try:
                    self._pool.run(**task, careful=False)
                except Crashed as error:
                    _log.warning("%s is made again without libvips: %s", name, error)
                    self._pool.run(**task, careful=True)
            return describe(target, name, variants.MEDIA_TYPES[variant.format])
        except BaseException:
            target.unlink(missing_ok=True)
            raise


class _Flights:
    """Lets one thread make what several ask for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[None]] = {}

    def once(self, name: str, make: Callable[[], ObjectReader]) -> ObjectReader | None:
        """The result of `make`; or None when another thread made it meanwhile. Its error is everyone's."""
        with self._lock:
            flight = self._under_way.get(name)
            leads = flight is None
            if flight is None:
                flight = self._under_way[name] = Future()
        if not leads:
            flight.result()
            return None
        try:
            made = make()
        except BaseException as error:
            self._land(name, flight, error)
            raise
        self._land(name, flight, None)
        return made

    def _land(self, name: str, flight: Future[None], error: BaseException | None) -> None:
        with self._lock:
            del self._under_way[name]
        if error is None:
            flight.set_result(None)
        else:
            flight.set_exception(error)


@contextmanager
def _translating(name: str) -> Iterator[None]:
    """Turn a worker's failures into errors for the one who asked for the image."""
    try:
        yield
    except NoneFree:
        raise Busy("too many images are being made; try again in a while") from None
    except OverLimit as error:
        raise TooCostlyToMake(f"{name} costs too much to make: {error}; ask for it smaller") from None
    except Crashed as error:
        _log.error("%s can't be made: %s", name, error)
        raise TooCostlyToMake(f"{name} can't be made: its base breaks the decoders") from None


def _own_folder(scratch: Path) -> Path:
    """A folder of this process; those of processes that died are removed."""
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in scratch.glob("derivatives-*"):
        if not _is_alive(int(left.name.split("-")[1])):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"derivatives-{os.getpid()}-", dir=scratch))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives, and is somebody else's
        return True
    return True
