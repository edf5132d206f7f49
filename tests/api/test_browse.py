"""GET /api/v1/images and what belongs to it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from imagerepo.catalogue.cursors import Cursor
from imagerepo.catalogue.queries import Position, head
from imagerepo.testing.images import draw, encode
from tests.api.caller import Caller, ident_of, picture, problem
from tests.inprocess import Repository

FIELDS = {
    "ident", "format", "media_type", "width", "height", "frames", "byte_size", "filename", "title",
    "description", "alt_text", "creator", "rights", "taken_at", "tags", "attributes", "revision", "added_at",
    "updated_at", "links",
}  # fmt: skip
UNKNOWN = "0" * 64


def idents(caller: Caller, path: str) -> list[str]:
    return [image["ident"] for image in listing(caller, path)["results"]]


def listing(caller: Caller, path: str) -> dict[str, Any]:
    response = caller("GET", path)
    assert response.status_code == 200, response.text
    return dict(response.json())


def remove(caller: Caller, *idents: str) -> int:
    session = caller.open()
    for ident in idents:
        assert caller("DELETE", f"{session}/images/{ident}").status_code == 204
    return int(caller.commit(session)["revision"])


def describe(caller: Caller, ident: str, **metadata: object) -> int:
    session = caller.open()
    assert caller("PATCH", f"{session}/images/{ident}", json=metadata).status_code == 200
    return int(caller.commit(session)["revision"])


@pytest.fixture
def three(ann: Caller) -> list[str]:
    """Three new images, newest first, in a revision each."""
    return [ann.live(tags="three") for _ in range(3)][::-1]


def test_an_image_has_every_member_of_the_contract(ann: Caller, stranger: Caller) -> None:
    data = encode(draw(600, 300), "JPEG")
    session = ann.open()
    ann.add(
        session,
        data,
        title="Sea",
        tags='["sea", "blue"]',
        attributes='{"lens": 50}',
        taken_at="2021-07-14T18:30:00+02:00",
    )
    revision = ann.commit(session)["revision"]
    ident = ident_of(data)
    image = stranger("GET", f"/api/v1/images/{ident}").json()
    assert set(image) == FIELDS
    expected = {
        "ident": ident, "format": "jpeg", "media_type": "image/jpeg", "width": 600, "height": 300, "frames": 1,
        "byte_size": len(data), "filename": "a.png", "title": "Sea", "description": "", "tags": ["sea", "blue"],
        "attributes": {"lens": 50}, "taken_at": "2021-07-14T16:30:00Z", "revision": revision,
        "links": {
            "self": f"/api/v1/images/{ident}",
            "content": f"/images/{ident}",
            "thumbnail": f"/images/{ident}-256x128.jpg",
            "iiif": f"/iiif/3/{ident}",
            "manifest": f"/iiif/presentation/3/{ident}/manifest",
        },
    }  # fmt: skip
    assert expected.items() <= image.items()
    for name in ("added_at", "updated_at"):
        assert image[name].endswith("Z")
        assert (datetime.now(UTC) - datetime.fromisoformat(image[name])).total_seconds() < 60


def test_a_listing_shows_the_same_image_as_its_own_path(stranger: Caller, three: list[str]) -> None:
    shown = listing(stranger, "/api/v1/images?limit=1")["results"][0]
    assert shown == stranger("GET", f"/api/v1/images/{three[0]}").json()


def test_a_thumbnail_is_never_larger_than_its_image_and_keeps_transparency(ann: Caller) -> None:
    data = encode(draw(20, 10, "RGBA"), "PNG")
    session = ann.open()
    ann.add(session, data)
    ann.commit(session)
    links = ann("GET", f"/api/v1/images/{ident_of(data)}").json()["links"]
    assert links["thumbnail"] == f"/images/{ident_of(data)}-20x10.png"


def test_what_is_staged_is_not_seen_until_it_is_committed(ann: Caller, stranger: Caller) -> None:
    session, data = ann.open(), picture()
    ann.add(session, data)
    before = listing(stranger, "/api/v1/images?limit=200")
    assert ident_of(data) not in [image["ident"] for image in before["results"]]
    problem(stranger("GET", f"/api/v1/images/{ident_of(data)}"), 404, "not-found")
    revision = ann.commit(session)["revision"]
    after = listing(stranger, "/api/v1/images?limit=1")
    assert after["revision"] == revision == before["revision"] + 1
    assert after["results"][0]["ident"] == ident_of(data)


def test_pages_are_pinned_to_the_revision_they_began_at(ann: Caller, stranger: Caller, three: list[str]) -> None:
    first = stranger("GET", "/api/v1/images?limit=1&tag=three&order=-added")
    page = first.json()
    assert first.headers["Link"] == f'<{page["next"]}>; rel="next"'
    assert page["next"].startswith("/api/v1/images?")
    remove(ann, three[1])
    ann.live(tags="three")
    second = listing(stranger, page["next"])
    assert [page["results"][0]["ident"], second["results"][0]["ident"]] == three[:2]
    assert second["revision"] == page["revision"]


def test_the_last_page_has_no_next(stranger: Caller, three: list[str]) -> None:
    response = stranger("GET", "/api/v1/images?limit=200")
    assert response.json()["next"] is None
    assert "Link" not in response.headers


def test_order_added_is_the_other_way_round(stranger: Caller, three: list[str]) -> None:
    newest = idents(stranger, "/api/v1/images?limit=200")
    assert idents(stranger, "/api/v1/images?limit=200&order=added") == newest[::-1]


def test_at_shows_an_earlier_revision(ann: Caller, stranger: Caller, three: list[str]) -> None:
    at = head()
    describe(ann, three[0], title="later")
    image = stranger("GET", f"/api/v1/images/{three[0]}?at={at}").json()
    assert image["title"] == ""
    page = listing(stranger, f"/api/v1/images?at={at}&limit=1")
    assert (page["revision"], page["results"]) == (at, [image])
    assert listing(stranger, "/api/v1/images?at=0") == {"revision": 0, "results": [], "next": None}


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("limit=0", "/limit", "invalid"),
        ("limit=201", "/limit", "invalid"),
        ("limit=ten", "/limit", "invalid"),
        ("limit=", "/limit", "invalid"),
        ("limit=5&limit=6", "/limit", "invalid"),
        ("at=-1", "/at", "invalid"),
        ("at=999999", "/at", "invalid"),
        (f"at={'9' * 5000}", "/at", "invalid"),
        ("cursor=", "/cursor", "invalid"),
        ("cursor=AAAA", "/cursor", "invalid"),
        ("cursor=%00", "/cursor", "invalid"),
        ("order=size", "/order", "invalid"),
        ("order=-taken", "/order", "not-yet"),
        ("order=title", "/order", "not-yet"),
        ("q=sea", "/q", "not-yet"),
        ("format=jpg", "/format", "invalid-choice"),
        ("min_width=-1", "/min_width", "invalid"),
        ("max_height=99999999999999999999", "/max_height", "invalid"),
        ("taken_after=yesterday", "/taken_after", "invalid"),
        ("taken_before=2021-13-01T00:00:00Z", "/taken_before", "invalid"),
        ("page=2", "/page", "unknown"),
    ],
)
def test_a_bad_parameter_is_pointed_at(stranger: Caller, query: str, pointer: str, code: str) -> None:
    errors = problem(stranger("GET", f"/api/v1/images?{query}"), 400, "bad-request")["errors"]
    assert [(error["pointer"], error["code"]) for error in errors] == [(pointer, code)]


def test_all_bad_parameters_are_told_together(stranger: Caller) -> None:
    errors = problem(stranger("GET", "/api/v1/images?limit=0&q=x&page=2"), 400, "bad-request")["errors"]
    assert {error["pointer"] for error in errors} == {"/limit", "/q", "/page"}


def test_a_cursor_of_a_revision_that_is_not_live_shows_nothing(stranger: Caller, three: list[str]) -> None:
    beyond = Cursor(head() + 1, "-added", Position(datetime(2100, 1, 1, tzinfo=UTC), 1 << 60))
    errors = problem(stranger("GET", f"/api/v1/images?cursor={beyond}"), 400, "bad-request")["errors"]
    assert errors[0]["pointer"] == "/cursor"


@pytest.mark.parametrize("other", ["at=0", "order=added"])
def test_a_cursor_does_not_change_its_revision_or_order(stranger: Caller, three: list[str], other: str) -> None:
    following = listing(stranger, "/api/v1/images?limit=1")["next"]
    errors = problem(stranger("GET", f"{following}&{other}"), 400, "bad-request")["errors"]
    assert errors[0]["code"] == "contradiction"


@pytest.mark.parametrize(
    "query",
    [
        "format=gif",
        "min_width=31&max_width=31",
        "min_height=17&max_height=17",
        "tag=filter&tag=me",
        "taken_after=1999-01-01T00:00:00Z&taken_before=1999-02-01T00:00:00",
    ],
)
def test_a_filter_finds_the_one_image(ann: Caller, stranger: Caller, query: str) -> None:
    data = encode(draw(31, 17), "GIF")
    session = ann.open()
    ann.add(session, data, tags='["filter", "me"]', taken_at="1999-01-15T00:00:00Z")
    if ident_of(data) not in idents(stranger, "/api/v1/images?limit=200"):
        ann.commit(session)
    assert idents(stranger, f"/api/v1/images?{query}") == [ident_of(data)]


@pytest.mark.parametrize("path", ["/api/v1/images", "/api/v1/images/{ident}", "/api/v1/revisions"])
def test_what_has_not_changed_is_not_sent_again(ann: Caller, stranger: Caller, three: list[str], path: str) -> None:
    path = path.format(ident=three[0])
    tag = stranger("GET", path).headers["ETag"]
    assert tag.startswith('"')
    again = stranger("GET", path, headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert again.headers["Access-Control-Allow-Origin"] == "*"
    describe(ann, three[0], title=f"changed for {path}")
    changed = stranger("GET", path, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag
    problem(stranger("GET", path, headers={"If-Match": tag}), 412, "precondition-failed")


def test_a_removed_image_is_gone_until_it_is_added_again(ann: Caller, stranger: Caller) -> None:
    data = picture()
    session = ann.open()
    ident = ann.add(session, data)["ident"]
    added = ann.commit(session)["revision"]
    removed = remove(ann, ident)
    gone = problem(stranger("GET", f"/api/v1/images/{ident}"), 410, "gone")
    assert gone["revision"] == removed
    assert stranger("GET", f"/api/v1/images/{ident}?at={added}").status_code == 200
    problem(stranger("GET", f"/api/v1/images/{ident}?at={added - 1}"), 404, "not-found")
    again = ann.open()
    ann.add(again, data)
    revision = ann.commit(again)["revision"]
    assert stranger("GET", f"/api/v1/images/{ident}").json()["revision"] == revision
    problem(stranger("GET", f"/api/v1/images/{ident}?at={removed}"), 410, "gone")


@pytest.mark.parametrize("path", [UNKNOWN, UNKNOWN[:-1], "A" * 64, "x", f"{UNKNOWN}/", f"{UNKNOWN}/history"])
def test_what_was_never_live_is_not_found(stranger: Caller, path: str) -> None:
    problem(stranger("GET", f"/api/v1/images/{path}"), 404, "not-found")


def test_a_trailing_slash_is_not_found(stranger: Caller) -> None:
    problem(stranger("GET", "/api/v1/images/"), 404, "not-found")


def test_history_lists_every_version_newest_first(ann: Caller, stranger: Caller) -> None:
    ident = ann.live(title="one")
    first = head()
    second = describe(ann, ident, title="two")
    removed = remove(ann, ident)
    page = listing(stranger, f"/api/v1/images/{ident}/history")
    said = [(version["revision"], version["title"], version["until"]) for version in page["results"]]
    assert said == [(second, "two", removed), (first, "one", second)]
    one = listing(stranger, f"/api/v1/images/{ident}/history?limit=1")
    assert listing(stranger, one["next"]) == {"results": page["results"][1:], "next": None}


def test_the_log_tells_each_revision_newest_first(ann: Caller, stranger: Caller, three: list[str]) -> None:
    session = ann.open(title="the log")
    ann.add(session, picture())
    ann.commit(session)
    page = listing(stranger, "/api/v1/revisions?limit=2")
    newest, older = page["results"]
    committed = datetime.fromisoformat(newest.pop("committed_at"))
    assert abs((datetime.now(UTC) - committed).total_seconds()) < 60
    assert newest == {
        "revision": head(),
        "session": session.rpartition("/")[2],
        "title": "the log",
        "owner": "ann",
        "counts": {"add": 1, "update": 0, "remove": 0},
    }
    assert older["revision"] == head() - 1
    assert listing(stranger, page["next"])["results"][0]["revision"] == head() - 2
    assert listing(stranger, f"/api/v1/revisions/{older['revision']}") == older
    problem(stranger("GET", f"/api/v1/revisions/{head() + 1}"), 404, "not-found")
    problem(stranger("GET", f"/api/v1/revisions/{'9' * 40}"), 404, "not-found")


def test_head_answers_as_get_does_without_a_body(stranger: Caller, three: list[str]) -> None:
    for path in ("/api/v1/images", f"/api/v1/images/{three[0]}", "/api/v1/revisions"):
        get, only_head = stranger("GET", path), stranger("HEAD", path)
        assert (only_head.status_code, only_head.headers) == (200, get.headers)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_another_method_is_told_which_are_allowed(stranger: Caller, method: str) -> None:
    response = stranger(method, "/api/v1/images")
    problem(response, 405, "method-not-allowed")
    assert set(response.headers["Allow"].split(", ")) >= {"GET", "HEAD", "OPTIONS"}


def test_any_origin_may_read(stranger: Caller, three: list[str]) -> None:
    for path in (f"/api/v1/images/{three[0]}", f"/api/v1/images/{UNKNOWN}", "/api/v1/images?q=x"):
        headers = stranger("GET", path, headers={"Origin": "https://elsewhere.example"}).headers
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in headers


def test_a_preflight_is_told_what_may_be_asked(stranger: Caller) -> None:
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "GET"}
    response = stranger("OPTIONS", "/api/v1/images", headers=asked)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
    assert "If-None-Match" in response.headers["Access-Control-Allow-Headers"]


@pytest.fixture
def untouched(repository: Repository, stranger: Caller) -> Iterator[None]:
    """The database's log has not grown, nor has this connection written a row."""
    log = repository.folder / "catalogue.sqlite3-wal"
    before = log.read_bytes(), connection.connection.total_changes
    yield
    assert (log.read_bytes(), connection.connection.total_changes) == before


def test_browsing_takes_two_queries_and_writes_nothing(stranger: Caller, three: list[str], untouched: None) -> None:
    paths = ("/api/v1/images", "/api/v1/images?limit=2&order=added&tag=three", f"/api/v1/images/{three[0]}")
    for path in paths:
        with CaptureQueriesContext(connection) as captured:
            assert stranger("GET", path).status_code == 200
        assert len(captured) == 2, captured.captured_queries
