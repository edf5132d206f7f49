"""The survey: the store's listing and the rows, both sorted by ident, walked side by side.

What stands on one side only is a candidate, and confirmed before it is a finding, by asking for its newest copy: of an
orphan, that no row has come meanwhile, that it is there, and its age; of a missing or damaged base, what it is. So a
listing may lag, repeat itself, go back, or show what is gone: it only makes candidates. That a base is missing of which
it still shows the right size and MD5, only reading tells. Memory holds one batch of either side, never a whole one.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TypeVar

from imagerepo.durability.settle import Patience, Stopped
from imagerepo.errors import ObjectNotFound, StoreError
from imagerepo.reconcile.asking import Failing, ask
from imagerepo.reconcile.findings import Code, Finding
from imagerepo.reconcile.found import Stored, agrees, corrupt, difference, foreign, missing, orphan, unreadable
from imagerepo.reconcile.rows import CHUNK, Row, merged, referred_to, rows, spread
from imagerepo.store import names
from imagerepo.store.objects import ObjectInfo, ObjectStore
from imagerepo.store.reading import hash_object

THREADS = 8
MOST_ASKED_FOR = 1000
"""Images of which one at least must be there: else the store is another one, or empty. They are taken from everywhere,
as a disk or a folder that is lost may have held all that lie together."""
_BEYOND = "~"
"""Sorts after whatever follows an ident in a name."""

T = TypeVar("T")
U = TypeVar("U")
Share = Callable[[], float]


@dataclass(frozen=True)
class Surveyed:
    """What was found up to the image `upto`, since the batch before; `rows` of them had a row.

    After one that is not `whole` the survey can't be gone on with: it would find the same things again, as where what
    was found includes a foreign name that is listed behind `upto`.
    """

    upto: str
    rows: int
    findings: list[Finding]
    whole: bool = True


class Survey:
    """Walks store and rows. `before`: what was written since is too young to be an orphan.

    `percent` of the bases are read and hashed (0 to 100), and those of all `suspects`. A store that does not answer
    raises StoreError as soon as `patience` ends; whoever calls goes on from the last batch. A base that can't be read
    while the store answers is a finding.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        before: datetime,
        patience: Patience,
        percent: float = 0.0,
        suspects: Collection[str] = (),
        chunk: int = CHUNK,
        chance: Share = random.random,
        stop: threading.Event | None = None,
    ) -> None:
        self._store, self._before, self._patience = store, before, patience
        self._percent, self._suspects, self._chunk, self._chance = percent, suspects, chunk, chance
        self._stop = stop or threading.Event()
        self._threads = ThreadPoolExecutor(THREADS, "survey")

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def finds_nothing(self) -> bool:
        """Whether rows have bases, and the store has none of those that were asked for: it must be another one."""
        asked = 0
        idents = spread(MOST_ASKED_FOR)
        while batch := list(islice(idents, THREADS)):
            if any(self._each(lambda ident: self._stat(names.base(ident)) is not None, batch)):
                return False
            asked += len(batch)
        return asked > 0

    def images(self, after: str = "") -> Iterator[Surveyed]:
        """Walk all images, from beyond the ident `after` on, a batch at a time."""
        batch = _Batch()
        listing = self._store.list(names.IMAGES, after=_end_of(after), foreign=True)
        upto = after
        grouped = _grouped(listing, batch.foreign, most=self._chunk)
        for stored, row in _joined(grouped, rows(after, chunk=self._chunk)):
            if stored is _REST:
                yield Surveyed(upto, 0, batch.take_foreign(), whole=False)
                continue
            upto = stored.ident if stored else row.ident if row else upto
            self._sort(batch, stored, row)
            if batch.seen == self._chunk:
                yield self._confirmed(batch, upto, batch.take_foreign(upto))
                batch.clear()
        yield self._confirmed(batch, upto, batch.take_foreign())

    def _sort(self, batch: _Batch, stored: Stored | None, row: Row | None) -> None:
        batch.seen += 1
        batch.rows += row is not None
        if row is None:
            if stored:
                batch.orphans.append(stored)
            return
        if stored is None or stored.base is None or not agrees(stored.base, row):
            batch.doubtful.append(row)
        if row.ident in self._suspects or (self._percent and self._chance() * 100 < self._percent):
            batch.to_read.append(row)

    def _confirmed(self, batch: _Batch, upto: str, foreign: list[Finding]) -> Surveyed:
        found = [*foreign, *self._orphans(batch.orphans)]
        looked_at = list(filter(None, self._each(self._look, batch.doubtful)))
        told = {finding.ident for finding in looked_at}
        # Of what the listing shows late, too, only reading shows whether it is whole.
        read = self._each(self._read, [row for row in batch.to_read if row.ident not in told])
        found += _of_images_that_are_left([*looked_at, *filter(None, read)])
        return Surveyed(upto, batch.rows, found, whole=batch.told <= _end_of(upto))

    def _orphans(self, candidates: list[Stored]) -> Iterator[Finding]:
        kept = referred_to([stored.ident for stored in candidates])
        free = (info for stored in candidates if stored.ident not in kept for info in stored.objects)
        old = [info for info in free if info.modified < self._before]
        return filter(None, self._each(self._orphan, old))

    def _orphan(self, listed: ObjectInfo) -> Finding | None:
        info = self._stat(listed.name)
        if isinstance(info, Failing):
            return orphan(listed)
        return orphan(info) if info and info.modified < self._before else None

    def _look(self, row: Row) -> Finding | None:
        info = self._stat(names.base(row.ident))
        if info is None:
            return missing(row)
        if isinstance(info, Failing):
            return unreadable(row, info.why)
        return None if agrees(info, row) else corrupt(row, difference(info, row))

    def _read(self, row: Row) -> Finding | None:
        """Hash the base; where that is not its name, once more from the newest copy."""
        name = names.base(row.ident)
        with suppress(StoreError):
            if hash_object(self._store, name)[0] == row.ident:
                return None
        try:
            found = ask(self._store, name, lambda: hash_object(self._store, name, newest=True), self._patience)
        except ObjectNotFound:
            return self._look(row)
        if isinstance(found, Failing):
            return unreadable(row, found.why)
        return None if found[0] == row.ident else corrupt(row, f"its bytes have the SHA-256 {found[0]}")

    def _stat(self, name: str) -> ObjectInfo | Failing | None:
        try:
            return ask(self._store, name, lambda: self._store.stat(name, newest=True), self._patience)
        except ObjectNotFound:
            return None

    def _each(self, what: Callable[[U], T], of: Iterable[U]) -> list[T]:
        def unless_stopped(one: U) -> T:
            if self._stop.is_set():
                raise Stopped
            return what(one)

        return list(self._threads.map(unless_stopped, of))


