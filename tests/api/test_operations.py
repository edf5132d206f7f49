"""/livez, /readyz and /api/v1/snapshots."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from imagerepo.catalogue.queries import head
from imagerepo.durability import drill
from imagerepo.durability.locks import acquire
from tests.api.caller import Caller, problem
from tests.inprocess import Repository
from tests.waiting import until

FIELDS = {"sequence", "epoch", "kind", "revision", "bytes", "created_at"}


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_health_is_open_to_anybody_and_never_cached(stranger: Caller, path: str) -> None:
    for method in ("GET", "HEAD"):
        response = stranger(method, path)
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-store"
    problem(stranger("POST", path), 405, "method-not-allowed")


def test_readiness_tells_of_the_last_drill_and_a_bad_one_sends_nobody_away(
    repository: Repository, stranger: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    disk = repository.service.writer.disk
    assert stranger("GET", "/readyz").json() == {"status": "ready", "drill": None}
    drill.note(disk, drill.Result(at=datetime.now(UTC), seconds=1.5, whole=True, revision=3, sequence=7))
    assert stranger("GET", "/readyz").json()["drill"].items() >= {"whole": True, "revision": 3, "sequence": 7}.items()
    assert not caplog.records
    bad = drill.Result(at=datetime.now(UTC), seconds=1.5, whole=False, problems=("images/1234 is missing",))
    drill.note(disk, bad)
    response = stranger("GET", "/readyz")
    assert response.status_code == 200
    told = response.json()["drill"]
    assert (told["whole"], told["problems"], told["revision"]) == (False, 1, None)
    assert 0 <= told["age_seconds"] < 60
    assert "1234" not in response.text
    assert "images/1234 is missing" in caplog.text
    disk.report_trouble("no route to the store")
    try:
        assert problem(stranger("GET", "/readyz"), 503, "not-ready")["drill"]["whole"] is False
    finally:
        disk.clear_trouble()


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
    until(lambda: stranger("GET", "/readyz").status_code != 200)
    reasons = problem(stranger("GET", "/readyz"), 503, "not-ready")["reasons"]
    assert any("403" in reason for reason in reasons)
    repository.store.heal()


def test_a_snapshot_is_made_when_something_changed_and_only_then(ann: Caller, admin: Caller) -> None:
    ann.open()
    made = admin("POST", "/api/v1/snapshots")
    assert (made.status_code, made.json()["kind"]) == (201, "delta")
    again = admin("POST", "/api/v1/snapshots", json={"kind": "delta"})
    assert (again.status_code, again.json()) == (200, made.json())


def test_a_base_is_made_on_demand_of_everything_as_it_stands(ann: Caller, admin: Caller) -> None:
    ann.live()
    ann.open()
    made = admin("POST", "/api/v1/snapshots", json={"kind": "base"})
    assert (made.status_code, made.json()["kind"], set(made.json())) == (201, "base", FIELDS)
    base, record = admin("GET", "/api/v1/snapshots?limit=2").json()["results"]
    assert base == made.json()
    assert (record["kind"], record["sequence"]) == ("delta", base["sequence"])
    again = admin("POST", "/api/v1/snapshots", json={"kind": "base"})
    assert (again.status_code, again.json()) == (200, made.json())


@pytest.mark.parametrize("kind", ["base", "delta"])
def test_nobody_needs_to_wait_for_a_snapshot(ann: Caller, admin: Caller, kind: str) -> None:
    ann.live()
    before = admin("GET", "/api/v1/snapshots?limit=1").json()["results"][0]
    ann.open()
    asked = admin("POST", "/api/v1/snapshots", json={"kind": kind}, headers={"Prefer": "respond-async"})
    assert (asked.status_code, asked.headers["Location"]) == (202, "/api/v1/snapshots")

    def newest() -> dict[str, Any]:
        return dict(admin("GET", asked.headers["Location"]).json()["results"][0])

    until(lambda: newest()["kind"] == kind and newest() != before)
    assert newest()["sequence"] > before["sequence"]


def test_a_snapshot_that_takes_longer_than_the_request_waits_goes_on(
    repository: Repository, ann: Caller, admin: Caller
) -> None:
    ann.live()
    lock = acquire(repository.service.writer.disk.bases_lock)
    try:
        asked = admin("POST", "/api/v1/snapshots", json={"kind": "base"}, headers={"Prefer": "wait=1"})
        assert (asked.status_code, asked.json()) == (202, {"kind": "base"})
    finally:
        lock.release()
    again = admin("POST", "/api/v1/snapshots", json={"kind": "base"})
    assert (again.status_code, again.json()["kind"]) == (200, "base")


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
    admin("POST", "/api/v1/snapshots", json={"kind": "base"})
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
