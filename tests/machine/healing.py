"""The rule of a store that harms the chain while a server lives: the live database heals it."""

from __future__ import annotations

import io
from contextlib import suppress
from itertools import islice

from hypothesis import strategies as st
from hypothesis.stateful import rule

from imagerepo.durability import chain
from imagerepo.durability.settle import RECORD_TYPE
from imagerepo.errors import ImagerepoError, ObjectNotFound
from imagerepo.store.objects import ObjectStore
from tests.machine import chains
from tests.machine.repairs import Repairs
from tests.machine.story import numbers
from tests.machine.world import NO_ANSWER


class Healing(Repairs):
    @rule(behind=st.integers(0, 3), lost=st.booleans(), number=numbers)
    def the_chain_is_damaged_and_healed(self, behind: int, lost: bool, number: int) -> None:
        """By the live database, as an admin has a base made. What was harmed is put back, whatever came of that."""
        server = self.at_rest()
        if server is None:
            return
        before = chains.end(self.world.objects)
        assert before is not None
        shown = chains.view(self.world.objects, before)
        name = _record_behind(self.world.objects, before, behind)
        self.begin("the_chain_is_damaged_and_healed", f"{name} {'lost' if lost else 'damaged'}")
        with self.world.objects.get(name) as reader:
            whole = reader.read()
        failures = len(self.world.store.failed)
        try:
            self.world.objects.delete([name])
            if not lost:
                _put(self.world.objects, name, whole[:-1] + bytes([whole[-1] ^ 1]))
            made = server.order("heal", number)
            self.world.say(f"heal: {made!r:.80}")
            assert not isinstance(made, Exception) or isinstance(made, (*NO_ANSWER, ImagerepoError)), repr(made)
            if made is True and len(self.world.store.failed) == failures:
                healed = chains.end(self.world.objects)
                assert healed is not None
                assert chains.view(self.world.objects, healed).live == shown.live
        finally:
            _put(self.world.objects, name, whole)


def _record_behind(store: ObjectStore, end: chain.Snapshot, behind: int) -> str:
    """The name of the record that lies so far behind the newest, as far as they are kept."""
    name = end.link.name
    with suppress(ObjectNotFound):  # pruned
        for snapshot in islice(chain.back(store, end, chains.PATIENCE), behind + 1):
            name = snapshot.link.name
    return name


def _put(store: ObjectStore, name: str, content: bytes) -> None:
    store.put(name, io.BytesIO(content), media_type=RECORD_TYPE)
