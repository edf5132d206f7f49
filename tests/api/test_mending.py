"""Adding the same bytes again mends a base that the store has lost, or has other bytes for."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from imagerepo.catalogue.models import Revision
from imagerepo.durability import damage
from imagerepo.errors import ConfigError, ObjectNotFound
from imagerepo.reconcile.fixity import Fixity
from imagerepo.reconcile.plans import State
from imagerepo.sessions.actors import RECONCILE_NAME
from imagerepo.sessions.models import UploadSession
from imagerepo.sessions.staging import stage_removals
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.local import LocalStore
from imagerepo.testing.faulty import FOR_GOOD
from tests.api.caller import Caller, as_json, ident_of, picture, problem
from tests.inprocess import Repository
from tests.reconcile.pausing import in_thread
from tests.reconcile.repairing import Repairing, repairing
from tests.waiting import until


@pytest.fixture
def repair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Repairing]:
    """Its commits wait for a second only where a test is `impatient`."""
    folder = LocalStore(tmp_path / "store")  # which does not know MD5s: bytes of the same length look well
    wait = "1" if getattr(request, "param", None) == "impatient" else "60"
    with repairing(tmp_path / "data", store=Door(folder), commit_wait_seconds=wait) as repair:
        yield repair


@pytest.fixture
def repository(repair: Repairing) -> Repository:
    return repair.repository


@pytest.fixture
def ann(repository: Repository) -> Caller:
    return Caller(repository.token("ann", "contributor"))


@pytest.fixture
def image(ann: Caller) -> bytes:
    """A live one."""
    data = picture()
    session = ann.open()
    ann.add(session, data, title="before")
    until(lambda: ann("POST", f"{session}/commit").status_code == 200)
    return data


def rot(repository: Repository, data: bytes) -> None:
    """Let the store have other bytes of the same length."""
    other = bytes([data[0] ^ 1]) + data[1:]
    repository.store.put(names.base(ident_of(data)), io.BytesIO(other), media_type="image/png")


def cut(repository: Repository, data: bytes) -> None:
    repository.store.put(names.base(ident_of(data)), io.BytesIO(data[:-1]), media_type="image/png")


def lose(repository: Repository, data: bytes) -> None:
    repository.store.delete([names.base(ident_of(data))])


def check_all(repository: Repository) -> set[str]:
    """Let a round of fixity pass: what is damaged."""
    checks = Fixity(repository.store, repository.service.writer.disk, days=0.000001)
    until(lambda: checks.look() >= 0 and checks.report.round is None)
    return set(checks.report.damaged)


def is_whole(repository: Repository, data: bytes) -> bool:
    response = Caller(None).http.get(f"/images/{ident_of(data)}")
    return response.status_code == 200 and response.content == data and not check_all(repository)


def refused(response: httpx.Response) -> httpx.Response | None:
    """The response, unless the commit goes on."""
    return None if response.status_code == 202 else response


def send_again(ann: Caller, data: bytes, **form: str) -> tuple[str, dict[str, object]]:
    session = ann.open()
    response = ann("POST", f"{session}/images", files={"file": ("a.png", data)}, data=form)
    assert response.status_code == 200, response.text
    return session, response.json()


@pytest.mark.parametrize("harm", [lose, cut])
def test_what_the_store_shows_to_be_wrong_is_mended_by_the_commit(
    repository: Repository, ann: Caller, image: bytes, harm: object
) -> None:
    assert callable(harm)
    harm(repository, image)
    problem(Caller(None).http.get(f"/images/{ident_of(image)}"), 502, "damaged-base")
    session, staged = send_again(ann, image)
    assert (staged["action"], staged["title"]) == ("none", "before")
    assert ann.changes(session) == {}
    committed = ann.commit(session)
    assert (committed["state"], committed["counts"]) == ("live", {"add": 0, "update": 0, "remove": 0, "bytes": 0})
    assert is_whole(repository, image)
    assert repository.spooled() == set()


@pytest.mark.parametrize("finder", ["fixity", "a deep plan"])
def test_what_only_reading_shows_is_mended_once_somebody_has_read_it(
    repository: Repository, repair: Repairing, ann: Caller, image: bytes, finder: str
) -> None:
    rot(repository, image)
    ident = ident_of(image)
    if finder == "fixity":
        assert check_all(repository) == {ident}
    else:
        assert repair.plan(percent=100).counts == {"corrupt-base": 1}
    problem(Caller(None).http.get(f"/images/{ident}", headers={"Range": "bytes=1-2"}), 502, "damaged-base")
    looked_up = ann("POST", f"{ann.open()}/lookup", json={"idents": [ident]}).json()
    assert looked_up == {"live": [], "staged": [], "unknown": [ident]}
    session, _ = send_again(ann, image)
    looked_up = ann("POST", f"{session}/lookup", json={"idents": [ident]}).json()
    assert looked_up == {"live": [], "staged": [ident], "unknown": []}
    ann.commit(session)
    assert damage.known(repository.service.writer.disk).damaged == {}
    assert is_whole(repository, image)
    assert repair.plan(percent=100).found == 0


def test_metadata_are_changed_and_the_base_is_mended_by_one_commit(
    repository: Repository, ann: Caller, image: bytes
) -> None:
    lose(repository, image)
    session, staged = send_again(ann, image, title="after")
    assert staged["action"] == "update"
    assert ann.commit(session)["counts"] == {"add": 0, "update": 1, "remove": 0, "bytes": 0}
    assert is_whole(repository, image)


def test_bytes_sent_are_kept_when_metadata_come_after_them(repository: Repository, ann: Caller, image: bytes) -> None:
    lose(repository, image)
    session, _ = send_again(ann, image)
    patched = ann("PATCH", f"{session}/images/{ident_of(image)}", **as_json({"title": "after"}))
    assert patched.json()["action"] == "update"
    send = ann("POST", f"{session}/images", files={"file": ("a.png", image)})
    assert (send.json()["action"], send.json()["title"]) == ("update", "after")
    ann.commit(session)
    assert is_whole(repository, image)


def test_an_image_added_anew_mends_the_base_that_it_had(repository: Repository, ann: Caller, image: bytes) -> None:
    session = ann.open()
    ann("DELETE", f"{session}/images/{ident_of(image)}")
    ann.commit(session)
    rot(repository, image)
    assert check_all(repository) == {ident_of(image)}
    session = ann.open()
    assert ann.add(session, image)["action"] == "add"
    ann.commit(session)
    assert is_whole(repository, image)


def test_of_a_sound_base_nothing_is_kept_and_nothing_sent(repository: Repository, ann: Caller, image: bytes) -> None:
    repository.store.calls.clear()
    session, _ = send_again(ann, image)
    assert repository.spooled() == set()
    problem(ann("POST", f"{session}/commit"), 409, "nothing-to-commit")
    assert not [name for op, name in repository.store.calls if op == "put"]


@pytest.mark.parametrize("change", ["changes", "images"])
def test_bytes_that_nobody_wants_any_more_go(repository: Repository, ann: Caller, image: bytes, change: str) -> None:
    lose(repository, image)
    session, _ = send_again(ann, image)
    assert repository.spooled() == {ident_of(image)}
    assert ann("DELETE", f"{session}/{change}/{ident_of(image)}").status_code == 204
    assert repository.spooled() == set()


@pytest.mark.parametrize("repair", ["impatient"], indirect=True)
def test_a_store_that_does_not_take_it_leaves_it_damaged_and_the_session_open(
    repository: Repository, ann: Caller, image: bytes
) -> None:
    rot(repository, image)
    check_all(repository)
    session, _ = send_again(ann, image)
    repository.store.fail("put", "unavailable", name="images/", times=FOR_GOOD)
    given_up = until(lambda: refused(ann("POST", f"{session}/commit")))
    assert problem(given_up, 503, "commit-unfinished")["state"] == "open"
    assert damage.of(repository.service.writer.disk, ident_of(image))
    repository.store.heal()
    until(lambda: ann("POST", f"{session}/commit").status_code == 200)
    assert is_whole(repository, image)


def test_a_store_that_is_out_of_reach_has_lost_nothing(repository: Repository, ann: Caller, image: bytes) -> None:
    lose(repository, image)
    repository.store.fail("stat", "unavailable", name="images/", times=FOR_GOOD)
    session, staged = send_again(ann, image)
    assert staged["action"] == "none"
    problem(ann("POST", f"{session}/commit"), 409, "nothing-to-commit")
    repository.store.heal()


def test_a_plan_that_was_made_before_leaves_the_mended_image_alone(
    repository: Repository, repair: Repairing, ann: Caller, image: bytes
) -> None:
    for _ in range(3):
        ann.live()
    lose(repository, image)
    plan = repair.plan()
    assert plan.counts == {"missing-base": 1}
    session, _ = send_again(ann, image)
    ann.commit(session)
    assert repair.apply(plan).state in (State.DONE, State.STALE)
    assert is_whole(repository, image)


def test_an_image_mended_after_the_repair_has_looked_for_its_base_stays(
    repository: Repository, repair: Repairing, ann: Caller, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann.live()
    lose(repository, image)
    plan = repair.order(repair.plan(), force=True)
    store, mended = repository.store, []

    def mend() -> None:
        session, _ = send_again(ann, image)
        mended.append(ann.commit(session)["state"])

    def stat(name: str, *, newest: bool = False) -> object:
        try:
            return type(store).stat(store, name, newest=newest)
        except ObjectNotFound:
            if name == names.base(ident_of(image)) and not mended:
                monkeypatch.undo()
                in_thread(mend)
            raise

    monkeypatch.setattr(store, "stat", stat)
    assert repair.done(plan).outcomes == {"changed": 1}
    assert mended == ["live"]
    assert is_whole(repository, image)


def test_an_image_that_the_repair_removes_while_its_bytes_are_staged_is_added_by_their_commit(
    repository: Repository, repair: Repairing, ann: Caller, image: bytes
) -> None:
    ann.live()
    lose(repository, image)
    session, staged = send_again(ann, image)
    assert staged["action"] == "none"
    assert repair.apply(repair.plan()).outcomes == {"removed": 1}
    problem(Caller(None).http.get(f"/images/{ident_of(image)}"), 410, "gone")
    assert ann.commit(session)["counts"]["add"] == 1
    assert is_whole(repository, image)
    assert Caller(None)("GET", f"/api/v1/images/{ident_of(image)}").json()["title"] == "before"


def test_a_repair_and_a_mending_that_are_merged_together_leave_the_image(
    repository: Repository, repair: Repairing, ann: Caller, image: bytes
) -> None:
    lose(repository, image)
    removal = repository.open_session(RECONCILE_NAME)
    stage_removals(removal, [ident_of(image)])
    session, _ = send_again(ann, image)
    mending = UploadSession.objects.get(key=session.rpartition("/")[2])
    with repository.service.writer.lane():
        for each in (removal, mending):
            repository.service.committer.commit(each, wait=0)
        until(lambda: UploadSession.objects.filter(state="committing", uploaded=True).count() == 2)
    until(lambda: ann("GET", session).json()["state"] == "live")
    assert Revision.objects.filter(removed__gt=0).count() == 0
    assert is_whole(repository, image)


def test_no_token_has_the_name_of_reconcile(repository: Repository) -> None:
    with pytest.raises(ConfigError, match="another name"):
        repository.token(RECONCILE_NAME, "contributor")
