"""/metrics: what every worker knows alike, whatever the store does, and for whom."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from imagerepo.catalogue.models import Condemned, Purged
from imagerepo.durability import drill
from imagerepo.reconcile import orders
from imagerepo.reconcile.fixity import Fixity
from imagerepo.store import names
from imagerepo.testing.faulty import FOR_GOOD
from tests.api.caller import Caller, picture, problem
from tests.inprocess import ADMIN_TOKEN, Repository, running
from tests.waiting import until

METRICS_TOKEN = "the-metrics-token-of-tests"
OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with running(tmp_path / "data") as repository:
        yield repository


@pytest.fixture
def stranger(repository: Repository) -> Caller:
    return Caller(None)


@pytest.fixture
def ann(repository: Repository) -> Caller:
    return Caller(repository.token("ann", "contributor"))


def scrape(caller: Caller) -> dict[str, float]:
    """Every sample by its name and labels."""
    families = text_string_to_metric_families(caller("GET", "/metrics").text)
    return {
        sample.name.removeprefix("imagerepo_") + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_it_is_text_that_prometheus_takes_and_is_never_cached(stranger: Caller) -> None:
    for accept in ("application/openmetrics-text;version=1.0.0", "text/plain;version=nonsense", "image/png"):
        response = stranger("GET", "/metrics", headers={"Accept": accept})
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
    assert all(family.documentation and family.type == "gauge" for family in families(stranger))
    problem(stranger("POST", "/metrics"), 405, "method-not-allowed")
    problem(stranger("GET", "/metrics?name=x"), 400, "bad-request")


def families(caller: Caller) -> list[object]:
    return list(text_string_to_metric_families(caller("GET", "/metrics").text))


def test_a_new_repository_has_no_drill_and_no_round_yet(stranger: Caller) -> None:
    found = scrape(stranger)
    assert found.items() >= {"writable": 1, "fenced": 0, "head_revision": 0, "epoch": 1}.items()
    assert not [name for name in found if name.startswith(("drill", "fixity_round", "fixity_la"))]
    assert (found["fixity_damaged_bases corrupt"], found["fixity_damaged_bases missing"]) == (0, 0)


def test_a_commit_moves_the_head_and_the_newest_snapshot(stranger: Caller, ann: Caller) -> None:
    before = scrape(stranger)
    ann.live()
    after = scrape(stranger)
    assert after["head_revision"] == before["head_revision"] + 1
    assert after["snapshot_sequence"] > before["snapshot_sequence"]


def test_what_is_staged_makes_the_databases_log_grow(stranger: Caller, ann: Caller) -> None:
    before = scrape(stranger)["database_log_bytes"]
    assert before > 0
    ann.add(ann.open(), picture(), description="d" * 9000)
    after = scrape(stranger)["database_log_bytes"]
    assert before + 9000 < after < before + (1 << 20)


def test_fixity_tells_how_far_it_is_and_what_is_damaged(repository: Repository, stranger: Caller, ann: Caller) -> None:
    lost, _ = ann.live(), ann.live()
    repository.store.delete([names.base(lost)])
    checks = Fixity(repository.store, repository.service.writer.disk, days=0.000001)
    until(lambda: checks.look() >= 0 and checks.report.last is not None)
    found = scrape(stranger)
    assert (found["fixity_damaged_bases corrupt"], found["fixity_damaged_bases missing"]) == (0, 1)
    assert abs(found["fixity_last_round_end_timestamp_seconds"] - time.time()) < 60
    Fixity(repository.store, repository.service.writer.disk, days=90).look()
    found = scrape(stranger)
    assert (found["fixity_round_images"], found["fixity_round_checked_images"]) == (2, 0)
    assert abs(found["fixity_round_start_timestamp_seconds"] - time.time()) < 60
    assert 0 <= found["fixity_lag_seconds"] < 60


def test_the_last_drill_is_told_of(repository: Repository, stranger: Caller) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    drill.note(repository.service.writer.disk, drill.Result(at=at, seconds=1.5, whole=True))
    found = scrape(stranger)
    assert found["drill_timestamp_seconds"] == at.timestamp()
    assert (found["drill_whole"], found["drill_duration_seconds"]) == (1, 1.5)


def test_plans_marks_and_purges_are_counted(repository: Repository, stranger: Caller) -> None:
    before = scrape(stranger)
    assert (before["plans_under_way planning"], before["deletion_marks"], before["purges_waiting"]) == (0, 0, 0)
    orders.plan(repository.service.writer.disk)
    Condemned.objects.create(ident="ab" * 32, condemned_at=timezone.now())
    Purged.objects.create(ident="cd" * 32, purged_at=timezone.now())
    found = scrape(stranger)
    assert (found["plans_under_way planning"], found["plans_under_way applying"]) == (1, 0)
    assert (found["deletion_marks"], found["purges_waiting"]) == (1, 1)


def test_a_commit_that_the_store_holds_up_is_seen_and_no_scrape_asks_the_store(
    repository: Repository, stranger: Caller, ann: Caller
) -> None:
    session = ann.open()
    ann("POST", f"{session}/images", files={"file": ("a.png", picture())})
    repository.store.fail("put", "unavailable", name="db/", times=FOR_GOOD)
    ann("POST", f"{session}/commit", headers={"Prefer": "respond-async"})
    until(lambda: scrape(stranger)["snapshots_waiting"] == 1)
    until(lambda: scrape(stranger)["writable"] == 0)
    found = scrape(stranger)
    assert (found["commits_under_way merged"], found["commits_under_way committing"]) == (1, 0)
    repository.store.heal()
    until(lambda: ann("GET", session).json()["state"] == "live")
    until(lambda: scrape(stranger)["writable"] == 1)
    for op in ("get", "stat", "list", "put"):
        repository.store.fail(op, "hang", times=FOR_GOOD)
    try:
        begun = time.monotonic()
        assert scrape(stranger)["snapshots_waiting"] == 0
        assert time.monotonic() - begun < 5
    finally:
        repository.store.heal()


def test_who_is_fenced_says_so(repository: Repository, stranger: Caller) -> None:
    disk = repository.service.writer.disk
    disk.fence(repository.service.writer.state.epoch, "another server took over this repository")
    found = scrape(stranger)
    assert (found["fenced"], found["writable"]) == (1, 0)


def test_with_a_token_set_it_is_for_who_has_that_one_and_for_admins(tmp_path: Path) -> None:
    with running(tmp_path / "data", metrics_token=METRICS_TOKEN) as repository:
        assert Caller(METRICS_TOKEN)("GET", "/metrics").status_code == 200
        assert Caller(ADMIN_TOKEN)("GET", "/metrics").status_code == 200
        for nobody in (None, METRICS_TOKEN[:-1], METRICS_TOKEN + "x"):
            response = Caller(nobody)("GET", "/metrics")
            problem(response, 401, "unauthorized")
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
        problem(Caller(repository.token("ann", "contributor"))("GET", "/metrics"), 403, "forbidden")
        problem(Caller(METRICS_TOKEN)("GET", "/api/v1/images"), 401, "unauthorized")


def test_a_wrong_token_is_refused_where_none_is_needed(stranger: Caller) -> None:
    problem(Caller("wrong")("GET", "/metrics"), 401, "unauthorized")
    problem(stranger("GET", "/metrics", headers={"Authorization": "Basic eDp5"}), 401, "unauthorized")


def test_the_operators_page_explains_every_metric_and_no_other(repository: Repository, stranger: Caller) -> None:
    drill.note(repository.service.writer.disk, drill.Result(at=datetime.now(UTC), seconds=1.5, whole=True))
    checks = Fixity(repository.store, repository.service.writer.disk, days=0.000001)
    until(lambda: checks.look() >= 0 and checks.report.last is not None)
    Fixity(repository.store, repository.service.writer.disk, days=90).look()
    explained = set(re.findall(r"^\| `imagerepo_(\w+)", OPERATIONS.read_text(), re.MULTILINE))
    assert explained == {name.partition(" ")[0] for name in scrape(stranger)}
