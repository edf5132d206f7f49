"""What is known to be damaged is told to admins, and is delivered to nobody, not even in parts."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from imagerepo.durability import damage
from imagerepo.reconcile import fixity
from imagerepo.reconcile.fixity import Fixity
from imagerepo.reconcile.runner import Runner
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.local import LocalStore
from imagerepo.testing.faulty import FOR_GOOD, FaultyStore
from tests.api.caller import Caller, picture, problem
from tests.inprocess import Repository, running
from tests.waiting import until

PART = {"Range": "bytes=0-3"}


def rotten(repository: Repository, ann: Caller) -> str:
    """The ident of a live image whose base has rotted, and was read since."""
    data = picture()
    ident = ann.live(data)
    other = bytes([data[0] ^ 1]) + data[1:]
    repository.store.put(names.base(ident), io.BytesIO(other), media_type="image/png")
    checks = Fixity(repository.store, repository.service.writer.disk, days=0.000001)
    until(lambda: checks.look() >= 0 and ident in checks.report.damaged and checks.report.last is not None)
    return ident


@pytest.fixture
def left(tmp_path: Path) -> tuple[FaultyStore, str]:
    """The store of a server that is gone, and what it knew to be damaged; only reading shows that it is."""
    store = FaultyStore(Door(LocalStore(tmp_path / "store")))
    with running(tmp_path / "gone", store=store) as repository:
        return store, rotten(repository, Caller(repository.token("ann", "contributor")))


def test_a_damaged_base_is_reported_and_not_delivered(
    repository: Repository, ann: Caller, admin: Caller, stranger: Caller
) -> None:
    ident = rotten(repository, ann)
    told = admin("GET", "/api/v1/fixity").json()
    assert (ident, "corrupt") in [(damage["ident"], damage["kind"]) for damage in told["damaged"]]
    assert told["last"]["checked"] >= 1 and told["days"] == 90
    for headers in ({}, PART):
        problem(stranger.http.get(f"/images/{ident}", headers=headers), 502, "damaged-base")
    problem(ann("GET", "/api/v1/fixity"), 403, "forbidden")


def test_a_base_that_cannot_be_read_is_reported_and_delivered_as_soon_as_it_can_be_again(
    repository: Repository, ann: Caller, admin: Caller, stranger: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixity, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr("imagerepo.durability.settle.FIRST_PAUSE_SECONDS", 0.001)
    ident = ann.live()
    repository.store.fail("get", "truncated", name=names.base(ident), times=FOR_GOOD)
    checks = Fixity(repository.store, repository.service.writer.disk, days=0.000001)
    until(lambda: checks.look() >= 0 and ident in checks.report.damaged)
    told = admin("GET", "/api/v1/fixity").json()["damaged"]
    assert (ident, "unreadable") in [(damage["ident"], damage["kind"]) for damage in told]
    assert 'imagerepo_fixity_damaged_bases{kind="unreadable"} 1.0' in admin("GET", "/metrics").text
    for headers in ({}, PART):
        problem(stranger.http.get(f"/images/{ident}", headers=headers), 502, "damaged-base")
    repository.store.heal()
    until(lambda: checks.look() >= 0 and stranger.http.get(f"/images/{ident}").status_code == 200)


def test_a_purged_image_is_told_no_more_though_its_base_is_still_there(
    repository: Repository, ann: Caller, admin: Caller
) -> None:
    ident = rotten(repository, ann)
    before = {damage["ident"] for damage in admin("GET", "/api/v1/fixity").json()["damaged"]}
    assert ident in before
    assert admin("POST", f"/api/v1/images/{ident}/purge").status_code == 202
    assert repository.store.stat(names.base(ident))
    assert {damage["ident"] for damage in admin("GET", "/api/v1/fixity").json()["damaged"]} == before - {ident}
    counted = admin("GET", "/metrics").text
    assert f'imagerepo_fixity_damaged_bases{{kind="corrupt"}} {float(len(before) - 1)}' in counted


def test_a_start_on_a_new_disk_knows_what_is_damaged_before_it_answers(
    tmp_path: Path, left: tuple[FaultyStore, str]
) -> None:
    store, ident = left
    with running(tmp_path / "new", store=store):
        problem(Caller(None).http.get(f"/images/{ident}", headers=PART), 502, "damaged-base")


def test_a_start_that_cannot_read_what_is_damaged_goes_on_and_it_is_asked_again(
    tmp_path: Path, left: tuple[FaultyStore, str], caplog: pytest.LogCaptureFixture
) -> None:
    store, ident = left
    store.fail("get", "unavailable", name=names.REPORTS)
    with running(tmp_path / "new", store=store) as repository:
        assert "what is known to be damaged can't be read" in caplog.text
        assert damage.of(repository.service.writer.disk, ident) is None
        runner = Runner(repository.service)
        runner.look()
        runner.release()
        problem(Caller(None).http.get(f"/images/{ident}", headers=PART), 502, "damaged-base")
