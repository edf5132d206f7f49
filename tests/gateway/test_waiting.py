"""While the repository is being restored, the port answers that it is."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from imagerepo.gateway.waiting import Problem, WaitingRoom
from tests.wires import Wire


@pytest.fixture
def room() -> Iterator[WaitingRoom]:
    waiting = WaitingRoom("127.0.0.1", 0, Problem({"type": "/problems/starting", "status": 503}, retry_after=1))
    yield waiting
    waiting.close()


@pytest.fixture
def client(room: WaitingRoom) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{room.port}", trust_env=False) as client:
        yield client


def test_it_is_alive(client: httpx.Client) -> None:
    assert client.get("/livez").status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
@pytest.mark.parametrize("path", ["/readyz", "/api/v1/images?limit=3", "/"])
def test_everything_else_is_told_to_come_back(client: httpx.Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json() == {"type": "/problems/starting", "status": 503, "instance": path.partition("?")[0]}


def test_who_sends_an_upload_sees_the_answer_too(client: httpx.Client) -> None:
    assert client.put("/api/v1/sessions/x/images/y", content=b"x" * 3_000_000).status_code == 503


def test_head_has_no_body(client: httpx.Client) -> None:
    answer = client.head("/readyz")
    assert (answer.status_code, answer.content) == (503, b"")


def test_noise_is_not_answered_and_breaks_nothing(room: WaitingRoom, client: httpx.Client) -> None:
    noise = Wire(f"http://127.0.0.1:{room.port}")
    noise.send(b"\x16\x03\x01\r\n\r\n")
    noise.close()
    assert client.get("/livez").status_code == 200


def test_a_taken_port_is_refused(room: WaitingRoom) -> None:
    with pytest.raises(OSError, match="in use"):
        WaitingRoom("127.0.0.1", room.port, Problem({}, retry_after=1))
