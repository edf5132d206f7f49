"""A store that takes its time to delete a base, so that everybody can want the image at the worst moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from imagerepo.store import names
from imagerepo.store.memory import MemoryStore


class DawdlingStore(MemoryStore):
    """`dawdle` is called with the ident before a base goes."""

    def __init__(self, dawdle: Callable[[str], None]) -> None:
        super().__init__()
        self._dawdle = dawdle

    def delete(self, going: Iterable[str]) -> None:
        every = list(going)
        for name in every:
            ident = names.image_of(name)
            if ident and name == names.base(ident):
                self._dawdle(ident)
        super().delete(every)

    def lose(self, name: str) -> None:
        """The object is gone, though nobody asked for it."""
        super().delete([name])
