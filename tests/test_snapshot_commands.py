"""`snapshot`, `restore` and `drill`: what the store would give back, and going on from it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from imagerepo.testing.images import draw, encode
from imagerepo.testing.servers import Server
from tests.commands import assert_fails
from tests.conftest import ADMIN_TOKEN, NewServer
from tests.crash import stories


def test_snapshots_are_listed_newest_first_and_made_only_where_something_changed(new_server: NewServer) -> None:
    server = new_server().start()
    server.command("token", "create", "ann", "--role", "reader")
    first = json.loads(server.command("snapshot", "create", "--json").stdout)
    again = json.loads(server.command("snapshot", "create", "--json").stdout)
    assert again == first
    listed = json.loads(server.command("snapshot", "list", "--json").stdout)
    assert listed[0] == first
    assert [row["sequence"] for row in listed] == sorted((row["sequence"] for row in listed), reverse=True)
    assert {row["kind"] for row in listed} <= {"base", "delta"}


def test_a_restore_beside_a_running_server_gives_its_database(new_server: NewServer, tmp_path: Path) -> None:
    server = new_server().start()
    server.command("token", "create", "ann", "--role", "reader")
    restored = json.loads(server.command("restore", "--to", str(tmp_path / "beside"), "--json").stdout)
    with sqlite3.connect(restored["database"]) as database:
        assert database.execute("SELECT name FROM imagerepo_token").fetchall() == [("ann",)]
    database.close()
    assert server.admin.post("/api/v1/sessions", json={}).status_code == 201


def test_a_restore_into_a_folder_in_use_is_refused(server: Server) -> None:
    assert_fails(server.command("restore", "--to", str(server.data_dir)), 1, "restore into another folder")


@pytest.mark.parametrize("name", ["catalogue.sqlite3", "restoring/holiday.txt", "restoring"])
def test_a_restore_deletes_nothing_that_no_restore_made(server: Server, tmp_path: Path, name: str) -> None:
    theirs = tmp_path / "photos" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"mine")
    assert_fails(server.command("restore", "--to", str(tmp_path / "photos")), 2, name, "restore into another folder")
    assert theirs.read_bytes() == b"mine"


def test_a_restore_replaces_an_earlier_one_also_one_that_died(server: Server, tmp_path: Path) -> None:
    building = tmp_path / "restoring"
    building.mkdir()
    for name in ("catalogue.sqlite3", "changed-pages"):
        (building / name).write_bytes(b"half")
    for _ in range(2):
        result = server.command("restore", "--to", str(tmp_path))
        assert result.returncode == 0, result.stderr
    assert not building.exists()


def test_a_restore_into_a_stopped_servers_folder_is_refused(new_server: NewServer) -> None:
    server = new_server().start()
    server.stop()
    assert_fails(server.command("restore", "--to", str(server.data_dir)), 1, "restore into another folder")


def _revision_in(database: str) -> int:
    with sqlite3.connect(database) as connection:
        return int(connection.execute("SELECT coalesce(max(number), 0) FROM imagerepo_revision").fetchone()[0])


def _head_in(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "catalogue.sqlite3")) as connection:
        return int(connection.execute("SELECT revision FROM imagerepo_head").fetchone()[0])


@pytest.fixture
def three_revisions(new_server: NewServer) -> Server:
    """A server with three commits behind it."""
    server = new_server().start()
    for number in range(3):
        stories.add(server, stories.Told(), encode(draw(20 + number, 20), "PNG"))
    return server


def test_a_restore_reaches_back_to_a_revision_and_a_moment(three_revisions: Server, tmp_path: Path) -> None:
    server = three_revisions
    listed = json.loads(server.command("snapshot", "list", "--json").stdout)
    second = next(row for row in listed if row["revision"] == 2)
    created = datetime.fromisoformat(second["created_at"])
    moments = [
        ["--revision", "2"],
        ["--at", second["created_at"]],
        ["--at", f"{created:%Y-%m-%dT%H:%M:%S}", "--revision", "2"],  # as the table of `snapshot list` shows it
    ]
    for number, arguments in enumerate(moments):
        result = server.command("restore", "--to", str(tmp_path / f"r{number}"), *arguments, "--json")
        assert result.returncode == 0, result.stderr
        assert _revision_in(json.loads(result.stdout)["database"]) == _head_in(tmp_path / f"r{number}") == 2
    result = server.command("restore", "--to", str(tmp_path / "newer"), "--revision", "9", "--json")
    assert json.loads(result.stdout)["revision"] == _head_in(tmp_path / "newer") == 3
    assert "no snapshot shows revision 9" in result.stderr
    result = server.command("restore", "--to", str(tmp_path / "r9"), "--at", "2001-01-01", "--json")
    assert_fails(result, 1, "no snapshot is that old")


def test_a_damaged_newest_snapshot_is_named_and_the_one_before_is_offered(
    three_revisions: Server, tmp_path: Path
) -> None:
    server = three_revisions
    server.stop()
    newest = max(Path(tmp_path / "store" / "db").glob("1-*/[0-9]*"), key=lambda path: int(path.name))
    newest.write_bytes(newest.read_bytes()[:-9] + b"corrupted")
    refused = server.command("restore", "--to", str(tmp_path / "beside"))
    assert_fails(refused, 1, newest.name, "--to-last-good")
    result = server.command("restore", "--to", str(tmp_path / "beside"), "--to-last-good", "--json")
    assert result.returncode == 0, result.stderr
    assert newest.name in result.stderr
    assert _revision_in(json.loads(result.stdout)["database"]) == 2


def test_a_server_goes_on_from_the_one_before_where_it_is_told_to(three_revisions: Server, tmp_path: Path) -> None:
    server = three_revisions
    server.kill()
    server.lose_disk()
    newest = max(Path(tmp_path / "store" / "db").glob("1-*/[0-9]*"), key=lambda path: int(path.name))
    newest.write_bytes(newest.read_bytes()[:-9] + b"corrupted")
    refused = server.command("serve", "--port", "0")
    assert_fails(refused, 1, newest.name, "serve --to-last-good")
    server.start("--to-last-good")
    assert f"passed over: the payload of db/{newest.parent.name}/{newest.name} is damaged" in server.output()
    assert len(server.client().get("/api/v1/images").json()["results"]) == 2
    server.kill()
    server.lose_disk()
    server.start()
    assert len(server.client().get("/api/v1/images").json()["results"]) == 2


def test_a_damaged_manifest_is_told_by_lists_drills_and_starts_which_go_on(
    three_revisions: Server, tmp_path: Path
) -> None:
    server = three_revisions
    server.command("snapshot", "create", "--kind", "base")
    listed = json.loads(server.command("snapshot", "list", "--json").stdout)
    server.kill()
    server.lose_disk()
    (manifest,) = (tmp_path / "store" / "db").glob("1-*/base-0")
    manifest.write_bytes(b"nothing")
    again = server.command("snapshot", "list", "--json")
    assert "base-0" in again.stderr
    assert json.loads(again.stdout) == listed[1:]
    drilled = json.loads(server.command("drill", "--json").stdout)
    assert (drilled["whole"], drilled["revision"]) == (False, 3)
    assert any("base-0" in problem for problem in drilled["problems"])
    server.start()
    assert server.client().get("/readyz").status_code == 200
    shown = server.client(ADMIN_TOKEN).get("/api/v1/snapshots").json()["results"]
    assert [row["sequence"] for row in shown[1:]] == [row["sequence"] for row in listed[1:]]
    assert server.command("snapshot", "prune").returncode == 0
    assert server.command("snapshot", "prune", "--delete").returncode == 0


def test_pruning_lists_and_deletes_only_when_told(new_server: NewServer) -> None:
    server = new_server(retention_seconds="0.001").start()
    listed = server.command("snapshot", "prune", "--json")
    assert (listed.returncode, json.loads(listed.stdout)) == (0, [])
    assert "would delete 0 objects" in listed.stderr
    deleted = server.command("snapshot", "prune", "--delete")
    assert (deleted.returncode, deleted.stdout) == (0, "")
    assert "deleted 0 objects" in deleted.stderr


def test_what_pruning_would_delete_is_listed_from_the_store_alone(new_server: NewServer) -> None:
    server = new_server(retention_seconds="0.001").start()
    for number in range(2):
        stories.add(server, stories.Told(), encode(draw(20 + number, 20), "PNG"))
        server.command("snapshot", "create", "--kind", "base")
    elsewhere = new_server("elsewhere", store_url=server.store_url, retention_seconds="0.001")
    listed = elsewhere.command("snapshot", "prune", "--json")
    assert listed.returncode == 0, listed.stderr
    assert not elsewhere.data_dir.exists()
    deleted = server.command("snapshot", "prune", "--delete", "--json")
    assert json.loads(listed.stdout) == json.loads(deleted.stdout) != []
    assert_fails(elsewhere.command("snapshot", "prune", "--delete"), 1, "no server runs on")


def test_a_base_is_made_by_command(three_revisions: Server) -> None:
    server = three_revisions
    made = json.loads(server.command("snapshot", "create", "--kind", "base", "--json").stdout)
    assert made["kind"] == "base"
    again = server.command("snapshot", "create", "--kind", "base", "--json")
    assert json.loads(again.stdout) == made
    assert "nothing changed" in again.stderr
    assert json.loads(server.command("snapshot", "list", "--json").stdout)[0] == made
    assert server.command("snapshot", "create", "--kind", "half").returncode == 2


def test_snapshots_are_listed_after_pruning_and_what_went_is_no_snapshot(new_server: NewServer, tmp_path: Path) -> None:
    server = new_server(retention_seconds="0.001").start()
    for number in range(2):
        stories.add(server, stories.Told(), encode(draw(20 + number, 20), "PNG"))
        server.command("snapshot", "create", "--kind", "base")
    pruned = server.command("snapshot", "prune", "--delete", "--json")
    assert json.loads(pruned.stdout)
    listed = server.command("snapshot", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert [(row["kind"], row["revision"]) for row in json.loads(listed.stdout)][-2:] == [("base", 2), ("delta", 2)]
    assert server.admin.get("/api/v1/snapshots").json()["results"][-1]["revision"] == 2
    result = server.command("restore", "--to", str(tmp_path / "older"), "--revision", "1")
    assert_fails(result, 1, "no snapshot is that old", "revision 2")


def test_a_drill_beside_a_running_server_is_told_by_its_readiness(three_revisions: Server) -> None:
    server = three_revisions
    result = server.command("drill", "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["whole"], found["revision"], found["images"], found["sampled"]) == (True, 3, 3, 3)
    told = server.client().get("/readyz").json()
    assert told["status"] == "ready"
    assert (told["drill"]["whole"], told["drill"]["revision"]) == (True, 3)
    assert server.command("drill").stdout.startswith("whole: snapshot ")


def test_a_drill_needs_the_store_alone_and_claims_nothing(three_revisions: Server, new_server: NewServer) -> None:
    archivist = new_server("elsewhere", store_url=three_revisions.store_url)
    result = archivist.command("drill", "--json", "--sample", "2")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["sampled"] == 2
    assert not archivist.data_dir.exists()
    assert three_revisions.admin.post("/api/v1/sessions", json={}).status_code == 201


def test_a_drill_of_what_is_not_whole_has_status_1(three_revisions: Server, tmp_path: Path) -> None:
    (image, *_) = (path for path in (tmp_path / "store" / "images").rglob("*") if path.is_file())
    image.write_bytes(b"something else")
    result = three_revisions.command("drill")
    assert result.returncode == 1
    assert result.stdout.startswith("NOT WHOLE: ")
    assert f"{image.name} is damaged" in result.stdout
    assert three_revisions.client().get("/readyz").json()["drill"]["whole"] is False


def test_a_drill_of_nothing_has_status_1_and_a_bad_option_2(new_server: NewServer) -> None:
    result = new_server().command("drill", "--json")
    assert result.returncode == 1
    assert "no snapshot" in json.loads(result.stdout)["problems"][0]
    assert new_server().command("drill", "--sample", "-1").returncode == 2


def test_a_restore_of_nothing_is_an_error(new_server: NewServer, tmp_path: Path) -> None:
    assert_fails(new_server().command("restore", "--to", str(tmp_path / "beside")), 1, "holds no snapshot")


@pytest.mark.parametrize("command", [["restore", "--to", "beside"], ["drill"], ["snapshot", "list"]])
def test_commands_that_only_read_name_the_store_that_they_took_and_make_none(
    new_server: NewServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    server = new_server()
    told = server.command(*command)
    assert f"file://{tmp_path / 'store'} (by IMAGEREPO_STORE_URL)" in told.stdout + told.stderr
    server.store_url = ""
    told = server.command(*command)
    assert f"file://{tmp_path / 'imagerepo-store'} (IMAGEREPO_STORE_URL is not set)" in told.stdout + told.stderr
    assert not (tmp_path / "imagerepo-store").exists() and not (tmp_path / "store").exists()


@pytest.mark.parametrize("there", [False, True])
def test_a_failed_restore_leaves_the_folder_as_it_was(new_server: NewServer, tmp_path: Path, there: bool) -> None:
    beside = tmp_path / "beside"
    if there:
        beside.mkdir()
    assert_fails(new_server().command("restore", "--to", str(beside)), 1, "holds no snapshot")
    assert beside.exists() is there
    assert not there or not list(beside.iterdir())
