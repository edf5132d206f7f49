"""`imagerepo serve` as a process: how it starts, stops, and outlives its workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx
import pytest

from imagerepo.durability.locks import acquire
from imagerepo.testing import images
from imagerepo.testing.servers import Server
from imagerepo.testing.swift import Swift
from tests.conftest import NewServer
from tests.crash import stories
from tests.failing_disks import no_file_may_grow_beyond
from tests.processes import children_of, command_line, descendants, workers
from tests.waiting import until
from tests.wires import Wire

NO_SWIFT = {"ST_AUTH": "http://127.0.0.1:9/auth/v1.0", "ST_USER": "nobody", "ST_KEY": "nothing"}


def test_it_serves_and_ends_with_status_0_on_sigterm(new_server: NewServer) -> None:
    server = new_server().start()
    assert server.client().get("/livez").status_code == 200
    assert server.stop() == 0
    assert children_of(server.pid) == []


def test_workers_are_spawned_and_not_forked(new_server: NewServer) -> None:
    server = new_server(workers=2).start()
    pids = workers(server)
    assert len(pids) == 2
    # A forked process keeps its parent's command line.
    assert all("multiprocessing.spawn" in command_line(pid) for pid in pids)


def test_a_request_under_way_is_finished_on_sigterm(new_server: NewServer) -> None:
    server = new_server().start()
    body = b'{"title": "in time"}'
    wire = Wire(server.url)
    headers = f"Authorization: Bearer {server.admin_token}", "Content-Type: application/json"
    wire.request("POST /api/v1/sessions", *headers, f"Content-Length: {len(body)}")
    wire.send(body[:5])
    until(lambda: server.client().get("/livez").status_code == 200)  # so the head above was read, too
    os.kill(server.pid, signal.SIGTERM)
    until(lambda: _refuses_connections(server))
    wire.send(body[5:])
    assert wire.reply().status == 201
    wire.close()
    assert server.stop() == 0


def test_a_dead_worker_is_replaced_and_the_others_go_on(new_server: NewServer) -> None:
    server = new_server(workers=2).start()
    victim, other = workers(server)
    for _ in range(2):  # the second time, the one that just came
        os.kill(victim, signal.SIGKILL)
        until(lambda gone=victim: len(set(workers(server)) - {gone}) == 2)
        assert other in workers(server)
        (victim,) = set(workers(server)) - {victim, other}
    until(lambda: _answers(server))
    assert server.stop() == 0


def test_workers_and_decoders_end_with_a_killed_parent(new_server: NewServer) -> None:
    server = new_server(workers=2).start()
    session = server.admin.post("/api/v1/sessions", json={}).json()["links"]["self"]
    picture = images.good("png").data
    assert server.admin.post(f"{session}/images", files={"file": picture}).status_code == 201
    family = descendants(server.pid)
    assert any("imagerepo.store.worker" in command_line(pid) for pid in family), "no decoder was started"
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: not any(_is_alive(pid) for pid in family))
    lock = acquire(server.data_dir / "workers.lock", wait=False)
    assert lock is not None, "an orphan still holds the data folder"
    lock.release()


def test_until_the_store_answers_it_is_alive_but_not_ready(new_server: NewServer) -> None:
    server = new_server(store_url="swift://absent", environ=NO_SWIFT).start(wait=False)
    client = server.client()
    assert client.get("/livez").status_code == 200
    for path in ("/readyz", "/api/v1/images", "/api/v1/nothing"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/starting")
        assert int(answer.headers["Retry-After"]) > 0
    assert server.stop() == 0


def test_a_taken_port_is_refused_before_anything_is_touched(new_server: NewServer) -> None:
    first = new_server("first").start()
    port = first.url.rpartition(":")[2]
    second = new_server("second").command("serve", "--port", port)
    assert second.returncode == 2
    assert f"can't listen on 127.0.0.1:{port}" in second.stderr
    assert not (first.data_dir.parent / "second").exists()
    assert first.admin.get("/readyz").status_code == 200


def test_a_data_folder_in_use_is_refused(new_server: NewServer) -> None:
    server = new_server().start()
    second = server.command("serve", "--port", "0")
    assert (second.returncode, "is in use by another server" in second.stderr) == (1, True)
    assert "Traceback" not in second.stderr


def test_a_bad_setting_stops_the_start_with_its_name(new_server: NewServer) -> None:
    result = new_server(max_pixels="many").command("serve", "--port", "0")
    assert result.returncode == 2
    assert "IMAGEREPO_MAX_PIXELS: " in result.stderr
    assert "Traceback" not in result.stderr


def test_in_the_container_a_store_must_be_named(new_server: NewServer) -> None:
    server = new_server(require_store_url="true", environ={"IMAGEREPO_STORE_URL": ""})
    result = server.command("serve", "--port", "0")
    assert (result.returncode, "IMAGEREPO_STORE_URL: must be given" in result.stderr) == (2, True)
    assert not server.data_dir.exists()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _answers(server: Server) -> bool:
    try:
        return server.client().get("/livez").status_code == 200
    except httpx.TransportError:
        return False


def _refuses_connections(server: Server) -> bool:
    try:
        Wire(server.url).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_bad_number_of_seconds_stops_the_start(new_server: NewServer) -> None:
    for value in ("inf", "nan", "-1", "1e18"):
        result = new_server(commit_wait_seconds=value).command("serve", "--port", "0")
        assert result.returncode == 2
        assert "IMAGEREPO_COMMIT_WAIT_SECONDS" in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize("begun", [False, True], ids=["the first", "one that restores"])
def test_a_start_whose_disk_takes_no_more_says_so_in_one_line(new_server: NewServer, begun: bool) -> None:
    server = new_server()
    if begun:
        server.start()
        server.kill()
        server.lose_disk()
    with no_file_may_grow_beyond(2000):
        result = server.command("serve", "--port", "0")
    assert result.returncode == 1
    listening, told = result.stderr.splitlines()
    assert "listening" in listening
    assert told.startswith("imagerepo: the local disk ")
    assert told.endswith("start again")


def test_a_data_folder_that_cannot_be_used_is_named(tmp_path: Path, new_server: NewServer) -> None:
    (tmp_path / "file").write_text("not a folder")
    result = new_server("file/below").command("serve", "--port", "0")
    assert result.returncode in (1, 2)
    assert "IMAGEREPO_DATA_DIR" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_store_that_hangs_keeps_nobody_from_browsing(swift: Swift, container: str, new_server: NewServer) -> None:
    server = new_server(store_url=f"swift://{container}", environ=swift.environ, reading_threads="4").start()
    stories.add(server, stories.Told(), stories.OLD)
    (image,) = server.client().get("/api/v1/images").json()["results"]
    swift.pause("all")
    try:
        wires = [Wire(server.url) for _ in range(12)]
        for wire in wires:
            wire.request(f"GET /images/{image['ident']}")
        for path in ("/livez", "/api/v1/images"):
            assert server.client().get(path, timeout=10).status_code == 200
    finally:
        swift.resume("all")
    for wire in wires:
        wire.close()
