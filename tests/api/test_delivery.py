"""GET /images/…: what is delivered, to whom, and with which headers. (Derivatives by name: test_derivatives.py.)"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator

import pytest
from django.db import connection

from imagerepo.catalogue.queries import head
from imagerepo.testing.images import GOOD, draw, encode, good
from tests.api.caller import Caller, ident_of, picture, problem
from tests.api.delivered import PHOTO, publish
from tests.inprocess import Repository

UNKNOWN = "0" * 64
LARGE = encode(draw(800, 600), "BMP")


def remove(caller: Caller, ident: str) -> int:
    session = caller.open()
    assert caller("DELETE", f"{session}/images/{ident}").status_code == 204
    return int(caller.commit(session)["revision"])


def sha256(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


@pytest.mark.parametrize("name", ["jpeg", "png", "gif", "webp", "tiff", "bmp", "avif", "jp2", *GOOD[8:14]])
def test_a_base_is_delivered_byte_for_byte_as_what_it_is(ann: Caller, stranger: Caller, name: str) -> None:
    data, format = good(name).data, good(name).format
    response = stranger("GET", f"/images/{publish(ann, data)}")
    assert response.content == data
    assert response.headers["Content-Type"] == f"image/{format}"
    assert response.headers["Content-Length"] == str(len(data))


@pytest.mark.parametrize("name", ["{ident}", "{ident}-150x100.webp"])
def test_an_image_says_all_that_a_cache_and_a_browser_need(stranger: Caller, photo: str, name: str) -> None:
    response = stranger("GET", f"/images/{name.format(ident=photo)}")
    headers = response.headers
    assert headers["ETag"] == f'"{hashlib.sha256(response.content).hexdigest()}"'
    assert headers["Repr-Digest"] == sha256(response.content)
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Set-Cookie" not in headers


PARTS = [
    ("bytes=0-9", slice(0, 10)),
    ("bytes=10-", slice(10, None)),
    ("bytes=-7", slice(-7, None)),
    ("bytes=5-999999999", slice(5, None)),
    ("bytes=0-4, 5-9", slice(0, 10)),
    ("Bytes = 3-3", slice(3, 4)),
    ("bytes=-999999999", slice(0, None)),
    ("bytes=0-1,99999999-", slice(0, 2)),
]
WHOLE = ["bytes=0-1,3-4", "bytes=9-5", "bytes=a-b", "bytes=", "bytes=-", "lines=0-1", "bytes=" + "0-1," * 17, "0-5"]


@pytest.mark.parametrize("data", [PHOTO, LARGE], ids=["small", "streamed"])
@pytest.mark.parametrize(("asked", "part"), PARTS)
def test_a_part_is_what_was_asked_for(ann: Caller, stranger: Caller, data: bytes, asked: str, part: slice) -> None:
    response = stranger("GET", f"/images/{publish(ann, data)}", headers={"Range": asked})
    first, stop, _ = part.indices(len(data))
    assert response.status_code == 206
    assert response.content == data[part]
    assert response.headers["Content-Range"] == f"bytes {first}-{stop - 1}/{len(data)}"
    assert response.headers["Content-Length"] == str(stop - first)
    assert response.headers["Repr-Digest"] == sha256(data)


@pytest.mark.parametrize("asked", WHOLE)
def test_several_ranges_and_malformed_ones_get_the_whole(stranger: Caller, photo: str, asked: str) -> None:
    response = stranger("GET", f"/images/{photo}", headers={"Range": asked})
    assert (response.status_code, response.content) == (200, PHOTO)


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
@pytest.mark.parametrize("name", ["{ident}", "{ident}-10x7.png"])
def test_a_range_beyond_the_end_is_told_where_that_is(stranger: Caller, photo: str, asked: str, name: str) -> None:
    path = f"/images/{name.format(ident=photo)}"
    size = stranger("GET", path).headers["Content-Length"]
    response = stranger("GET", path, headers={"Range": asked})
    problem(response, 416, "range-not-satisfiable")
    assert response.headers["Content-Range"] == f"bytes */{size}"


@pytest.mark.parametrize("name", ["{ident}", "{ident}-150x100.png"])
def test_a_part_is_sent_only_of_the_bytes_that_the_client_has(stranger: Caller, photo: str, name: str) -> None:
    path = f"/images/{name.format(ident=photo)}"
    whole = stranger("GET", path)
    same = stranger("GET", path, headers={"Range": "bytes=5-9", "If-Range": whole.headers["ETag"]})
    assert (same.status_code, same.content) == (206, whole.content[5:10])
    for other in ('"other"', f"W/{whole.headers['ETag']}", "Sat, 01 Jan 2050 00:00:00 GMT"):
        response = stranger("GET", path, headers={"Range": "bytes=5-9", "If-Range": other})
        assert (response.status_code, response.content) == (200, whole.content)


@pytest.mark.parametrize("name", ["{ident}", "{ident}-150x100.png"])
def test_what_the_client_has_is_not_sent_again(stranger: Caller, photo: str, name: str) -> None:
    path = f"/images/{name.format(ident=photo)}"
    tag = stranger("GET", path).headers["ETag"]
    again = stranger("GET", path, headers={"If-None-Match": tag, "Range": "bytes=0-1"})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    problem(stranger("GET", path, headers={"If-Match": '"other"'}), 412, "precondition-failed")


@pytest.mark.parametrize("name", ["{ident}", "{ident}-150x100.png"])
def test_head_answers_as_get_does_without_a_body(stranger: Caller, photo: str, name: str) -> None:
    path = f"/images/{name.format(ident=photo)}"
    response = stranger("HEAD", path, headers={"Range": "bytes=0-1"})
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers == stranger("GET", path).headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_an_image_is_only_read(stranger: Caller, photo: str, method: str) -> None:
    for path in (f"/images/{photo}", f"/images/{photo}/fit"):
        response = stranger(method, path)
        problem(response, 405, "method-not-allowed")
        assert response.headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    "name", [UNKNOWN, f"{UNKNOWN}-10x10.jpg", f"{UNKNOWN}/fit?width=9", "x", "x/fit", "", f"{UNKNOWN}/"]
)
def test_what_was_never_live_is_not_found(stranger: Caller, name: str) -> None:
    problem(stranger("GET", f"/images/{name}"), 404, "not-found")


def test_a_staged_image_is_not_delivered(ann: Caller, stranger: Caller) -> None:
    data = picture()
    ann.add(ann.open(), data)
    for tail in ("", "-2x2.png", "/fit?width=2"):
        problem(stranger("GET", f"/images/{ident_of(data)}{tail}"), 404, "not-found")


def test_a_removed_image_is_delivered_only_at_its_revisions(ann: Caller, stranger: Caller) -> None:
    data = picture()
    ident = publish(ann, data)
    live = head()
    removed = remove(ann, ident)
    for tail in ("", "-2x2.png", "/fit?width=2"):
        gone = problem(stranger("GET", f"/images/{ident}{tail}"), 410, "gone")
        assert gone["revision"] == removed
    assert stranger("GET", f"/images/{ident}").headers["Cache-Control"] == "no-store"
    assert stranger("GET", f"/images/{ident}?at={live}").content == data
    assert stranger("GET", f"/images/{ident}-2x2.png?at={live}").status_code == 200
    fit = stranger("GET", f"/images/{ident}/fit?width=2&format=png&at={live}")
    assert fit.headers["Location"] == f"/images/{ident}-2x2.png?at={live}"
    problem(stranger("GET", f"/images/{ident}?at={live - 1}"), 404, "not-found")
    problem(stranger("GET", f"/images/{ident}?at={removed + 1}"), 400, "bad-request")
    publish(ann, data)
    assert stranger("GET", f"/images/{ident}").content == data


@pytest.fixture
def damage(repository: Repository, ann: Caller) -> Iterator[tuple[str, bytes]]:
    """A live image whose base the store may be robbed of; it is put back."""
    data = picture()
    ident = publish(ann, data)
    yield ident, data
    repository.store.put(f"images/{ident}", io.BytesIO(data), media_type="image/png")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("tail", ["", "-2x2.png"])
@pytest.mark.parametrize("becomes", ["other bytes", "fewer bytes", "nothing"])
def test_a_base_that_is_not_what_its_name_says_is_never_delivered(
    repository: Repository, stranger: Caller, damage: tuple[str, bytes], becomes: str, tail: str, method: str
) -> None:
    ident, data = damage
    if becomes == "nothing":
        repository.store.delete([f"images/{ident}"])
    else:
        other = data[:-1] + b"?" if becomes == "other bytes" else data[:-1]
        repository.store.put(f"images/{ident}", io.BytesIO(other), media_type="image/png")
    response = stranger.http.request(method, f"/images/{ident}{tail}")
    assert response.status_code == 502
    if method == "GET":
        problem(response, 502, "damaged-base")


def test_a_part_beyond_a_base_cut_short_is_damage_too(
    repository: Repository, stranger: Caller, damage: tuple[str, bytes]
) -> None:
    ident, data = damage
    repository.store.put(f"images/{ident}", io.BytesIO(data[:5]), media_type="image/png")
    for asked in ("bytes=0-1", f"bytes={len(data) - 1}-"):
        problem(stranger.http.get(f"/images/{ident}", headers={"Range": asked}), 502, "damaged-base")


def test_while_the_store_does_not_answer_the_client_is_told_to_come_again(
    repository: Repository, stranger: Caller, photo: str
) -> None:
    repository.store.fail("get", "unavailable", name="images/", times=9)
    try:
        for tail in ("", "-31x21.jpg"):
            response = stranger("GET", f"/images/{photo}{tail}")
            problem(response, 503, "store-unavailable")
            assert int(response.headers["Retry-After"]) > 0
    finally:
        repository.store.heal()
    assert stranger("GET", f"/images/{photo}").content == PHOTO


def test_delivering_writes_nothing_to_the_database(repository: Repository, stranger: Caller, photo: str) -> None:
    log = repository.folder / "catalogue.sqlite3-wal"
    before = log.read_bytes(), connection.connection.total_changes
    for tail in ("", "-77x51.jpg", "-77x51.jpg", "/fit?width=77"):
        assert stranger("GET", f"/images/{photo}{tail}").status_code in (200, 302)
    repository.service.manager.wait_until_stored()
    assert (log.read_bytes(), connection.connection.total_changes) == before
