"""Objects as files in a folder, whole and durable or not there at all.

An object is written to `incoming/`, fsynced, renamed to its place, and the folder it came into fsynced. Images
are spread over 256 folders by the first two digits of their ident; other names are paths as they stand.

What is shown to those who ask for the newest lasts: another writer may have renamed it and not synced the folder
yet, so that is done first. A name whose sync failed is made anew before, as the kernel may take what it could not
write for written.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from imagerepo.errors import InDoubt, ObjectNotFound, StoreRefused, StoreUnavailable
from imagerepo.files import sync
from imagerepo.store.names import EPOCHS, FOLDERS, IMAGES
from imagerepo.store.objects import ObjectInfo, ObjectReader, Properties
from imagerepo.store.reading import FileReader, clip

INCOMING = "incoming"
ABANDONED_SECONDS = 86400.0
"""Age at which a file in `incoming/` is taken for a dead process's and removed."""
CHUNK_BYTES = 1 << 20
SHARD_DIGITS = 2

_REFUSALS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "this user may not write there",
    errno.EPERM: "this user may not write there",
    errno.EFBIG: "the file system takes no file so large",
}


class LocalStore:
    properties = Properties(
        scheme="file",
        listing_may_lag=False,
        knows_md5=False,
        expires=False,
        signs_urls=False,
        keeps_media_type=False,
    )

    def __init__(self, root: Path, *, reading: bool = False) -> None:
        """Keep objects under `root`, which is made if absent, but for `reading`. Raises StoreRefused if it can't be."""
        self._root = root
        self._incoming = root / INCOMING
        self._durable = {root}
        self._doubtful: set[Path] = set()
        self._making = threading.RLock()
        if reading:
            return
        with _translated("open", str(root)):
            _make_folders(root)
            self._make_durable(self._incoming)
            self._remove_abandoned()

    def put(
        self,
        name: str,
        body: BinaryIO,
        *,
        media_type: str,
        md5: str | None = None,
        expires_after: float | None = None,
    ) -> ObjectInfo:
        incoming = self._incoming / uuid.uuid4().hex
        target = self._path(name)
        try:
            with _translated("put", name):
                digest = _write_durably(incoming, body)
                if md5 is not None and md5 != digest:
                    raise StoreRefused(f"{name}: the body's MD5 is {digest}, not {md5}", op="put", name=name)
                self._make_durable(target.parent)
                info = _info(name, incoming.stat())
                incoming.rename(target)
        finally:
            incoming.unlink(missing_ok=True)
        self._doubtful.discard(target)
        self._settle("put", name, target)
        return info

    def get(self, name: str, *, newest: bool = False, byte_range: tuple[int, int] | None = None) -> ObjectReader:
        path = self._path(name)
        with _translated("get", name):
            file = path.open("rb")
        try:
            if newest:
                self._settle("get", name, path)
            with _translated("get", name):
                info = _info(name, os.fstat(file.fileno()))
                begin, length = clip(info, byte_range)
                file.seek(begin)
        except BaseException:
            file.close()
            raise
        return FileReader(info, file, length)

    def stat(self, name: str, *, newest: bool = False) -> ObjectInfo:
        path = self._path(name)
        with _translated("stat", name):
            info = _info(name, path.stat())
        if newest:
            self._settle("stat", name, path)
        return info

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            path = self._path(name)
            with _translated("delete", name), suppress(FileNotFoundError):
                path.unlink()
                self._settle("delete", name, path)

    def list(self, prefix: str, *, after: str = "", foreign: bool = False) -> Iterator[ObjectInfo]:
        with _translated("list", prefix):
            if foreign:
                yield from self._everything(prefix, after)
                return
            for top in FOLDERS:
                if _may_hold(top, prefix, after):
                    yield from _walk(self._root / top, top, prefix, after)

    def create_exclusive(self, name: str) -> bool:
        path = self._path(name)
        with _translated("create_exclusive", name):
            self._make_durable(path.parent)
            won = True
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            except FileExistsError:
                won = False
        # The loser waits for the disk too: it goes on to the next number, which must not outlive this one.
        self._settle("create_exclusive", name, path)
        return won

    def signed_url(self, name: str, *, seconds: float) -> str | None:
        return None

    def close(self) -> None:
        pass

    def _everything(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        for info in _walk(self._root, "", prefix, after):
            if not info.name.startswith((f"{INCOMING}/", EPOCHS)):
                yield info

    def _path(self, name: str) -> Path:
        if name.startswith(IMAGES):
            file = name.removeprefix(IMAGES)
            return self._root / "images" / file[:SHARD_DIGITS] / file
        return self._root / name

    def _make_durable(self, folder: Path) -> None:
        """Make `folder` below the root, if absent; once in a process's life, sync it even if it is there.

        Whoever made it may have died, or be about to, before it was synced.
        """
        if folder in self._durable:
            return
        # One thread at a time: a folder that another is still syncing must not be taken for one whose sync failed.
        with self._making:
            if folder in self._durable:
                return
            self._make_durable(folder.parent)
            if folder in self._doubtful:
                _make_folder_anew(folder, self._incoming / uuid.uuid4().hex)
            folder.mkdir(exist_ok=True)
            self._doubtful.add(folder)
            sync(folder.parent)
            self._doubtful.discard(folder)
            self._durable.add(folder)

    def _settle(self, op: str, name: str, path: Path) -> None:
        """Make the name of `path` last, or its absence. It is seen already: a failure leaves it in doubt."""
        try:
            if path in self._doubtful and op != "delete":
                _make_anew(path, self._incoming / uuid.uuid4().hex)
            sync(path.parent)
        except OSError as error:
            self._doubtful.add(path)
            raise InDoubt(f"{op} {name}: the folder can't be synced: {error.strerror}", op=op, name=name) from error
        self._doubtful.discard(path)

    def _remove_abandoned(self) -> None:
        oldest = time.time() - ABANDONED_SECONDS
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def _write_durably(path: Path, body: BinaryIO) -> str:
    """Copy `body` into the new file `path`, fsync it, and give its MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("xb") as file:
        while chunk := body.read(CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _make_folders(folder: Path) -> None:
    """Make `folder` and those above it that are absent, each durable before anything is put into it."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)


def _make_anew(path: Path, incoming: Path) -> None:
    """Put a copy of `path`, synced, in its place."""
    with path.open("rb") as old:
        _write_durably(incoming, old)
    incoming.rename(path)


def _make_folder_anew(folder: Path, incoming: Path) -> None:
    """Put an empty folder in the place of `folder`, unless something is in it."""
    incoming.mkdir()
    try:
        incoming.rename(folder)
    except OSError:
        incoming.rmdir()


def _info(name: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _walk(folder: Path, stem: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
    """The objects in `folder`, where names begin with `stem`, in the order of their names."""
    sharded = stem == IMAGES
    for entry in _in_order_of_names(folder):
        name = stem + entry.name
        if not entry.is_dir():
            if name.startswith(prefix) and name > after:
                with suppress(FileNotFoundError):
                    yield _info(name, entry.stat())
        elif _may_hold(name if sharded else f"{name}/", prefix, after):
            yield from _walk(Path(entry.path), stem if sharded else f"{name}/", prefix, after)


def _in_order_of_names(folder: Path) -> list[os.DirEntry[str]]:
    """A folder sorts as the names in it do: with the slash that follows."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: f"{entry.name}/" if entry.is_dir() else entry.name)
    return []


def _may_hold(stem: str, prefix: str, after: str) -> bool:
    """Whether names that begin with `stem` may also begin with `prefix` and sort after `after`."""
    matches = stem.startswith(prefix) or prefix.startswith(stem)
    return matches and (stem > after or after.startswith(stem))


@contextmanager
def _translated(op: str, name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if op not in ("get", "stat"):
            raise StoreUnavailable(f"{op} {name}: {error.strerror}", op=op, name=name) from error
        raise ObjectNotFound(f"{name}: no such object", op=op, name=name) from None
    except OSError as error:
        hint = _REFUSALS.get(error.errno or 0, "")
        kind = StoreRefused if hint else StoreUnavailable
        raise kind(f"{op} {name}: {hint or error.strerror}", op=op, name=name, hint=hint) from error
