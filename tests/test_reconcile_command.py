"""`imagerepo reconcile`: what it prints, and its exit status."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from pathlib import Path

import pytest

from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.local import LocalStore
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.images import draw, encode
from imagerepo.testing.servers import Server
from tests.commands import on_a_terminal
from tests.conftest import NewServer
from tests.crash import stories
from tests.reconcile.drift import ident_of, put

ORPHAN = b"an orphan"
_numbers = itertools.count()
SOON = {"grace_seconds": "0.001"}


def add(server: Server) -> str:
    """Commit an image."""
    content = encode(draw(20, 20, seed=next(_numbers)), "PNG")
    stories.add(server, stories.Told(), content)
    return ident_of(content)


def remove(server: Server, ident: str) -> None:
    """Commit the removal of an image."""
    with server.admin as client:
        session = client.post("/api/v1/sessions").raise_for_status().headers["Location"]
        client.delete(f"{session}/images/{ident}").raise_for_status()
        client.post(f"{session}/commit").raise_for_status()


def store_of(server: Server) -> ObjectStore:
    return Door(LocalStore(Path(server.store_url.removeprefix("file://"))))


def plan_of(shown: subprocess.CompletedProcess[str]) -> str:
    """The plan that was told of."""
    return shown.stdout.splitlines()[0].removeprefix("plan ")


def test_through_a_running_server_it_finds_and_repairs(new_server: NewServer) -> None:
    with new_server(workers=2, **SOON) as server:
        ident = add(server)
        clean = server.command("reconcile")
        assert (clean.returncode, clean.stdout) == (0, "")
        assert "agree on 1 image\n" in clean.stderr
        put(store_of(server), ORPHAN)
        time.sleep(0.01)  # for the object to be older than the grace period
        found = server.command("reconcile")
        assert found.returncode == 1
        assert "orphan-base" in found.stdout
        assert names.base(ident_of(ORPHAN)) in found.stdout
        assert f"1 of 1 can be repaired: imagerepo reconcile --plan {plan_of(found)} --apply\n" in found.stderr
        applied = server.command("reconcile", "--apply")
        assert (applied.returncode, applied.stdout.splitlines()[-1]) == (0, "repaired: 1 deleted")
        shown = json.loads(server.command("reconcile", "--deep", "--json").stdout)
        assert (shown["state"], shown["findings"]) == ("ready", [])
        assert [info.name for info in store_of(server).list(names.IMAGES)] == [names.base(ident)]


def test_a_terminal_sees_how_far_it_is_and_a_pipe_what_was_found(new_server: NewServer) -> None:
    with new_server(**SOON) as server:
        add(server)
        orphan = put(store_of(server), ORPHAN)
        time.sleep(0.01)  # for the object to be older than the grace period
        done, shown = on_a_terminal(lambda end: server.command("reconcile", "--apply", stderr=end))
    assert done.returncode == 0
    assert orphan in done.stdout
    assert "comparing" in shown and "repairing" in shown and "1/1" in shown


def test_what_no_repair_can_touch_is_left_alone_and_foreign_objects_are_no_fault(new_server: NewServer) -> None:
    with new_server(workers=1, **SOON) as server:
        lost, rotten = add(server), add(server)
        folder = Path(server.store_url.removeprefix("file://"))
        (folder / "images" / "readme.txt").write_text("?")
        shown = server.command("reconcile")
        assert shown.returncode == 0
        assert "foreign-object (left alone)  images/readme.txt" in shown.stdout and "; 1 byte, " in shown.stdout
        store_of(server).delete([names.base(lost)])
        put(store_of(server), b"rotten", names.base(rotten))
        applied = server.command("reconcile", "--apply")
        assert (applied.returncode, applied.stdout.splitlines()[-1]) == (1, "repaired: 1 removed; 2 left alone")
        again = server.command("reconcile")
        assert again.returncode == 1
        assert "add it again to mend it, or purge it" in again.stdout
        assert "2 of 3 want nobody: no live image needs them" in again.stderr
        assert server.command("purge", lost, rotten).returncode == 0
        shown = json.loads(server.command("reconcile", "--json").stdout)
        assert [finding["object"] for finding in shown["findings"]] == ["images/readme.txt"]


def test_what_was_lost_of_older_revisions_is_told_for_ever_and_is_no_fault(new_server: NewServer) -> None:
    with new_server(workers=1, **SOON) as server:
        add(server)
        lost = add(server)
        store_of(server).delete([names.base(lost)])
        applied = server.command("reconcile", "--apply")
        assert (applied.returncode, applied.stdout.splitlines()[-1]) == (0, "repaired: 1 removed")
        for options in ([], ["--apply"]):
            again = server.command("reconcile", *options)
            assert again.returncode == 0
            assert names.base(lost) in again.stdout


def test_without_a_server_it_needs_to_be_told_to_claim(new_server: NewServer) -> None:
    server = new_server(**SOON)
    with server:
        ident = add(server)
    refused = server.command("reconcile")
    assert refused.returncode == 1
    assert "--claim" in refused.stderr
    put(store_of(server), ORPHAN)
    applied = server.command("reconcile", "--claim", "--apply")
    assert (applied.returncode, applied.stdout.splitlines()[-1]) == (0, "repaired: 1 deleted")
    store_of(server).delete([names.base(ident)])
    failed = server.command("reconcile", "--claim", "--apply")
    assert failed.returncode == 1
    assert "is IMAGEREPO_STORE_URL right" in failed.stderr
    assert failed.stdout == ""


def test_what_would_touch_a_large_share_is_refused_until_the_plan_that_was_looked_at_is_named(
    new_server: NewServer,
) -> None:
    with new_server(workers=1, **SOON) as server:
        kept, lost, store = add(server), add(server), store_of(server)
        orphans = {put(store, b"orphan %d" % number) for number in range(21)}
        refused = server.command("reconcile", "--apply")
        assert refused.returncode == 1
        assert "would touch 21 things, in a repository of 2 images: " in refused.stderr
        forced = f"--plan {plan_of(refused)} --apply --force"
        assert refused.stderr.endswith(f"if they are right, apply it with `imagerepo reconcile {forced}`\n")
        store.delete([names.base(lost)])
        unseen = server.command("reconcile", "--apply", "--force")
        assert unseen.returncode == 2
        assert "look first" in unseen.stderr and "--plan ID --apply --force" in " ".join(unseen.stderr.split())
        assert {info.name for info in store.list(names.IMAGES)} == {names.base(kept), *orphans}
        applied = server.command("reconcile", *forced.split())
        assert (applied.returncode, applied.stdout.splitlines()[-1]) == (0, "repaired: 21 deleted")
        assert [info.name for info in store.list(names.IMAGES)] == [names.base(kept)]
        assert "missing-base" in server.command("reconcile").stdout, "nobody looked at that, and so its row stays"


def test_a_plan_is_shown_again_and_applied_once(new_server: NewServer) -> None:
    with new_server(workers=1, **SOON) as server:
        add(server)
        put(store_of(server), ORPHAN)
        found = server.command("reconcile")
        named = ["--plan", plan_of(found)]
        again = server.command("reconcile", *named)
        assert (again.returncode, again.stdout, again.stderr) == (1, found.stdout, found.stderr)
        assert json.loads(server.command("reconcile", *named, "--json").stdout)["id"] == plan_of(found)
        applied = server.command("reconcile", *named, "--apply")
        assert (applied.returncode, applied.stdout.splitlines()[-1]) == (0, "repaired: 1 deleted")
        afterwards = server.command("reconcile", *named)
        assert (afterwards.returncode, afterwards.stdout) == (0, applied.stdout)
        repeated = server.command("reconcile", *named, "--apply")
        assert repeated.returncode == 1
        assert f"plan {plan_of(found)} has been applied already: make a new one" in repeated.stderr


def test_a_plan_that_is_unknown_or_stale_is_refused(new_server: NewServer) -> None:
    with new_server(workers=1, **SOON) as server:
        add(server)
        lost = add(server)
        store_of(server).delete([names.base(lost)])
        named = ["--plan", plan_of(server.command("reconcile"))]
        remove(server, lost)
        for options in (["--plan", "0" * 16], ["--plan", ""]):
            unknown = server.command("reconcile", *options, "--apply")
            assert unknown.returncode == 1
            assert "there is no plan " in unknown.stderr
        for options in (["--apply"], ["--apply", "--force"], []):
            stale = server.command("reconcile", *named, *options)
            assert stale.returncode == 1
            assert "make a new" in stale.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--force"],
        ["--apply", "--force"],
        ["--plan", "0" * 16, "--force"],
        ["--plan", "0" * 16, "--deep"],
        ["--plan", "0" * 16, "--sample", "5"],
        ["--sample", "101"],
        ["--sample", "some"],
        ["--sample", "nan"],
        ["--deeper"],
    ],
)
def test_wrong_use_is_status_2(new_server: NewServer, options: list[str]) -> None:
    assert new_server().command("reconcile", *options).returncode == 2


def test_a_settling_time_that_a_request_could_outlast_is_refused(new_server: NewServer) -> None:
    result = new_server(store_timeout_seconds="120").command("reconcile")
    assert result.returncode == 2
    assert "IMAGEREPO_DELETE_SETTLE_SECONDS: 900 is less than 8 times" in result.stderr
    assert "set it to 960 or more" in result.stderr
