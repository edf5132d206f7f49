"""The rules of a store that harms the chain: the live database heals it, or the disk that was kept."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice

from hypothesis import strategies as st
from hypothesis.stateful import rule

from imagerepo.durability import chain
from imagerepo.durability.settle import RECORD_TYPE
from imagerepo.errors import ImagerepoError, ObjectNotFound
from imagerepo.store.objects import ObjectStore
from tests.machine import chains
from tests.machine.repairs import Repairs
from tests.machine.servers import Server
from tests.machine.story import numbers
from tests.machine.world import NO_ANSWER


class Healing(Repairs):
    @rule(behind=st.integers(0, 3), lost=st.booleans(), number=numbers)
    def the_chain_is_damaged_and_healed(self, behind: int, lost: bool, number: int) -> None:
        """By the live database, as an admin has a base made. What was harmed is put back, whatever came of that."""
        server, end = self._end_at_rest()
        if server is None or end is None:
            return
        name = _record_behind(self.world.objects, end, behind)
        self.begin("the_chain_is_damaged_and_healed", f"{name} {'lost' if lost else 'damaged'}")
        check = self._check_of(end)
        with _harmed(self.world.objects, name, lost=lost):
            made = server.order("heal", number)
            self.world.say(f"heal: {made!r:.80}")
            assert not isinstance(made, Exception) or isinstance(made, (*NO_ANSWER, ImagerepoError)), repr(made)
            check(made is True)

    @rule()
    def a_kept_disk_heals_what_was_damaged(self) -> None:
        """Its server dies, and the record that it shipped last is damaged: the next start has it all the same."""
        server, end = self._end_at_rest()
        if server is None or end is None or end.header.epoch != server.epoch:
            return
        self.begin("a_kept_disk_heals_what_was_damaged", f"{end.link.name} of {server.name}")
        check = self._check_of(end)
        with _harmed(self.world.objects, end.link.name):
            server.kill()
            self.world.start(server)
            check(server.serving)

    def _end_at_rest(self) -> tuple[Server | None, chain.Snapshot | None]:
        server = self.at_rest()
        return server, chains.end(self.world.objects) if server else None

    def _check_of(self, end: chain.Snapshot) -> Callable[[bool], None]:
        """Of whether what `end` shows can be restored again, where it was healed and the store has not failed since."""
        shown, failures = chains.view(self.world.objects, end), len(self.world.store.failed)

        def check(healed: bool) -> None:
            if healed and len(self.world.store.failed) == failures:
                now = chains.end(self.world.objects)
                assert now is not None
                assert chains.view(self.world.objects, now).live == shown.live

        return check


@contextmanager
def _harmed(store: ObjectStore, name: str, *, lost: bool = False) -> Iterator[None]:
    """Inside, the record is damaged, or lost."""
    with store.get(name) as reader:
        whole = reader.read()
    try:
        store.delete([name])
        if not lost:
            _put(store, name, whole[:-1] + bytes([whole[-1] ^ 1]))
        yield
    finally:
        _put(store, name, whole)


def _record_behind(store: ObjectStore, end: chain.Snapshot, behind: int) -> str:
    """The name of the record that lies so far behind the newest, as far as they are kept."""
    name = end.link.name
    with suppress(ObjectNotFound):  # pruned
        for snapshot in islice(chain.back(store, end, chains.PATIENCE), behind + 1):
            name = snapshot.link.name
    return name


def _put(store: ObjectStore, name: str, content: bytes) -> None:
    store.put(name, io.BytesIO(content), media_type=RECORD_TYPE)
