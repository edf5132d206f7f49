"""Every upload that is refused leaves nothing staged and no spool file."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagerepo.errors import SpoolFull
from imagerepo.store.spool import Spool
from imagerepo.testing.images import BAD, EACH_FORMAT, bad, good
from imagerepo.wsgi import application
from tests.api.caller import Caller, digest_of, ident_of, multipart, part, picture, problem
from tests.inprocess import Repository

IMAGE_PROBLEMS = {
    "UnsupportedFormat": (415, "unsupported-format"),
    "UndecodableImage": (422, "undecodable-image"),
    "TooManyPixels": (422, "too-many-pixels"),
    "TooManyFrames": (422, "too-many-frames"),
    "TooCostly": (422, "too-costly"),
}


BODIES = [("POST", "/images"), ("PUT", "/images/" + "0" * 64)]


@pytest.fixture
def session(ann: Caller, repository: Repository) -> Iterator[str]:
    """An open session, in which the test stages nothing and after which the spool is as before."""
    session, before = ann.open(), repository.spooled()
    yield session
    assert ann.changes(session) == {}
    assert ann("GET", session).json()["counts"] == {"add": 0, "update": 0, "remove": 0, "bytes": 0}
    assert repository.spooled() == before


@contextmanager
def configured(repository: Repository, **settings: Any) -> Iterator[None]:
    """The service with other settings."""
    before = repository.service.config
    repository.service.config = before.model_copy(update=settings)
    try:
        yield
    finally:
        repository.service.config = before


def put(ann: Caller, session: str, data: bytes, **given: Any):
    return ann("PUT", f"{session}/images/{ident_of(data)}", content=data, **given)


def post(ann: Caller, session: str, data: bytes, **given: Any):
    return ann("POST", f"{session}/images", files={"file": ("x", data)}, **given)


@pytest.mark.parametrize("send", [put, post])
@pytest.mark.parametrize("name", BAD)
def test_what_is_no_good_image(ann: Caller, session: str, name: str, send):
    refused = bad(name)
    problem(send(ann, session, refused.data), *IMAGE_PROBLEMS[refused.error.__name__])


@pytest.mark.parametrize("format", EACH_FORMAT)
def test_an_image_of_each_format_that_was_cut_short(ann: Caller, session: str, format: str):
    data = good(format).data
    problem(put(ann, session, data[: len(data) // 2]), 422, "undecodable-image")


def test_bytes_that_are_not_those_in_the_path(ann: Caller, session: str):
    refused = ann("PUT", f"{session}/images/{'0' * 64}", content=picture())
    assert "0" * 64 in problem(refused, 422, "digest-mismatch")["detail"]


@pytest.mark.parametrize("send", [put, post])
def test_bytes_that_are_not_those_of_the_digest(ann: Caller, session: str, send):
    refused = send(ann, session, picture(), headers=digest_of(b"something else"))
    problem(refused, 422, "digest-mismatch")


@pytest.mark.parametrize("send", [put, post])
@pytest.mark.parametrize("digest", ["sha-256=:AAAA:", "sha-256=abc", "sha-256=:&&&&:", "sha-256=::", "sha-256=:é:"])
def test_a_digest_that_is_none(ann: Caller, session: str, send, digest):
    digest = digest.encode().decode("ascii", "replace").replace("\ufffd", "?")
    problem(send(ann, session, picture(), headers={"Content-Digest": digest}), 400, "bad-request")


def test_a_body_of_unknown_length(ann: Caller, session: str):
    data = picture()
    path = f"{session}/images/{ident_of(data)}"
    for body in ({"content": iter([data])}, {"content": data, "without": "content-length"}):
        refused = ann("PUT", path, **body)
        problem(refused, 411, "length-required")
        assert refused.headers["Connection"] == "close"
    form = multipart((part("file", "a.png"), data))
    problem(ann("POST", f"{session}/images", **form, without="content-length"), 411, "length-required")


@pytest.mark.parametrize("length", ["x", "-1", "1.5", "1e3", "\xb2"])
def test_a_length_that_is_no_number(ann: Caller, session: str, length: str):
    data = picture()
    headers = [(b"Content-Length", length.encode("ascii", "replace"))]
    problem(ann("PUT", f"{session}/images/{ident_of(data)}", content=data, headers=headers), 400, "bad-request")


def test_a_body_that_ends_early(ann: Caller, session: str):
    data = picture()
    longer = {"Content-Length": str(len(data) + 1)}
    refused = problem(put(ann, session, data, headers=longer), 400, "truncated-body")
    assert str(len(data)) in refused["detail"]


@pytest.mark.parametrize("kept", [0.2, 0.9, 0.99])
def test_a_form_that_ends_early(ann: Caller, session: str, kept: float):
    form = multipart((part("title"), b"T"), (part("file", "a.png"), picture()))
    form["headers"]["Content-Length"] = str(len(form["content"]))
    form["content"] = form["content"][: int(len(form["content"]) * kept)]
    problem(ann("POST", f"{session}/images", **form), 400, "truncated-body")


def test_a_form_without_its_closing_boundary(ann: Caller, session: str):
    for parts in (
        [(part("file", "a.png"), picture())],
        [(part("file", "a.png"), picture()), (part("title"), b"T")],
    ):
        problem(ann("POST", f"{session}/images", **multipart(*parts, end=False)), 400, "truncated-body")


def test_a_form_whose_boundary_is_another(ann: Caller, session: str):
    form = multipart((part("file", "a.png"), picture()))
    form["headers"]["Content-Type"] = "multipart/form-data; boundary=other"
    problem(ann("POST", f"{session}/images", **form), 400, "truncated-body")


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=" + "x" * 300])
def test_a_form_without_a_boundary(ann: Caller, session: str, boundary: str):
    form = multipart((part("file", "a.png"), picture()))
    form["headers"]["Content-Type"] = "multipart/form-data" + boundary
    problem(ann("POST", f"{session}/images", **form), 400, "bad-request")


@pytest.mark.parametrize("content_type", ["application/json", "image/png", "application/x-www-form-urlencoded", ""])
def test_a_body_that_is_no_form(ann: Caller, session: str, content_type: str):
    given = {"content": picture(), "headers": {"Content-Type": content_type}}
    problem(ann("POST", f"{session}/images", **given), 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "parts",
    [
        [(part("title"), b"T")],
        [(part("file"), b"not a file, for want of a filename")],
        [(part("image", "a.png"), picture())],
        [(part("file", "a.png"), picture()), (part("file", "b.png"), picture())],
        [(part("file", "a.png"), picture()), (part("second", "b.png"), picture())],
        [(part("metadata", "a"), b"{}"), (part("metadata", "b"), b"{}"), (part("file", "a.png"), picture())],
    ],
)
def test_a_form_without_just_one_image(ann: Caller, session: str, parts):
    refused = ann("POST", f"{session}/images", **multipart(*parts))
    assert "`file`" in problem(refused, 400, "bad-request")["detail"]


def test_an_image_over_the_limit(ann: Caller, session: str, repository: Repository):
    data = picture()
    with configured(repository, max_upload_bytes=len(data) - 1):
        for send in (put, post):
            refused = send(ann, session, data)
            assert str(len(data) - 1) in problem(refused, 413, "too-large")["detail"]
            assert refused.headers["Connection"] == "close"


def test_an_image_at_the_limit_is_taken(ann: Caller, repository: Repository):
    with configured(repository, max_upload_bytes=len(data := picture())):
        assert put(ann, ann.open(), data).status_code == post(ann, ann.open(), data).status_code == 201


class Unread(io.RawIOBase):
    def readinto(self, buffer: Any) -> int:
        raise AssertionError("the body was read")


class Broken(io.RawIOBase):
    def readinto(self, buffer: Any) -> int:
        raise ConnectionResetError("the client is gone")


def status_of(method: str, path: str, body: IO[bytes], length: int | None, authorization: str, **more: str) -> str:
    """The answer's status to a body that is no bytes in memory."""
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "SERVER_NAME": "test",
        "SERVER_PORT": "80",
        "wsgi.input": body,
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
        "CONTENT_TYPE": "multipart/form-data; boundary=x",
        "HTTP_AUTHORIZATION": authorization,
        **more,
    }
    if length is not None:
        environ["CONTENT_LENGTH"] = str(length)
    statuses: list[str] = []
    application(environ, lambda status, headers: statuses.append(status)).close()
    return statuses[0][:3]


