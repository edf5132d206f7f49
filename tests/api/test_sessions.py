"""/api/v1/sessions: opening, reading, keeping alive and giving up."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from imagerepo.sessions.models import UploadSession
from tests.api.caller import Caller, ident_of, picture, problem
from tests.inprocess import Repository

SESSION_MEMBERS = {
    *("id", "title", "state", "owner", "created_at", "expires_at", "base_revision", "revision"),
    *("counts", "progress", "error", "links"),
}


def row(session: str):
    return UploadSession.objects.filter(key=session.rpartition("/")[2])


def test_it_opens_a_session(ann: Caller):
    response = ann("POST", "/api/v1/sessions", json={"title": "Summer", "expires_in": 600})
    session = response.json()
    assert response.status_code == 201
    assert response.headers["Location"] == session["links"]["self"] == f"/api/v1/sessions/{session['id']}"
    assert set(session) == SESSION_MEMBERS
    assert (session["title"], session["state"], session["owner"]) == ("Summer", "open", "ann")
    assert session["counts"] == {"add": 0, "update": 0, "remove": 0, "bytes": 0}
    assert session["progress"] == {"stage": "open", "done": 0, "total": 0}
    assert session["revision"] is None and session["error"] is None
    life = datetime.fromisoformat(session["expires_at"]) - datetime.fromisoformat(session["created_at"])
    assert life.total_seconds() == pytest.approx(600, abs=1)
    assert session["created_at"].endswith("Z") and session["expires_at"].endswith("Z")


@pytest.mark.parametrize("given", [{}, {"content": b""}, {"without": "content-length"}, {"json": {}}])
def test_it_opens_a_session_without_a_body(ann: Caller, given):
    response = ann("POST", "/api/v1/sessions", **given)
    assert response.status_code == 201
    assert response.json()["title"] == ""


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"title": 5}, "/title"),
        ({"title": "x" * 501}, "/title"),
        ({"title": "a\0b"}, "/title"),
        ({"title": None}, "/title"),
        ({"expires_in": 0}, "/expires_in"),
        ({"expires_in": -1}, "/expires_in"),
        ({"expires_in": "60"}, "/expires_in"),
        ({"expires_in": True}, "/expires_in"),
        ({"expires_in": 1e300}, "/expires_in"),
        ({"colour": "red"}, "/colour"),
        ([], ""),
        ("text", ""),
    ],
)
def test_it_refuses_to_open_what_it_does_not_understand(ann: Caller, body, pointer):
    before = UploadSession.objects.count()
    refused = problem(ann("POST", "/api/v1/sessions", json=body), 400, "bad-request")
    assert [error["pointer"] for error in refused["errors"]] == [pointer]
    assert UploadSession.objects.count() == before


@pytest.mark.parametrize("content", [b"{", b'{"title": NaN}', b'{"title": "\\ud800"}', b"\xff", b"[" * 5000])
def test_it_refuses_a_body_that_is_not_json(ann: Caller, content):
    given = {"content": content, "headers": {"Content-Type": "application/json"}}
    problem(ann("POST", "/api/v1/sessions", **given), 400, "bad-request")


def test_it_refuses_a_body_that_is_too_large(ann: Caller):
    problem(ann("POST", "/api/v1/sessions", json={"title": "x" * (1 << 20)}), 413, "too-large")


def test_it_refuses_a_chunked_body(ann: Caller):
    given = {"content": iter([b"{}"]), "headers": {"Content-Type": "application/json"}}
    problem(ann("POST", "/api/v1/sessions", **given), 411, "length-required")


def test_it_refuses_a_body_of_another_type(ann: Caller):
    problem(ann("POST", "/api/v1/sessions", data={"title": "T"}), 415, "unsupported-media-type")


def test_it_shows_a_session_and_answers_304_to_who_has_it(ann: Caller):
    session = ann.open(title="T")
    response = ann("GET", session)
    assert response.json()["title"] == "T"
    known = {"If-None-Match": response.headers["ETag"]}
    again = ann("GET", session, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    ann("POST", f"{session}/refresh")
    assert ann("GET", session, headers=known).status_code == 200


def test_it_answers_json_whatever_is_accepted(ann: Caller):
    for accept in ("text/html", "application/xml", "nonsense", "*/*;q=0"):
        response = ann("GET", "/api/v1/sessions", headers={"Accept": accept})
        assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")


def test_it_answers_head_wherever_get(ann: Caller):
    session = ann.open()
    for path in ("/api/v1/sessions", session, f"{session}/changes"):
        assert ann("HEAD", path).status_code == ann("GET", path).status_code == 200


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("/{id}", {"GET", "HEAD", "DELETE", "OPTIONS"}),
        ("/{id}/refresh", {"POST", "OPTIONS"}),
        ("/{id}/lookup", {"POST", "OPTIONS"}),
        ("/{id}/commit", {"POST", "OPTIONS"}),
        ("/{id}/changes", {"GET", "HEAD", "OPTIONS"}),
        ("/{id}/images/" + "0" * 64, {"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"}),
        ("/{id}/changes/" + "0" * 64, {"DELETE", "OPTIONS"}),
    ],
)
def test_it_says_which_methods_are_allowed(ann: Caller, path, allowed):
    path = "/api/v1/sessions" + path.format(id=ann.open().rpartition("/")[2])
    refused = ann("TRACE", path)
    problem(refused, 405, "method-not-allowed")
    assert set(refused.headers["Allow"].split(", ")) == allowed
    assert set(ann("OPTIONS", path).headers["Allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", ["", "/{id}", "/{id}/images", "/{id}/commit", "/{id}/changes"])
def test_a_trailing_slash_leads_nowhere(ann: Caller, path):
    path = "/api/v1/sessions" + path.format(id=ann.open().rpartition("/")[2])
    problem(ann("GET", f"{path}/"), 404, "not-found")


@pytest.mark.parametrize("ident", ["0" * 63, "0" * 65, "A" * 64, "g" * 64, "..%2f" + "0" * 64])
def test_what_is_no_ident_leads_nowhere(ann: Caller, ident):
    problem(ann("GET", f"{ann.open()}/images/{ident}"), 404, "not-found")


def test_it_lists_ones_own_sessions_page_by_page_newest_first(repository: Repository):
    carol = Caller(repository.token("carol", "contributor"))
    opened = [carol.open() for _ in range(5)][::-1]
    seen, path = [], "/api/v1/sessions?limit=2"
    while path:
        page = carol("GET", path).json()
        assert set(page) == {"results", "next"} and len(page["results"]) <= 2
        seen += [session["links"]["self"] for session in page["results"]]
        path = page["next"]
    assert seen == opened


def test_pages_keep_to_the_state_that_was_asked_for(repository: Repository):
    dora = Caller(repository.token("dora", "contributor"))
    opened = [dora.open() for _ in range(4)]
    dora("DELETE", opened[1])
    page = dora("GET", "/api/v1/sessions?limit=2&state=open").json()
    rest = dora("GET", page["next"]).json()
    listed = [session["links"]["self"] for session in page["results"] + rest["results"]]
    assert listed == [opened[3], opened[2], opened[0]]
    assert rest["next"] is None


def test_an_admin_lists_everyones_sessions(ann: Caller, bob: Caller, admin: Caller):
    ours = {ann.open(), bob.open()}
    page = admin("GET", "/api/v1/sessions?limit=2").json()
    assert {session["links"]["self"] for session in page["results"]} == ours
    assert {session["owner"] for session in page["results"]} == {"ann", "bob"}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=-1",
        "limit=",
        "limit=0000000010000",
        "cursor=x",
        "cursor=",
        "state=closed",
        "page=2",
    ],
)
def test_it_refuses_bad_parameters(ann: Caller, query):
    refused = problem(ann("GET", f"/api/v1/sessions?{query}"), 400, "bad-request")
    assert [error["pointer"] for error in refused["errors"]] == ["/" + query.partition("=")[0]]


@pytest.mark.parametrize("path", ["/api/v1/sessions/nonsense", "/api/v1/sessions/" + "0" * 32])
def test_there_is_no_such_session(ann: Caller, path):
    for method, rest in [("GET", ""), ("DELETE", ""), ("POST", "/commit"), ("POST", "/refresh")]:
        problem(ann(method, path + rest), 404, "session-not-found")


def test_refreshing_gives_a_session_its_time_again(ann: Caller):
    session = ann.open(expires_in=1000)
    row(session).update(expires_at=timezone.now() + timedelta(seconds=1))
    for given in ({}, {"content": b"", "headers": {"Content-Type": "text/plain"}}, {"without": "content-length"}):
        response = ann("POST", f"{session}/refresh", **given)
        assert response.status_code == 200
        left = datetime.fromisoformat(response.json()["expires_at"]) - timezone.now()
        assert left.total_seconds() > 990


def test_a_session_that_is_touched_too_late_has_expired(ann: Caller, repository: Repository):
    session = ann.open()
    ident = ann.add(session, picture())["ident"]
    row(session).update(expires_at=timezone.now())
    shown = ann("GET", session).json()
    assert (shown["state"], shown["counts"]["add"]) == ("expired", 1)
    assert ident not in repository.spooled()
    for method, rest in [("POST", "/refresh"), ("POST", "/commit"), ("PUT", f"/images/{ident}")]:
        assert problem(ann(method, session + rest), 409, "wrong-state")["state"] == "expired"
    assert ann("DELETE", session).status_code == 204


def test_giving_a_session_up_is_repeatable_and_it_stays_readable(ann: Caller, repository: Repository):
    session = ann.open()
    ident = ann.add(session, picture())["ident"]
    for _ in range(2):
        response = ann("DELETE", session)
        assert (response.status_code, response.content) == (204, b"")
    assert ann("GET", session).json()["state"] == "aborted"
    assert ident not in repository.spooled()
    problem(ann("POST", f"{session}/refresh"), 409, "wrong-state")


def test_a_live_session_is_not_given_up(ann: Caller):
    session = ann.open()
    ann.add(session, picture())
    ann.commit(session)
    refused = problem(ann("DELETE", session), 409, "wrong-state")
    assert (refused["state"], refused["session"]) == ("live", session.rpartition("/")[2])


def test_lookup_says_what_need_not_be_sent(ann: Caller):
    live, session, here, nowhere = ann.live(), ann.open(), picture(), ident_of(picture())
    ann.add(session, here)
    wanted = [nowhere, ident_of(here), live, nowhere]
    found = ann("POST", f"{session}/lookup", json={"idents": wanted}).json()
    assert found == {"live": [live], "staged": [ident_of(here)], "unknown": [nowhere]}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"idents": "0" * 64},
        {"idents": ["0" * 63]},
        {"idents": ["0" * 64 + "\n"]},
        {"idents": [None]},
        {"idents": ["0" * 64] * 1001},
        {"idents": [], "more": 1},
    ],
)
def test_lookup_refuses_what_is_no_list_of_idents(ann: Caller, body):
    assert problem(ann("POST", f"{ann.open()}/lookup", json=body), 400, "bad-request")["errors"]


def test_lookup_takes_a_thousand(ann: Caller):
    idents = [f"{number:064x}" for number in range(1000)]
    found = ann("POST", f"{ann.open()}/lookup", json={"idents": idents}).json()
    assert found == {"live": [], "staged": [], "unknown": idents}
