"""Reading what is open as a file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagerepo.errors import StoreUnavailable
from imagerepo.store import names
from imagerepo.store.objects import ObjectInfo
from imagerepo.store.reading import FileReader

BASE = names.base("ab" * 32)


def test_a_disk_that_cannot_read_a_file_is_a_store_that_does_not_answer() -> None:
    unreadable = Path("/proc/self/mem").open("rb", buffering=0)  # noqa: SIM115  # its first page answers EIO
    with (
        FileReader(ObjectInfo(BASE, 10, datetime.now(UTC)), unreadable, 10) as reader,
        pytest.raises(StoreUnavailable, match="Input/output error") as raised,
    ):
        reader.read()
    assert (raised.value.op, raised.value.name) == ("get", BASE)
