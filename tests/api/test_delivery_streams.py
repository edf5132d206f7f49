"""Delivery by a real server, from files: what is sent chunk by chunk, and what is left behind."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from imagerepo.testing.images import draw, encode
from imagerepo.testing.servers import Server
from tests.api.caller import ident_of, problem
from tests.waiting import until

PATIENCE_SECONDS = 20.0
LARGE = encode(draw(4000, 3000), "BMP")
"""36 MB: more than the sockets between server and client hold."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streams") / "store"


@pytest.fixture(scope="module")
def running(store: Path) -> Iterator[Server]:
    folder = store.parent / "data"
    with Server(folder, f"file://{store}", admin_token="the-admin-token-of-streams", max_pixels="20000000") as server:
        yield server


@pytest.fixture(scope="module")
def large(running: Server) -> str:
    """The ident of a large live image."""
    admin = running.admin
    session = admin.post("/api/v1/sessions", json={}).headers["Location"]
    assert admin.put(f"{session}/images/{ident_of(LARGE)}", content=LARGE).status_code == 201
    assert admin.post(f"{session}/commit").json()["state"] == "live"
    return ident_of(LARGE)


def stored(store: Path, ident: str) -> Path:
    return next(path for path in store.rglob(ident) if path.is_file())


def has_open(server: Server, path: Path) -> bool:
    """Whether a process of the server has the file open."""
    return any(_reads(link) == str(path) for pid in _group(server.pid) for link in Path(f"/proc/{pid}/fd").glob("*"))


def _group(leader: int) -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _group_of(int(entry.name)) == leader]


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _reads(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def test_a_large_base_is_delivered_whole_and_in_parts(running: Server, large: str) -> None:
    client = running.client()
    whole = client.get(f"/images/{large}")
    assert whole.content == LARGE
    assert whole.headers["Content-Length"] == str(len(LARGE))
    part = client.get(f"/images/{large}", headers={"Range": "bytes=1000000-9999999"})
    assert (part.status_code, part.content) == (206, LARGE[1_000_000:10_000_000])
    only_head = client.head(f"/images/{large}")
    assert (only_head.status_code, only_head.content) == (200, b"")
    assert only_head.headers["Content-Length"] == str(len(LARGE))
    known = client.get(f"/images/{large}", headers={"If-None-Match": whole.headers["ETag"]})
    assert (known.status_code, known.content) == (304, b"")


def test_a_large_base_is_never_in_memory(running: Server, large: str) -> None:
    before = peak_bytes(running)
    assert running.client().get(f"/images/{large}").content == LARGE
    assert peak_bytes(running) - before < len(LARGE) // 2


def peak_bytes(server: Server) -> int:
    """The most memory that any process of the server ever had."""
    lines = [line for pid in _group(server.pid) for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return max(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=1-"}])
def test_a_client_that_goes_away_leaves_nothing_open(
    running: Server, store: Path, large: str, headers: dict[str, str]
) -> None:
    base = stored(store, large)
    until(lambda: not has_open(running, base))
    with running.client().stream("GET", f"/images/{large}", headers=headers) as response:
        chunks = response.iter_raw(1000)
        assert next(chunks)
        assert has_open(running, base)
    until(lambda: not has_open(running, base))
    assert running.client().get("/livez").status_code == 200


def test_a_client_that_resets_leaves_nothing_open(running: Server, store: Path, large: str) -> None:
    base, address = stored(store, large), urlsplit(running.url)
    with socket.create_connection((str(address.hostname), int(address.port or 0))) as client:
        client.sendall(f"GET /images/{large} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.recv(1000)
        until(lambda: has_open(running, base))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    until(lambda: not has_open(running, base))


def test_slow_readers_keep_nobody_from_reading_and_fill_no_memory(running: Server, large: str) -> None:
    client, readers = running.client(), 40
    before = peak_bytes(running)
    with ExitStack() as slow:
        for _ in range(readers):
            response = slow.enter_context(client.stream("GET", f"/images/{large}"))
            chunks = slow.enter_context(closing(response.iter_raw(1000)))
            assert next(chunks)
        assert running.client().get("/api/v1/images", timeout=PATIENCE_SECONDS).status_code == 200
    assert peak_bytes(running) - before < readers * len(LARGE) // 8


def test_a_damaged_base_is_broken_off_before_its_end(running: Server, store: Path, large: str) -> None:
    base = stored(store, large)
    with base.open("r+b") as file:
        file.seek(len(LARGE) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    try:
        with pytest.raises(httpx.RemoteProtocolError):
            running.client().get(f"/images/{large}")
        problem(running.client().get(f"/images/{large}-20x15.jpg"), 502, "damaged-base")
    finally:
        base.write_bytes(LARGE)
    assert running.client().get(f"/images/{large}").content == LARGE


def test_a_base_cut_short_is_not_delivered_at_all(running: Server, store: Path, large: str) -> None:
    base, client = stored(store, large), running.client()
    os.truncate(base, len(LARGE) // 2)
    try:
        assert client.head(f"/images/{large}").status_code == 502
        for headers in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=-9"}):
            problem(client.get(f"/images/{large}", headers=headers), 502, "damaged-base")
    finally:
        base.write_bytes(LARGE)
