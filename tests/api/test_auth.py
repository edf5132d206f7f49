"""Who may do what."""

import pytest

from tests.api.caller import Caller, picture, problem
from tests.inprocess import Repository

SOMEBODY_ELSES = [
    ("GET", ""),
    ("DELETE", ""),
    ("POST", "/refresh"),
    ("POST", "/lookup"),
    ("POST", "/images"),
    ("POST", "/commit"),
    ("GET", "/changes"),
    ("GET", "/images/{ident}"),
    ("PUT", "/images/{ident}"),
    ("PATCH", "/images/{ident}"),
    ("DELETE", "/images/{ident}"),
    ("DELETE", "/changes/{ident}"),
]


@pytest.mark.parametrize(("method", "path"), SOMEBODY_ELSES)
def test_somebody_elses_session_is_not_there(ann: Caller, bob: Caller, method, path):
    session, data = ann.open(), picture()
    ident = ann.add(session, data)["ident"]
    before = ann("GET", session).json()
    path = session + path.format(ident=ident)
    problem(bob(method, path, content=data), 404, "session-not-found")
    problem(bob(method, path.replace(session[-32:], "0" * 32), content=data), 404, "session-not-found")
    assert ann("GET", session).json() == before
    assert ann.changes(session) == {ident: "add"}


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/v1/sessions"), ("POST", "/api/v1/sessions")])
def test_sessions_need_a_contributor(stranger: Caller, reader: Caller, ann: Caller, admin: Caller, method, path):
    refused = stranger(method, path)
    problem(refused, 401, "unauthorized")
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert "contributor" in problem(reader(method, path), 403, "forbidden")["detail"]
    assert ann(method, path).is_success
    assert admin(method, path).is_success


@pytest.mark.parametrize(
    "header",
    ["Bearer wrong", "Bearer ", "Bearer", "Basic YW5uOg==", "wrong", "Bearer " + "x" * 5000],
)
@pytest.mark.parametrize("path", ["/api/v1/sessions", "/api/v1/sessions/none", "/api/v1/images"])
def test_a_wrong_token_is_refused_even_where_none_is_needed(stranger: Caller, header, path):
    refused = stranger("GET", path, headers=[(b"Authorization", header.encode("latin-1"))])
    problem(refused, 401, "unauthorized")


def test_an_admin_may_use_everyones_sessions(ann: Caller, admin: Caller):
    session = ann.open()
    ident = admin.add(session, picture())["ident"]
    assert ann.changes(session) == {ident: "add"}
    assert admin.commit(session)["owner"] == "ann"


def test_the_scheme_of_a_token_is_written_in_any_case(repository: Repository):
    token = repository.token("eve", "contributor")
    assert Caller(None)("GET", "/api/v1/sessions", headers={"Authorization": f"bearer {token}"}).is_success
