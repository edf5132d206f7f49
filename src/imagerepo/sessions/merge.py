"""Merge and flip: the two transactions between which a commit is on its way to the store.

A merge writes row versions at revisions above the head, so no browser sees them; the flip moves the
head. Both are pure database work and both may be repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain, groupby, islice
from operator import attrgetter

from django.db.models import Count, Max
from django.utils import timezone

from imagerepo.catalogue.deeds import Deed, entry
from imagerepo.catalogue.models import AuditEntry, Head, Revision
from imagerepo.durability.gate import write
from imagerepo.errors import WrongState
from imagerepo.sessions import conflicts
from imagerepo.sessions.actors import RECONCILE_NAME
from imagerepo.sessions.counting import NOTHING, Counts
from imagerepo.sessions.models import Action, StagedImage, State, UploadSession, move, move_all, under
from imagerepo.sessions.pending import Pending
from imagerepo.testing.failpoints import step

BATCH = 500


def newest_revision() -> int:
    """The newest revision that was merged, live or not."""
    return Revision.objects.aggregate(newest=Max("number"))["newest"] or 0


def head() -> int:
    return Head.objects.values_list("revision", flat=True).get()


def waiting() -> bool:
    """Whether any session is ready to be merged."""
    return UploadSession.objects.filter(state=State.COMMITTING, uploaded=True).exists()


def unflipped() -> bool:
    """Whether any session is merged and not live."""
    return UploadSession.objects.filter(state=State.MERGED).exists()


def merge_waiting() -> None:
    """Merge every session that waits, in the order of their ids, in one transaction.

    A session whose changes conflict goes back to `open`, with the conflicts as its error.
    """
    with step("commit.merge"), write(durable=True):
        ready = list(UploadSession.objects.filter(state=State.COMMITTING, uploaded=True).order_by("id"))
        _spare_what_came_back(ready)
        _unmark_other_removals(ready)
        revisions = Revisions()
        for group in _groups(ready):
            _merge_group(group, revisions)
        revisions.write()


def _spare_what_came_back(ready: list[UploadSession]) -> None:
    """Drop reconcile's removals of images whose bytes are brought: their bases are in the store by now.

    Where the image is live that makes no new version, so nothing else would stop the removal.
    """
    ours = UploadSession.objects.filter(owner=RECONCILE_NAME, state__in=[State.OPEN, State.COMMITTING])
    removals = StagedImage.objects.filter(session__in=ours, action=Action.REMOVE)
    if removals.exists():
        brought = StagedImage.objects.filter(session__in=ready, md5__isnull=False)
        removals.filter(ident__in=brought.values("ident")).delete()


def _unmark_other_removals(ready: list[UploadSession]) -> None:
    """A session that was to remove an image for its purge may have been given back, and made into something else."""
    for session in ready:
        if session.purges and not session.staged.filter(ident=session.purges, action=Action.REMOVE).exists():
            UploadSession.objects.filter(pk=session.pk).update(purges=None)


class Revisions:
    """The revisions that a merge allots, in memory until `write`."""

    def __init__(self) -> None:
        self._newest = newest_revision()
        self._log: list[Revision] = []
        self._audit: list[AuditEntry] = []

    @property
    def next(self) -> int:
        return self._newest + 1

    def allot(self, session: UploadSession, now: datetime, counts: Counts) -> None:
        """Give the session the next number, and note what it did there: committing → merged."""
        self._newest += 1
        self._log.append(
            Revision(
                number=self._newest,
                session=session.key,
                title=session.title,
                owner=session.owner,
                committed_at=now,
                added=counts["add"],
                updated=counts["update"],
                removed=counts["remove"],
            )
        )
        did = {name: counts[name] for name in ("add", "update", "remove") if counts[name]}
        self._audit.append(entry(session.owner, Deed.COMMIT, session.key, revision=self._newest, **did))
        move(session, "merge", revision=self._newest, counts=counts, error=None)

    def write(self) -> None:
        Revision.objects.bulk_create(self._log)
        AuditEntry.objects.bulk_create(self._audit)


def _groups(sessions: list[UploadSession]) -> Iterator[list[UploadSession]]:
    """The sessions in their order, in groups of at most BATCH changes; one with more is a group of its own."""
    changes = StagedImage.objects.filter(session__in=sessions).values("session").annotate(number=Count("id"))
    sizes = dict(changes.values_list("session", "number"))
    group: list[UploadSession] = []
    room = BATCH
    for session in sessions:
        size = sizes.get(session.pk, 0)
        if size > room and group:
            yield group
            group, room = [], BATCH
        group.append(session)
        room -= size
    if group:
        yield group


def _merge_group(sessions: list[UploadSession], revisions: Revisions) -> None:
    batches = _batches(_changes(sessions))
    first = next(batches, [])
    if len(first) < BATCH or len(sessions) > 1:
        _merge_together(sessions, first, revisions)
    else:
        _merge_large(sessions[0], chain([first], batches), revisions)


def _changes(sessions: list[UploadSession]) -> Iterator[StagedImage]:
    """What the sessions change, in the order of their ids.

    Bytes that were sent to mend a live image are an addition: none while it is live, but it may be removed meanwhile.
    """
    changes = StagedImage.objects.filter(session__in=sessions).exclude(action=Action.NONE, md5__isnull=True)
    for change in changes.order_by("session_id", "id").iterator(BATCH):
        if change.action == Action.NONE:
            change.action = Action.ADD
        yield change


def _merge_together(sessions: list[UploadSession], changes: list[StagedImage], revisions: Revisions) -> None:
    pending = Pending(changes)
    of_session = {pk: list(mine) for pk, mine in groupby(changes, attrgetter("session_id"))}
    for session in sessions:
        mine = of_session.get(session.pk, [])
        if found := pending.conflicts(mine):
            _refuse(session, found)
        else:
            now = timezone.now()
            revisions.allot(session, now, pending.apply(mine, revisions.next, now))
    pending.write()


def _merge_large(session: UploadSession, batches: Iterable[list[StagedImage]], revisions: Revisions) -> None:
    """A session of more changes than should be held in memory: so they are read twice."""
    if found := conflicts.of(session):
        _refuse(session, found)
        return
    now, counts = timezone.now(), Counter(NOTHING)
    for batch in batches:
        pending = Pending(batch)
        counts.update(pending.apply(batch, revisions.next, now))
        pending.write()
    revisions.allot(session, now, dict(counts))


def _refuse(session: UploadSession, found: list[conflicts.Conflict]) -> None:
    detail = f"{len(found)} of its changes conflict with what was committed meanwhile"
    error = {"code": "conflict", "detail": detail, "conflicts": found}
    move(session, "give_back", error=error, committer="", uploaded=False)


def _batches(changes: Iterator[StagedImage]) -> Iterator[list[StagedImage]]:
    while batch := list(islice(changes, BATCH)):
        yield batch


def flip(head_after: int) -> list[str]:
    """Make every session merged up to `head_after` live: call it only when a final record holds them.

    Gives the keys of the sessions that went live.
    """
    with step("commit.flip"), write():
        sessions = list(UploadSession.objects.filter(state=State.MERGED, revision__lte=head_after))
        Head.objects.filter(revision__lt=head_after).update(revision=head_after)
        move_all(sessions, "flip")
        StagedImage.objects.filter(session__in=sessions).delete()
    return [session.key for session in sessions]


def give_back(session: UploadSession, code: str, detail: str, *, claim: str | None = None) -> bool:
    """Put a session that is still committing, under this `claim` if one is named, back to `open`, with its error.

    False: it has moved on.
    """
    try:
        with step("commit.give_back"), write():
            if claim is not None and not under(claim, session).exists():
                return False
            error = {"code": code, "detail": detail}
            move(session, "give_back", error=error, committer="", uploaded=False)
    except WrongState:
        return False
    except Exception:
        session.refresh_from_db()
        raise
    return True
