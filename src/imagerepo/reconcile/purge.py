"""Takedown: an image goes from every revision, and from the store. Older snapshots keep its metadata until pruned.

removal, a revision like any other ─▶ rows and staged changes go, the address answers 410: durable
  ─▶ base and derivatives go (remains.py), as often as it takes

The removal's session says what it purges, in the same record. So where it is live, and whoever asked has gone or the
server has died, the runner goes on (duties.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

from django.db.models import Max, QuerySet
from django.utils import timezone

from imagerepo.catalogue import queries
from imagerepo.catalogue.deeds import Deed, entry
from imagerepo.catalogue.models import FOREVER, Image, ImageVersion, Purged
from imagerepo.errors import (
    BeingCommitted,
    CommitFailed,
    Conflicted,
    NothingToCommit,
    NotInSession,
    SessionError,
    StoreUnavailable,
    UnknownImage,
    WrongState,
)
from imagerepo.reconcile.remains import has_objects
from imagerepo.sessions import lane, lifecycle, staging
from imagerepo.sessions.models import StagedImage, State, UploadSession
from imagerepo.sessions.service import Service
from imagerepo.testing.failpoints import step

TRIES = 3
"""How often a removal that lost against somebody else's change is made anew."""


class _LiveAgain(Exception):
    """It was added again after its removal."""


class _Finished(Exception):
    """Somebody else finished the purge after this removal, or a later one; or it is left to `go_on`."""


def purge(service: Service, ident: str, *, actor: str) -> None:
    """Take the image down, durably; its objects are deleted soon after (remains.py), even where no row tells of them.

    Repeatable: then its objects are deleted once more. Raises UnknownImage, BeingCommitted, CommitFailed, what a
    commit raises, StoreUnavailable where it goes on, as the store does not take it yet, and StoreError. Where the
    CommitFailed is of a removal that goes on, `go_on` does the rest once that is live.
    """
    for _ in range(TRIES):
        removal = None
        with suppress(Conflicted):
            removal = _remove(service, ident, actor)
        with suppress(_LiveAgain):
            _forget_in_time(service, ident, actor, removal)
            return
    raise BeingCommitted(f"image {ident} is changed by others all the time: try again")


def unfinished() -> QuerySet[UploadSession]:
    """Removals of purges that are live, and after which nothing was forgotten yet."""
    return UploadSession.objects.filter(purges__isnull=False, state=State.LIVE)


def waiting() -> int:
    """Purges to be finished, and purged images of which the store may still have something."""
    return unfinished().count() + Purged.objects.filter(gone=False).count()


def go_on(service: Service) -> None:
    """Finish what is unfinished, whoever began it, as if each had been in time: what came since stays.

    Where a session is being committed that staged it before, that is left to the next time. Raises Fenced and Stopped.
    """
    for removal in unfinished():
        with suppress(BeingCommitted, _Finished):
            _forget_up_to(service, removal)


def _remove(service: Service, ident: str, actor: str) -> UploadSession | None:
    """The removal, live; None where nothing is to be removed."""
    if queries.version_at(ident, queries.head()) is None:
        return None
    session = lifecycle.open_session(actor, title=f"purge of {ident}", purges=ident)
    try:
        staging.stage_removal(session, ident)
        done = service.committer.commit(session, wait=service.config.commit_wait_seconds)
    except (NotInSession, NothingToCommit):  # somebody else removed or purged it meanwhile
        _give_up(session)
        return None
    except CommitFailed as error:
        _give_up(session)
        raise (_not_yet(ident, session, error.state) if error.state == State.MERGED else error) from None
    except SessionError:
        _give_up(session)
        raise
    if done.state != State.LIVE:
        raise _not_yet(ident, done, done.state)
    return done


def _not_yet(ident: str, session: UploadSession, state: str) -> CommitFailed:
    detail = (
        f"the removal of {ident} is not durable yet: session {session.key} is {state}. It goes on, and the purge when "
        "it is live; if it is open again, purge the image again"
    )
    return CommitFailed(detail, session=session.key, state=state)


def _give_up(session: UploadSession) -> None:
    with suppress(WrongState):  # in doubt: it is being finished
        lifecycle.abort(session)


def _forget_in_time(service: Service, ident: str, actor: str, removal: UploadSession | None) -> None:
    wait, now = service.config.commit_wait_seconds, timezone.now()
    work = partial(_forget, service, ident, actor, removal, now, now + timedelta(seconds=wait))
    if not service.committer.publish(work, wait=wait):
        raise StoreUnavailable(f"the purge of {ident} is not durable yet, and goes on: ask again in a while")


