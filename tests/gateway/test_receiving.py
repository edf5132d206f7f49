"""Bodies come in under limits, and nobody who is slow keeps others from browsing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from imagerepo.testing.servers import Server
from tests.conftest import ADMIN_TOKEN
from tests.wires import Wire

LIMIT = 100_000
GRACE = 1.0
RATE = 1000
BEARER = f"Authorization: Bearer {ADMIN_TOKEN}"
JSON = "Content-Type: application/json"
FORM_ROOM = 1 << 20


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with narrow limits."""
    folder = tmp_path_factory.mktemp("strict")
    settings = {
        "max_upload_bytes": str(LIMIT),
        "body_grace_seconds": str(GRACE),
        "body_bytes_per_second": str(RATE),
        "bodies_at_once": "40",
        "reading_threads": "2",
        "writing_threads": "2",
    }
    with Server(folder / "data", f"file://{folder / 'store'}", admin_token=ADMIN_TOKEN, **settings) as running:
        yield running


@pytest.fixture
def wire(strict: Server) -> Iterator[Callable[[], Wire]]:
    wires: list[Wire] = []

    def connect() -> Wire:
        wires.append(Wire(strict.url))
        return wires[-1]

    yield connect
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


def test_a_body_over_the_limit_is_refused_before_it_is_read(wire: Callable[[], Wire]) -> None:
    sender = wire()
    sender.request("POST /api/v1/sessions", BEARER, f"Content-Length: {LIMIT + FORM_ROOM + 1}")
    answer = sender.reply()
    assert (answer.status, answer.json()["type"]) == (413, "/problems/too-large")


def test_who_sends_a_body_over_the_limit_regardless_still_sees_the_answer(strict: Server) -> None:
    answer = strict.admin.post("/api/v1/sessions", content=b"x" * (5 * FORM_ROOM))
    assert answer.status_code == 413


def test_a_strangers_large_body_is_refused_before_it_is_read(wire: Callable[[], Wire]) -> None:
    sender = wire()
    sender.request("POST /api/v1/sessions", "Authorization: Bearer wrong", f"Content-Length: {LIMIT}")
    assert sender.reply().status == 401


def test_a_body_that_comes_too_slowly_is_given_up(wire: Callable[[], Wire]) -> None:
    sender = wire()
    begun = time.monotonic()
    sender.request("POST /api/v1/sessions", BEARER, "Content-Length: 5000", body=b"x" * 500)
    answer = sender.reply()
    assert (answer.status, answer.json()["type"]) == (408, "/problems/too-slow")
    assert time.monotonic() - begun >= GRACE + 500 / RATE


def test_a_slow_body_at_the_least_pace_is_taken(wire: Callable[[], Wire]) -> None:
    sender, left = wire(), b'{"title": "slow"}' + b" " * 2983
    sender.request("POST /api/v1/sessions", BEARER, JSON, f"Content-Length: {len(left)}")
    while left:
        part, left = left[:500], left[500:]
        sender.send(part)
        time.sleep(0.25)  # twice the least pace, and longer than the grace in all
    assert sender.reply().status == 201


def test_a_body_that_ends_early_leaves_nothing(strict: Server, wire: Callable[[], Wire]) -> None:
    before = strict.admin.get("/api/v1/sessions").json()["results"]
    sender = wire()
    sender.request("POST /api/v1/sessions", BEARER, "Content-Length: 5000", body=b'{"title": "half"}')
    sender.close()
    assert strict.admin.get("/api/v1/sessions").json()["results"] == before


def test_one_body_more_than_may_be_is_told_to_come_later(strict: Server, wire: Callable[[], Wire]) -> None:
    for _ in range(40):
        wire().request("POST /api/v1/sessions", BEARER, "Content-Length: 5000", body=b"{")
    answer = _eventually_refused(strict)
    assert answer.json()["type"] == "/problems/too-many-requests"
    assert int(answer.headers["Retry-After"]) > 0


def test_slow_senders_do_not_stop_browsing(strict: Server, wire: Callable[[], Wire]) -> None:
    for _ in range(39):
        wire().request("POST /api/v1/sessions", BEARER, "Content-Length: 5000", body=b"{")
    begun = time.monotonic()
    assert strict.client().get("/livez").status_code == 200
    assert time.monotonic() - begun < GRACE


def test_slow_receivers_do_not_stop_browsing(strict: Server, wire: Callable[[], Wire]) -> None:
    for _ in range(20):
        wire().request("GET /api/v1/images")
    assert strict.client().get("/livez").status_code == 200


def test_no_file_of_a_body_stays_behind(strict: Server) -> None:
    strict.admin.post("/api/v1/sessions", json={"title": "x" * 90_000})
    assert not [path for path in Path(strict.data_dir).iterdir() if path.name.startswith("tmp")]


def _eventually_refused(server: Server) -> httpx.Response:
    """Bodies are counted when their head was read, a moment after it was sent."""
    client, end = server.admin, time.monotonic() + GRACE
    while (answer := client.post("/api/v1/sessions", json={})).status_code != 429:
        assert time.monotonic() < end, "never refused"
    return answer
