"""Reconcile and purge on a real Swift, over HTTP and by command: each kind of finding, told, and repaired or left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from imagerepo.durability.state import Disk
from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.store.swift import SwiftStore
from imagerepo.store.swift_auth import credentials_of
from imagerepo.testing.images import draw, encode
from imagerepo.testing.servers import Server
from imagerepo.testing.swift import Swift
from tests.conftest import NewServer
from tests.crash import stories
from tests.crash.stories import Told
from tests.reconcile import over_http
from tests.reconcile.drift import SMALL, ident_of, put, put_derivative
from tests.waiting import until

SETTINGS = {"grace_seconds": "0.001", "store_timeout_seconds": "1", "delete_settle_seconds": "8"}
KEPT, LOST, DAMAGED, TAKEN_DOWN, TOO_LATE = (encode(draw(30 + number, 20), "PNG") for number in range(5))
ORPHAN = b"an orphan"
FOREIGN = "images/readme"
WAIT_SECONDS = 60.0


@pytest.fixture
def store(swift: Swift, container: str) -> Iterator[ObjectStore]:
    """Without a door: foreign names pass."""
    store = SwiftStore(container, "", credentials_of(swift.environ), timeout=60.0)
    yield store
    store.close()


@pytest.fixture
def reign(swift: Swift, container: str, new_server: NewServer) -> Callable[..., Server]:
    """Makes a server on the one repository of a test, on a disk of its own."""

    def make(name: str, *, workers: int = 2, **armed: str) -> Server:
        environ = swift.environ | {f"IMAGEREPO_{variable}": value for variable, value in armed.items()}
        return new_server(name, store_url=f"swift://{container}", environ=environ, workers=workers, **SETTINGS)

    return make


def test_each_finding_is_told_and_repaired_or_left(reign: Callable[..., Server], store: ObjectStore) -> None:
    told = Told()
    server, too_late = a_second_reign(reign, told)
    drift(store)
    before = contents(store)
    with server.admin as admin:
        plan = until(lambda: planned_with(admin, "stale-chain"), seconds=WAIT_SECONDS)  # it is too young at first
        assert plan
        assert {(each["code"], each["object"], each["action"]) for each in over_http.findings(admin, plan)} == {
            ("orphan-base", names.base(ident_of(ORPHAN)), "delete-object"),
            ("orphan-base", names.base(ident_of(TOO_LATE)), "delete-object"),
            ("orphan-derivative", derivative_of(ORPHAN), "delete-object"),
            ("missing-base", names.base(ident_of(LOST)), "remove-row"),
            ("corrupt-base", names.base(ident_of(DAMAGED)), "none"),
            ("foreign-object", FOREIGN, "none"),
            ("stale-chain", too_late, "delete-object"),
        }
        assert before <= contents(store), "a plan changes nothing"
        assert over_http.applied(admin, plan)["outcomes"] == {"deleted": 4, "removed": 1}
    orphans = {names.base(ident_of(ORPHAN)), derivative_of(ORPHAN), names.base(ident_of(TOO_LATE))}
    assert before - contents(store) == orphans | {too_late}
    assert [status_of(server, content) for content in (KEPT, LOST, DAMAGED)] == [200, 410, 502]
    mend(server, DAMAGED)
    del told.live[ident_of(LOST)]
    assert stories.visible(server) == told.live


def a_second_reign(reign: Callable[..., Server], told: Told) -> tuple[Server, str]:
    """Its server; and a record of the first reign that landed too late, after a base that it adds."""
    point = {"FAILPOINT": "snapshot.put/store.put db/record/before#5", "FAILPOINT_ACTION": "stop-self"}
    first = reign("first", workers=1, **point).start()
    for content in (KEPT, LOST, DAMAGED, TAKEN_DOWN):
        stories.add(first, told, content)
    with ThreadPoolExecutor(1) as client:
        committing = client.submit(stories.add, first, Told(), TOO_LATE)
        first.pause_at_failpoint()
        second = reign("second").start()
        first.resume()
        assert committing.exception(), "the first server was not fenced"
    state = Disk(first.data_dir).state()
    assert state and state.final
    first.kill()
    return second, names.record(state.epoch, state.writer, state.final.seq + 1)


def planned_with(admin: httpx.Client, code: str) -> httpx.Response | None:
    """A new plan, if it finds any of these."""
    plan = over_http.planned(admin)
    return plan if plan.json()["counts"][code] else None


def drift(store: ObjectStore) -> None:
    put(store, ORPHAN)
    put_derivative(store, ORPHAN)
    put(store, b"?", FOREIGN)
    put(store, DAMAGED[:-1] + b"?", names.base(ident_of(DAMAGED)))
    store.delete([names.base(ident_of(LOST))])


def mend(server: Server, content: bytes) -> None:
    """Send it again."""
    with server.admin as admin:
        session = admin.post("/api/v1/sessions", json={}).json()["links"]["self"]
        assert admin.put(f"{session}/images/{ident_of(content)}", content=content).status_code == 200
        assert admin.post(f"{session}/commit").status_code == 200


def test_a_purge_takes_down_everything_of_an_image(reign: Callable[..., Server], store: ObjectStore) -> None:
    told = Told()
    server = reign("server").start()
    for content in (KEPT, TAKEN_DOWN):
        stories.add(server, told, content)
        assert server.client().get(f"/{derivative_of(content)}").status_code == 200
    before, ident = contents(store), ident_of(TAKEN_DOWN)
    assert server.admin.post(f"/api/v1/images/{ident}/purge").status_code == 202
    assert status_of(server, TAKEN_DOWN) == 410
    until(lambda: not any(ident in name for name in contents(store)), seconds=WAIT_SECONDS)
    assert {name for name in before - contents(store) if ident not in name} == set()
    del told.live[ident]
    server.kill()
    server.lose_disk()
    server.start()
    assert stories.visible(server) == told.live
    assert status_of(server, TAKEN_DOWN) == 410


def test_the_command_repairs_beside_a_server_and_without_one(reign: Callable[..., Server], store: ObjectStore) -> None:
    told = Told()
    server = reign("server").start()
    stories.add(server, told, KEPT)
    put(store, ORPHAN)
    put(store, b"?", FOREIGN)
    applied = server.command("reconcile", "--apply")
    last = applied.stdout.splitlines()[-1]
    assert (applied.returncode, last) == (0, "repaired: 1 deleted; 1 left alone"), applied.stderr
    server.kill()
    put(store, ORPHAN)
    store.delete([FOREIGN])
    applied = server.command("reconcile", "--claim", "--apply")
    assert (applied.returncode, applied.stdout.splitlines()[-1]) == (0, "repaired: 1 deleted"), applied.stderr
    server.start()
    assert stories.visible(server) == told.live
    images = {name for name in contents(store) if name.startswith(names.IMAGES)}
    assert images == {names.base(ident_of(KEPT))}


def contents(store: ObjectStore) -> set[str]:
    return {info.name for info in store.list("", foreign=True)}


def derivative_of(content: bytes) -> str:
    return names.derivative(ident_of(content), SMALL)


def status_of(server: Server, content: bytes) -> int:
    with server.client() as client:
        return client.get(f"/images/{ident_of(content)}").status_code
