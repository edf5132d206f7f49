"""Rows of the live catalogue. A version is live at revision r when valid_from <= r < valid_to."""

from __future__ import annotations

from typing import Any

from django.db import models

FOREVER = (1 << 62) - 1
"""valid_to of a version that nothing has replaced yet."""


class IdentField(models.BinaryField):  # type: ignore[type-arg]
    """An ident: 64 hex digits in Python, 32 bytes on disk (half the index pages that a commit dirties)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": 32, **kwargs})

    def from_db_value(self, value: bytes | None, *_: object) -> str | None:
        return None if value is None else bytes(value).hex()

    def to_python(self, value: Any) -> Any:
        return bytes(value).hex() if isinstance(value, bytes | memoryview) else value

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return super().get_db_prep_value(_to_bytes(value), connection, prepared)


def _to_bytes(value: Any) -> Any:
    return bytes.fromhex(value) if isinstance(value, str) else value


class Technical(models.Model):
    """What the bytes themselves say; the same for every version of an image."""

    format = models.CharField(max_length=8)
    width = models.PositiveIntegerField(help_text="Pixels, as displayed (EXIF orientation applied).")
    height = models.PositiveIntegerField(help_text="Pixels, as displayed.")
    frames = models.PositiveIntegerField(default=1)
    byte_size = models.PositiveBigIntegerField()
    md5 = models.BinaryField(max_length=16, help_text="What Swift calls the ETag: proves a PUT.")
    has_alpha = models.BooleanField(default=False)

    class Meta:
        abstract = True


class Descriptive(models.Model):
    """What people say about an image; each change makes a new version."""

    filename = models.TextField(default="", blank=True)
    title = models.TextField(default="", blank=True)
    description = models.TextField(default="", blank=True)
    alt_text = models.TextField(default="", blank=True)
    creator = models.TextField(default="", blank=True)
    rights = models.TextField(default="", blank=True)
    taken_at = models.DateTimeField(null=True, blank=True)
    tags = models.JSONField(default=list, blank=True)
    attributes = models.JSONField(default=dict, blank=True)

    class Meta:
        abstract = True


DESCRIPTIVE_FIELDS = tuple(field.name for field in Descriptive._meta.local_fields)
TECHNICAL_FIELDS = tuple(field.name for field in Technical._meta.local_fields)


class Image(Technical):
    """A base image that some revision has, or had. Never changes; its versions say when it is live."""

    id = models.BigAutoField(primary_key=True)
    ident = IdentField(unique=True)


class ImageVersion(Descriptive):
    """One image's description during the revisions valid_from ≤ r < valid_to."""

    id = models.BigAutoField(primary_key=True)
    image = models.ForeignKey(Image, on_delete=models.PROTECT, related_name="versions", db_index=False)
    valid_from = models.PositiveBigIntegerField()
    valid_to = models.PositiveBigIntegerField(default=FOREVER)
    added_at = models.DateTimeField(help_text="When the image was last added (not when it was changed).")
    updated_at = models.DateTimeField(help_text="When this version was merged.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["image", "valid_to"], name="one_version_at_a_time"),
        ]
        indexes = [models.Index(fields=["added_at", "image"], name="version_added")]


class Revision(models.Model):
    """The log: what each merged session did. It outlives the session's row."""

    number = models.PositiveBigIntegerField(primary_key=True)
    session = models.CharField(max_length=32, unique=True)
    title = models.TextField(default="", blank=True)
    owner = models.CharField(max_length=100)
    committed_at = models.DateTimeField()
    added = models.PositiveIntegerField(default=0)
    updated = models.PositiveIntegerField(default=0)
    removed = models.PositiveIntegerField(default=0)


class AuditEntry(models.Model):
    """Who did what: written in the transaction of the deed itself, so that it lasts exactly if the deed does."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    actor = models.CharField(max_length=100, help_text="A token's name, or the part of the service that did it.")
    action = models.CharField(max_length=24)
    subject = models.CharField(max_length=100, help_text="The session, token, ident or plan that it was done to.")
    revision = models.PositiveBigIntegerField(null=True, help_text="The revision that it made.")
    detail = models.JSONField(default=dict)


class Head(models.Model):
    """One row: the newest revision that is live, and the oldest that can still be asked for."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    revision = models.PositiveBigIntegerField(default=0)
    horizon = models.PositiveBigIntegerField(default=0)


class Token(models.Model):
    """A named bearer token, by the SHA-256 of its text (256 random bits need no slow hash)."""

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=100, unique=True)
    role = models.CharField(max_length=16)
    digest = models.BinaryField(max_length=32, unique=True)
    created_at = models.DateTimeField()


class Condemned(models.Model):
    """A mark: the base of this ident is being deleted, so no commit may rely on finding it.

    Set only where no row refers to the image; final before the deletion is sent; cleared once no deletion of it
    can be under way any more. The rule is in docs/reconcile.md.
    """

    id = models.BigAutoField(primary_key=True)
    ident = IdentField(unique=True)
    condemned_at = models.DateTimeField()


class Purged(models.Model):
    """An image that was taken down: its versions are gone from every revision, and its address answers 410."""

    id = models.BigAutoField(primary_key=True)
    ident = IdentField(unique=True)
    purged_at = models.DateTimeField()
    revision = models.PositiveBigIntegerField(null=True, help_text="The last revision that removed it.")
    gone = models.BooleanField(default=False, help_text="The store has neither its base nor a derivative any more.")
