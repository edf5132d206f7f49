"""IMAGEREPO_SNAPSHOT_URL: images in one store, snapshots in another, and never a second repository by oversight."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.swift import SwiftStore
from imagerepo.store.swift_auth import credentials_of
from imagerepo.testing.servers import Server
from imagerepo.testing.swift import Swift
from tests.conftest import NewServer
from tests.crash import stories
from tests.crash.stories import NEW, OLD, Told


@pytest.fixture(params=["in a folder", "in another container"])
def elsewhere(request: pytest.FixtureRequest, container: str, tmp_path: Path) -> str:
    return (
        f"file://{tmp_path / 'snapshots'}" if request.param == "in a folder" else f"swift://{container}-more/metadata"
    )


@pytest.fixture
def server(swift: Swift, container: str, elsewhere: str, new_server: NewServer) -> Server:
    return new_server(store_url=f"swift://{container}", environ=swift.environ, snapshot_url=elsewhere)


def test_what_is_committed_comes_back_from_both(server: Server, swift: Swift, container: str, tmp_path: Path) -> None:
    told = Told()
    stories.add(server.start(), told, OLD)
    listed = json.loads(server.command("snapshot", "list", "--json").stdout)
    assert [row["revision"] for row in listed] == [1, 0]
    assert server.command("snapshot", "prune").returncode == 0
    server.kill()
    server.lose_disk()
    restored = server.command("restore", "--to", str(tmp_path / "beside"), "--json")
    assert json.loads(restored.stdout)["revision"] == 1
    server.start()
    assert stories.visible(server) == told.live
    stories.add(server, told, NEW)
    assert stories.visible(server) == told.live
    assert names_in(swift, container) - {names.FIXITY} == {names.base(ident) for ident in told.live}


@pytest.mark.parametrize("elsewhere", ["in a folder"], indirect=True)
def test_a_start_that_forgets_where_the_snapshots_are_is_refused_and_harms_nobody(
    server: Server, new_server: NewServer
) -> None:
    told = Told()
    stories.add(server.start(), told, OLD)
    forgetful = new_server("forgetful", store_url=server.store_url, environ=server.environ)
    refused = forgetful.command("serve", "--port", "0")
    assert (refused.returncode, "IMAGEREPO_SNAPSHOT_URL" in refused.stderr) == (1, True), refused.stderr
    assert "Traceback" not in refused.stderr
    stories.add(server, told, NEW)  # so it was not fenced
    server.kill()
    there = server.settings.pop("snapshot_url")
    refused = server.command("serve", "--port", "0")
    assert (refused.returncode, "IMAGEREPO_SNAPSHOT_URL" in refused.stderr) == (1, True), refused.stderr
    server.settings["snapshot_url"] = there
    assert stories.visible(server.start()) == told.live


def names_in(swift: Swift, container: str) -> set[str]:
    store = Door(SwiftStore(container, "", credentials_of(swift.environ), timeout=60.0))
    try:
        return {info.name for info in store.list("")}
    finally:
        store.close()
