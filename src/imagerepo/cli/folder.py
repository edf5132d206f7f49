"""A command's hand on the data folder: through its server's lane, or as its only writer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from imagerepo.cli.output import waiting
from imagerepo.config import Config
from imagerepo.durability.locks import acquire
from imagerepo.durability.state import Disk
from imagerepo.durability.writer import Writer
from imagerepo.errors import DurabilityError, InUse
from imagerepo.store.backends import open_store

Claim = Annotated[
    bool,
    typer.Option("--claim", help="With no server on this data folder: take the repository over, fencing its server."),
]


@contextmanager
def writer(config: Config, *, claim: bool) -> Iterator[Writer]:
    """The lane of the data folder's server; without a server, and with `claim`, a reign of one command.

    Raises DurabilityError where there is no server and `claim` is false: on an empty folder a claim would
    fence a server that runs elsewhere.
    """
    if is_served(Disk(config.data_dir.absolute())):
        with _through_the_server(config) as found:
            yield found
    elif claim:
        with _as_only_writer(config) as found:
            yield found
    else:
        raise DurabilityError(
            f"no server runs on {config.data_dir}: set IMAGEREPO_DATA_DIR to the folder of one that does, or add "
            "--claim to take the repository over (a server elsewhere is fenced and may then only read)"
        )


def is_served(disk: Disk) -> bool:
    """Whether a server has this folder."""
    if not disk.server_lock.exists():
        return False
    lock = acquire(disk.server_lock, shared=True, wait=False)  # shared: another that asks is no server
    if lock is None:
        return True
    lock.release()
    return False


@contextmanager
def _through_the_server(config: Config) -> Iterator[Writer]:
    disk = Disk(config.data_dir.absolute())
    lock = acquire(disk.workers_lock, shared=True, wait=False)
    if lock is None:
        raise InUse(f"the server on {config.data_dir} is still starting: try again when it is ready")
    store = open_store(config.resolved_snapshot_url, config=config)
    found = Writer(disk, store, tell=waiting)
    try:
        yield found
    finally:
        found.close()
        store.close()
        lock.release()


@contextmanager
def _as_only_writer(config: Config) -> Iterator[Writer]:
    from imagerepo.sessions import recovery

    started = recovery.start(config, tell=waiting)
    try:
        yield started.writer
    finally:
        started.release()
