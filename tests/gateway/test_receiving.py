"""Bodies come in under limits, and nobody who is slow keeps others from browsing."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagerepo.testing import images
from imagerepo.testing.servers import Server
from tests.conftest import ADMIN_TOKEN
from tests.wires import Wire

LIMIT = 100_000
GRACE = 1.0
RATE = 1000
ROOM = 20
WAIT_SECONDS = 20.0
BEARER = f"Authorization: Bearer {ADMIN_TOKEN}"
JSON = "Content-Type: application/json"
FORM_ROOM = 1 << 20
Connect = Callable[[Server], Wire]


def _serving(folder: Path, **settings: str) -> Iterator[Server]:
    with Server(folder / "data", f"file://{folder / 'store'}", admin_token=ADMIN_TOKEN, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with narrow limits of size and pace."""
    limits = {"max_upload_bytes": LIMIT, "body_grace_seconds": GRACE, "body_bytes_per_second": RATE}
    folder = tmp_path_factory.mktemp("strict")
    yield from _serving(folder, **{name: str(value) for name, value in limits.items()})


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with little room, whose slow senders may take their time."""
    limits = {"bodies_at_once": ROOM, "reading_threads": 2, "writing_threads": 2, "body_grace_seconds": 60}
    folder = tmp_path_factory.mktemp("crowded")
    yield from _serving(folder, **{name: str(value) for name, value in limits.items()})


@pytest.fixture
def connect() -> Iterator[Callable[[Server], Wire]]:
    wires: list[Wire] = []

    def make(server: Server) -> Wire:
        wires.append(Wire(server.url))
        return wires[-1]

    yield make
    for made in wires:
        made.close()


def test_a_whole_body_reaches_the_application(strict: Server) -> None:
    answer = strict.admin.post("/api/v1/sessions", json={"title": "x" * 300})
    assert answer.status_code == 201
    assert answer.json()["title"] == "x" * 300


def test_a_body_too_large_for_memory_reaches_the_application(strict: Server) -> None:
    answer = strict.admin.post("/api/v1/sessions", json={"title": "x" * 90_000})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-request")


def test_a_chunked_body_is_refused(strict: Server) -> None:
    answer = strict.admin.post("/api/v1/sessions", content=iter([b"{}"]))
    assert (answer.status_code, answer.json()["type"]) == (411, "/problems/length-required")


def test_a_body_over_the_limit_is_refused_before_it_is_read(strict: Server, connect: Connect) -> None:
    sender = connect(strict)
    sender.request("POST /api/v1/sessions", BEARER, f"Content-Length: {LIMIT + FORM_ROOM + 1}")
    answer = sender.reply()
    assert (answer.status, answer.json()["type"]) == (413, "/problems/too-large")


def test_who_sends_a_body_over_the_limit_regardless_still_sees_the_answer(strict: Server, connect: Connect) -> None:
    sender, body = connect(strict), b"x" * (20 * FORM_ROOM)
    sender.request("POST /api/v1/sessions", BEARER, f"Content-Length: {len(body)}", body=body)
    assert sender.reply().status == 413


def test_a_strangers_large_body_is_refused_before_it_is_read(strict: Server, connect: Connect) -> None:
    sender = connect(strict)
    sender.request("POST /api/v1/sessions", "Authorization: Bearer wrong", f"Content-Length: {LIMIT}")
    assert sender.reply().status == 401


def test_a_body_that_comes_too_slowly_is_given_up(strict: Server, connect: Connect) -> None:
    sender = connect(strict)
    begun = time.monotonic()
    sender.request("POST /api/v1/sessions", BEARER, "Content-Length: 5000", body=b"x" * 500)
    answer = sender.reply()
    assert (answer.status, answer.json()["type"]) == (408, "/problems/too-slow")
    assert time.monotonic() - begun >= GRACE + 500 / RATE


def test_a_slow_body_at_the_least_pace_is_taken(strict: Server, connect: Connect) -> None:
    sender, left = connect(strict), b'{"title": "slow"}' + b" " * 2983
    sender.request("POST /api/v1/sessions", BEARER, JSON, f"Content-Length: {len(left)}")
    while left:
        part, left = left[:500], left[500:]
        sender.send(part)
        time.sleep(0.25)  # twice the least pace, and longer than the grace in all
    assert sender.reply().status == 201


def test_a_body_that_ends_early_leaves_nothing(strict: Server, connect: Connect) -> None:
    before = strict.admin.get("/api/v1/sessions").json()["results"]
    sender = connect(strict)
    sender.request("POST /api/v1/sessions", BEARER, "Content-Length: 5000", body=b'{"title": "half"}')
    sender.close()
    assert strict.admin.get("/api/v1/sessions").json()["results"] == before


def test_one_body_more_than_may_be_is_told_to_come_later(crowded: Server, connect: Connect) -> None:
    client, end = crowded.admin, time.monotonic() + WAIT_SECONDS
    while (answer := client.post("/api/v1/sessions", json={})).status_code != 429:
        assert time.monotonic() < end, "never refused"
        # One at a time: a body counts once its head was read, and one of these may be refused itself.
        connect(crowded).request("POST /api/v1/sessions", BEARER, "Content-Length: 5000", body=b"{")
    assert answer.json()["type"] == "/problems/too-many-requests"
    assert int(answer.headers["Retry-After"]) > 0


def test_slow_senders_do_not_stop_browsing(crowded: Server, connect: Connect) -> None:
    for _ in range(2 * ROOM):
        connect(crowded).request("POST /api/v1/sessions", BEARER, "Content-Length: 5000", body=b"{")
    assert crowded.client().get("/api/v1/images").status_code == 200


def test_slow_receivers_do_not_stop_browsing(crowded: Server, connect: Connect) -> None:
    ident = _live_image(crowded, images.encode(images.draw(3000, 2000), "bmp"))
    for _ in range(ROOM):
        connect(crowded).request(f"GET /images/{ident}")
    assert crowded.client().get("/api/v1/images").status_code == 200


def test_no_file_of_a_body_stays_behind(strict: Server) -> None:
    strict.admin.post("/api/v1/sessions", json={"title": "x" * 90_000})
    assert not [path for path in Path(strict.data_dir).iterdir() if path.name.startswith("tmp")]


def _live_image(server: Server, data: bytes) -> str:
    client, ident = server.admin, hashlib.sha256(data).hexdigest()
    session = client.post("/api/v1/sessions", json={}).json()["links"]["self"]
    assert client.put(f"{session}/images/{ident}", content=data).status_code == 201
    assert client.post(f"{session}/commit").status_code == 200
    return ident
