"""What is found of one image or object, as a finding that says what it is and what a person can do."""

from __future__ import annotations

from dataclasses import dataclass, field

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

    @property
    def objects(self) -> list[ObjectInfo]:
        return [self.base, *self.derivatives] if self.base else self.derivatives


def agrees(info: ObjectInfo, row: Row) -> bool:
    return info.size == row.size and info.md5 in (None, row.md5)


def difference(info: ObjectInfo, row: Row) -> str:
    if info.size != row.size:
        return f"it has {counted(info.size, 'byte')}, and {row.size:,} were committed"
    return f"it has the MD5 {info.md5}, and {row.md5} was committed"


def orphan(info: ObjectInfo) -> Finding:
    ident = names.image_of(info.name)
    if ident and info.name == names.base(ident):
        detail = f"no row refers to it; {counted(info.size, 'byte')}, written {_moment(info)}"
        return Finding(Code.ORPHAN_BASE, ident, info.name, Action.DELETE_OBJECT, detail)
    detail = f"no row refers to its image; made {_moment(info)}"
    return Finding(Code.ORPHAN_DERIVATIVE, ident, info.name, Action.DELETE_OBJECT, detail)


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
