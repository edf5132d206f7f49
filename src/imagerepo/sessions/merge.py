"""Merge and flip: the two transactions between which a commit is on its way to the store.

A merge writes row versions at revisions above the head, so no browser sees them; the flip moves the
head. Both are pure database work and both may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Max
from django.utils import timezone

from imagerepo.catalogue.models import (
    DESCRIPTIVE_FIELDS,
    FOREVER,
    TECHNICAL_FIELDS,
    Head,
    Image,
    ImageVersion,
    Revision,
)
from imagerepo.durability.gate import write
from imagerepo.errors import WrongState
from imagerepo.sessions import conflicts
from imagerepo.sessions.counting import NOTHING, Counts
from imagerepo.sessions.models import Action, StagedImage, State, UploadSession, move
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
        ready = UploadSession.objects.filter(state=State.COMMITTING, uploaded=True).order_by("id")
        for session in list(ready):
            _merge(session)


def _merge(session: UploadSession) -> None:
    found = conflicts.of(session)
    if found:
        detail = f"{len(found)} of its changes conflict with what was committed meanwhile"
        error = {"code": "conflict", "detail": detail, "conflicts": found}
        move(session, "give_back", error=error, committer="", uploaded=False)
        return
    number = newest_revision() + 1
    now = timezone.now()
    counts = _apply(session, number, now)
    Revision.objects.create(
        number=number,
        session=session.key,
        title=session.title,
        owner=session.owner,
        committed_at=now,
        added=counts["add"],
        updated=counts["update"],
        removed=counts["remove"],
    )
    move(session, "merge", revision=number, counts=counts, error=None)


def _apply(session: UploadSession, number: int, now: datetime) -> Counts:
    """Write the session's changes at revision `number`, and count those that change anything."""
    counts = dict(NOTHING)
    changes = StagedImage.objects.filter(session=session).exclude(action=Action.NONE).order_by("id")
    for batch in _batches(changes.iterator(BATCH)):
        current = _current_versions(change.ident for change in batch)
        effective = [change for change in batch if _takes_effect(change, current.get(change.ident))]
        images = _images(effective)
        _close((current[change.ident] for change in effective if change.ident in current), number)
        ImageVersion.objects.bulk_create(
            _version(change, images[change.ident], current.get(change.ident), number, now)
            for change in effective
            if change.action != Action.REMOVE
        )
        for change in effective:
            counts[change.action] += 1
            counts["bytes"] += change.byte_size or 0
    return counts


def _batches(changes: Iterable[StagedImage]) -> Iterable[list[StagedImage]]:
    batch: list[StagedImage] = []
    for change in changes:
        batch.append(change)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _current_versions(idents: Iterable[str]) -> dict[str, ImageVersion]:
    versions = ImageVersion.objects.filter(image__ident__in=list(idents), valid_to=FOREVER)
    return {version.image.ident: version for version in versions.select_related("image")}


def _takes_effect(change: StagedImage, current: ImageVersion | None) -> bool:
    """Conflicts are settled before: what is added already stays, what is removed already is gone."""
    if change.action == Action.ADD:
        return current is None
    return current is not None


def _images(changes: Iterable[StagedImage]) -> dict[str, Image]:
    changes = list(changes)
    idents = [change.ident for change in changes]
    Image.objects.bulk_create(
        (
            Image(ident=change.ident, **{name: getattr(change, name) for name in TECHNICAL_FIELDS})
            for change in changes
            if change.action == Action.ADD
        ),
        ignore_conflicts=True,
    )
    return {image.ident: image for image in Image.objects.filter(ident__in=idents)}


def _close(versions: Iterable[ImageVersion], number: int) -> None:
    ImageVersion.objects.filter(pk__in=[version.pk for version in versions]).update(valid_to=number)


def _version(
    change: StagedImage, image: Image, current: ImageVersion | None, number: int, now: datetime
) -> ImageVersion:
    return ImageVersion(
        image=image,
        valid_from=number,
        added_at=current.added_at if current else now,
        updated_at=now,
        **{name: getattr(change, name) for name in DESCRIPTIVE_FIELDS},
    )


def flip(head_after: int) -> list[str]:
    """Make every session merged up to `head_after` live: call it only when a final record holds them.

    Gives the keys of the sessions that went live.
    """
    with step("commit.flip"), write():
        sessions = list(UploadSession.objects.filter(state=State.MERGED, revision__lte=head_after))
        Head.objects.filter(revision__lt=head_after).update(revision=head_after)
        for session in sessions:
            move(session, "flip")
        StagedImage.objects.filter(session__in=sessions).delete()
    return [session.key for session in sessions]


def give_back(session: UploadSession, code: str, detail: str) -> bool:
    """Put a session that is still committing back to `open`, with its error. False: it has moved on."""
    try:
        with step("commit.give_back"), write():
            error = {"code": code, "detail": detail}
            move(session, "give_back", error=error, committer="", uploaded=False)
    except WrongState:
        return False
    return True
