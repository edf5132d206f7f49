"""What is live at a revision. Every function takes the revision that its answer is about, and writes nothing.

Commits never change the rows of a revision once head has reached it: a merge adds versions from a later revision on,
and closes others at one. So no transaction is needed, and a page asked for later is of the same listing. Two things
only take rows away from revisions: a purge, all of one image up to its removal, which such a page then lacks; and the
end of history, behind the horizon, of which nothing can be asked for any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias, cast, get_args

from django.db.models import BooleanField, DateTimeField, F, Func, QuerySet, Value

from imagerepo.catalogue.models import FOREVER, Head, Image, ImageVersion, Purged, Revision

Order: TypeAlias = Literal["-added", "added"]
ORDERS: tuple[Order, ...] = get_args(Order)
NEWEST_FIRST: Order = "-added"


@dataclass(frozen=True)
class Position:
    """Where a page ended: the next one begins beyond it. `image` is the row's id, which breaks ties."""

    added_at: datetime
    image: int


@dataclass(frozen=True)
class Filters:
    """What a listing is narrowed to; sides in pixels, as displayed.

    `tags`: the image has all of them. `taken_after` counts itself in and `taken_before` does not, so that
    neighbouring periods share no image. An image without the fact that is asked for is left out.
    """

    format: str | None = None
    min_width: int | None = None
    max_width: int | None = None
    min_height: int | None = None
    max_height: int | None = None
    taken_after: datetime | None = None
    taken_before: datetime | None = None
    tags: tuple[str, ...] = ()


EVERYTHING = Filters()

_LOOKUPS = {
    "format": "image__format",
    "min_width": "image__width__gte",
    "max_width": "image__width__lte",
    "min_height": "image__height__gte",
    "max_height": "image__height__lte",
    "taken_after": "taken_at__gte",
    "taken_before": "taken_at__lt",
}


def head() -> int:
    """The newest live revision; 0 while nothing has been committed. Read it once for one answer."""
    return Head.objects.values_list("revision", flat=True).first() or 0


def horizon() -> int:
    """The oldest revision that can still be asked for; versions that none since shows are deleted."""
    return Head.objects.values_list("horizon", flat=True).first() or 0


def live(at: int) -> QuerySet[ImageVersion]:
    """The versions that revision `at` shows, each with its image."""
    return ImageVersion.objects.filter(valid_from__lte=at, valid_to__gt=at).select_related("image")


def page(
    at: int,
    *,
    limit: int,
    after: Position | None = None,
    order: Order = NEWEST_FIRST,
    filters: Filters = EVERYTHING,
) -> list[ImageVersion]:
    """Up to `limit` versions live at `at`, in the order in which they were added, from beyond `after` on."""
    rows = _narrowed(live(at), filters)
    if after is not None:
        rows = rows.filter(_beyond(after, order))
    sign = "-" if order == "-added" else ""
    return list(rows.order_by(f"{sign}added_at", f"{sign}image_id")[:limit])


def position(version: ImageVersion) -> Position:
    """Where a page that ends with `version` ended."""
    return Position(version.added_at, version.image_id)


def is_known(ident: str) -> bool:
    """Whether there is a row of the image, of whatever revision: of most that are sent there is none, soon said."""
    return Image.objects.filter(ident=ident).exists()


def newest_version(ident: str, at: int) -> ImageVersion | None:
    """The last version that began by revision `at`, with its image; None for an image never live by then.

    It is live at `at` if its `valid_to` is beyond; else that is the revision that removed the image.
    """
    began = ImageVersion.objects.filter(image__ident=ident, valid_from__lte=at)
    return began.select_related("image").order_by("-valid_to").first()


def version_at(ident: str, at: int) -> ImageVersion | None:
    """The version of the image that revision `at` shows, with its image."""
    newest = newest_version(ident, at)
    return newest if newest is not None and newest.valid_to > at else None


def last_removed(ident: str, at: int) -> int | None:
    """The revision that removed the image, if it was live before `at` and is not live at it."""
    newest = newest_version(ident, at)
    return newest.valid_to if newest is not None and newest.valid_to <= at else None


def current_version(ident: str) -> ImageVersion | None:
    """The newest merged version, also one that is not yet live. For conflicts only: no browser may see it."""
    return ImageVersion.objects.filter(image__ident=ident, valid_to=FOREVER).select_related("image").first()


def live_idents(idents: Iterable[str], at: int) -> set[str]:
    """Those of `idents` that revision `at` shows."""
    found = live(at).filter(image__ident__in=list(idents)).values_list("image__ident", flat=True)
    return set(cast("QuerySet[ImageVersion, str]", found))  # the stubs take every BinaryField for bytes


def purged(ident: str) -> Purged | None:
    """When and where the image was taken down from every revision; it may have been added again since."""
    return Purged.objects.filter(ident=ident).first()


def history(ident: str, at: int, *, limit: int, before: int = FOREVER) -> list[ImageVersion]:
    """Up to `limit` versions of the image that began by `at` and before revision `before`, newest first."""
    began = ImageVersion.objects.filter(image__ident=ident, valid_from__lte=at, valid_from__lt=before)
    return list(began.select_related("image").order_by("-valid_to")[:limit])


def revisions(at: int, *, limit: int, before: int = FOREVER) -> list[Revision]:
    """Up to `limit` entries of the log by `at` and before revision `before`, newest first."""
    return list(Revision.objects.filter(number__lte=at, number__lt=before).order_by("-number")[:limit])


def revision(number: int, at: int) -> Revision | None:
    """The log's entry `number`, if it is live by `at`."""
    return Revision.objects.filter(number=number, number__lte=at).first()


def _narrowed(rows: QuerySet[ImageVersion], filters: Filters) -> QuerySet[ImageVersion]:
    wanted = {lookup: getattr(filters, name) for name, lookup in _LOOKUPS.items()}
    rows = rows.filter(**{lookup: value for lookup, value in wanted.items() if value is not None})
    for tag in filters.tags:
        rows = rows.filter(_has_tag(tag))
    return rows


def _has_tag(tag: str) -> Func:
    return Func(
        F("tags"),
        Value(tag),
        template="EXISTS (SELECT 1 FROM json_each(%(expressions)s)",
        arg_joiner=") WHERE value = ",
        output_field=BooleanField(),
    )


def _beyond(after: Position, order: Order) -> Func:
    # As one row value: SQLite walks the index from there, where Django's own spelling with OR scans.
    return Func(
        _row(F("added_at"), F("image_id")),
        _row(Value(after.added_at, DateTimeField()), Value(after.image)),
        template="%(expressions)s",
        arg_joiner=" < " if order == "-added" else " > ",
        output_field=BooleanField(),
    )


def _row(*parts: F | Value) -> Func:
    return Func(*parts, template="(%(expressions)s)", output_field=BooleanField())
