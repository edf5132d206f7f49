from tests.sessions.conftest import new_worker, node, snapshots, worker

__all__ = ["new_worker", "node", "snapshots", "worker"]
