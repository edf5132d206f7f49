"""POST …/commit: what it answers, and what the session says of it afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.caller import Caller, as_json, ident_of, picture, problem
from tests.inprocess import Repository, running
from tests.waiting import until

COMMIT_WAIT_SECONDS = 1.0
MANY = 10_000


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """One whose commits answer soon, also where the store fails."""
    folder = tmp_path_factory.mktemp("repository")
    with running(folder, commit_wait_seconds=str(COMMIT_WAIT_SECONDS)) as repository:
        yield repository


@pytest.fixture(autouse=True)
def healed(repository: Repository) -> Iterator[None]:
    yield
    repository.store.heal()


def awaited(ann: Caller, session: str, state: str) -> dict[str, Any]:
    """Poll the session, as a client does, until it is in `state`."""

    def shown() -> dict[str, Any]:
        return dict(ann("GET", session).json())

    until(lambda: shown()["state"] == state, tell=shown)
    return shown()


def test_it_answers_once_the_changes_are_live(ann: Caller, stranger: Caller, repository: Repository):
    session, data = ann.open(title="T"), picture()
    ann.add(session, data, title="Seen")
    problem(stranger("GET", f"/api/v1/images/{ident_of(data)}"), 404, "not-found")
    done = ann("POST", f"{session}/commit")
    assert (done.status_code, done.json()["state"]) == (200, "live")
    assert done.json()["counts"] == {"add": 1, "update": 0, "remove": 0, "bytes": len(data)}
    shown = stranger("GET", f"/api/v1/images/{ident_of(data)}").json()
    assert (shown["title"], shown["revision"]) == ("Seen", done.json()["revision"])
    assert repository.store.get(f"images/{ident_of(data)}").read() == data


def test_repeating_it_answers_the_same(ann: Caller):
    session = ann.open()
    ann.add(session, picture())
    first = ann("POST", f"{session}/commit")
    for given in ({}, {"content": b"", "headers": {"Content-Type": "text/plain"}}, {"without": "content-length"}):
        again = ann("POST", f"{session}/commit", **given)
        assert (again.status_code, again.json()) == (200, first.json())


def test_the_spool_is_empty_after_it(ann: Caller, repository: Repository):
    session, data = ann.open(), picture()
    ann.add(session, data)
    ann.commit(session)
    until(lambda: ident_of(data) not in repository.spooled())


def test_updates_and_removals_are_committed(ann: Caller, stranger: Caller):
    updated, removed, session = ann.live(title="T"), ann.live(), ann.open()
    ann("PATCH", f"{session}/images/{updated}", **as_json({"title": "U"}))
    ann("DELETE", f"{session}/images/{removed}")
    done = ann.commit(session)
    assert done["counts"] == {"add": 0, "update": 1, "remove": 1, "bytes": 0}
    assert stranger("GET", f"/api/v1/images/{updated}").json()["title"] == "U"
    assert problem(stranger("GET", f"/api/v1/images/{removed}"), 410, "gone")["revision"] == done["revision"]


def test_there_is_nothing_to_commit(ann: Caller):
    problem(ann("POST", f"{ann.open()}/commit"), 409, "nothing-to-commit")
    session, data = ann.open(), picture()
    ann.add(session, data)
    ann.commit(session)
    session = ann.open()
    assert ann.add(session, data)["action"] == "none"
    problem(ann("POST", f"{session}/commit"), 409, "nothing-to-commit")
    assert ann("GET", session).json()["state"] == "open"


def test_a_session_that_was_given_up_is_not_committed(ann: Caller):
    session = ann.open()
    ann.add(session, picture())
    ann("DELETE", session)
    assert problem(ann("POST", f"{session}/commit"), 409, "wrong-state")["state"] == "aborted"


def test_conflicts_are_told_and_leave_the_session_open(ann: Caller, bob: Caller):
    ident, session, other = ann.live(title="T"), ann.open(), bob.open()
    ann("PATCH", f"{session}/images/{ident}", **as_json({"title": "A"}))
    added = ann.add(session, picture())["ident"]
    bob("PATCH", f"{other}/images/{ident}", **as_json({"title": "B"}))
    revision = bob.commit(other)["revision"]
    conflict = {"ident": ident, "code": "changed", "revision": revision}
    refused = problem(ann("POST", f"{session}/commit"), 409, "conflict")
    assert [{name: told[name] for name in conflict} for told in refused["conflicts"]] == [conflict]
    shown = ann("GET", session).json()
    assert (shown["state"], shown["error"]["type"]) == ("open", "/problems/conflict")
    assert shown["error"]["conflicts"] == refused["conflicts"]
    assert ann("DELETE", f"{session}/changes/{ident}").status_code == 204
    assert ann.commit(session)["counts"]["add"] == 1
    assert ann("GET", f"/api/v1/images/{added}").status_code == 200


@pytest.mark.parametrize("prefer", ["respond-async", "Respond-Async, wait=10", "wait=0"])
def test_it_does_not_wait_where_that_is_preferred(ann: Caller, prefer: str):
    session = ann.open()
    ann.add(session, picture())
    response = ann("POST", f"{session}/commit", headers={"Prefer": prefer})
    assert response.status_code == 202
    assert response.headers["Location"] == session
    assert response.json()["state"] in ("committing", "merged")
    assert awaited(ann, session, "live")["revision"] is not None


def test_a_dry_run_tells_what_would_happen_and_does_nothing(ann: Caller, bob: Caller):
    ident, session, other, data = ann.live(), ann.open(), bob.open(), picture()
    ann.add(session, data)
    ann("PATCH", f"{session}/images/{ident}", **as_json({"title": "A"}))
    bob("PATCH", f"{other}/images/{ident}", **as_json({"title": "B"}))
    bob.commit(other)
    told = ann("POST", f"{session}/commit?dry_run=true").json()
    assert told["counts"] == {"add": 1, "update": 1, "remove": 0, "bytes": len(data)}
    assert told["upload"] == {"objects": 1, "bytes": len(data)}
    assert [conflict["code"] for conflict in told["conflicts"]] == ["changed"]
    assert ann("GET", session).json()["state"] == "open"
    problem(ann("POST", f"{session}/commit?dry_run=maybe"), 400, "bad-request")


def test_a_store_that_refuses_an_image_leaves_the_session_open(ann: Caller, repository: Repository):
    session = ann.open()
    ann.add(session, picture())
    repository.store.fail("put", "refused", name="images/", times=MANY)
    response = ann("POST", f"{session}/commit")
    refused = problem(response, 503, "commit-unfinished")
    assert refused["state"] == "open"
    assert int(response.headers["Retry-After"]) > 0
    shown = ann("GET", session).json()
    assert (shown["state"], shown["error"]["status"], shown["counts"]["add"]) == ("open", 503, 1)
    repository.store.heal()
    assert ann.commit(session)["error"] is None


def test_a_store_that_stays_silent_leaves_the_session_open_in_the_end(ann: Caller, repository: Repository):
    session = ann.open()
    ann.add(session, picture())
    repository.store.fail("put", "unavailable", name="images/", times=MANY)
    ann("POST", f"{session}/commit", headers={"Prefer": "respond-async"})
    shown = awaited(ann, session, "open")
    assert shown["error"]["type"] == "/problems/store-unavailable"
    repository.store.heal()
    assert ann.commit(session)["error"] is None


def test_a_snapshot_that_can_not_be_stored_leaves_it_in_doubt_and_never_failed(ann: Caller, repository: Repository):
    session, data = ann.open(), picture()
    ann.add(session, data)
    repository.store.fail("put", "cut-before", name="db/", times=MANY)
    response = ann("POST", f"{session}/commit")
    refused = problem(response, 503, "commit-unfinished")
    assert refused["state"] == "merged"
    assert int(response.headers["Retry-After"]) > 0
    assert problem(ann("DELETE", session), 409, "wrong-state")["state"] == "merged"
    shown = ann("GET", session).json()
    assert (shown["error"], shown["progress"]["stage"]) == (None, "merged")
    problem(ann("GET", f"/api/v1/images/{ident_of(data)}"), 404, "not-found")
    repository.store.heal()
    awaited(ann, session, "live")
    assert ann("POST", f"{session}/commit").status_code == 200


def test_a_fenced_server_takes_no_writes_and_still_shows_sessions(ann: Caller, repository: Repository):
    session, data = ann.open(), picture()
    staged = ann.add(session, picture())["ident"]
    fence = repository.folder / f"fenced-{repository.service.writer.state.epoch}"
    fence.touch()
    try:
        for method, path, given in [
            ("POST", "/api/v1/sessions", {}),
            ("POST", f"{session}/commit", {}),
            ("POST", f"{session}/refresh", {}),
            ("DELETE", session, {}),
            ("POST", f"{session}/images", {"files": {"file": data}}),
            ("PUT", f"{session}/images/{ident_of(data)}", {"content": data}),
            ("PATCH", f"{session}/images/{staged}", as_json({})),
            ("DELETE", f"{session}/images/{staged}", {}),
            ("DELETE", f"{session}/changes/{staged}", {}),
        ]:
            response = ann(method, path, **given)
            problem(response, 503, "fenced")
            assert "Retry-After" in response.headers
        assert ann("GET", session).json()["state"] == "open"
        assert ann.changes(session) == {staged: "add"}
        assert ident_of(data) not in repository.spooled()
    finally:
        fence.unlink()


def test_what_others_did_already_is_no_change_and_is_not_counted(ann: Caller, bob: Caller):
    data, doomed = picture(), ann.live()
    first, second = ann.open(), bob.open()
    for who, session in ((ann, first), (bob, second)):
        who.add(session, data)
        assert who("DELETE", f"{session}/images/{doomed}").status_code == 204
    added = picture()
    bob.add(second, added)
    assert ann.commit(first)["counts"] == {"add": 1, "update": 0, "remove": 1, "bytes": len(data)}
    done = bob.commit(second)
    assert done["counts"] == {"add": 1, "update": 0, "remove": 0, "bytes": len(added)}
    logged = bob("GET", f"/api/v1/revisions/{done['revision']}").json()
    assert (logged["counts"]["add"], logged["counts"]["remove"]) == (1, 0)


def test_every_refusal_names_the_session_and_its_state(ann: Caller, bob: Caller):
    empty = ann.open()
    refused = problem(ann("POST", f"{empty}/commit"), 409, "nothing-to-commit")
    assert (refused["session"], refused["state"]) == (empty.rpartition("/")[2], "open")
    data = picture()
    first, second = ann.open(), bob.open()
    ann.add(first, data, title="mine")
    bob.add(second, data, title="no, mine")
    ann.commit(first)
    refused = problem(bob("POST", f"{second}/commit"), 409, "conflict")
    assert (refused["session"], refused["state"]) == (second.rpartition("/")[2], "open")
    assert [conflict["code"] for conflict in refused["conflicts"]] == ["added"]
