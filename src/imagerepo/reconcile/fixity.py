"""Fixity: every base is read and its digest compared with its name, again and again, spread evenly over days.

Idents are digests, so they are spread evenly too: when a share of a round's time is over, the images in that share of
all possible idents are due. So each is read at its own moment of every round, however many are added meanwhile.

How far it has come is an object in the store, `reports/fixity`, and a copy of it on this disk which every process
reads. The database is not written. No truth rests on the object: with an older copy, some are read twice.
"""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Any, TypeAlias

from imagerepo.durability import damage
from imagerepo.durability.damage import Damage, Report, Round
from imagerepo.durability.settle import Patience
from imagerepo.durability.state import Disk
from imagerepo.errors import ObjectNotFound
from imagerepo.reconcile import rows
from imagerepo.reconcile.asking import QUESTIONS, Failing, ask
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.store.reading import hash_object
from imagerepo.testing.failpoints import step
from imagerepo.wording import counted

AT_ONCE = 20
"""Bases read by one look, at most."""
SAVE_SECONDS = 60.0
"""How often the state goes into the store; so much of a round is done again after a death."""
AGAIN_SECONDS = 600.0
"""How soon it is noticed that a damaged base was mended: until then it is not delivered."""
AGAIN_AT_ONCE = 100
"""Damaged bases asked after by one look, at most: of thousands the rest waits for the next, and checking goes on."""
NOTE_SECONDS = 1.0
"""How long what was found may wait to be noted: with thousands of damaged bases that takes a tenth of it."""

log = logging.getLogger(__name__)

_ONCE = Patience(most_questions=1)

Now: TypeAlias = Callable[[], datetime]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Fixity:
    """Checks bases at the pace that `days` asks for. One process of a data folder at a time has one.

    Making one raises StoreError where the store can't be asked for its report: that must not be overwritten, unless it
    alone can't be read.
    A look takes up to AT_ONCE bases that are due; a process that was away catches up look by look. When `stop` is set
    it ends, with Stopped.
    """

    def __init__(
        self,
        store: ObjectStore,
        disk: Disk,
        *,
        days: float,
        now: Now = _utc_now,
        stop: threading.Event | None = None,
    ) -> None:
        self._store, self._disk, self._now = store, disk, now
        self._patience = Patience(stop=stop, most_questions=QUESTIONS)
        self._length = timedelta(days=days)
        begun = self._learn()
        self._round, self._last, self._told = begun.round, begun.last, begun.damaged
        self._saved = now()
        self._looked_again = self._saved - timedelta(seconds=2 * AGAIN_SECONDS)
        self._to_ask_after: list[str] = []

    def _learn(self) -> Report:
        found = ask(self._store, names.FIXITY, lambda: damage.learn(self._disk, self._store), self._patience)
        if isinstance(found, Failing):
            log.error("%s can't be read, and is begun anew from what this disk knows: %s", names.FIXITY, found.why)
            return damage.known(self._disk)
        return found

    @property
    def report(self) -> Report:
        return damage.known(self._disk).model_copy(update={"round": self._round, "last": self._last})

    def look(self) -> int:
        """Check what is due now; how many that were. Raises StoreError: the same ones are due again."""
        self._look_again()
        checked = self._check_what_is_due() if self._length else 0
        if self._damaged != self._told or (checked and self._now() - self._saved > timedelta(seconds=SAVE_SECONDS)):
            self._save()
        return checked

    @property
    def _damaged(self) -> dict[str, Damage]:
        return damage.known(self._disk).damaged

    def _look_again(self) -> None:
        """Ask after what is damaged, a part of it: somebody may have put it back, or purged it."""
        if not self._to_ask_after and self._now() - self._looked_again > timedelta(seconds=AGAIN_SECONDS):
            self._looked_again = self._now()
            self._to_ask_after = sorted(self._damaged)
        part, self._to_ask_after = self._to_ask_after[:AGAIN_AT_ONCE], self._to_ask_after[AGAIN_AT_ONCE:]
        judge(self._store, self._disk, part, now=self._now)

    def _check_what_is_due(self) -> int:
        current = self._round or self._begin()
        share = (self._now() - current.began_at) / self._length
        batch = list(islice(_due(current, share), AT_ONCE))
        with closing(_Notes(self._disk)) as notes:
            for row in batch:
                found, read = _look_at(self._store, row.ident, self._patience, self._now)
                notes.add(row.ident, found)
                current = self._round = _further(current, row.ident, read)
        if share >= 1 and len(batch) < AT_ONCE:
            self._end(current)
        return len(batch)

    def _begin(self) -> Round:
        begun = self._round = Round(began_at=self._now(), images=rows.how_many())
        self._save()
        return begun

    def _end(self, current: Round) -> None:
        self._round, self._last = None, current.model_copy(update={"ended_at": self._now()})
        damage.note(self._disk, dict.fromkeys(self._damaged.keys() - rows.referred_to(self._damaged)))
        self._save()

    def _save(self) -> None:
        if self._round:
            self._round = self._round.model_copy(update={"images": rows.how_many()})
        mine = {"saved_at": self._now(), "round": self._round, "last": self._last}
        saved = damage.change(self._disk, lambda report: report.model_copy(update=mine))
        with step("fixity.save"):
            self._store.put(names.FIXITY, io.BytesIO(saved.encoded), media_type="application/json")
        self._saved, self._told = self._now(), saved.damaged


