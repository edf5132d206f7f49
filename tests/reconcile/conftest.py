from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reconcile.repairing import Repairing, repairing
from tests.sessions.conftest import new_worker, node, snapshots, worker

__all__ = ["new_worker", "node", "snapshots", "worker"]


@pytest.fixture
def repair(tmp_path: Path) -> Iterator[Repairing]:
    """A repository with plans and a runner, on a folder of its own."""
    with repairing(tmp_path) as repair:
        yield repair
