"""Takedown: an image goes from every revision, and from the store. Older snapshots keep its metadata until pruned.

removal, a revision like any other ─▶ rows and staged changes go, the address answers 410: durable
  ─▶ base and derivatives go (remains.py), as often as it takes

The removal's session says what it purges, in the same record. So where it is live, and whoever asked has gone or the
server has died, the runner goes on (duties.py).
"""

from __future__ import annotations

from contextlib import suppress
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
    """Somebody else finished the purge after the same removal."""


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
    """How many purges have something left to do, in the rows or in the store."""
    return unfinished().count() + Purged.objects.filter(gone=False).count()


def go_on(service: Service) -> None:
    """Finish what is unfinished, whoever began it, as if each had been in time: what came since stays.

    Raises Fenced and Stopped.
    """
    for removal in unfinished():
        with suppress(_Finished):
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
    work = partial(_forget, service, ident, actor, removal)
    done = service.committer.publish(work, wait=service.config.commit_wait_seconds)
    if done is None:
        raise StoreUnavailable(f"the purge of {ident} is not durable yet, and goes on: ask again in a while")


def _forget(service: Service, ident: str, actor: str, removal: UploadSession | None) -> bool:
    """Delete every row of it, and note that it was purged, in one durable change. True: it is done."""
    try:
        _forget_rows(service, ident, actor, removal)
    except UnknownImage:
        if not has_objects(service.store, ident):
            raise
        _forget_rows(service, ident, actor, removal, orphaned=True)
    return True


def _forget_rows(
    service: Service, ident: str, actor: str, removal: UploadSession | None, *, orphaned: bool = False
) -> None:
    """`orphaned`: the store has it, whatever the rows know. Raises UnknownImage, BeingCommitted and _LiveAgain."""
    staged = StagedImage.objects.filter(ident=ident)
    sessions: list[UploadSession] = []

    def change() -> None:
        versions = ImageVersion.objects.filter(image__ident=ident)
        known = orphaned or _is_known(ident) or versions.exists() or staged.exists()
        if not known:
            raise UnknownImage(f"no image {ident} was ever live or staged here")
        _check_nobody_commits(ident)
        revision = versions.aggregate(newest=Max("valid_to"))["newest"]
        if revision is None and removal:  # history has forgotten the versions since
            revision = removal.revision
        sessions.extend(UploadSession.objects.filter(staged__ident=ident))
        staged.delete()
        versions.delete()
        Image.objects.filter(ident=ident).delete()
        _note(ident, revision)
        if not removal or unfinished().filter(pk=removal.pk).exists():  # else `go_on` was there first, and said so
            entry(actor, Deed.PURGE, ident).save()
        unfinished().filter(purges=ident).update(purges=None)

    with step("purge.forget"):
        lane.publish(service.writer, change)
    for session in sessions:
        staging.drop_unless_staged(session, ident)


def _forget_up_to(service: Service, removal: UploadSession) -> None:
    """Forget what was shown up to the removal, and what was staged before it was asked for. Raises _Finished."""
    ident, revision = removal.purges, removal.revision or 0
    staged = StagedImage.objects.filter(ident=ident, session__state=State.OPEN, staged_at__lt=removal.created_at)
    sessions: list[UploadSession] = []

    def change() -> None:
        if not unfinished().filter(pk=removal.pk).exists():
            raise _Finished
        versions = ImageVersion.objects.filter(image__ident=ident)
        # A session that was given back may have been changed by its owner since: then it removed something else.
        if versions.filter(valid_to=revision).exists() or queries.horizon() >= revision:
            sessions.extend(UploadSession.objects.filter(staged__in=staged))
            staged.delete()
            versions.filter(valid_to__lte=revision).delete()
            if not versions.exists():
                Image.objects.filter(ident=ident).delete()
            _note(ident, revision)
            entry(removal.owner, Deed.PURGE, ident).save()
        # A removal after this one has yet to be followed by a purge of its own.
        unfinished().filter(purges=ident, revision__lte=revision).update(purges=None)

    with step("purge.forget"):
        lane.publish(service.writer, change)
    for session in sessions:
        staging.drop_unless_staged(session, ident)


def _is_known(ident: str) -> bool:
    """Whether it was purged, or its removal is live: history may have forgotten it since."""
    return Purged.objects.filter(ident=ident).exists() or unfinished().filter(purges=ident).exists()


def _note(ident: str, revision: int | None) -> None:
    """Note that it was purged just now, also of one that was before: the store may have it again since."""
    noted = {"purged_at": timezone.now(), "gone": False}
    if revision is not None:
        noted["revision"] = revision
    Purged.objects.update_or_create(ident=ident, defaults=noted)


def _check_nobody_commits(ident: str) -> None:
    """Raise BeingCommitted, or _LiveAgain where somebody has committed it meanwhile."""
    current = ImageVersion.objects.filter(image__ident=ident, valid_to=FOREVER).first()
    if current is not None and current.valid_from <= queries.head():
        raise _LiveAgain(f"image {ident} was added again after its removal")
    committing = StagedImage.objects.filter(ident=ident, session__state__in=[State.COMMITTING, State.MERGED])
    if current is not None or committing.exists():
        raise BeingCommitted(f"a session that changes image {ident} is being committed: try again in a moment")
