"""The rows' side: which images the database refers to, read a little at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from django.db.models import Exists, OuterRef

from imagerepo.catalogue.models import FOREVER, Image, ImageVersion
from imagerepo.sessions.models import StagedImage

CHUNK = 5000
"""Rows of one read. No read transaction is held between two: a long one would keep SQLite's log from ending. It is as
many idents, too, as one statement is asked about: SQLite takes no more than some thousands."""
IDENTS = 1 << 256
"""How many idents there can be."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the rows say of a base: `size` in bytes, `md5` in hex.

    `current`: it is live, or merged and about to be; else only retained revisions refer to it.
    """

    ident: str
    size: int
    md5: str
    current: bool


def rows(after: str = "", *, chunk: int = CHUNK) -> Iterator[Row]:
    """Every image that any version refers to, sorted by ident, from beyond `after` on."""
    while True:
        found = _chunk(after, chunk)
        yield from found
        if len(found) < chunk:
            return
        after = found[-1].ident


def spread(most: int) -> Iterator[str]:
    """About `most` of the idents that any version refers to, evenly from everywhere; all, where there are no more."""
    if how_many() <= most:
        yield from (row.ident for row in rows())
        return
    last = ""
    for number in range(most):
        place = f"{IDENTS // most * number:064x}"
        if last <= place:  # else it is what comes after this place, too
            found = _chunk(place, 1)
            if not found:
                return
            last = found[0].ident
            yield last


def referred_to(idents: Collection[str]) -> set[str]:
    """Those of `idents` that any row refers to: staged, merged, live or retained."""
    staged = StagedImage.objects.values_list("ident", flat=True)
    found = {str(ident) for chunk in in_chunks(idents) for ident in staged.filter(ident__in=chunk)}
    return found | merged(idents)


def merged(idents: Collection[str]) -> set[str]:
    """Those of `idents` that any version refers to, about to be live, live or retained: the store must have them."""
    versions = ImageVersion.objects.values_list("image__ident", flat=True)
    return {str(ident) for chunk in in_chunks(idents) for ident in versions.filter(image__ident__in=chunk)}


def in_chunks(idents: Iterable[str]) -> Iterator[list[str]]:
    """All of `idents`, as many at once as one statement may be asked about."""
    left = iter(idents)
    while chunk := list(islice(left, CHUNK)):
        yield chunk


def current(idents: Collection[str]) -> set[str]:
    """Those of `idents` that are live, or about to be."""
    versions = ImageVersion.objects.filter(image__ident__in=idents, valid_to=FOREVER)
    return {str(ident) for ident in versions.values_list("image__ident", flat=True)}


def how_many() -> int:
    """Images of which there are rows."""
    return Image.objects.count()


def _chunk(after: str, most: int) -> list[Row]:
    versions = ImageVersion.objects.filter(image=OuterRef("pk"))
    images = Image.objects.filter(Exists(versions))
    if after:
        images = images.filter(ident__gt=after)
    columns = images.annotate(current=Exists(versions.filter(valid_to=FOREVER))).order_by("ident")
    found = columns.values_list("ident", "byte_size", "md5", "current")[:most]
    return [Row(str(ident), size, bytes(md5).hex(), now) for ident, size, md5, now in found]
