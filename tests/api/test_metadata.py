"""What may be said of an image, and what is refused: as a patch, as JSON in a form, as single fields."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagerepo.api.metadata import patch_of_json
from imagerepo.errors import InvalidMetadata
from tests.api.caller import Caller, as_json, multipart, part, picture, problem
from tests.inprocess import Repository

LIMITS = {"title": 500, "filename": 500, "description": 20_000, "alt_text": 20_000, "creator": 1_000, "rights": 1_000}


@pytest.fixture(scope="module")
def staged(ann: Caller) -> str:
    """The path of a staged image."""
    return str(ann.add(ann.open(), picture())["links"]["self"])


def nested(levels: int, inside: Any = 0) -> Any:
    value = inside
    for _ in range(levels):
        value = {"a": value}
    return value


REFUSED = [
    *(({name: "x" * (limit + 1)}, f"/{name}", "max-length") for name, limit in LIMITS.items()),
    *(({name: 5}, f"/{name}", "invalid") for name in LIMITS),
    *(({name: ["x"]}, f"/{name}", "invalid") for name in LIMITS),
    *(({name: "a\0b"}, f"/{name}", "null-characters-not-allowed") for name in LIMITS),
    ({"tags": "x"}, "/tags", "not-a-list"),
    ({"tags": {"x": 1}}, "/tags", "not-a-list"),
    ({"tags": [f"t{n}" for n in range(101)]}, "/tags", "max-length"),
    ({"tags": ["ok", "x" * 101]}, "/tags/1", "max-length"),
    ({"tags": [""]}, "/tags/0", "blank"),
    ({"tags": [1]}, "/tags/0", "invalid"),
    ({"tags": [None]}, "/tags/0", "null"),
    ({"tags": ["a\0"]}, "/tags/0", "null-characters-not-allowed"),
    ({"attributes": []}, "/attributes", "invalid"),
    ({"attributes": "{}"}, "/attributes", "invalid"),
    ({"attributes": {"x": "y" * (64 * 1024)}}, "/attributes", "too-large"),
    ({"attributes": {"x": ["\0"]}}, "/attributes", "null-characters-not-allowed"),
    ({"attributes": {"a\0": 1}}, "/attributes", "null-characters-not-allowed"),
    ({"attributes": nested(33)}, "/attributes", "too-deep"),
    ({"attributes": nested(32, inside={})}, "/attributes", "too-deep"),
    ({"attributes": nested(32, inside=[])}, "/attributes", "too-deep"),
    ({"attributes": nested(500)}, "/attributes", "too-deep"),
    *(
        ({"taken_at": text}, "/taken_at", "invalid")
        for text in (
            *("yesterday", "", "2020-01-01", "2020-13-01T00:00:00Z", "2020-01-01T25:00:00Z", "20200101T000000Z"),
            *("2020-01-01T00:00:60Z", "0001-01-01T00:00:00+05:00", "2020-01-01T00:00:00+99:00", "2020-W01-1T00:00:00"),
            *("\uff12\uff10\uff12\uff10-01-01T00:00:00Z", "2020-01-01T00:00:00Z\n", 0, 1.5, [], {}),
        )
    ),
    ({"colour": "red"}, "/colour", "unknown"),
    ({"ident": "0" * 64}, "/ident", "unknown"),
    ({"a/b~c": 1}, "/a~1b~0c", "unknown"),
    ([], "", "invalid"),
    ("text", "", "invalid"),
    (None, "", "null"),
]


@pytest.mark.parametrize(("sent", "pointer", "code"), REFUSED, ids=lambda value: str(value)[:40])
def test_it_refuses_and_points_at_what_is_wrong(ann: Caller, staged: str, sent, pointer, code):
    before = ann("GET", staged).json()
    refused = problem(ann("PATCH", staged, **as_json(sent)), 422, "invalid-metadata")
    assert [(error["pointer"], error["code"]) for error in refused["errors"]] == [(pointer, code)]
    assert all(error["detail"] for error in refused["errors"])
    assert ann("GET", staged).json() == before


@pytest.mark.parametrize(("sent", "pointer", "code"), REFUSED[::3], ids=lambda value: str(value)[:40])
def test_it_refuses_the_same_with_an_upload_and_keeps_nothing(ann: Caller, repository: Repository, sent, pointer, code):
    session, before = ann.open(), repository.spooled()
    form = {"files": {"file": ("a.png", picture())}, "data": {"metadata": json.dumps(sent)}}
    refused = problem(ann("POST", f"{session}/images", **form), 422, "invalid-metadata")
    assert [(error["pointer"], error["code"]) for error in refused["errors"]] == [(pointer, code)]
    assert ann.changes(session) == {}
    assert repository.spooled() == before


@pytest.mark.parametrize(
    "text",
    [
        *(b'{"title": "\\ud800"}', b'{"title": "\\udfff\\ud800"}', b'{"attributes": {"\\ud800": 1}}'),
        *(b'{"attributes": {"x": NaN}}', b'{"attributes": {"x": Infinity}}', b'{"attributes": {"x": 1e999}}'),
        *(b"[" * 100_000, b'{"a":' * 100_000, b"", b"{", b"\xff\xfe", b'{"title": "\xff"}', b'{"title": "a\nb"}'),
        *(b'{"title": 1}{}', b"\xef\xbb\xbf{}", b"{'title': 'x'}"),
    ],
)
def test_it_refuses_what_is_no_json(ann: Caller, repository: Repository, staged: str, text: bytes):
    patch = {"content": text, "headers": {"Content-Type": "application/json"}}
    refused = problem(ann("PATCH", staged, **patch), 422, "invalid-metadata")
    assert refused["errors"][0]["code"] == "not-json"
    session, before = ann.open(), repository.spooled()
    files = {"file": ("a.png", picture()), "metadata": ("m", text)}
    problem(ann("POST", f"{session}/images", files=files), 422, "invalid-metadata")
    assert ann.changes(session) == {}
    assert repository.spooled() == before


def test_it_refuses_a_field_that_is_no_text(ann: Caller, repository: Repository):
    session, before = ann.open(), repository.spooled()
    form = multipart((part("title"), b"caf\xe9"), (part("file", "a.png"), picture()))
    refused = problem(ann("POST", f"{session}/images", **form), 422, "invalid-metadata")
    assert refused["errors"][0]["pointer"] == "/title"
    assert ann.changes(session) == {}
    assert repository.spooled() == before


def test_it_tells_everything_that_is_wrong_at_once(ann: Caller, staged: str):
    sent = {"title": 5, "colour": "red", "tags": ["ok", 1, ""], "creator": "fine"}
    refused = problem(ann("PATCH", staged, **as_json(sent)), 422, "invalid-metadata")
    assert {error["pointer"] for error in refused["errors"]} == {"/title", "/colour", "/tags/1", "/tags/2"}


@pytest.mark.parametrize(
    "fields",
    [
        {"title": "x" * 501},
        {"colour": "red"},
        {"title": ["a", "b"]},
        {"attributes": "{"},
        {"attributes": "[]"},
        {"tags": "[1]"},
        {"tags": "["},
        {"taken_at": "yesterday"},
        {"metadata": ["{}", "{}"]},
    ],
    ids=str,
)
def test_it_refuses_single_fields(ann: Caller, repository: Repository, fields):
    session, before = ann.open(), repository.spooled()
    given = {"files": {"file": ("a.png", picture())}, "data": fields}
    refused = problem(ann("POST", f"{session}/images", **given), 422, "invalid-metadata")
    assert refused["errors"][0]["pointer"].startswith("/" + next(iter(fields)))
    assert ann.changes(session) == {}
    assert repository.spooled() == before


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/json-patch+json"]
)
def test_it_refuses_a_patch_of_another_type(ann: Caller, staged: str, media_type: str):
    given = {"content": b'{"title": "T"}', "headers": {"Content-Type": media_type}}
    assert "merge-patch" in problem(ann("PATCH", staged, **given), 415, "unsupported-media-type")["detail"]


def test_it_refuses_a_patch_of_unknown_length_or_too_large(ann: Caller, staged: str):
    headers = {"Content-Type": "application/json"}
    problem(ann("PATCH", staged, content=iter([b"{}"]), headers=headers), 411, "length-required")
    problem(ann("PATCH", staged, content=b" " * (1 << 20) + b"{}", headers=headers), 413, "too-large")


def test_it_takes_everything_at_its_limit(ann: Caller, staged: str):
    values: dict[str, Any] = {name: "\U0001f4f7" * limit for name, limit in LIMITS.items()}
    values["tags"] = [f"{n:0100}" for n in range(100)]
    values["attributes"] = {"x": "y" * (64 * 1024 - len('{"x":""}'))}
    response = ann("PATCH", staged, **as_json(values))
    assert response.status_code == 200, response.text
    assert {name: response.json()[name] for name in values} == values


def test_it_takes_attributes_as_deep_as_may_be(ann: Caller, staged: str):
    ann("PATCH", staged, **as_json({"attributes": None}))
    response = ann("PATCH", staged, **as_json({"attributes": {"a": nested(31)}}))
    assert response.status_code == 200
    assert response.json()["attributes"]["a"] == nested(31)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"),
        ("2020-01-01t00:00:00z", "2020-01-01T00:00:00Z"),
        ("2020-01-01 00:00:00", "2020-01-01T00:00:00Z"),
        ("2020-01-01T00:00:00-08:30", "2020-01-01T08:30:00Z"),
        ("2020-01-01T00:00:00.25", "2020-01-01T00:00:00.250000Z"),
        ("1839-08-19T00:00:00Z", "1839-08-19T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_times_are_kept_in_utc(ann: Caller, staged: str, sent, kept):
    assert ann("PATCH", staged, **as_json({"taken_at": sent})).json()["taken_at"] == kept
    assert ann("GET", staged).json()["taken_at"] == kept


@pytest.mark.parametrize(
    "text", ["  spaces  ", "line\nbreak", "\u202eright to left", "e\u0301", "<b>&amp;", "\x01\x7f"]
)
def test_text_is_kept_as_it_is_sent(ann: Caller, staged: str, text: str):
    ann("PATCH", staged, **as_json({"title": text, "tags": [text]}))
    shown = ann("GET", staged).json()
    assert (shown["title"], shown["tags"]) == (text, [text])


def test_null_resets_every_member(ann: Caller):
    image = ann.add(ann.open(), picture())
    bare = {name: image[name] for name in (*LIMITS, "tags", "attributes", "taken_at")} | {"filename": ""}
    said = {"title": "T", "tags": ["t"], "attributes": {"a": 1}, "taken_at": "2020-01-01T00:00:00Z", "rights": "R"}
    ann("PATCH", image["links"]["self"], **as_json(said))
    reset = ann("PATCH", image["links"]["self"], **as_json(dict.fromkeys(bare))).json()
    assert {name: reset[name] for name in bare} == bare


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
members = st.sampled_from(["filename", "title", "tags", "taken_at", "attributes", "rights", "colour"])


@given(st.dictionaries(members, json_values, max_size=4) | json_values)
def test_any_json_is_a_patch_or_is_refused_with_reasons(value):
    try:
        patch = patch_of_json(json.dumps(value).encode())
    except InvalidMetadata as refused:
        assert refused.errors
        assert all(set(error) == {"pointer", "code", "detail"} for error in refused.errors)
    else:
        assert set(patch) == set(value)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_patch_or_are_refused_with_reasons(text):
    try:
        patch_of_json(text)
    except InvalidMetadata as refused:
        assert refused.errors


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=5), json_values, max_size=3))
def test_attributes_that_are_taken_are_shown_again(ann: Caller, staged: str, attributes):
    ann("PATCH", staged, **as_json({"attributes": None}))
    response = ann("PATCH", staged, **as_json({"attributes": attributes}))
    if response.status_code == 200:
        assert ann("GET", staged).json()["attributes"] == response.json()["attributes"]
    else:
        problem(response, 422, "invalid-metadata")
