"""Staging: each change of a session is one row of the shadow table; nobody browsing sees it.

Every function raises WrongState unless the session is open at that moment, and lets the session live on.

The spool file of an added image comes and goes under the same lock as its row (the write gate), in an
order that a crash can't turn into a row without its bytes: the file first, then the row; when it goes,
the row first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.utils import timezone

from imagerepo.catalogue import queries
from imagerepo.catalogue.models import TECHNICAL_FIELDS, ImageVersion
from imagerepo.durability import damage
from imagerepo.durability.gate import write
from imagerepo.errors import NotInSession
from imagerepo.sessions import bases, expiry
from imagerepo.sessions.metadata import Patch, describe, description
from imagerepo.sessions.models import Action, StagedImage, UploadSession, brought
from imagerepo.sessions.service import current
from imagerepo.store.formats import Decoded
from imagerepo.store.spool import Spooled


@dataclass(frozen=True)
class Lookup:
    """Which images need not be sent: their bytes are `live`, or `staged` in the session."""

    live: list[str]
    staged: list[str]
    unknown: list[str]


def stage_image(
    session: UploadSession,
    spooled: Spooled,
    decoded: Decoded,
    *,
    filename: str | None = None,
    metadata: Patch | None = None,
) -> tuple[StagedImage, bool]:
    """Stage received and decoded bytes; true with it if they are a new addition.

    Live bytes become an `update` if `metadata` says anything, else `none`; they are kept where the store needs them
    again. `filename` and EXIF's time are what an added image has unless `metadata` says otherwise. The spooled file is
    used up in any case.
    """
    try:
        spooled.sync()
        mends = live_version(spooled.ident) is not None and bases.needs_mending(current(), spooled)
        with _changing(session):
            before = staged(session, spooled.ident)
            was_added = before is not None and before.action == Action.ADD
            row = _uploaded(session, spooled, decoded, before)
            if mends:
                _bring(row, spooled, decoded)
            row.filename = row.filename or (filename or "" if row.action == Action.ADD else "")
            if metadata:
                _describe(row, metadata)
            if row.brings_bytes:
                current().spool.keep(spooled, session.key)
            row.save()
    except BaseException:
        drop_unless_staged(session, spooled.ident)
        raise
    finally:
        spooled.discard()
    return row, row.action == Action.ADD and not was_added


def stage_metadata(session: UploadSession, ident: str, patch: Patch) -> StagedImage:
    """Describe a staged image anew, or stage an update of a live one. Raises NotInSession, InvalidMetadata."""
    with _changing(session):
        row = staged(session, ident)
        if row is None or row.action == Action.NONE:
            row = _kept_on_live(session, ident, Action.UPDATE, in_place_of=row)
        elif row.action == Action.REMOVE:
            raise NotInSession(f"image {ident} is staged for removal: discard that change first")
        _describe(row, patch)
        row.save()
    return row


def stage_removal(session: UploadSession, ident: str) -> None:
    """Unstage an added image, or stage the removal of a live one. Repeatable. Raises NotInSession."""
    with _changing(session):
        row = staged(session, ident)
        live = live_version(ident)
        if row is None and live is None:
            raise _not_in_session(ident)
        if row is not None and (row.action == Action.ADD or live is None):
            row.delete()
        elif row is None or row.action != Action.REMOVE:
            _on_live(session, ident, Action.REMOVE, in_place_of=row).save()
    drop_unless_staged(session, ident)


def stage_removals(session: UploadSession, idents: Iterable[str]) -> None:
    """Stage the removal of those of the images that are live, unless something is staged for them already."""
    with _changing(session):
        wanted = list(idents)
        live = queries.live(queries.head()).filter(image__ident__in=wanted)
        before = set(StagedImage.objects.filter(session=session, ident__in=wanted).values_list("ident", flat=True))
        StagedImage.objects.bulk_create(
            StagedImage(
                session=session,
                ident=version.image.ident,
                action=Action.REMOVE,
                base_version=version.pk,
                staged_at=timezone.now(),
                **description(version),
            )
            for version in live
            if version.image.ident not in before
        )


def discard(session: UploadSession, ident: str) -> None:
    """Forget whatever is staged for the image. Raises NotInSession when nothing is."""
    with _changing(session):
        row = staged(session, ident)
        if row is None:
            raise NotInSession(f"nothing is staged for image {ident} in this session")
        row.delete()
    drop_unless_staged(session, ident)


def lookup(session: UploadSession, idents: Iterable[str]) -> Lookup:
    """Sort `idents`, in their order, by where their bytes are already. Of a damaged base they are nowhere."""
    wanted = list(dict.fromkeys(idents))
    staged_idents = {row.ident for row in brought(session).filter(ident__in=wanted).only("ident")}
    damaged = damage.known(current().writer.disk).damaged.keys()
    live_idents = queries.live_idents(wanted, queries.head()) - staged_idents - damaged
    return Lookup(
        live=[ident for ident in wanted if ident in live_idents],
        staged=[ident for ident in wanted if ident in staged_idents],
        unknown=[ident for ident in wanted if ident not in live_idents | staged_idents],
    )


def staged(session: UploadSession, ident: str) -> StagedImage | None:
    """What is staged for the image in this session."""
    return StagedImage.objects.filter(session=session, ident=ident).first()


def changes(session: UploadSession, *, limit: int, after: int = 0) -> list[StagedImage]:
    """Up to `limit` changes in the order of their `id`, from beyond `after` on."""
    rows = StagedImage.objects.filter(session=session, id__gt=after).exclude(action=Action.NONE)
    return list(rows.order_by("id")[:limit])


def live_version(ident: str) -> ImageVersion | None:
    """What everybody sees of the image now."""
    return queries.version_at(ident, queries.head()) if queries.is_known(ident) else None


@contextmanager
def _changing(session: UploadSession) -> Iterator[None]:
    current().writer.check_room()
    with write(durable=True):  # what was answered as staged must not be less after a power cut, and then be committed
        expiry.extend(session)
        yield


def _uploaded(session: UploadSession, spooled: Spooled, decoded: Decoded, before: StagedImage | None) -> StagedImage:
    """The row that an upload edits: one that already says what becomes of these bytes, or a new one."""
    if before is not None and before.action == Action.ADD:
        return before
    if live_version(spooled.ident) is not None:
        if before is not None and before.action == Action.UPDATE:
            return before
        return _kept_on_live(session, spooled.ident, Action.NONE, in_place_of=before)
    if before is not None and before.action == Action.UPDATE:
        return _added_again(before, spooled, decoded)
    row = StagedImage(
        pk=before.pk if before else None,
        session=session,
        ident=spooled.ident,
        action=Action.ADD,
        staged_at=timezone.now(),
        taken_at=decoded.taken_at,
    )
    _bring(row, spooled, decoded)
    return row


def _added_again(update: StagedImage, spooled: Spooled, decoded: Decoded) -> StagedImage:
    """An update of an image that was removed meanwhile, whose bytes come again: it is added as described."""
    update.action, update.base_version = Action.ADD, None
    _bring(update, spooled, decoded)
    return update


def _bring(row: StagedImage, spooled: Spooled, decoded: Decoded) -> None:
    """Let the row bring its bytes, of which it then says what they are."""
    row.byte_size, row.md5 = spooled.size, bytes.fromhex(spooled.md5)
    row.format, row.frames, row.has_alpha = decoded.format, decoded.frames, decoded.has_alpha
    row.width, row.height = decoded.width, decoded.height


def _kept_on_live(
    session: UploadSession, ident: str, action: Action, *, in_place_of: StagedImage | None
) -> StagedImage:
    """A change made on the live version that brings the bytes which the one in its place brought."""
    row = _on_live(session, ident, action, in_place_of=in_place_of)
    if in_place_of is not None and in_place_of.brings_bytes:
        for name in TECHNICAL_FIELDS:
            setattr(row, name, getattr(in_place_of, name))
    return row


def _on_live(session: UploadSession, ident: str, action: Action, *, in_place_of: StagedImage | None) -> StagedImage:
    """A change made on the live version, of which it is a full copy. Raises NotInSession."""
    live = live_version(ident)
    if live is None:
        raise _not_in_session(ident)
    return StagedImage(
        pk=in_place_of.pk if in_place_of else None,
        session=session,
        ident=ident,
        action=action,
        base_version=live.pk,
        staged_at=timezone.now(),
        **description(live),
    )


def _describe(row: StagedImage, patch: Patch) -> None:
    describe(row, patch)
    row.with_metadata = True
    if row.action == Action.NONE:
        row.action = Action.UPDATE


def drop_unless_staged(session: UploadSession, ident: str) -> None:
    """Drop the bytes from the spool. Under the gate: an upload of the same bytes, just now, keeps its file."""
    with write():
        row = staged(session, ident)
        if row is None or not row.brings_bytes:
            current().spool.drop(session.key, ident)


def _not_in_session(ident: str) -> NotInSession:
    return NotInSession(f"image {ident} is neither live nor staged in this session")
