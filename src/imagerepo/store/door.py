"""The door of every backend: only names of the grammar pass, in either direction, and failpoints see each call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from imagerepo.errors import InvalidName
from imagerepo.store import names
from imagerepo.store.objects import ObjectInfo, ObjectReader, ObjectStore
from imagerepo.store.reading import no_such_range
from imagerepo.testing import failpoints

_KINDS: dict[type[names.Name], str] = {
    names.Base: "images",
    names.Derivative: "images",
    names.Epoch: "epochs",
    names.Owner: "db/owner",
    names.Record: "db/record",
    names.Manifest: "db/manifest",
    names.Part: "db/part",
    names.Report: "reports",
}


class Door:
    """An ObjectStore in front of a backend. A backend is told checked names only and need not look again.

    An epoch is a name, not an object: it can be taken and asked for, but not written, read, deleted or listed.
    """

    def __init__(self, backend: ObjectStore) -> None:
        self._backend = backend
        self.properties = backend.properties

    def put(
        self,
        name: str,
        body: BinaryIO,
        *,
        media_type: str,
        md5: str | None = None,
        expires_after: float | None = None,
    ) -> ObjectInfo:
        with _effect("put", _of_object(name)):
            return self._backend.put(name, body, media_type=media_type, md5=md5, expires_after=expires_after)

    def get(self, name: str, *, newest: bool = False, byte_range: tuple[int, int] | None = None) -> ObjectReader:
        thing = _of_object(name)
        if byte_range is not None and not 0 <= byte_range[0] <= byte_range[1]:
            raise no_such_range(name, byte_range)
        with _effect("get", thing):
            return self._backend.get(name, newest=newest, byte_range=byte_range)

    def stat(self, name: str, *, newest: bool = False) -> ObjectInfo:
        with _effect("stat", names.parse(name)):
            return self._backend.stat(name, newest=newest)

    def delete(self, names: Iterable[str]) -> None:
        checked = [(name, _of_object(name)) for name in names]
        for name, thing in checked:
            with _effect("delete", thing):
                self._backend.delete([name])

    def list(self, prefix: str, *, after: str = "", foreign: bool = False) -> Iterator[ObjectInfo]:
        with failpoints.effect(f"store.list {prefix.partition('/')[0]}"):
            entries = self._backend.list(prefix, after=after, foreign=foreign)
        return entries if foreign else (info for info in entries if _is_object(info.name))

    def create_exclusive(self, name: str) -> bool:
        thing = names.parse(name)
        if not isinstance(thing, names.Epoch):
            raise InvalidName(f"{name!r} is not an epoch: only epochs are taken", op="create", name=name)
        with _effect("create_exclusive", thing):
            return self._backend.create_exclusive(name)

    def signed_url(self, name: str, *, seconds: float) -> str | None:
        _of_object(name)
        return self._backend.signed_url(name, seconds=seconds)

    def close(self) -> None:
        self._backend.close()


def _of_object(name: str) -> names.Name:
    thing = names.parse(name)
    if isinstance(thing, names.Epoch):
        raise InvalidName(f"{name!r} is an epoch, not an object: it is taken once and stays", name=name)
    return thing


def _is_object(name: str) -> bool:
    try:
        _of_object(name)
    except InvalidName:
        return False
    return True


def _effect(op: str, thing: names.Name) -> AbstractContextManager[None]:
    return failpoints.effect(f"store.{op} {_KINDS[type(thing)]}")