@pytest.mark.parametrize(("length", "status"), [(1 << 40, "413"), (None, "411")])
@pytest.mark.parametrize(("method", "path"), BODIES)
def test_a_body_that_its_head_condemns_is_not_read(ann: Caller, session: str, length, status, method, path):
    authorization = ann.http.headers["Authorization"]
    assert status_of(method, session + path, Unread(), length, authorization) == status


@pytest.mark.parametrize("authorization", ["", "Bearer wrong"])
@pytest.mark.parametrize(("method", "path"), BODIES)
def test_a_strangers_body_is_not_read(session: str, authorization, method, path):
    assert status_of(method, session + path, Unread(), 100, authorization) == "401"


@pytest.mark.parametrize(("method", "path"), BODIES)
def test_a_body_for_a_session_that_is_not_open_is_not_read(ann: Caller, method, path):
    ended, authorization = ann.open(), ann.http.headers["Authorization"]
    ann("DELETE", ended)
    assert status_of(method, ended + path, Unread(), 100, authorization) == "409"
    assert status_of(method, "/api/v1/sessions/none" + path, Unread(), 100, authorization) == "404"


@pytest.mark.parametrize(("method", "path"), BODIES)
def test_a_connection_that_breaks(ann: Caller, session: str, method, path):
    assert status_of(method, session + path, Broken(), 100, ann.http.headers["Authorization"]) == "400"


