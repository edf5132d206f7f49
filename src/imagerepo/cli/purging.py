"""`imagerepo purge`: take images down."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from imagerepo.boot import boot
from imagerepo.cli.folder import Claim, is_served, writer
from imagerepo.cli.output import note, progress_of
from imagerepo.durability.state import Disk
from imagerepo.errors import ReconcileError, SessionError, StoreError
from imagerepo.store import names
from imagerepo.wording import counted

if TYPE_CHECKING:
    from imagerepo.sessions.service import Service
    from imagerepo.store.objects import ObjectStore

LOOK_SECONDS = 0.2
WAIT_SECONDS = 60.0


def purge(
    idents: Annotated[list[str], typer.Argument(metavar="IDENT", help="64 hex digits, as in /images/<ident>.")],
    claim: Claim = False,
) -> None:
    """Take images down: they go from every revision, and then from the store. It can't be undone.

    Older snapshots keep their metadata until they are pruned, and caches what they have; docs/reconcile.md says more.
    """
    wrong = [ident for ident in idents if not names.is_ident(ident)]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]!r} is no ident: 64 lower-case hex digits")
    config = boot()
    from imagerepo.worker import at_work

    served = is_served(Disk(config.data_dir.absolute()))
    with writer(config, claim=claim), at_work(config, reconciling=not served) as service:
        wanted = list(dict.fromkeys(idents))
        done = _all_purged(service, wanted)
        left = _left_in_the_store(service, done)
    if left:
        whose = "the server" if served else "the next server on this data folder"
        note(f"{counted(left, 'image')} not yet gone from the store: {whose} goes on with that")
    raise typer.Exit(1 if left or len(done) < len(wanted) else 0)


def _all_purged(service: Service, idents: list[str]) -> list[str]:
    """Those that are gone from every revision now."""
    done = []
    with progress_of("taking down") as progress:
        for number, ident in enumerate(idents):
            progress(number, len(idents))
            if _purged(service, ident):
                done.append(ident)
        progress(len(idents), len(idents))
    return done


def _purged(service: Service, ident: str) -> bool:
    """Whether it is gone from every revision now; those after it are taken down all the same."""
    from imagerepo.catalogue.deeds import OPERATOR
    from imagerepo.reconcile import purge as purging

    try:
        purging.purge(service, ident, actor=OPERATOR)
    except (ReconcileError, SessionError) as error:
        note(f"imagerepo: {error}")
        return False
    except StoreError as error:
        too_long = f"it was not durable within {service.config.commit_wait_seconds:g} seconds"
        why = "; ".join(service.writer.trouble()) or (str(error) if error.op else too_long)
        note(f"imagerepo: {ident} is not purged yet: {why}. Give the command again when the store answers")
        return False
    sys.stdout.write(f"{ident}  gone from every revision\n")
    return True


def _left_in_the_store(service: Service, idents: list[str]) -> int:
    """Wait until the store has no objects of them, up to WAIT_SECONDS; of how many it still has some."""
    from imagerepo.catalogue.models import Purged

    purged = Purged.objects.filter(ident__in=idents, gone=False)
    waiting = [str(ident) for ident in purged.values_list("ident", flat=True)]
    deadline = time.monotonic() + WAIT_SECONDS
    with progress_of("deleting from the store") as progress:
        while waiting := [ident for ident in waiting if _may_have_objects(service.store, ident)]:
            progress(len(idents) - len(waiting), len(idents))
            if time.monotonic() > deadline:
                break
            time.sleep(LOOK_SECONDS)
        progress(len(idents) - len(waiting), len(idents))
    return len(waiting)


def _may_have_objects(store: ObjectStore, ident: str) -> bool:
    from imagerepo.reconcile.remains import has_objects

    try:
        return has_objects(store, ident)
    except StoreError:
        return True
