"""Two servers on one real Swift: the second start fences the first, wherever that one rests, and nothing is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import NamedTuple

import httpx
import pytest

from imagerepo.durability.state import Disk
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.objects import ObjectStore
from imagerepo.store.swift import SwiftStore
from imagerepo.store.swift_auth import credentials_of
from imagerepo.testing.images import draw, encode
from imagerepo.testing.servers import Server
from imagerepo.testing.swift import Swift
from tests import sampling
from tests.conftest import NewServer
from tests.crash import stories
from tests.crash.stories import Told
from tests.waiting import until

CHECK_SECONDS = 1
NOTICED_SECONDS = 14.0
"""Well above the setting, for a busy machine, and below its default."""


class Pause(NamedTuple):
    """Where the old server rests in its second commit; what its client hears, and whether the new one shows it."""

    failpoint: str
    answer: str
    shown: bool


PAUSES = (
    Pause("commit.merge/transaction/before", "fenced", shown=False),
    Pause("snapshot.put/store.put db/record/before", "fenced", shown=False),
    Pause("snapshot.put/store.put db/record/after", "fenced", shown=True),
    Pause("snapshot.final/store.stat epochs/before", "fenced", shown=True),
    Pause("snapshot.final/store.stat epochs/after", "live", shown=True),
    Pause("commit.flip/transaction/before", "live", shown=True),
)
STARTS = (
    "start.claim/store.create_exclusive epochs/after",
    "start.find/store.list db/after",
    "start.open>snapshot.put/store.put db/record/before",
    "start.open>snapshot.final/store.stat epochs/before",
)


@pytest.fixture(params=["one replica", "three replicas"])
def any_swift(request: pytest.FixtureRequest) -> Swift:
    swift: Swift = request.getfixturevalue("swift" if request.param == "one replica" else "swift_of_three")
    return swift


@pytest.fixture
def store(any_swift: Swift, container: str) -> Iterator[ObjectStore]:
    store = Door(SwiftStore(container, "", credentials_of(any_swift.environ), timeout=60.0))
    yield store
    store.close()


@pytest.fixture
def reign(any_swift: Swift, container: str, new_server: NewServer) -> Callable[..., Server]:
    """Makes the next server on the one repository of a test, on a disk of its own."""
    numbers = iter(range(100))

    def make(failpoint: str = "") -> Server:
        armed = {"IMAGEREPO_FAILPOINT": failpoint, "IMAGEREPO_FAILPOINT_ACTION": "stop-self"} if failpoint else {}
        return new_server(
            f"reign{next(numbers)}", store_url=f"swift://{container}", environ=any_swift.environ | armed,
            epoch_check_seconds=str(CHECK_SECONDS),
        )  # fmt: skip

    return make


def test_a_second_start_fences_an_idle_first_and_that_one_reads_on(reign: Callable[..., Server]) -> None:
    told, first = Told(), reign().start()
    staged = stage(first, picture())
    stories.add(first, told, picture())
    before = stories.visible(first)
    second = reign().start()
    noticed(first)
    refused(first.admin.post(f"{staged}/commit"), state="open")
    for write in writes(first.admin, staged):
        refused(write)
    assert stories.visible(first) == before == told.live
    assert first.client().get("/api/v1/images").headers["Imagerepo-Stale"] == "fenced"
    assert second.admin.get(staged).json()["state"] == "aborted"
    stories.add(second, told, picture())
    assert stories.visible(first) == before
    for after in (second, reign().start()):
        assert stories.visible(after) == told.live
        assert after.admin.get(staged).json()["state"] == "aborted"


def writes(admin: httpx.Client, session: str) -> Iterator[httpx.Response]:
    (live, *_) = admin.get("/api/v1/images").json()["results"]
    image = f"{session}/images/{live['ident']}"
    yield admin.post("/api/v1/sessions", json={})
    yield admin.post(f"{session}/images", files={"file": picture()})
    yield admin.put(image, content=picture())
    yield admin.patch(image, json={"title": "too late"})
    yield admin.delete(image)
    yield admin.post(f"{session}/refresh")
    yield admin.delete(session)
    yield admin.post("/api/v1/snapshots")


def test_a_writer_that_rests_anywhere_in_a_commit_and_wakes_up_later_does_no_harm(
    reign: Callable[..., Server], store: ObjectStore, any_swift: Swift
) -> None:
    """A line of reigns: each server is the newcomer of the one before, and then rests at a point of its own."""
    told, states = Told(), dict[str, str]()
    pauses = PAUSES if sampling.SOAK or any_swift.replicas == 1 else PAUSES[1::2]
    first, *later = (f"{each.failpoint}#2" for each in pauses)
    old = enthrone(reign(first), told)
    for pause, following in zip(pauses, [*later, ""], strict=True):
        with ThreadPoolExecutor(1) as client:
            answer = client.submit(old.server.admin.post, f"{old.session}/commit")
            old.server.pause_at_failpoint()
            if pause.shown:
                told.live |= old.staged
            states[old.session] = "live" if pause.shown else "aborted"
            new = enthrone(reign(following), told)
            assert stories.visible(new.server) == told.live, pause
            old.server.resume()
            assert answered(answer.result()) == pause.answer, pause
        noticed(old.server)
        refused(old.server.admin.post("/api/v1/sessions", json={}))
        assert stories.visible(new.server) == told.live, pause
        assert in_the_store(store, old.server, ahead=1 if pause.answer == "fenced" else 0), pause
        old.server.kill()
        old = new
    fresh = reign().start()
    assert stories.visible(fresh) == told.live
    assert {session: fresh.admin.get(session).json()["state"] for session in states} == states


@pytest.mark.parametrize("any_swift", ["one replica", *(["three replicas"] if sampling.SOAK else [])], indirect=True)
def test_starts_that_rest_anywhere_and_wake_up_later_end_and_do_no_harm(reign: Callable[..., Server]) -> None:
    told = Told()
    stories.add(reign().start(), told, picture())
    resting = [reign(point).start(wait=False) for point in STARTS]
    for server in resting:
        server.pause_at_failpoint()
    new = reign().start()
    stories.add(new, told, picture())
    for server in resting:
        server.resume()
        assert server.wait() == 1
        assert "another server took over this repository" in server.output()
        assert "Traceback" not in server.output()
    for after in (new, reign().start()):
        assert stories.visible(after) == told.live


class Reign(NamedTuple):
    """A server that serves, and the path of a session that its chain knows, not committed yet, with what it adds."""

    server: Server
    session: str
    staged: dict[str, bytes]


def enthrone(server: Server, told: Told) -> Reign:
    server.start()
    content = picture()
    session = stage(server, content)
    stories.add(server, told, picture())
    return Reign(server, session, {hashlib.sha256(content).hexdigest(): content})


def stage(server: Server, content: bytes) -> str:
    """A new session's path, which adds an image."""
    session = server.admin.post("/api/v1/sessions", json={"title": "staged"}).json()["links"]["self"]
    assert server.admin.post(f"{session}/images", files={"file": content}).status_code == 201
    return str(session)


