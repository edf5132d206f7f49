"""What a failure to find the chain's end tells, so that a race of real processes can be explained."""

from __future__ import annotations

import io

import pytest

from imagerepo.errors import Damaged
from imagerepo.store import names
from imagerepo.store.memory import MemoryStore
from tests.machine import chains

WRITER = "0123456789abcdef"


def test_an_end_that_is_refused_tells_what_was_listed_and_what_was_answered() -> None:
    store = MemoryStore()
    store.create_exclusive(names.epoch(1))
    records = [names.record(1, WRITER, seq) for seq in (0, 2)]
    for name, content in [(names.owner(1), WRITER.encode()), *((name, b"a record") for name in records)]:
        store.put(name, io.BytesIO(content), media_type="x/y")
    with pytest.raises(Damaged) as refused:
        chains.end(store)
    (note,) = refused.value.__notes__
    assert f"list db/: {' '.join(sorted([names.owner(1), *records]))}" in note
    assert f"stat {records[0]}: there" in note
    assert f"stat {names.record(1, WRITER, 1)}: absent" in note
    assert f"Asked again: {refused.value}" in note
