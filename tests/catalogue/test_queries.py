"""What is live at a revision, read through catalogue.queries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from imagerepo.catalogue import queries
from imagerepo.catalogue.queries import Filters, Order, Position
from tests.catalogue.rows import BEGIN, add, flip, ident_of, log, remove, update

pytestmark = pytest.mark.usefixtures("database")


def names(rows: list[queries.ImageVersion]) -> list[str]:
    return [row.filename for row in rows]


def plan(at: int, *, order: Order, after: Position | None = None) -> str:
    with CaptureQueriesContext(connection) as captured:
        queries.page(at, limit=50, order=order, after=after)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {captured[0]['sql']}")
        return "\n".join(row[3] for row in cursor.fetchall())


def test_head_is_nought_before_the_first_commit() -> None:
    assert queries.head() == 0


def test_head_is_the_revision_that_was_flipped_to() -> None:
    flip(3)
    assert queries.head() == 3


def test_a_merged_revision_is_not_shown_at_the_one_before_it() -> None:
    add("old", 1)
    add("merged only", 2)
    update("old", 2, filename="old, changed")
    assert names(queries.page(1, limit=10)) == ["old"]
    assert queries.version_at(ident_of("merged only"), 1) is None


def test_each_revision_shows_the_version_that_it_had() -> None:
    add("a", 1)
    update("a", 3, filename="a, changed")
    remove("a", 5)
    add("a", 7, filename="a, again")
    shown = [names(queries.page(at, limit=10)) for at in range(9)]
    assert shown == [[], ["a"], ["a"], ["a, changed"], ["a, changed"], [], [], ["a, again"], ["a, again"]]
    one = [queries.version_at(ident_of("a"), at) for at in range(9)]
    assert [[version.filename] if version else [] for version in one] == shown


def test_a_removed_image_tells_which_revision_removed_it() -> None:
    add("a", 1)
    remove("a", 5)
    add("a", 7)
    assert [queries.last_removed(ident_of("a"), at) for at in (0, 1, 4, 5, 6, 7)] == [
        None,
        None,
        None,
        5,
        5,
        None,
    ]


def test_the_current_version_is_the_newest_merged_one_even_beyond_head() -> None:
    add("a", 1)
    flip(1)
    newer = update("a", 2)
    assert queries.current_version(ident_of("a")) == newer
    assert queries.current_version(ident_of("unknown")) is None


def test_live_idents_are_those_that_the_revision_shows() -> None:
    add("stays", 1)
    add("goes", 1)
    remove("goes", 2)
    asked = [ident_of(name) for name in ("stays", "goes", "unknown")]
    assert queries.live_idents(asked, 2) == {ident_of("stays")}
    assert queries.live_idents(asked, 1) == {ident_of("stays"), ident_of("goes")}


def test_history_is_newest_first_and_ends_at_the_revision_asked_for() -> None:
    for revision in (1, 2, 4):
        add("a", revision) if revision == 1 else update("a", revision)
    assert [v.valid_from for v in queries.history(ident_of("a"), 4, limit=10)] == [4, 2, 1]
    assert [v.valid_from for v in queries.history(ident_of("a"), 3, limit=10)] == [2, 1]
    assert [v.valid_from for v in queries.history(ident_of("a"), 4, limit=10, before=2)] == [1]


def test_the_log_ends_at_the_revision_asked_for() -> None:
    for number in (1, 2, 3):
        log(number)
    assert [entry.number for entry in queries.revisions(2, limit=10)] == [2, 1]
    assert [entry.number for entry in queries.revisions(3, limit=10, before=3)] == [2, 1]
    assert queries.revision(3, 2) is None


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(format="png"), ["wide"]),
        (Filters(min_width=641), ["wide"]),
        (Filters(max_width=640), ["tall", "plain"]),
        (Filters(min_height=481), ["tall"]),
        (Filters(max_height=479), ["wide"]),
        (Filters(taken_after=BEGIN), ["wide", "tall"]),
        (Filters(taken_after=BEGIN + timedelta(seconds=1)), ["wide"]),
        (Filters(taken_before=BEGIN + timedelta(days=1)), ["tall"]),
        (Filters(tags=("sea",)), ["wide", "tall"]),
        (Filters(tags=("sea", 'é"quote')), ["wide"]),
        (Filters(tags=("se",)), []),
        (Filters(tags=("sea",), format="jpeg"), ["tall"]),
    ],
)
def test_a_filter_leaves_what_it_says(filters: Filters, expected: list[str]) -> None:
    add("plain", 1)
    add("tall", 2, height=900, taken_at=BEGIN, tags=["sea"])
    day = BEGIN + timedelta(days=1)
    add("wide", 3, width=900, height=100, format="png", taken_at=day, tags=["sea", 'é"quote'])
    assert names(queries.page(3, limit=10, filters=filters)) == expected


def test_a_page_is_one_query_with_its_images() -> None:
    for number in range(5):
        add(f"image {number}", 1)
    with CaptureQueriesContext(connection) as captured:
        rows = queries.page(1, limit=5)
        assert len({row.image.ident for row in rows}) == 5
    assert len(captured) == 1


@pytest.mark.parametrize("order", ["-added", "added"])
@pytest.mark.parametrize("analyzed", [False, True])
def test_a_page_walks_the_index_and_sorts_nothing(order: Order, analyzed: bool) -> None:
    for number in range(300):
        add(f"image {number}", 1 + number % 3)
    if analyzed:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    for after in (None, Position(datetime(2026, 1, 2, tzinfo=UTC), 7)):
        said = plan(3, order=order, after=after)
        assert "version_added" in said
        assert "TEMP B-TREE" not in said
        assert ("SEARCH imagerepo_imageversion" in said) == (after is not None)


@pytest.mark.parametrize(("order", "expected"), [("-added", range(10)), ("added", range(11, 20))])
def test_a_page_begins_beyond_its_position_also_among_equal_times(order: Order, expected: range) -> None:
    rows = [add(f"image {number:02}", 1) for number in range(20)]
    shown = queries.page(1, limit=20, order=order, after=queries.position(rows[10]))
    assert sorted(names(shown)) == [f"image {number:02}" for number in expected]
