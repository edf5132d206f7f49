"""Locks on files: one that is held for a moment only."""

from __future__ import annotations

import threading

from imagerepo.durability.locks import acquire
from tests.durability.node import NewNode


def test_a_start_waits_for_a_command_that_asks_whether_a_server_runs(new_node: NewNode) -> None:
    node = new_node()
    node.data_dir.mkdir()
    asking = acquire(node.data_dir / "server.lock", shared=True)
    threading.Timer(0.1, asking.release).start()
    assert node.start().head() == 0
