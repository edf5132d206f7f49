"""What one process of the service holds: its settings, stores, spool and workers.

A worker makes its Service once, after the start (sessions/recovery.py) has recovered the data folder,
and everything above asks for it with `current`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imagerepo.config import Config
from imagerepo.store.objects import ObjectStore

if TYPE_CHECKING:
    from imagerepo.durability.writer import Writer
    from imagerepo.sessions.committer import Committer
    from imagerepo.store.intake import Decoder
    from imagerepo.store.manager import Manager
    from imagerepo.store.spool import Spool


@dataclass
class Service:
    """One process's share of the repository. `store` keeps images, `writer` ships snapshots.

    `stop` is set when its threads are to end.
    """

    config: Config
    store: ObjectStore
    spool: Spool
    decoder: Decoder
    manager: Manager
    writer: Writer
    committer: Committer
    stop: threading.Event = field(default_factory=threading.Event)


_current: Service | None = None


def current() -> Service:
    """This process's Service."""
    if _current is None:
        raise RuntimeError("no Service yet: the worker's start sets it")
    return _current


def use(service: Service | None) -> None:
    """Make `service` the one that `current` answers."""
    global _current
    _current = service
