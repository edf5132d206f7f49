"""The parameters of a listing of images: what may be asked, and which page it is."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

from django.http import QueryDict
from rest_framework import serializers

from imagerepo.api.lookups import WHOLE_NUMBER, check_kept
from imagerepo.api.metadata import Timestamp
from imagerepo.api.parsing import DEFAULT_PAGE, MAX_PAGE, bad_parameter
from imagerepo.api.validation import StrictSerializer, Text, validated
from imagerepo.catalogue import cursors, queries
from imagerepo.catalogue.cursors import Cursor
from imagerepo.catalogue.models import ImageVersion
from imagerepo.catalogue.queries import NEWEST_FIRST, ORDERS, Filters, Order, Position
from imagerepo.store.formats import BY_NAME

REPEATABLE = "tag"
MAX_TAGS = 10
"""Each tag is looked for in every image that the others leave."""
MAX_SIDE = 2**31 - 1
"""Pixels: what a column holds."""


@dataclass(frozen=True)
class Listing:
    """One page of the images live at revision `at`."""

    at: int
    limit: int
    order: Order
    after: Position | None
    filters: Filters

    @classmethod
    def asked(cls, query: QueryDict, head: int) -> Self:
        """The page that `query` asks for while `head` is live.

        Raises BadRequest with all that is wrong, and Gone where its revision is purged.
        """
        serializer = ListingParameters(data=plain(query), context={"head": head})
        given = validated(serializer)
        cursor: Cursor | None = given.get("cursor")
        at = cursor.revision if cursor else given.get("at", head)
        if at < head:
            check_kept(at)
        return cls(
            at=at,
            limit=given["limit"],
            order=cursor.order if cursor else given.get("order", NEWEST_FIRST),
            after=cursor.position if cursor else None,
            filters=_filters(given),
        )

    def read(self) -> tuple[list[ImageVersion], Cursor | None]:
        """The page's rows, and the cursor of the next page if there is one. One query."""
        rows = queries.page(self.at, limit=self.limit + 1, after=self.after, order=self.order, filters=self.filters)
        page = rows[: self.limit]
        more = len(rows) > self.limit
        return page, Cursor(self.at, self.order, queries.position(page[-1])) if more else None


class Whole(serializers.Field[Any, Any, Any, Any]):
    """A whole number in decimal digits, within bounds."""

    default_error_messages = {"invalid": "not a whole number from {low} to {high}"}

    def __init__(self, *, low: int = 0, high: int = 10**18 - 1, **given: Any) -> None:
        super().__init__(**given)
        self._low, self._high = low, high

    def to_internal_value(self, data: Any) -> int:
        if not WHOLE_NUMBER.fullmatch(data) or not self._low <= int(data) <= self._high:
            self.fail("invalid", low=self._low, high=self._high)
        return int(data)


class CursorField(serializers.Field[Any, Any, Any, Any]):
    default_error_messages = {"invalid": "not a cursor of this service: begin again without one"}

    def to_internal_value(self, data: Any) -> Cursor:
        cursor = cursors.read(data)
        if cursor is None:
            self.fail("invalid")
        return cursor


class OrderField(serializers.Field[Any, Any, Any, Any]):
    default_error_messages = {
        "invalid": f"not one of {', '.join(ORDERS)}",
        "not_yet": f"this version of the service lists by {' and '.join(ORDERS)} only",
    }

    def to_internal_value(self, data: Any) -> Any:
        if data in ("-taken", "taken", "title"):
            self.fail("not_yet")
        if data not in ORDERS:
            self.fail("invalid")
        return data


class NotYet(serializers.Field[Any, Any, Any, Any]):
    """A parameter of the contract that is refused, lest its being left out of account go unnoticed."""

    default_error_messages = {"not_yet": "this version of the service has no full-text search"}

    def to_internal_value(self, data: Any) -> Any:
        self.fail("not_yet")


def _side() -> Whole:
    return Whole(required=False, high=MAX_SIDE)


class ListingParameters(StrictSerializer):
    """The query of GET /api/v1/images. Its context says which revision is `head`."""

    limit = Whole(low=1, high=MAX_PAGE, default=DEFAULT_PAGE)
    cursor = CursorField(required=False)
    at = Whole(required=False)
    order = OrderField(required=False)
    q = NotYet(required=False)
    tag = serializers.ListField(child=Text(), required=False, max_length=MAX_TAGS)
    format = serializers.ChoiceField(choices=list(BY_NAME), required=False)
    min_width = _side()
    max_width = _side()
    min_height = _side()
    max_height = _side()
    taken_after = Timestamp(required=False)
    taken_before = Timestamp(required=False)

    def validate_at(self, at: int) -> int:
        head = self.context["head"]
        if at > head:
            raise serializers.ValidationError(f"not a revision from 0 to {head}", "invalid")
        return at

    def validate_cursor(self, cursor: Cursor) -> Cursor:
        # Beyond head are rows that are merged and not yet live: a forged cursor must not show them.
        if cursor.revision > self.context["head"]:
            raise serializers.ValidationError("of a revision that is not live here: begin again", "invalid")
        return cursor

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        cursor: Cursor | None = attrs.get("cursor")
        if cursor is not None:
            for name, pinned in (("at", cursor.revision), ("order", cursor.order)):
                if attrs.get(name, pinned) != pinned:
                    raise serializers.ValidationError({name: f"the cursor's is {pinned}"}, "contradiction")
        return attrs


def plain(query: QueryDict) -> dict[str, Any]:
    """A query as a serializer takes it. Raises BadRequest for a parameter given twice that is one value."""
    for name, values in query.lists():
        if len(values) > 1 and name != REPEATABLE:
            raise bad_parameter(name, "given more than once")
    return {name: values if name == REPEATABLE else values[0] for name, values in query.lists()}


def _filters(given: dict[str, Any]) -> Filters:
    named = {field.name: given[field.name] for field in fields(Filters) if field.name in given}
    return Filters(**named, tags=tuple(given.get(REPEATABLE, ())))
