"""Locks on files: one that is deleted by its holder, and one that is held for a moment only."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from imagerepo.durability.locks import acquire
from tests.durability.node import NewNode
from tests.waiting import until


def open_descriptors(path: Path) -> int:
    """How many of this process are of the file at `path`."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            count += descriptor.readlink() == path
    return count


def test_who_waited_for_a_file_that_its_holder_deleted_holds_the_one_that_is_there_since(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    holder = acquire(path)
    with ThreadPoolExecutor(1) as threads:
        waiter = threads.submit(acquire, path)
        until(lambda: open_descriptors(path) == 2)
        path.unlink()
        holder.release()
        lock = waiter.result()
    assert lock.is_of(path)
    assert acquire(path, wait=False) is None
    lock.release()


def test_a_start_waits_for_a_command_that_asks_whether_a_server_runs(new_node: NewNode) -> None:
    node = new_node()
    node.data_dir.mkdir()
    asking = acquire(node.data_dir / "server.lock", shared=True)
    threading.Timer(0.1, asking.release).start()
    assert node.start().head() == 0
