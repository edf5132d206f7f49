"""`imagerepo purge`: take images down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from imagerepo.boot import boot
from imagerepo.cli.folder import Claim, is_served, writer
from imagerepo.cli.output import note
from imagerepo.config import Config
from imagerepo.durability.state import Disk
from imagerepo.store import names

if TYPE_CHECKING:
    from imagerepo.sessions.service import Service

LOOK_SECONDS = 0.2
WAIT_SECONDS = 60.0


def purge(
    idents: Annotated[list[str], typer.Argument(metavar="IDENT...", help="64 hex digits, as in /images/<ident>.")],
    claim: Claim = False,
) -> None:
    """Take images down: they go from every revision, and then from the store. It can't be undone.

    Older snapshots keep their metadata until they are pruned, and caches what they have; docs/reconcile.md says more.
    """
    wrong = [ident for ident in idents if not names.is_ident(ident)]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r} is no ident: 64 lower-case hex digits")
    config = boot()
    from imagerepo.catalogue.deeds import OPERATOR
    from imagerepo.reconcile import purge as purging

    served = is_served(Disk(config.data_dir.absolute()))
    with writer(config, claim=claim), _committing(config, alone=not served) as service:
        for ident in dict.fromkeys(idents):
            purging.purge(service, ident, actor=OPERATOR)
            typer.echo(f"{ident}  gone from every revision")
        left = _left_in_the_store(idents)
    if left:
        note(f"{left} not yet gone from the store: the server goes on with it")


@contextmanager
def _committing(config: Config, *, alone: bool) -> Iterator[Service]:
    """This process as one more worker of the data folder; alone on it, it also deletes what was purged."""
    from imagerepo.reconcile.runner import Runner
    from imagerepo.worker import close_service, open_service

    service = open_service(config)
    service.committer.start()
    runner = Runner(service)
    if alone:
        runner.start()
    try:
        yield service
    finally:
        runner.stop()
        close_service(service)


def _left_in_the_store(idents: list[str]) -> int:
    """Wait until their objects are gone, up to WAIT_SECONDS; how many are not."""
    from imagerepo.catalogue.models import Purged

    purged = Purged.objects.filter(ident__in=idents, gone=False)
    deadline = time.monotonic() + WAIT_SECONDS
    while purged.exists() and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    return purged.count()
