"""Fixity: every base is read and its digest compared with its name, again and again, spread evenly over days.

Idents are digests, so they are spread evenly too: when a share of a round's time is over, the images in that share of
all possible idents are due. So each is read at its own moment of every round, however many are added meanwhile.

How far it has come is an object in the store, `reports/fixity`, and a copy of it on this disk which every process
reads. The database is not written. No truth rests on the object: with an older copy, some are read twice.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, takewhile
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError

from imagerepo.durability.records import Frozen
from imagerepo.durability.state import Disk
from imagerepo.errors import ObjectNotFound, StoreError
from imagerepo.files import write_durably
from imagerepo.reconcile import rows
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.store.reading import hash_object
from imagerepo.testing.failpoints import step

AT_ONCE = 20
"""Bases read by one look, at most."""
SAVE_SECONDS = 60.0
"""How often the state goes into the store; so much of a round is done again after a death."""
AGAIN_SECONDS = 600.0
"""How soon it is noticed that a damaged base was mended: until then it is not delivered."""
IDENTS = 1 << 256
"""How many idents there can be."""

Now: TypeAlias = Callable[[], datetime]
log = logging.getLogger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Damage(Frozen):
    """A base that is not what its name says, or not there."""

    kind: Literal["corrupt", "missing"]
    found_at: datetime
    detail: str


class Round(Frozen):
    """One walk over all images, in the order of their idents, up to `after`. `images` there were when it began."""

    began_at: datetime
    images: int
    after: str = ""
    checked: int = 0
    bytes: int = 0
    ended_at: datetime | None = None


class Report(Frozen):
    """The round under way, the last whole one, and every base known to be damaged, by ident."""

    round: Round | None = None
    last: Round | None = None
    damaged: dict[str, Damage] = {}


class Fixity:
    """Checks bases at the pace that `days` asks for. One process of a data folder at a time has one.

    A look takes up to AT_ONCE bases that are due; a process that was away catches up look by look.
    """

    def __init__(self, store: ObjectStore, disk: Disk, *, days: float, now: Now = _utc_now) -> None:
        self._store, self._disk, self._now = store, disk, now
        self._length = timedelta(days=days)
        self._report = _stored(store) or known(disk)
        self._saved = self._looked_again = now()
        write_durably(disk.fixity, _encoded(self._report))

    @property
    def report(self) -> Report:
        return self._report

    def look(self) -> int:
        """Check what is due now; how many that were. Raises StoreError: the same ones are due again."""
        if self._report.damaged and self._now() - self._looked_again > timedelta(seconds=AGAIN_SECONDS):
            self._look_again()
        current = self._report.round or self._begin()
        share = (self._now() - current.began_at) / self._length
        batch = list(islice(_due(current, share), AT_ONCE))
        for row in batch:
            self._check(row)
        if share >= 1 and len(batch) < AT_ONCE:
            self._end()
        elif batch and self._now() - self._saved > timedelta(seconds=SAVE_SECONDS):
            self._save()
        return len(batch)

    def _look_again(self) -> None:
        """Ask after what is damaged: somebody may have put it back, or purged it."""
        self._looked_again = self._now()
        for ident in list(self._report.damaged):
            self._judge(ident)

    def _begin(self) -> Round:
        begun = Round(began_at=self._now(), images=rows.how_many())
        self._report = self._report.model_copy(update={"round": begun})
        self._save()
        return begun

    def _check(self, row: rows.Row) -> None:
        read = self._judge(row.ident)
        current = self._report.round
        assert current is not None  # noqa: S101  # `look` has begun one
        further = {"after": row.ident, "checked": current.checked + 1, "bytes": current.bytes + read}
        self._report = self._report.model_copy(update={"round": current.model_copy(update=further)})

    def _judge(self, ident: str) -> int:
        """Read one base, and note where what is known of it has changed; how many bytes were read."""
        before = self._report.damaged.get(ident)
        damage, read = self._damage(ident)
        if (damage and damage.kind) != (before and before.kind):
            self._note(ident, damage)
        return read

    def _damage(self, ident: str) -> tuple[Damage | None, int]:
        name = names.base(ident)
        with step("fixity.check"):
            try:
                digest, read = hash_object(self._store, name, newest=True)
            except ObjectNotFound:
                if not rows.referred_to([ident]):
                    return None, 0  # purged this moment
                return Damage(kind="missing", found_at=self._now(), detail=f"{name} is not in the store"), 0
        if digest == ident:
            return None, read
        detail = f"{name} has {read} bytes with the SHA-256 {digest}"
        return Damage(kind="corrupt", found_at=self._now(), detail=detail), read

    def _note(self, ident: str, damage: Damage | None) -> None:
        damaged = {key: value for key, value in self._report.damaged.items() if key != ident}
        if damage is None:
            log.info("image %s is whole again", ident)
        else:
            log.error("image %s is damaged: %s", ident, damage.detail)
            damaged[ident] = damage
        self._report = self._report.model_copy(update={"damaged": damaged})
        self._save()

    def _end(self) -> None:
        current = self._report.round
        assert current is not None  # noqa: S101
        kept = {ident: self._report.damaged[ident] for ident in rows.referred_to(list(self._report.damaged))}
        ended = current.model_copy(update={"ended_at": self._now()})
        self._report = Report(round=None, last=ended, damaged=kept)
        self._save()

    def _save(self) -> None:
        content = _encoded(self._report)
        write_durably(self._disk.fixity, content)
        with step("fixity.save"):
            self._store.put(names.FIXITY, io.BytesIO(content), media_type="application/json")
        self._saved = self._now()


def known(disk: Disk) -> Report:
    """What is known on this data folder, to any process."""
    try:
        return Report.model_validate_json(disk.fixity.read_bytes())
    except (FileNotFoundError, ValidationError):
        return Report()


def damage_of(disk: Disk, ident: str) -> Damage | None:
    """What is known to be wrong with a base. Quick: the file is read anew only when it has changed."""
    try:
        changed = disk.fixity.stat()
    except FileNotFoundError:
        return None
    return _damaged(disk, changed.st_mtime_ns, changed.st_ino).get(ident)


@lru_cache(maxsize=4)
def _damaged(disk: Disk, changed: int, inode: int) -> dict[str, Damage]:
    return known(disk).damaged


def lag(report: Report, *, days: float, now: datetime) -> timedelta:
    """For how long the base that comes next has been due, as far as the report knows."""
    current = report.round
    if current is None:
        return timedelta(0)
    row = next(rows.rows(current.after, chunk=1), None)
    place = int(row.ident, 16) / IDENTS if row else 1.0
    return max(timedelta(0), now - current.began_at - place * timedelta(days=days))


def summary(report: Report, days: float) -> dict[str, Any]:
    """For people: how far it is, when the last round ended, what is damaged."""
    damaged = [
        {"ident": ident, "kind": damage.kind, "found_at": damage.found_at, "detail": damage.detail}
        for ident, damage in sorted(report.damaged.items())
    ]
    return {
        "days": days,
        "round": _told(report.round),
        "last": _told(report.last),
        "damaged": damaged,
    }


def _due(current: Round, share: float) -> Iterator[rows.Row]:
    """What the round has not come to, and should have when so large a share of its time is over."""
    waiting = rows.rows(current.after, chunk=AT_ONCE)
    return takewhile(lambda row: int(row.ident, 16) <= share * IDENTS, waiting)


def _told(current: Round | None) -> dict[str, Any] | None:
    return current.model_dump(exclude={"after"}) if current else None


def _stored(store: ObjectStore) -> Report | None:
    try:
        with store.get(names.FIXITY, newest=True) as reader:
            return Report.model_validate_json(reader.read())
    except (StoreError, ValidationError):
        return None


def _encoded(report: Report) -> bytes:
    return report.model_dump_json(indent=1).encode()