def strangers(store: ObjectStore) -> Iterator[Finding]:
    """Objects with foreign names outside of `images/`, but for those of another repository below this one's place."""
    for after in ("", f"{names.IMAGES}{_BEYOND}"):
        for info in store.list("", after=after, foreign=True):
            if info.name.startswith(names.IMAGES):
                if after == "":
                    break
            elif not (names.is_name(info.name) or _of_another_repository(info.name)):
                yield foreign(info)


class _Batch:
    """What was seen since the last batch, and is neither in order nor judged yet."""

    def __init__(self) -> None:
        self.foreign: dict[str, ObjectInfo] = {}
        self.told = ""
        """The last foreign name that was taken."""
        self.clear()

    def clear(self) -> None:
        self.seen = self.rows = 0
        self.orphans: list[Stored] = []
        self.doubtful: list[Row] = []
        self.to_read: list[Row] = []

    def take_foreign(self, upto: str | None = None) -> list[Finding]:
        """All, or those up to an image: the listing is read ahead of it, and would show the others again."""
        taken = sorted(name for name in self.foreign if upto is None or name <= _end_of(upto))
        self.told = max([self.told, *taken])
        return [foreign(self.foreign.pop(name)) for name in taken]


def _of_images_that_are_left(findings: list[Finding]) -> Iterator[Finding]:
    """Of an image that was purged since its row was read no base is missing."""
    left = merged([finding.ident for finding in findings if finding.code == Code.MISSING_BASE and finding.ident])
    return (finding for finding in findings if finding.code != Code.MISSING_BASE or finding.ident in left)


def _end_of(ident: str) -> str:
    """Sorts after the names of one image, and before those of the next. Of none: before all."""
    return f"{names.base(ident)}{_BEYOND}" if ident else names.IMAGES


_REST = Stored("")
"""Comes before every image, so at once: many foreign names were put aside, and want to be taken."""


def _grouped(listing: Iterable[ObjectInfo], foreign: dict[str, ObjectInfo], *, most: int) -> Iterator[Stored]:
    """The listing by image. Entries that repeat or go back are passed over, foreign ones put aside, up to `most`."""
    last, stored = "", None
    for info in listing:
        ident = names.image_of(info.name)
        if ident is None:
            foreign[info.name] = info
            if len(foreign) >= most:
                yield _REST
            continue
        if info.name <= last:
            continue
        last = info.name
        if stored is None or stored.ident != ident:
            if stored:
                yield stored
            stored = Stored(ident)
        if len(info.name) == len(names.IMAGES) + len(ident):
            stored.base = info
        else:
            stored.derivatives.append(info)
    if stored:
        yield stored


def _joined(stored: Iterator[Stored], known: Iterator[Row]) -> Iterator[tuple[Stored | None, Row | None]]:
    one, other = next(stored, None), next(known, None)
    while one or other:
        if other is None or (one and one.ident < other.ident):
            yield one, None
            one = next(stored, None)
        elif one is None or other.ident < one.ident:
            yield None, other
            other = next(known, None)
        else:
            yield one, other
            one, other = next(stored, None), next(known, None)


def _of_another_repository(name: str) -> bool:
    """Whether the name is one of the grammar below a prefix of its own."""
    first, *others = name.split("/")
    return f"{first}/" not in (names.IMAGES, names.DB) and any(
        names.is_name("/".join(others[start:])) for start in range(len(others))
    )
