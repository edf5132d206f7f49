"""`imagerepo reconcile`: what it prints, and its exit status."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import pytest

from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.local import LocalStore
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.images import draw, encode
from imagerepo.testing.servers import Server
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


def store_of(server: Server) -> ObjectStore:
    return Door(LocalStore(Path(server.store_url.removeprefix("file://"))))


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
        assert "1 of 1 can be repaired: add --apply" in found.stderr
        applied = server.command("reconcile", "--apply")
        assert (applied.returncode, applied.stdout.splitlines()[-1]) == (0, "repaired: 1 deleted")
        shown = json.loads(server.command("reconcile", "--deep", "--json").stdout)
        assert (shown["state"], shown["findings"]) == ("ready", [])
        assert [info.name for info in store_of(server).list(names.IMAGES)] == [names.base(ident)]


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
    failed = server.command("reconcile", "--claim", "--apply", "--force")
    assert failed.returncode == 1
    assert "is IMAGEREPO_STORE_URL right" in failed.stderr
    assert failed.stdout == ""


def test_what_would_touch_a_large_share_is_refused_and_says_how_it_is_meant(new_server: NewServer) -> None:
    with new_server(workers=1, **SOON) as server:
        kept = add(server)
        for number in range(20):
            put(store_of(server), b"orphan %d" % number)
        refused = server.command("reconcile", "--apply")
        assert refused.returncode == 1
        assert "would touch 20 things, in a repository of 1 image: " in refused.stderr
        assert refused.stderr.endswith("if they are right, apply it with --force\n")
        applied = server.command("reconcile", "--apply", "--force")
        assert (applied.returncode, applied.stdout.splitlines()[-1]) == (0, "repaired: 20 deleted")
        assert [info.name for info in store_of(server).list(names.IMAGES)] == [names.base(kept)]


@pytest.mark.parametrize(
    "options", [["--force"], ["--sample", "101"], ["--sample", "some"], ["--sample", "nan"], ["--deeper"]]
)
def test_wrong_use_is_status_2(new_server: NewServer, options: list[str]) -> None:
    assert new_server().command("reconcile", *options).returncode == 2


def test_a_settling_time_that_a_request_could_outlast_is_refused(new_server: NewServer) -> None:
    result = new_server(store_timeout_seconds="120").command("reconcile")
    assert result.returncode == 2
    assert "IMAGEREPO_DELETE_SETTLE_SECONDS: 900 is less than 8 times" in result.stderr
    assert "set it to 960 or more" in result.stderr
