"""GET /api/v1/audit: who did what."""

from __future__ import annotations

from imagerepo.testing.faulty import FOR_GOOD
from tests.api.caller import Caller, picture, problem
from tests.inprocess import Repository
from tests.waiting import until


def test_it_tells_of_commits_and_tokens_newest_first(repository: Repository, ann: Caller, admin: Caller) -> None:
    session = ann.open(title="spring")
    ident = ann.add(session, picture())["ident"]
    revision = ann.commit(session)["revision"]
    again = ann.open()
    ann("DELETE", f"{again}/images/{ident}")
    ann.commit(again)
    repository.token("press", "reader")
    token, removed, added = admin("GET", "/api/v1/audit?limit=3").json()["results"]
    assert (token["actor"], token["action"], token["subject"]) == ("operator", "token", "press")
    assert token["detail"] == {"role": "reader"} and token["revision"] is None
    assert (removed["actor"], removed["detail"], removed["revision"]) == ("ann", {"remove": 1}, revision + 1)
    assert (added["actor"], added["action"], added["detail"]) == ("ann", "commit", {"add": 1})
    assert added["subject"] == session.rpartition("/")[2]
    assert added["at"].endswith("Z")


def test_it_is_narrowed_down_and_paged(repository: Repository, ann: Caller, admin: Caller) -> None:
    for _ in range(3):
        ann.live()
    path, seen = "/api/v1/audit?limit=2&action=commit&actor=ann", []
    while path:
        page = admin("GET", path).json()
        seen += page["results"]
        path = page["next"]
    assert {entry["actor"] for entry in seen} == {"ann"} and {entry["action"] for entry in seen} == {"commit"}
    revisions = [entry["revision"] for entry in seen]
    assert len(revisions) >= 3 and revisions == sorted(revisions, reverse=True)
    problem(admin("GET", "/api/v1/audit?action=theft"), 400, "bad-request")
    problem(admin("GET", "/api/v1/audit?who=ann"), 400, "bad-request")


def test_it_is_for_admins(ann: Caller, stranger: Caller) -> None:
    problem(ann("GET", "/api/v1/audit"), 403, "forbidden")
    problem(stranger("GET", "/api/v1/audit"), 401, "unauthorized")


def test_a_commit_that_is_not_live_yet_is_not_told_of(repository: Repository, ann: Caller, admin: Caller) -> None:
    session = ann.open()
    ann.add(session, picture())
    newest = admin("GET", "/api/v1/audit?limit=1").json()["results"]
    repository.store.fail("put", "unavailable", name="db/", times=FOR_GOOD)
    try:
        assert ann("POST", f"{session}/commit", headers={"Prefer": "respond-async"}).status_code == 202
        until(lambda: ann("GET", session).json()["state"] == "merged")
        assert admin("GET", "/api/v1/audit?limit=1").json()["results"] == newest
    finally:
        repository.store.heal()
    until(lambda: ann("GET", session).json()["state"] == "live")
    assert admin("GET", "/api/v1/audit?limit=1").json()["results"][0]["subject"] == session.rpartition("/")[2]