@pytest.mark.parametrize("filename", ["x" * 501, "a\0b"])
def test_a_filename_over_its_limits(ann: Caller, session: str, filename: str):
    refused = put(ann, session, picture(), params={"filename": filename})
    assert problem(refused, 422, "invalid-metadata")["errors"][0]["pointer"] == "/filename"
    form = multipart((part("file", filename), picture()))
    refused = ann("POST", f"{session}/images", **form)
    assert problem(refused, 422, "invalid-metadata")["errors"][0]["pointer"] == "/filename"


def test_fields_that_are_too_large(ann: Caller, session: str):
    huge = b"x" * (3 << 20)
    for form in (
        multipart((part("title"), huge), (part("file", "a.png"), picture())),
        multipart((part("metadata", "m.json"), huge), (part("file", "a.png"), picture())),
    ):
        problem(ann("POST", f"{session}/images", **form), 413, "too-large")


def test_more_fields_than_anybody_needs(ann: Caller, session: str):
    many = [(part("tags"), b"t")] * 2000
    problem(
        ann("POST", f"{session}/images", **multipart(*many, (part("file", "a.png"), picture()))), 400, "bad-request"
    )


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_upload_is_never_held_in_memory(ann: Caller, session: str, tmp_path: Path, method: str):
    data = bytes(24 << 20)
    form = multipart((part("file", "zeros"), data))
    content = data if method == "PUT" else form["content"]
    path = f"{session}/images" + (f"/{ident_of(data)}" if method == "PUT" else "")
    (tmp_path / "body").write_bytes(content)
    headers = {"CONTENT_TYPE": "multipart/form-data; boundary=edge"}
    with (tmp_path / "body").open("rb") as body:
        tracemalloc.start()
        status = status_of(method, path, body, len(content), ann.http.headers["Authorization"], **headers)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert status == "415"
    assert peak < 4 << 20


def test_no_room_in_the_spool(ann: Caller, session: str, repository: Repository, monkeypatch: pytest.MonkeyPatch):
    def full(*given: object, **more: object) -> None:
        raise SpoolFull("there is no room")

    monkeypatch.setattr(Spool, "keep", full)
    for send in (put, post):
        refused = send(ann, session, picture())
        assert refused.status_code == 507
        assert refused.json()["type"] == "/problems/spool-full"


PIECES = [
    *(b"--edge", b"--edge--", b"\r\n", b"\r\n\r\n", b"\0", b"--", b"\xff", b"{}"),
    *(part("file", "a").encode(), part("title").encode(), b"Content-Transfer-Encoding: base64"),
    b"Content-Type: multipart/mixed; boundary=edge",
]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=25).map(b"".join))
def test_any_form_of_nonsense(ann: Caller, session: str, body: bytes):
    given = {"content": body, "headers": {"Content-Type": "multipart/form-data; boundary=edge"}}
    assert 400 <= ann("POST", f"{session}/images", **given).status_code < 500
