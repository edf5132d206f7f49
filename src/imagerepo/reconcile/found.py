"""What is found of one image or object, as a finding that says what it is and what a person can do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from imagerepo.reconcile.findings import Action, Code, Finding
from imagerepo.reconcile.rows import Row
from imagerepo.store import names
from imagerepo.store.objects import ObjectInfo
from imagerepo.wording import counted


@dataclass(slots=True)
class Stored:
    """What the listing shows of one image."""

    ident: str
    base: ObjectInfo | None = None
    derivatives: list[ObjectInfo] = field(default_factory=list)


def agrees(info: ObjectInfo, row: Row) -> bool:
    return info.size == row.size and info.md5 in (None, row.md5)


def difference(info: ObjectInfo, row: Row) -> str:
    if info.size != row.size:
        return f"it has {counted(info.size, 'byte')}, and {row.size} were committed"
    return f"it has the MD5 {info.md5}, and {row.md5} was committed"


def of_orphan(stored: Stored, before: datetime) -> Iterator[Finding]:
    if stored.base and stored.base.modified < before:
        detail = f"no row refers to it; {counted(stored.base.size, 'byte')}, written {_moment(stored.base)}"
        yield Finding(Code.ORPHAN_BASE, stored.ident, stored.base.name, Action.DELETE_OBJECT, detail)
    for info in stored.derivatives:
        if info.modified < before:
            detail = f"no row refers to its image; made {_moment(info)}"
            yield Finding(Code.ORPHAN_DERIVATIVE, stored.ident, info.name, Action.DELETE_OBJECT, detail)


def missing(row: Row) -> Finding:
    name = names.base(row.ident)
    if row.current:
        detail = "the image is live, and the store has lost it: a commit will remove it from the catalogue"
        return Finding(Code.MISSING_BASE, row.ident, name, Action.REMOVE_ROW, detail)
    detail = "only older revisions show the image, and the store has lost it: add it again to mend it, or purge it"
    return Finding(Code.MISSING_BASE, row.ident, name, Action.NONE, detail, wanting=False)


def corrupt(row: Row, how: str) -> Finding:
    detail = f"{how}; to mend it, add the image again: the file whose SHA-256 is its name"
    return Finding(Code.CORRUPT_BASE, row.ident, names.base(row.ident), Action.NONE, detail, wanting=row.current)


def unreadable(row: Row, why: str) -> Finding:
    return corrupt(row, f"it can't be read, and other objects can: {why}")


def foreign(info: ObjectInfo) -> Finding:
    detail = f"not a name of this service's; {counted(info.size, 'byte')}, written {_moment(info)}; it is left alone"
    return Finding(Code.FOREIGN_OBJECT, None, info.name, Action.NONE, detail, wanting=False)


def _moment(info: ObjectInfo) -> str:
    return f"{info.modified:%Y-%m-%d %H:%M} UTC"
