"""Changes to local files that survive a power cut: content first, then its name, then the folder."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from imagerepo.testing.failpoints import effect


def sync(path: Path) -> None:
    """fsync a file, or a folder (so that the names in it last)."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_durably(path: Path, content: bytes, rest: Iterable[bytes] = ()) -> None:
    """Make `path` hold `content` and after it the `rest`, at once and for good.

    Readers see the old file or the whole new one.
    """
    with effect(f"file.write {path.suffix or path.name.rstrip('-0123456789')}"):
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # several processes may write one
        with temporary.open("wb") as file:
            file.write(content)
            file.writelines(rest)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(path.parent)


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A folder that is gone afterwards, and with it what a killed process left under the same prefix.

    One at a time: the caller holds a lock.
    """
    for left in parent.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as folder:
        yield Path(folder)


def unlink_durably(paths: Iterable[Path]) -> None:
    """Remove files of one or more folders; absent is fine."""
    folders = set()
    with effect("file.unlink"):
        for path in paths:
            path.unlink(missing_ok=True)
            folders.add(path.parent)
        for folder in folders:
            sync(folder)
