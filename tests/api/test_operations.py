"""/livez, /readyz and /api/v1/snapshots."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from imagerepo.catalogue.queries import head
from tests.api.caller import Caller, problem
from tests.inprocess import Repository

FIELDS = {"sequence", "epoch", "kind", "revision", "bytes", "created_at"}


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_health_is_open_to_anybody_and_never_cached(stranger: Caller, path: str) -> None:
    for method in ("GET", "HEAD"):
        response = stranger(method, path)
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-store"
    problem(stranger("POST", path), 405, "method-not-allowed")


def test_it_is_not_ready_while_the_store_fails_and_alive_all_the_same(
    repository: Repository, stranger: Caller, admin: Caller
) -> None:
    repository.service.writer.disk.report_trouble("no route to the store")
    try:
        response = stranger("GET", "/readyz")
        reasons = problem(response, 503, "not-ready")["reasons"]
        assert len(reasons) == 1
        assert "no route to the store" in reasons[0]
        assert stranger("GET", "/livez").status_code == 200
        for method in ("GET", "POST"):
            problem(admin(method, "/api/v1/snapshots"), 503, "store-unavailable")
    finally:
        repository.service.writer.disk.clear_trouble()
    assert stranger("GET", "/readyz").status_code == 200


def test_it_is_not_ready_while_images_cannot_be_had(repository: Repository, stranger: Caller) -> None:
    repository.store.fail("stat", "refused", name="images/", times=1000)
    deadline = time.monotonic() + 20
    while stranger("GET", "/readyz").status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    reasons = problem(stranger("GET", "/readyz"), 503, "not-ready")["reasons"]
    assert any("403" in reason for reason in reasons)
    repository.store.heal()


def test_a_snapshot_is_made_when_something_changed_and_only_then(ann: Caller, admin: Caller) -> None:
    ann.open()
    made = admin("POST", "/api/v1/snapshots")
    assert made.status_code == 201
    again = admin("POST", "/api/v1/snapshots", json={"kind": "base"})
    assert (again.status_code, again.json()) == (200, made.json())


def test_snapshots_are_listed_newest_first(ann: Caller, admin: Caller) -> None:
    ann.live()
    listed = admin("GET", "/api/v1/snapshots").json()["results"]
    newest = listed[0]
    assert set(newest) == FIELDS
    assert newest["revision"] == head()
    assert newest["kind"] == "delta"
    assert newest["bytes"] > 0
    assert newest["created_at"].endswith("Z")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(newest["created_at"])).total_seconds()) < 60
    sequences = [snapshot["sequence"] for snapshot in listed]
    assert sequences == sorted(sequences, reverse=True)
    assert sequences[-1] == 1


def test_the_list_of_snapshots_has_pages(ann: Caller, admin: Caller) -> None:
    ann.live()
    listed = admin("GET", "/api/v1/snapshots").json()["results"]
    path, walked = "/api/v1/snapshots?limit=1", []
    while path:
        page = admin("GET", path).json()
        walked += page["results"]
        path = page["next"]
    assert walked == listed


@pytest.mark.parametrize("body", [{"kind": "half"}, {"sort": "base"}, [], {"kind": None}])
def test_a_body_that_makes_no_sense_is_refused(admin: Caller, body: object) -> None:
    assert problem(admin("POST", "/api/v1/snapshots", json=body), 400, "bad-request")["errors"]


def test_a_bad_parameter_is_refused(admin: Caller) -> None:
    for query in ("limit=0", "cursor=x", "page=2"):
        assert problem(admin("GET", f"/api/v1/snapshots?{query}"), 400, "bad-request")["errors"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_snapshots_are_for_admins(stranger: Caller, ann: Caller, method: str) -> None:
    problem(stranger(method, "/api/v1/snapshots"), 401, "unauthorized")
    problem(ann(method, "/api/v1/snapshots"), 403, "forbidden")
