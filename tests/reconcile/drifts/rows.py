"""Drift on the side of the rows. A server's process makes it: nobody else may open its database."""

from __future__ import annotations

from django.utils import timezone

from imagerepo.catalogue.models import FOREVER, Image, ImageVersion
from imagerepo.durability.gate import write
from imagerepo.sessions import merge


def forget(ident: str) -> None:
    """The image's rows are gone, as after a restore of older ones."""
    with write(durable=True):
        ImageVersion.objects.filter(image__ident=ident).delete()
        Image.objects.filter(ident=ident).delete()


def add(ident: str, byte_size: int, md5: bytes) -> None:
    """A row shows the image, though no session ever added it. Where one does already, nothing changes."""
    facts = {"format": "png", "width": 4, "height": 3, "byte_size": byte_size, "md5": md5}
    now = timezone.now()
    with write(durable=True):
        image, _ = Image.objects.get_or_create(ident=ident, defaults=facts)
        if not ImageVersion.objects.filter(image=image, valid_to=FOREVER).exists():
            newest = merge.newest_revision()
            ImageVersion.objects.create(image=image, valid_from=newest, added_at=now, updated_at=now)
