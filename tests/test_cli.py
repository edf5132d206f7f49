"""The command line: exit statuses, JSON, and one clear sentence for whatever goes wrong."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imagerepo.cli import app
from imagerepo.cli.folder import is_served
from imagerepo.config import Config
from imagerepo.durability.locks import acquire
from imagerepo.durability.state import Disk
from imagerepo.testing.images import draw, encode
from imagerepo.testing.servers import Server
from tests.commands import assert_fails
from tests.conftest import ADMIN_TOKEN, NewServer
from tests.crash import stories
from tests.waiting import until

COMMANDS = ["", "serve", "token", "token create", "token list", "snapshot", "snapshot create", "snapshot list",
            "snapshot prune", "restore", "drill", "purge", "reconcile", "config", "demo", "manage"]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output
    assert "<bool>" not in result.output


def test_help_fills_the_terminal_whatever_lines_its_source_has() -> None:
    told = CliRunner().invoke(app, ["drill", "--help"], env={"COLUMNS": "80"}).output
    assert "IMAGEREPO_DATA_DIR the folder of a server that runs, /readyz tells of the" in told


def test_an_unknown_command_is_wrong_use(new_server: NewServer) -> None:
    assert new_server().command("frobnicate").returncode == 2


def test_config_prints_every_setting_and_hides_secrets(new_server: NewServer) -> None:
    result = new_server(max_frames="7").command("config")
    lines = result.stdout.splitlines()
    assert result.returncode == 0
    assert "IMAGEREPO_MAX_FRAMES=7" in lines
    assert {f"IMAGEREPO_{name.upper()}" for name in Config.model_fields} == {
        line.partition("=")[0] for line in lines if "=" in line and not line.startswith("#")
    }
    assert ADMIN_TOKEN not in result.stdout


def test_config_as_json_has_value_default_type_and_meaning(new_server: NewServer) -> None:
    rows = json.loads(new_server(max_frames="7").command("config", "--json").stdout)
    (row,) = [row for row in rows if row["variable"] == "IMAGEREPO_MAX_FRAMES"]
    assert row == {
        "variable": "IMAGEREPO_MAX_FRAMES",
        "value": 7,
        "default": 1000,
        "type": "number",
        "meaning": "Frames per image.",
    }


def test_a_token_made_beside_the_server_opens_sessions(server: Server) -> None:
    made = server.command("token", "create", "ann", "--role", "contributor")
    assert (made.returncode, made.stderr) == (0, "")
    with server.client(made.stdout.strip()) as ann:
        assert ann.post("/api/v1/sessions", json={}).json()["owner"] == "ann"
    listed = json.loads(server.command("token", "list", "--json").stdout)
    assert [(row["name"], row["role"]) for row in listed if row["name"] == "ann"] == [("ann", "contributor")]
    assert made.stdout.strip() not in json.dumps(listed)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("twice", "--role", "reader"), "there is a token named 'twice' already"),
        (("no/name", "--role", "reader"), "'no/name' is no token name"),
        (("operator", "--role", "reader"), "'operator' stands for the service"),
        (("reconcile", "--role", "reader"), "'reconcile' owns the sessions"),
        (("history", "--role", "reader"), "'history' stands for the service"),
        (("bob", "--role", "king"), "'king' is no role"),
    ],
)
def test_a_token_that_can_not_be_made_is_wrong_use(server: Server, arguments: tuple[str, ...], complaint: str) -> None:
    if arguments[0] == "twice":
        server.command("token", "create", *arguments)
    assert_fails(server.command("token", "create", *arguments), 2, complaint)


def test_a_token_is_durable_before_it_is_printed(new_server: NewServer) -> None:
    server = new_server().start()
    token = server.command("token", "create", "ann", "--role", "contributor").stdout.strip()
    server.kill()
    server.lose_disk()
    server.start()
    assert server.client(token).post("/api/v1/sessions", json={}).status_code == 201


def test_without_a_server_a_command_claims_nothing_by_itself(new_server: NewServer) -> None:
    production = new_server("production").start()
    elsewhere = new_server("elsewhere")
    assert_fails(elsewhere.command("token", "create", "ann", "--role", "reader"), 1, "no server runs on")
    assert production.admin.post("/api/v1/sessions", json={}).status_code == 201


def test_with_claim_a_command_is_a_server_for_a_moment(new_server: NewServer) -> None:
    server = new_server()
    made = server.command("token", "create", "ann", "--role", "contributor", "--claim")
    assert made.returncode == 0, made.stderr
    server.start()
    assert server.client(made.stdout.strip()).post("/api/v1/sessions", json={}).status_code == 201


def test_a_command_that_waits_for_the_store_says_so(new_server: NewServer, tmp_path: Path) -> None:
    server = new_server().start()
    records = tmp_path / "store" / "db"
    records.rename(tmp_path / "db")
    records.write_bytes(b"no folder")
    with ThreadPoolExecutor(1) as threads:
        command = threads.submit(server.command, "token", "create", "ann", "--role", "reader")
        try:
            until(lambda: (server.data_dir / "trouble.json").exists() or command.done())
        finally:
            records.unlink()
            (tmp_path / "db").rename(records)
    result = command.result()
    assert result.returncode == 0, result.stderr
    assert "waiting for the store: put db/" in result.stderr


def test_who_asks_whether_a_folder_is_served_is_taken_for_no_server(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    assert not is_served(disk)
    asking = acquire(disk.server_lock, shared=True)
    assert not is_served(disk)
    asking.release()
    server = acquire(disk.server_lock)
    assert is_served(disk)
    server.release()


def test_a_store_is_named_without_what_is_secret() -> None:
    assert Config(store_url="swift://ann:secret@photos/mine").snapshot_place.startswith("swift://photos/mine ")


def _image(server: Server, seed: int = 1) -> str:
    """A new live image of the server's."""
    told = stories.Told()
    content = encode(draw(9, 9, seed=seed), "PNG")
    stories.add(server, told, content)
    (ident,) = told.live
    return ident


def test_a_purge_takes_an_image_out_of_revisions_and_store(new_server: NewServer, tmp_path: Path) -> None:
    with new_server(workers=1) as server:
        ident = _image(server)
        done = server.command("purge", ident)
        assert (done.returncode, done.stdout) == (0, f"{ident}  gone from every revision\n"), done.stderr
        with server.admin as client:
            assert client.get(f"/images/{ident}").status_code == 410
        assert not list((tmp_path / "store" / "images").rglob(f"{ident}*"))
        another = _image(server, seed=2)
        again = server.command("purge", "0" * 64, another)
        assert again.returncode == 1 and "ever live" in again.stderr
        assert again.stdout == f"{another}  gone from every revision\n"
        assert server.command("purge", "not-an-ident").returncode == 2


def test_a_purge_without_a_server_needs_a_claim(new_server: NewServer, tmp_path: Path) -> None:
    with new_server(workers=1) as server:
        ident = _image(server)
    assert "--claim" in server.command("purge", ident).stderr
    done = server.command("purge", ident, "--claim")
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "store" / "images").rglob(f"{ident}*"))
