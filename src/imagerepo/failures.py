"""What it means when the local disk fails: the system says so, or SQLite, or Django with SQLite's error behind it."""

from __future__ import annotations

import errno
import sqlite3
from dataclasses import dataclass

from imagerepo.errors import DiskFails, ImagerepoError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BROKEN = frozenset({errno.EIO, errno.EROFS})
_SQLITE_BROKEN = ("SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")
_NO_TEMPORARY = "No usable temporary directory"
"""What Python's tempfile says where all of those are absent, read-only or full: it has no error of its own for that."""


@dataclass(frozen=True)
class DiskFailure:
    """`says`: what the disk was heard to say. `full`: there is no room, but what is there can be read."""

    says: str
    full: bool
    path: str = ""


def of_the_disk(error: BaseException | None) -> DiskFailure | None:
    """What the error says of the local disk; None for one that says nothing of it."""
    if isinstance(error, DiskFails):
        return DiskFailure(str(error), full=False)
    if isinstance(error, OSError) and error.errno in _FULL | _BROKEN:
        return DiskFailure(str(error.strerror), full=error.errno in _FULL, path=str(error.filename or ""))
    if isinstance(error, sqlite3.Error):
        name = str(getattr(error, "sqlite_errorname", ""))
        full = name == "SQLITE_FULL"
        return DiskFailure(str(error), full=full) if full or name.startswith(_SQLITE_BROKEN) else None
    return of_the_disk(error.__cause__) if error else None


def sentence(error: Exception) -> str | None:
    """What whoever runs a command is told of the error; None for a defect, which is worth its traceback."""
    if isinstance(error, ImagerepoError):
        return str(error)
    if isinstance(error, PermissionError):
        return f"{error.filename}: {error.strerror}. Run this as the user who runs the server"
    if isinstance(error, FileNotFoundError) and _NO_TEMPORARY in str(error):
        return f"{error.strerror}: set TMPDIR to a folder that can be written to"
    failure = of_the_disk(error)
    if failure is None:
        return None
    where = f" {failure.path}" if failure.path else ""
    how = "is full" if failure.full else "fails"
    return f"the local disk {how}:{where} {failure.says}. Make room on it, or replace it, and start again"