def judge(store: ObjectStore, disk: Disk, idents: Iterable[str], *, now: Now = _utc_now) -> None:
    """Read bases, and note what is known of them now.

    Raises StoreError where the store fails, and not a base alone.
    """
    with closing(_Notes(disk)) as notes:
        for ident in idents:
            notes.add(ident, _look_at(store, ident, _ONCE, now)[0])


class _Notes:
    """Notes what is found of bases, several at once. None waits for long: somebody may mend it meanwhile."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._found: dict[str, Damage | None] = {}
        self._noted_at = time.monotonic()

    def add(self, ident: str, found: Damage | None) -> None:
        self._found[ident] = found
        if time.monotonic() - self._noted_at > NOTE_SECONDS:
            self.close()

    def close(self) -> None:
        damage.note(self._disk, self._found)
        self._found, self._noted_at = {}, time.monotonic()


def _look_at(store: ObjectStore, ident: str, patience: Patience, now: Now) -> tuple[Damage | None, int]:
    name = names.base(ident)
    with step("fixity.check"):
        try:
            answer = ask(store, name, lambda: hash_object(store, name, newest=True), patience)
        except ObjectNotFound:
            if not rows.merged([ident]):
                return None, 0  # purged this moment, and perhaps staged again
            return Damage(kind="missing", found_at=now(), detail=f"{name} is not in the store"), 0
    if isinstance(answer, Failing):
        return Damage(kind="unreadable", found_at=now(), detail=f"other objects can be read: {answer.why}"), 0
    digest, read = answer
    if digest == ident:
        return None, read
    detail = f"{name} has {counted(read, 'byte')} with the SHA-256 {digest}"
    return Damage(kind="corrupt", found_at=now(), detail=detail), read


def lag(report: Report, *, days: float, now: datetime) -> timedelta:
    """For how long the base that comes next has been due, as far as the report knows."""
    current = report.round
    if current is None:
        return timedelta(0)
    row = next(rows.rows(current.after, chunk=1), None)
    place = int(row.ident, 16) / rows.IDENTS if row else 1.0
    return max(timedelta(0), now - current.began_at - place * timedelta(days=days))


def damaged(report: Report) -> dict[str, Damage]:
    """What is damaged of the images that some revision shows, sorted by ident.

    What is known of others is kept: of a purged image the base stays for a moment, and must not be trusted as long.
    """
    shown = rows.merged(report.damaged)
    return {ident: found for ident, found in sorted(report.damaged.items()) if ident in shown}


def summary(report: Report, days: float) -> dict[str, Any]:
    """For people: how far it is, when the last round ended, what is damaged."""
    told = [
        {"ident": ident, "kind": found.kind, "found_at": found.found_at, "detail": found.detail}
        for ident, found in damaged(report).items()
    ]
    return {
        "days": days,
        "round": _told(report.round),
        "last": _told(report.last),
        "damaged": told,
    }


def _due(current: Round, share: float) -> Iterator[rows.Row]:
    """What the round has not come to, and should have when so large a share of its time is over."""
    waiting = rows.rows(current.after, chunk=AT_ONCE)
    return takewhile(lambda row: int(row.ident, 16) <= share * rows.IDENTS, waiting)


def _told(current: Round | None) -> dict[str, Any] | None:
    return current.model_dump(exclude={"after"}) if current else None


def _further(current: Round, ident: str, read: int) -> Round:
    return current.model_copy(update={"after": ident, "checked": current.checked + 1, "bytes": current.bytes + read})
