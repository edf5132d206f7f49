"""The horizon: versions that no kept revision shows are deleted, and then the images that nothing refers to.

Revisions stay in the log for ever; what they showed can be asked for back to the horizon.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice

from django.db.models import Exists, Max, OuterRef
from django.utils import timezone

from imagerepo.catalogue import queries
from imagerepo.catalogue.deeds import Deed, entry
from imagerepo.catalogue.models import Head, Image, ImageVersion, Revision
from imagerepo.durability.writer import Writer
from imagerepo.sessions import lane
from imagerepo.testing.failpoints import step

BATCH = 5000
"""Versions deleted by one record: a delta of a few MB."""


def horizon_at(history: timedelta) -> int:
    """The revision that was live `history` ago: the oldest that is to be kept."""
    long_ago = timezone.now() - history
    old = Revision.objects.filter(number__lte=queries.head(), committed_at__lte=long_ago)
    return old.aggregate(newest=Max("number"))["newest"] or 0


def forget(writer: Writer, horizon: int, *, actor: str) -> Iterator[list[str]]:
    """Delete, durably, what no revision from `horizon` on shows, a batch each time that the next is asked for.

    Each gives the idents of images that nothing refers to since. Their bases stay in the store for a Deleter; where
    they are not given to one, the next plan finds them. Raises Fenced.
    """
    if horizon > queries.horizon():
        _raise_horizon(writer, horizon, actor)
    while ids := list(islice(_unseen(), BATCH)):
        yield _delete(writer, ids)


def _unseen() -> Iterable[tuple[int, int]]:
    versions = ImageVersion.objects.filter(valid_to__lte=queries.horizon()).order_by("id")
    return versions.values_list("id", "image_id")[:BATCH]


def _raise_horizon(writer: Writer, horizon: int, actor: str) -> None:
    def change() -> None:
        Head.objects.filter(horizon__lt=horizon).update(horizon=horizon)
        entry(actor, Deed.PURGE, "history", horizon=horizon).save()

    with step("purge.history"):
        lane.publish(writer, change)


def _delete(writer: Writer, found: list[tuple[int, int]]) -> list[str]:
    orphans: list[str] = []

    def change() -> None:
        ImageVersion.objects.filter(pk__in=[pk for pk, _ in found]).delete()
        others = ImageVersion.objects.filter(image=OuterRef("pk"))
        images = Image.objects.filter(pk__in={image for _, image in found}).exclude(Exists(others))
        orphans.extend(str(ident) for ident in images.values_list("ident", flat=True))
        images.delete()

    with step("purge.history"):
        lane.publish(writer, change)
    return orphans
