"""What is known of damaged bases: a file of the data folder that every process reads, and may change.

Fixity keeps it (reconcile/fixity.py), with how far it has come, and puts a copy into the store. Whoever else sees
that a base has other bytes, or is whole again, notes it here. A damaged base is not delivered, and is taken when it is
sent again (sessions/bases.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Literal

from pydantic import ValidationError

from imagerepo.durability.locks import exclusive
from imagerepo.durability.records import Frozen
from imagerepo.durability.state import Disk
from imagerepo.errors import ObjectNotFound
from imagerepo.files import write_durably
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore

log = logging.getLogger(__name__)


class Damage(Frozen):
    """A base that is not what its name says, not there, or not to be read while other objects are."""

    kind: Literal["corrupt", "missing", "unreadable"]
    found_at: datetime
    detail: str


class Round(Frozen):
    """One walk over all images, in the order of their idents, up to `after`. `images` there were when it was saved."""

    began_at: datetime
    images: int
    after: str = ""
    checked: int = 0
    bytes: int = 0
    ended_at: datetime | None = None


class Report(Frozen):
    """The round under way, the last whole one, and every base known to be damaged, by ident, as of `saved_at`."""

    saved_at: datetime | None = None
    round: Round | None = None
    last: Round | None = None
    damaged: dict[str, Damage] = {}

    @property
    def encoded(self) -> bytes:
        return self.model_dump_json(indent=1).encode()


def known(disk: Disk) -> Report:
    """What is known on this data folder. Quick: the file is read anew only when it has changed."""
    try:
        changed = disk.fixity.stat()
    except FileNotFoundError:
        return Report()
    return _read(disk, changed.st_mtime_ns, changed.st_ino)


def of(disk: Disk, ident: str) -> Damage | None:
    """What is known to be wrong with a base."""
    return known(disk).damaged.get(ident)


def note(disk: Disk, found: Mapping[str, Damage | None]) -> None:
    """Let bases be known as damaged, or as whole: None. All at once, as the whole report is written anew."""
    before = known(disk).damaged
    news = {ident: now for ident, now in found.items() if _kind(now) != _kind(before.get(ident))}
    for ident, now in news.items():
        if now:
            log.error("image %s is damaged: %s", ident, now.detail)
        else:
            log.info("image %s is damaged no more", ident)
    if news:
        change(disk, lambda report: report.model_copy(update={"damaged": _with(report.damaged, news)}))


def change(disk: Disk, how: Callable[[Report], Report]) -> Report:
    """Change what is known, one process at a time; what it is then."""
    with exclusive(disk.fixity_lock):
        changed = how(_read_anew(disk))
        write_durably(disk.fixity, changed.encoded)
    return changed


def learn(disk: Disk, store: ObjectStore) -> Report:
    """Put together what the store's report and this disk know; what is known then.

    Raises StoreError where the store can't be asked for its report.
    """
    stored = _stored(store)
    return change(disk, lambda local: _newer(local, stored)) if stored else known(disk)


def _stored(store: ObjectStore) -> Report | None:
    """What was saved; None only where nothing readable is. Raises StoreError."""
    try:
        with store.get(names.FIXITY, newest=True) as reader:
            return Report.model_validate_json(reader.read())
    except (ObjectNotFound, ValidationError):
        return None


def _newer(local: Report, stored: Report) -> Report:
    """What was saved last, as another server may have gone on since this disk's, or this disk since the store's.

    What either knows of is damaged until it is asked after.
    """
    later, earlier = local, stored
    if not (local.saved_at and stored.saved_at and local.saved_at >= stored.saved_at):
        later, earlier = stored, local
    return later.model_copy(update={"damaged": {**earlier.damaged, **later.damaged}})


def _with(damaged: dict[str, Damage], news: Mapping[str, Damage | None]) -> dict[str, Damage]:
    return {ident: found for ident, found in {**damaged, **news}.items() if found}


def _kind(found: Damage | None) -> str | None:
    return found.kind if found else None


@lru_cache(maxsize=4)
def _read(disk: Disk, changed: int, inode: int) -> Report:
    return _read_anew(disk)


def _read_anew(disk: Disk) -> Report:
    try:
        return Report.model_validate_json(disk.fixity.read_bytes())
    except (FileNotFoundError, ValidationError):
        return Report()
