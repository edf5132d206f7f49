"""A story of drift and its repair: a plan is applied and an image purged, while the server may die at any moment."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from imagerepo.config import Config
from imagerepo.store import names
from imagerepo.store.backends import open_store
from imagerepo.store.names import Variant
from imagerepo.testing.images import draw, encode
from imagerepo.testing.servers import Server
from tests.crash import stories
from tests.crash.stories import Told
from tests.reconcile.drift import ident_of

KEPT, LOST, TAKEN, ORPHAN = (encode(draw(50 + number, 30, seed=number), "PNG") for number in range(4))
SETTINGS = {
    "grace_seconds": "0.000001",
    "store_timeout_seconds": "0.05",
    "delete_settle_seconds": "0.4",
    "history_seconds": "2",
    "fixity_days": "0.00001",
}
"""Short enough to be waited for; a round of fixity takes a second. A purge takes less than history lasts."""
STEPS = ("reconcile.", "purge.")
"""What the steps of repairs begin with: a death elsewhere is that of any commit."""
IN_THE_BACKGROUND = ("fixity.", "purge.history")
"""Steps taken while nobody asks: how often, by the end of a story, depends on its pace."""
LONGEST_SECONDS = 60.0
LOOK_SECONDS = 0.05


def is_of_repair(point: str) -> bool:
    """Whether every telling of the story passes it, and stories of commits do not."""
    name, _, nth = point.partition("#")
    if name.startswith(IN_THE_BACKGROUND):
        return nth == "1"
    return name.startswith(STEPS)


@dataclass
class Asked:
    """What was answered: that the plan is done, and that the image is taken down."""

    repaired: bool = False
    purged: bool = False


def begin(server: Server) -> None:
    """Commit what the story is about."""
    for content in (KEPT, LOST, TAKEN):
        stories.add(server, Told(), content)


def drift(url: str) -> None:
    """Let the store lose a base, and have an orphan with a derivative."""
    store = open_store(url, config=Config())
    store.delete([names.base(ident_of(LOST))])
    for name in (names.base(ident_of(ORPHAN)), names.derivative(ident_of(ORPHAN), Variant(25, 15, "jpg"))):
        store.put(name, io.BytesIO(ORPHAN), media_type="image/png")
    store.close()


def tell(server: Server, asked: Asked) -> None:
    """Apply a plan, purge an image, and wait until its base is gone. Ends early when the server dies."""
    with server.admin as client, suppress(httpx.TransportError):
        assert _apply(client, _planned(client))
        asked.repaired = True
        asked.purged = client.post(f"/api/v1/images/{ident_of(TAKEN)}/purge").status_code == 202
        _until(client, lambda: not _stored(server.store_url, TAKEN))


def check(server: Server, asked: Asked) -> None:
    """Nothing alive is lost, and no more went than was asked for; repaired once more, nothing is one-sided."""
    with server.admin as client:
        live = _live(client)
        assert ident_of(KEPT) in live
        assert live <= {ident_of(content) for content in (KEPT, LOST, TAKEN)}
        assert not (asked.repaired and ident_of(LOST) in live)
        assert not (asked.purged and ident_of(TAKEN) in live)
        if ident_of(TAKEN) in live:
            assert _bytes(client, TAKEN) == (200, TAKEN)
        if not asked.purged and ident_of(TAKEN) in live:  # whoever heard nothing asks again; else it goes on by itself
            assert client.post(f"/api/v1/images/{ident_of(TAKEN)}/purge").status_code == 202
        _repair(client)
        _until(client, lambda: not _stored(server.store_url, TAKEN))
        assert _live(client) == {ident_of(KEPT)}
        assert _bytes(client, KEPT) == (200, KEPT)
        _until(client, lambda: _bytes(client, TAKEN)[0] == 410)
    _check_that_they_can_come_back(server)


def _check_that_they_can_come_back(server: Server) -> None:
    told = Told(live={ident_of(KEPT): KEPT})
    for content in (ORPHAN, TAKEN, LOST):
        stories.add(server, told, content)
    stories.check(server, told)


def _repair(client: httpx.Client) -> None:
    """Plan and apply until a plan finds nothing: what a death left in doubt is deleted when its time is over.

    A plan that was being applied when the server died is gone on with meanwhile, where its disk was kept.
    """

    def finds_nothing() -> bool:
        plan = _planned(client)
        if plan["actionable"]:
            _apply(client, plan)
        return not plan["actionable"]

    _until(client, finds_nothing)


def _planned(client: httpx.Client) -> dict[str, Any]:
    asked = client.post("/api/v1/reconcile", json={"deep": True})
    assert asked.status_code == 202, asked.text
    return _when(client, asked.json()["id"], "ready")


def _apply(client: httpx.Client, plan: dict[str, Any]) -> bool:
    """Whether it could be: not while another one is, nor once that has done it."""
    headers = {"If-Match": plan["etag"]}
    asked = client.post(f"/api/v1/reconcile/{plan['id']}/apply", json={"force": True}, headers=headers)
    if asked.status_code == 202:
        _when(client, plan["id"], "done")
    return asked.status_code == 202


def _when(client: httpx.Client, key: str, state: str) -> dict[str, Any]:
    """The plan once it is in this state, with its `etag`."""
    found: list[httpx.Response] = []

    def is_so() -> bool:
        found.append(client.get(f"/api/v1/reconcile/{key}"))
        assert found[-1].json()["state"] != "failed", found[-1].text
        return bool(found[-1].json()["state"] == state)

    _until(client, is_so)
    return {**found[-1].json(), "etag": found[-1].headers["ETag"]}


def _until(client: httpx.Client, holds: Callable[[], bool]) -> None:
    """Wait, as long as the server lives. Raises httpx.TransportError when it doesn't."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        client.get("/livez")
        time.sleep(LOOK_SECONDS)


def _stored(url: str, content: bytes) -> bool:
    store = open_store(url, config=Config())
    try:
        return any(info.name == names.base(ident_of(content)) for info in store.list(names.IMAGES))
    finally:
        store.close()


def _live(client: httpx.Client) -> set[str]:
    listing = client.get("/api/v1/images", params={"limit": 200}).raise_for_status().json()
    return {image["ident"] for image in listing["results"]}


def _bytes(client: httpx.Client, content: bytes) -> tuple[int, bytes]:
    answer = client.get(f"/images/{ident_of(content)}")
    return answer.status_code, answer.content
