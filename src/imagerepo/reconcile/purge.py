"""Takedown: an image goes from every revision, and from the store. Older snapshots keep its metadata until pruned.

removal, a revision like any other ─▶ rows and staged changes go, the address answers 410: durable
  ─▶ base and derivatives go (remains.py), as often as it takes
"""

from __future__ import annotations

from contextlib import suppress

from django.db.models import Max
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


def purge(service: Service, ident: str, *, actor: str) -> None:
    """Take the image down, durably; its objects are deleted soon after (remains.py), even where no row tells of them.

    Repeatable: then its objects are deleted once more. Raises UnknownImage, BeingCommitted, CommitFailed, what a
    commit raises, StoreUnavailable where it goes on, as the store does not take it yet, and StoreError.
    """
    for _ in range(TRIES):
        with suppress(Conflicted):
            _remove(service, ident, actor)
        with suppress(_LiveAgain):
            _forget_in_time(service, ident, actor)
            return
    raise BeingCommitted(f"image {ident} is changed by others all the time: try again")


def _remove(service: Service, ident: str, actor: str) -> None:
    if queries.version_at(ident, queries.head()) is None:
        return
    session = lifecycle.open_session(actor, title=f"purge of {ident}")
    try:
        staging.stage_removal(session, ident)
        done = service.committer.commit(session, wait=service.config.commit_wait_seconds)
    except (NotInSession, NothingToCommit):  # somebody else removed or purged it meanwhile
        _give_up(session)
        return
    except CommitFailed as error:
        _give_up(session)
        raise (_not_yet(ident, session, error.state) if error.state == State.MERGED else error) from None
    except SessionError:
        _give_up(session)
        raise
    if done.state != State.LIVE:
        raise _not_yet(ident, done, done.state)


def _not_yet(ident: str, session: UploadSession, state: str) -> CommitFailed:
    detail = (
        f"the removal of {ident} is being committed and not yet durable. It goes on, but the purge does not: "
        "purge it again in a while"
    )
    return CommitFailed(detail, session=session.key, state=state)


def _give_up(session: UploadSession) -> None:
    with suppress(WrongState):  # in doubt: it is being finished
        lifecycle.abort(session)


def _forget_in_time(service: Service, ident: str, actor: str) -> None:
    done = service.committer.publish(lambda: _forget(service, ident, actor), wait=service.config.commit_wait_seconds)
    if done is None:
        raise StoreUnavailable(f"the purge of {ident} is not durable yet, and goes on: ask again in a while")


def _forget(service: Service, ident: str, actor: str) -> bool:
    """Delete every row of it, and note that it was purged, in one durable change. True: it is done."""
    try:
        _forget_rows(service, ident, actor)
    except UnknownImage:
        if not has_objects(service.store, ident):
            raise
        _forget_rows(service, ident, actor, orphaned=True)
    return True


def _forget_rows(service: Service, ident: str, actor: str, *, orphaned: bool = False) -> None:
    """`orphaned`: the store has it, whatever the rows know. Raises UnknownImage."""
    staged = StagedImage.objects.filter(ident=ident)
    sessions: list[UploadSession] = []

    def change() -> None:
        versions = ImageVersion.objects.filter(image__ident=ident)
        known = versions.exists() or staged.exists() or Purged.objects.filter(ident=ident).exists()
        if not known and not orphaned:
            raise UnknownImage(f"no image {ident} was ever live or staged here")
        _check_nobody_commits(ident)
        revision = versions.aggregate(newest=Max("valid_to"))["newest"]
        sessions.extend(UploadSession.objects.filter(staged__ident=ident))
        staged.delete()
        versions.delete()
        Image.objects.filter(ident=ident).delete()
        _note(ident, revision)
        entry(actor, Deed.PURGE, ident).save()

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


def _check_nobody_commits(ident: str) -> None:
    """Raise BeingCommitted, or _LiveAgain where somebody has committed it meanwhile."""
    current = ImageVersion.objects.filter(image__ident=ident, valid_to=FOREVER).first()
    if current is not None and current.valid_from <= queries.head():
        raise _LiveAgain
    committing = StagedImage.objects.filter(ident=ident, session__state__in=[State.COMMITTING, State.MERGED])
    if current is not None or committing.exists():
        raise BeingCommitted(f"a session that changes image {ident} is being committed: try again in a moment")
