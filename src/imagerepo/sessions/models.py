"""Upload sessions and their shadow tables. `UploadSession`'s transitions say what is allowed; `move` does it.

open ──claim──▶ committing ──merge──▶ merged ──flip──▶ live
 │ ▲                │
 │ └───give_back────┘          abort, expire, lose: ▶ aborted | expired
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.db import models
from django_fsm import FSMField, can_proceed, transition

from imagerepo.catalogue.models import Descriptive, IdentField
from imagerepo.errors import WrongState


class State(models.TextChoices):
    OPEN = "open"
    COMMITTING = "committing"
    MERGED = "merged"
    LIVE = "live"
    ABORTED = "aborted"
    EXPIRED = "expired"


class Action(models.TextChoices):
    ADD = "add"
    UPDATE = "update"
    REMOVE = "remove"
    NONE = "none"


def new_key() -> str:
    """A session's public id: 32 hex digits that can't be guessed."""
    return uuid.uuid4().hex


class UploadSession(models.Model):
    """The unit of change. Its state is written by `move` alone."""

    id = models.BigAutoField(primary_key=True)
    key = models.CharField(max_length=32, unique=True, default=new_key)
    title = models.TextField(default="", blank=True)
    owner = models.CharField(max_length=100)
    state = FSMField(default=State.OPEN, choices=State.choices)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    expires_in = models.FloatField(help_text="Seconds without a write, after which an open session expires.")
    base_revision = models.PositiveBigIntegerField()
    revision = models.PositiveBigIntegerField(null=True)
    error = models.JSONField(null=True, help_text="Why it is open again, or was aborted: {code, detail}.")
    uploaded = models.BooleanField(default=False, help_text="Every staged base is in the store: it may be merged.")
    committer = models.CharField(
        max_length=64,
        default="",
        help_text="The claim it is committed under: the worker that uploads it, and a number.",
    )
    counts = models.JSONField(null=True, help_text="Counts at the merge; while it is open they are counted.")
    purges = IdentField(null=True, help_text="The ident whose purge it removes for; null again when that is done.")

    class Meta:
        indexes = [
            models.Index(
                fields=["state"],
                name="session_unfinished",
                condition=models.Q(state__in=["committing", "merged"]),
            ),
            models.Index(fields=["owner", "id"], name="session_owner"),
            models.Index(fields=["purges"], name="session_purges", condition=models.Q(purges__isnull=False)),
        ]

    @transition(field=state, source=State.OPEN, target=State.COMMITTING)
    def claim(self) -> None: ...

    @transition(field=state, source=State.COMMITTING, target=State.OPEN)
    def give_back(self) -> None: ...

    @transition(field=state, source=State.COMMITTING, target=State.MERGED)
    def merge(self) -> None: ...

    @transition(field=state, source=State.MERGED, target=State.LIVE)
    def flip(self) -> None: ...

    @transition(field=state, source=State.OPEN, target=State.ABORTED)
    def abort(self) -> None: ...

    @transition(field=state, source=State.OPEN, target=State.EXPIRED)
    def expire(self) -> None: ...

    @transition(field=state, source=[State.OPEN, State.COMMITTING], target=State.ABORTED)
    def lose(self) -> None:
        """Its staged bytes were on a disk that is lost."""


def move(session: UploadSession, name: str, **changes: Any) -> None:
    """Carry out the transition `name` as a compare-and-set, writing `changes` with it.

    Raises WrongState when the transition is not allowed, or when the row has left the state that
    `session` was read in: then nothing was written. Call it inside a write transaction.
    """
    before, method = session.state, getattr(session, name)
    if not can_proceed(method):
        raise wrong_state(session)
    method()
    done = UploadSession.objects.filter(pk=session.pk, state=before).update(state=session.state, **changes)
    if not done:
        session.refresh_from_db()
        raise wrong_state(session)
    for field, value in changes.items():
        setattr(session, field, value)


def under(claim: str, session: UploadSession) -> models.QuerySet[UploadSession]:
    """The session's row, as long as it is committing under this claim: whatever a try does to it goes by this."""
    return UploadSession.objects.filter(pk=session.pk, state=State.COMMITTING, committer=claim)


def move_all(sessions: Sequence[UploadSession], name: str) -> None:
    """Carry out the transition `name` for sessions that are all in one state, with one statement.

    Raises WrongState as `move` does; some may be written then: roll back.
    """
    if not sessions:
        return
    (before,) = {session.state for session in sessions}
    for session in sessions:
        if not can_proceed(getattr(session, name)):
            raise wrong_state(session)
        getattr(session, name)()
    rows = UploadSession.objects.filter(pk__in=[session.pk for session in sessions], state=before)
    if rows.update(state=sessions[0].state) != len(sessions):
        raise wrong_state(sessions[0])


def wrong_state(session: UploadSession) -> WrongState:
    return WrongState(f"session {session.key} is {session.state}", session=session.key, state=str(session.state))


class StagedImage(Descriptive):
    """Shadow of Image and ImageVersion: one staged change, unseen by browsers until its session is live.

    `base_version` is the id of the ImageVersion that the change was made on (null: it was not live).
    Technical columns are null where the image is live already, unless its base is to be mended by this. The bytes of
    those that have them lie in the spool.
    """

    id = models.BigAutoField(primary_key=True)
    session = models.ForeignKey(UploadSession, on_delete=models.CASCADE, related_name="staged", db_index=False)
    ident = IdentField()
    action = models.CharField(max_length=8, choices=Action.choices)
    base_version = models.PositiveBigIntegerField(null=True)
    with_metadata = models.BooleanField(default=False, help_text="The client described it (not only EXIF).")
    staged_at = models.DateTimeField()
    format = models.CharField(max_length=8, null=True)
    width = models.PositiveIntegerField(null=True)
    height = models.PositiveIntegerField(null=True)
    frames = models.PositiveIntegerField(null=True)
    byte_size = models.PositiveBigIntegerField(null=True)
    md5 = models.BinaryField(max_length=16, null=True)
    has_alpha = models.BooleanField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["session", "ident"], name="staged_once")]

    @property
    def brings_bytes(self) -> bool:
        return self.action == Action.ADD or self.md5 is not None


def brought(session: UploadSession) -> models.QuerySet[StagedImage]:
    """What is staged in the session with its bytes."""
    return StagedImage.objects.filter(models.Q(action=Action.ADD) | models.Q(md5__isnull=False), session=session)