_numbers = count()


def picture() -> bytes:
    """One that no other has."""
    return encode(draw(20 + next(_numbers), 30), "PNG")


def answered(answer: httpx.Response) -> str:
    """What a client hears of its commit: live, or that the outcome is another server's."""
    if answer.status_code == 200:
        return str(answer.json()["state"])
    refused(answer, state="merged")
    return "fenced"


def refused(answer: httpx.Response, **members: str) -> None:
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (503, "/problems/fenced"), answer.text
    assert problem.items() >= members.items()


def noticed(server: Server) -> None:
    """Wait until an idle server says that it is fenced."""
    until(lambda: any("another server took over" in reason for reason in reasons(server)), seconds=NOTICED_SECONDS)


def reasons(server: Server) -> list[str]:
    """Why it is not ready. On a busy machine the store may be slow to answer, too."""
    ready = server.client().get("/readyz")
    return list(ready.json()["reasons"]) if ready.status_code == 503 else []


def in_the_store(store: ObjectStore, server: Server, *, ahead: int) -> bool:
    """Whether the store holds the record `ahead` of the last that this server saw final."""
    state = Disk(server.data_dir).state()
    assert state
    assert state.final
    name = names.record(state.epoch, state.writer, state.final.seq + ahead)
    return store.stat(name, newest=True).name == name