def _forget(
    service: Service, ident: str, actor: str, removal: UploadSession | None, asked: datetime, until: datetime
) -> bool:
    """Delete every row of it, and note that it was purged, in one durable change. True: it is done.

    False: it waited for its turn beyond `until`, so that nobody waits for it any more, and there is a removal to go on.
    """
    forget_rows = partial(_forget_rows, service, ident, actor, removal, asked, until)
    try:
        forget_rows()
    except _Finished:
        return False
    except UnknownImage:
        if not has_objects(service.store, ident):
            raise
        forget_rows(orphaned=True)
    return True


def _forget_rows(
    service: Service,
    ident: str,
    actor: str,
    removal: UploadSession | None,
    asked: datetime,
    until: datetime,
    *,
    orphaned: bool = False,
) -> None:
    """What was staged since it was `asked` for stays.

    `orphaned`: the store has it, whatever the rows know. Raises UnknownImage, BeingCommitted, _LiveAgain and _Finished.
    """
    staged = StagedImage.objects.filter(ident=ident, staged_at__lt=asked)
    removals = unfinished().filter(purges=ident)

    def forget() -> None:
        if removal is not None and timezone.now() > until:
            raise _Finished
        versions = ImageVersion.objects.filter(image__ident=ident)
        known = [versions, staged, removals, Purged.objects.filter(ident=ident)]
        if not orphaned and not any(rows.exists() for rows in known):
            raise UnknownImage(f"no image {ident} was ever live or staged here")
        _check_not_live(ident)
        newest = versions.aggregate(newest=Max("valid_to"))["newest"]
        if newest is None:  # history was there first
            newest = removals.aggregate(newest=Max("revision"))["newest"]
        versions.delete()
        Image.objects.filter(ident=ident).delete()
        _note(ident, newest)
        if removal is None or removals.filter(pk=removal.pk).exists():  # else whoever forgot it since has said so
            entry(actor, Deed.PURGE, ident).save()
        removals.update(purges=None)

    _publish(service, ident, staged, forget)


def _forget_up_to(service: Service, removal: UploadSession) -> None:
    """Forget what was shown up to the removal, and what was staged before it was asked for.

    Raises BeingCommitted and _Finished.
    """
    ident, revision = str(removal.purges), removal.revision
    staged = StagedImage.objects.filter(ident=ident, staged_at__lt=removal.created_at)

    def forget() -> None:
        if not unfinished().filter(pk=removal.pk).exists():
            raise _Finished
        versions = ImageVersion.objects.filter(image__ident=ident)
        versions.filter(valid_to__lte=revision).delete()
        if not versions.exists():
            Image.objects.filter(ident=ident).delete()
        _note(ident, revision)
        entry(removal.owner, Deed.PURGE, ident).save()
        # A removal after this one has yet to be followed by a purge of its own.
        unfinished().filter(purges=ident, revision__lte=revision).update(purges=None)

    _publish(service, ident, staged, forget)


def _publish(service: Service, ident: str, staged: QuerySet[StagedImage], forget: Callable[[], None]) -> None:
    """Make durable what `forget` does, and that `staged` goes. Raises BeingCommitted, and what `forget` raises."""
    sessions: list[UploadSession] = []

    def change() -> None:
        forget()
        if staged.filter(session__state__in=[State.COMMITTING, State.MERGED]).exists():
            raise _being_committed(ident)
        sessions.extend(UploadSession.objects.filter(staged__in=staged))
        staged.delete()

    with step("purge.forget"):
        lane.publish(service.writer, change)
    for session in sessions:
        staging.drop_unless_staged(session, ident)


def _note(ident: str, revision: int | None) -> None:
    """Note that it was purged just now, also of one that was before: the store may have it again since."""
    noted = {"purged_at": timezone.now(), "gone": False}
    if revision is not None:
        noted["revision"] = revision
    Purged.objects.update_or_create(ident=ident, defaults=noted)


def _check_not_live(ident: str) -> None:
    """Raise _LiveAgain where somebody has committed it meanwhile, BeingCommitted where that is not durable yet."""
    current = ImageVersion.objects.filter(image__ident=ident, valid_to=FOREVER).first()
    if current is None:
        return
    if current.valid_from <= queries.head():
        raise _LiveAgain(f"image {ident} was added again after its removal")
    raise _being_committed(ident)


def _being_committed(ident: str) -> BeingCommitted:
    return BeingCommitted(f"a session that changes image {ident} is being committed: try again in a moment")
