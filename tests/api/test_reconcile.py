"""/api/v1/reconcile: a plan is asked for, looked at, applied; by admins, and as it was looked at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from imagerepo.reconcile.findings import Code
from imagerepo.reconcile.plans import Plans, State
from imagerepo.reconcile.runner import Runner
from imagerepo.store import names
from imagerepo.testing.faulty import FOR_GOOD
from tests.api.caller import Caller, ident_of, picture, problem
from tests.inprocess import Repository, running
from tests.reconcile.drift import put, put_derivative
from tests.reconcile.repairing import NO_GRACE
from tests.waiting import until

PLANS = "/api/v1/reconcile"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    with running(tmp_path_factory.mktemp("repository"), **NO_GRACE) as repository:
        yield repository


@pytest.fixture(scope="module", autouse=True)
def _runner(repository: Repository) -> Iterator[None]:
    runner = Runner(repository.service)
    runner.start()
    yield
    runner.stop()


def planned(admin: Caller, **asked: Any) -> httpx.Response:
    """A plan that is ready, as GET answers it."""
    accepted = admin("POST", PLANS, json=asked) if asked else admin("POST", PLANS)
    assert accepted.status_code == 202, accepted.text
    assert accepted.json()["state"] == "planning"
    return settled(admin, accepted.headers["Location"])


def settled(admin: Caller, path: str) -> httpx.Response:
    until(lambda: admin("GET", path).json()["state"] not in ("planning", "applying"))
    return admin("GET", path)


def path_of(plan: httpx.Response) -> str:
    return f"{PLANS}/{plan.json()['id']}"


def apply(admin: Caller, plan: httpx.Response, **given: Any) -> httpx.Response:
    return admin("POST", f"{path_of(plan)}/apply", headers={"If-Match": plan.headers["ETag"]}, **given)


def orphan(repository: Repository) -> str:
    """The ident of a base that nobody refers to, with a derivative."""
    content = b"orphan %d" % next(_numbers)
    put(repository.store, content)
    put_derivative(repository.store, content)
    return ident_of(content)


@contextmanager
def no_snapshot_taken(repository: Repository) -> Iterator[None]:
    """By the store, which does all else."""
    repository.store.fail("put", "unavailable", name=names.DB, times=FOR_GOOD)
    try:
        yield
    finally:
        repository.store.heal()


def test_what_is_one_sided_is_shown_and_then_repaired(repository: Repository, ann: Caller, admin: Caller) -> None:
    kept, lost = ann.live(), ann.live()
    repository.store.delete([names.base(lost)])
    left = orphan(repository)
    plan = planned(admin)
    body = plan.json()
    told = {"id", "state", "created_at", "counts", "actionable", "wanting", "outcomes", "progress", "reason"}
    assert body.keys() == told
    assert (body["state"], body["actionable"], body["wanting"], body["outcomes"]) == ("ready", 3, 3, {})
    assert body["counts"].keys() == set(Code)
    assert body["progress"].keys() == {"stage", "done", "total"}
    listed = admin("GET", f"{path_of(plan)}/findings").json()
    found = {(finding["code"], finding["ident"], finding["action"]) for finding in listed["results"]}
    assert found >= {
        ("orphan-base", left, "delete-object"),
        ("orphan-derivative", left, "delete-object"),
        ("missing-base", lost, "remove-row"),
    }
    assert listed["next"] is None
    accepted = apply(admin, plan)
    assert (accepted.status_code, accepted.headers["Location"]) == (202, path_of(plan))
    done = settled(admin, path_of(plan)).json()
    assert (done["state"], done["outcomes"]) == ("done", {"deleted": 2, "removed": 1})
    assert (done["progress"]["done"], done["progress"]["total"]) == (3, 3)
    assert ann("GET", f"/images/{kept}").status_code == 200
    problem(ann("GET", f"/images/{lost}"), 410, "gone")
    again = planned(admin).json()
    assert (again["actionable"], again["wanting"]) == (0, 0)
    assert again["counts"]["missing-base"] == 1
    did = admin("GET", "/api/v1/audit?action=reconcile").json()["results"]
    assert [(entry["actor"], entry["subject"]) for entry in did] == [("admin", body["id"])]


def test_an_apply_that_no_snapshot_can_be_stored_of_says_why(
    repository: Repository, ann: Caller, admin: Caller
) -> None:
    ann.live()
    orphan(repository)
    plan = planned(admin)
    with no_snapshot_taken(repository):
        assert apply(admin, plan, json={"force": True}).status_code == 202
        told = until(lambda: admin("GET", path_of(plan)).json()["reason"])
        assert admin("GET", path_of(plan)).json()["state"] == "applying"
    assert told.startswith("the object store fails since ")
    assert told.endswith(": 503, try later")
    done = settled(admin, path_of(plan)).json()
    assert (done["state"], done["reason"]) == ("done", None)


def test_findings_come_in_pages(repository: Repository, ann: Caller, admin: Caller) -> None:
    ann.live()
    for _ in range(3):
        orphan(repository)
    plan = planned(admin)
    whole = admin("GET", f"{path_of(plan)}/findings").json()["results"]
    assert len(whole) >= 6
    path, walked = f"{path_of(plan)}/findings?limit=2", []
    while path:
        page = admin("GET", path).json()
        assert len(page["results"]) <= 2
        walked += page["results"]
        path = page["next"]
    assert walked == whole
    assert admin("GET", f"{path_of(plan)}/findings?limit={len(whole)}").json()["next"] is None


@pytest.mark.parametrize("query", ["limit=0", "cursor=x", "cursor=AAAAAAAAAAE", "cursor=f_________8", "page=2"])
def test_a_bad_page_is_refused(repository: Repository, ann: Caller, admin: Caller, query: str) -> None:
    ann.live()
    orphan(repository)
    plan = planned(admin)
    problem(admin("GET", f"{path_of(plan)}/findings?{query}"), 400, "bad-request")


def test_a_plan_is_applied_as_it_was_looked_at(repository: Repository, ann: Caller, admin: Caller) -> None:
    ann.live()
    orphan(repository)
    plan = planned(admin)
    problem(admin("POST", f"{path_of(plan)}/apply"), 428, "precondition-required")
    wrong = admin("POST", f"{path_of(plan)}/apply", headers={"If-Match": '"another"'})
    problem(wrong, 412, "precondition-failed")
    assert admin("GET", path_of(plan)).headers["ETag"] == plan.headers["ETag"]
    assert apply(admin, plan).status_code == 202
    done = settled(admin, path_of(plan))
    problem(admin("POST", f"{path_of(plan)}/apply", headers={"If-Match": '"another"'}), 412, "precondition-failed")
    for looked_at in (plan, done):
        again = apply(admin, looked_at)
        assert (again.status_code, again.json()) == (202, done.json())
    known = admin("GET", path_of(plan), headers={"If-None-Match": done.headers["ETag"]})
    assert known.status_code == 304


def test_an_order_whose_answer_was_lost_is_repeated_as_it_was_given(
    repository: Repository, ann: Caller, admin: Caller
) -> None:
    ann.live()
    orphan(repository)
    plan = planned(admin)
    with no_snapshot_taken(repository):
        for _ in range(2):
            accepted = apply(admin, plan)
            assert (accepted.status_code, accepted.json()["state"]) == (202, "applying")
            assert until(lambda: admin("GET", path_of(plan)).json()["reason"])
    assert settled(admin, path_of(plan)).json()["outcomes"] == {"deleted": 2}
    did = admin("GET", "/api/v1/audit?action=reconcile").json()["results"]
    assert [entry["subject"] for entry in did].count(plan.json()["id"]) == 1


def test_whoever_repeats_an_order_whose_plan_failed_hears_why(
    repository: Repository, ann: Caller, admin: Caller
) -> None:
    ann.live()
    orphan(repository)
    plan = planned(admin)
    assert apply(admin, plan).status_code == 202
    settled(admin, path_of(plan))
    plans = Plans(repository.service.writer.disk)
    done = plans.find(plan.json()["id"])
    plans.save(done.having(state=State.FAILED, reason="it broke off 5 times: too bad"))
    assert "too bad" in problem(apply(admin, plan), 409, "plan-not-ready")["detail"]


def test_a_plan_that_others_overtook_is_stale(repository: Repository, ann: Caller, admin: Caller) -> None:
    ident = ann.live()
    repository.store.delete([names.base(ident)])
    ann.live()
    plan = planned(admin)
    session = ann.open()
    ann("PATCH", f"{session}/images/{ident}", json={"title": "seen again"})
    ann.commit(session)
    problem(apply(admin, plan, json={"force": True}), 412, "stale-plan")
    stale = admin("GET", path_of(plan))
    assert stale.json()["state"] == "stale"
    assert ident in stale.json()["reason"]
    for looked_at in (plan, stale):
        problem(apply(admin, looked_at), 412, "stale-plan")
    apply(admin, planned(admin), json={"force": True})


def test_a_large_share_is_refused_without_force(repository: Repository, ann: Caller, admin: Caller) -> None:
    ann.live()
    for _ in range(20):
        orphan(repository)
    plan = planned(admin)
    assert "force" in problem(apply(admin, plan), 409, "too-large-a-share")["detail"]
    problem(apply(admin, plan, json={"force": False}), 409, "too-large-a-share")
    assert apply(admin, plan, json={"force": True}).status_code == 202
    assert settled(admin, path_of(plan)).json()["state"] == "done"


def test_damage_within_the_bytes_is_found_by_reading_them(repository: Repository, ann: Caller, admin: Caller) -> None:
    session, data = ann.open(), picture()
    ident = ann.add(session, data)["ident"]
    ann.commit(session)
    damaged = data[:-1] + bytes([data[-1] ^ 1])
    put(repository.store, damaged, names.base(ident))
    for asked in ({"deep": True}, {"sample": 100}):
        listed = admin("GET", f"{path_of(planned(admin, **asked))}/findings").json()["results"]
        (finding,) = [finding for finding in listed if finding["ident"] == ident]
        assert (finding["code"], finding["action"]) == ("corrupt-base", "none")
    put(repository.store, data, names.base(ident))
    assert planned(admin, deep=True).json()["counts"]["corrupt-base"] == 0


@pytest.mark.parametrize("plan", ["0" * 16, "no-such-plan", "..%2Foutbox"])
@pytest.mark.parametrize("route", ["GET ", "GET /findings", "POST /apply"])
def test_an_unknown_plan_is_not_found(admin: Caller, plan: str, route: str) -> None:
    method, _, rest = route.partition(" ")
    response = admin(method, f"{PLANS}/{plan}{rest}", headers={"If-Match": "*"})
    assert response.status_code == 404
    assert response.json()["type"] in ("/problems/plan-not-found", "/problems/not-found")


@pytest.mark.parametrize(
    "body", [{"deep": 1}, {"deep": "true"}, {"sample": -1}, {"sample": 101}, {"sample": "5"}, {"depth": 1}, [], "deep"]
)
def test_a_body_that_makes_no_sense_is_refused(admin: Caller, body: object) -> None:
    assert problem(admin("POST", PLANS, json=body), 400, "bad-request")["errors"]


def test_a_force_that_makes_no_sense_is_refused(repository: Repository, ann: Caller, admin: Caller) -> None:
    ann.live()
    plan = planned(admin)
    for body in ({"force": "yes"}, {"forced": True}):
        assert problem(apply(admin, plan, json=body), 400, "bad-request")["errors"]


@pytest.mark.parametrize("route", ["POST ", "GET /0000000000000000", "GET /0000000000000000/findings"])
def test_reconcile_is_for_admins(stranger: Caller, ann: Caller, route: str) -> None:
    method, _, rest = route.partition(" ")
    problem(stranger(method, f"{PLANS}{rest}"), 401, "unauthorized")
    problem(ann(method, f"{PLANS}{rest}"), 403, "forbidden")


def test_applying_is_for_admins(stranger: Caller, ann: Caller) -> None:
    path = f"{PLANS}/{'0' * 16}/apply"
    problem(stranger("POST", path), 401, "unauthorized")
    problem(ann("POST", path), 403, "forbidden")


def test_other_methods_are_not_allowed(admin: Caller) -> None:
    for method, path in (("GET", PLANS), ("DELETE", f"{PLANS}/{'0' * 16}"), ("GET", f"{PLANS}/{'0' * 16}/apply")):
        assert problem(admin(method, path), 405, "method-not-allowed")
