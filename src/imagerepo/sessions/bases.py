"""Bases in the store: a commit sees that those it was sent are there, byte for byte.

An image that is live already need not be sent. Where its base is missing or known to be damaged, though, whoever sends
the bytes again mends it: they are kept with the staged change, and the commit puts them back.
"""

from __future__ import annotations

import time

from imagerepo.durability import damage
from imagerepo.durability.settle import Patience
from imagerepo.durability.state import Disk
from imagerepo.errors import ObjectNotFound, StoreError, StoreRefused, StoreUnavailable
from imagerepo.sessions.models import StagedImage
from imagerepo.sessions.service import Service
from imagerepo.store import names
from imagerepo.store.formats import BY_NAME
from imagerepo.store.objects import ObjectStore
from imagerepo.store.reading import hash_object
from imagerepo.store.spool import Spool, Spooled


def needs_mending(service: Service, spooled: Spooled) -> bool:
    """Whether the store has lost the base of these bytes, or has other ones, as far as can be told at once.

    A store that fails has lost nothing.
    """
    if damage.of(service.writer.disk, spooled.ident):
        return True
    if service.manager.trouble():
        return False
    try:
        return not _present(service.store, names.base(spooled.ident), spooled.size, spooled.md5)
    except StoreError:
        return False


class Keeper:
    """Puts the bases of one session into the store. Safe for several threads."""

    def __init__(self, store: ObjectStore, spool: Spool, disk: Disk, key: str) -> None:
        self._store, self._spool, self._disk, self._key = store, spool, disk, key

    def ensure(self, image: StagedImage, patience: Patience, deadline: float, *, known: bool) -> None:
        """See that the store holds the base: present and not known to be damaged, or put now.

        Of one that is not `known` it is not asked first whether it is there: that costs as much as a small upload.
        A name in doubt is asked for again: names of bases are their digests, so a repeat does no harm.

        Raises StoreError where that can't be had before `deadline` (time.monotonic).
        """
        for number in patience.tries():
            try:
                self._ensure(image, ask=known or number > 0)
            except (StoreRefused, ObjectNotFound):
                raise
            except StoreError:
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def _ensure(self, image: StagedImage, *, ask: bool) -> None:
        name, damaged = names.base(image.ident), damage.of(self._disk, image.ident)
        if ask and not damaged and _present(self._store, name, image.byte_size or 0, _md5(image)):
            return
        self._put(image, name)
        if damaged:
            self._see_it_whole(image.ident, name)

    def _put(self, image: StagedImage, name: str) -> None:
        try:
            with self._spool.path(self._key, image.ident).open("rb") as body:
                self._store.put(name, body, media_type=BY_NAME[image.format or ""].media_type, md5=_md5(image))
        except FileNotFoundError:
            raise StoreRefused(
                f"the staged bytes of {image.ident} are gone from the spool: send this image again",
                op="put",
                name=name,
            ) from None

    def _see_it_whole(self, ident: str, name: str) -> None:
        """Read back what was damaged before: only then it is delivered again."""
        found, _ = hash_object(self._store, name, newest=True)
        if found != ident:
            raise StoreUnavailable(f"{name} was put again, and still has the SHA-256 {found}", op="get", name=name)
        damage.note(self._disk, {ident: None})


def _present(store: ObjectStore, name: str, size: int, md5: str) -> bool:
    try:
        info = store.stat(name, newest=True)
    except ObjectNotFound:
        return False
    return info.size == size and info.md5 in (None, md5)


def _md5(image: StagedImage) -> str:
    return bytes(image.md5 or b"").hex()
