"""Paging through a listing while merges go on, against a plain model of what was live."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagerepo.catalogue import queries
from imagerepo.catalogue.cursors import Cursor, read
from imagerepo.catalogue.models import Image, ImageVersion
from imagerepo.catalogue.queries import ORDERS, Filters, Order
from tests.catalogue.rows import add, remove, update, when

pytestmark = pytest.mark.usefixtures("database")

NAMES = [f"image {number}" for number in range(8)]
MERGES = st.lists(st.dictionaries(st.sampled_from(NAMES), st.booleans(), min_size=1), min_size=1, max_size=6)
"""One dictionary a revision: what becomes of each image. True: add it, or change it; false: remove it."""


class Model:
    """The catalogue as dictionaries: at each revision, the live images with their order's key."""

    def __init__(self) -> None:
        self.at: list[dict[str, tuple[object, int]]] = [{}]

    def merge(self, changes: dict[str, bool]) -> None:
        """Carry out one merge, in the rows and in the model."""
        revision, live = len(self.at), dict(self.at[-1])
        for name, stays in changes.items():
            if stays and name in live:
                update(name, revision)
            elif stays:
                live[name] = (when(revision), add(name, revision).image_id)
            elif name in live:
                remove(name, revision)
                del live[name]
        self.at.append(live)

    def listing(self, at: int, order: Order) -> list[str]:
        live = self.at[at]
        return sorted(live, key=lambda name: live[name], reverse=order == "-added")


def walk(at: int, order: Order, limit: int, between: Iterator[None]) -> Iterator[str]:
    """The listing page by page, each from the text of a cursor, with something happening in between."""
    cursor = None
    while True:
        rows = queries.page(at, limit=limit, order=order, after=cursor.position if cursor else None)
        yield from (row.filename for row in rows)
        if len(rows) < limit:
            return
        cursor = read(str(Cursor(at, order, queries.position(rows[-1]))))
        next(between, None)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=MERGES,
    meanwhile=MERGES,
    order=st.sampled_from(ORDERS),
    limit=st.integers(1, 9),
    back=st.integers(0, 3),
)
def test_paging_shows_exactly_the_pinned_revision_whatever_is_merged_meanwhile(
    before: list[dict[str, bool]], meanwhile: list[dict[str, bool]], order: Order, limit: int, back: int
) -> None:
    ImageVersion.objects.all().delete()
    Image.objects.all().delete()
    model = Model()
    for changes in before:
        model.merge(changes)
    at = max(0, len(before) - back)
    between = (model.merge(changes) for changes in meanwhile)
    assert list(walk(at, order, limit, between)) == model.listing(at, order)


def test_filters_narrow_every_page_alike() -> None:
    for number in range(30):
        add(f"image {number:02}", 1 + number // 10, format="png" if number % 3 else "gif")
    shown, cursor = [], None
    while rows := queries.page(3, limit=4, after=cursor, order="added", filters=Filters(format="gif")):
        shown += [row.filename for row in rows]
        cursor = queries.position(rows[-1])
    assert shown == [f"image {number:02}" for number in range(0, 30, 3)]
