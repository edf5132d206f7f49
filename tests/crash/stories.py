"""A story told to a server that may die at any moment, and what must be true of its successor."""

from __future__ import annotations

import io
import subprocess
import zlib
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

from imagerepo.store import names
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.images import draw, encode
from imagerepo.testing.servers import Server, ServerFailed
from tests.reconcile.drift import ident_of

OLD, NEW, OTHER, LAST, ASIDE = (encode(draw(40 + number, 30, seed=number), "PNG") for number in range(5))


class Reachable(Protocol):
    """A server, or a repository in this process, that clients can ask."""

    def client(self, token: str | None = None) -> httpx.Client: ...

    @property
    def admin(self) -> httpx.Client: ...


@dataclass
class Told:
    """What a client knows. An image that is in none of these was never committed."""

    live: dict[str, bytes] = field(default_factory=dict)
    in_doubt: list[Commit] = field(default_factory=list)
    failed: list[Commit] = field(default_factory=list)
    aside: str = ""
    """A session in which an image was staged, and which nobody has asked to commit."""


@dataclass
class Commit:
    """One session: `adds` by ident, `removes` idents; `key` once it is opened."""

    adds: dict[str, bytes]
    removes: set[str]
    key: str = ""

    def applied_to(self, live: dict[str, bytes]) -> dict[str, bytes]:
        return {ident: content for ident, content in (live | self.adds).items() if ident not in self.removes}


def tell(server: Reachable, told: Told) -> None:
    """Two commits: add two images and describe a third; then remove that. Ends early when the server dies.

    Before them one image is staged, and left so.
    """
    (old,) = told.live
    with server.admin as client, suppress(httpx.TransportError):
        aside = _json(client.post("/api/v1/sessions", json={"title": "left open"}), 201)["id"]
        _json(client.post(f"/api/v1/sessions/{aside}/images", files={"file": ("drawn.png", ASIDE)}), 201)
        told.aside = aside
        first = _commit(client, told, adds=[NEW, OTHER], describes=old)
        if first:
            _commit(client, told, removes=[old])


def add(server: Reachable, told: Told, content: bytes) -> None:
    with server.admin as client:
        assert _commit(client, told, adds=[content])


def _commit(
    client: httpx.Client,
    told: Told,
    *,
    adds: Iterable[bytes] = (),
    describes: str = "",
    removes: Iterable[str] = (),
) -> bool:
    session = _json(client.post("/api/v1/sessions", json={"title": "a story"}), 201)
    commit = Commit({}, set(removes), session["id"])
    images = f"/api/v1/sessions/{commit.key}/images"
    for content in adds:
        image = _json(client.post(images, files={"file": ("drawn.png", content)}), 201)
        commit.adds[image["ident"]] = content
    if describes:
        _json(client.patch(f"{images}/{describes}", json={"title": "described"}), 200)
    for ident in commit.removes:
        assert client.delete(f"{images}/{ident}").status_code == 204
    told.in_doubt.append(commit)
    answer = client.post(f"/api/v1/sessions/{commit.key}/commit")
    told.in_doubt.remove(commit)
    if answer.status_code == 200:
        told.live = commit.applied_to(told.live)
    else:
        told.failed.append(commit)
    return answer.status_code == 200


def _json(answer: httpx.Response, status: int) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def visible(server: Reachable) -> dict[str, bytes]:
    """What a browser sees: every image of the listing, with its bytes."""
    with server.client() as client:
        listing = _json(client.get("/api/v1/images", params={"limit": 200}), 200)
        return {image["ident"]: _bytes(client.get(f"/images/{image['ident']}")) for image in listing["results"]}


def _bytes(answer: httpx.Response) -> bytes:
    assert answer.status_code == 200, answer.text
    return answer.content


def check(server: Reachable, told: Told, *, kept: bool = False) -> None:
    """Invariants 1 to 3: all of what was answered, nothing of what failed, a commit in doubt wholly or not at all.

    A session in doubt that a kept disk still has open can be committed now; of a lost disk there is none. What was
    staged is there yet if the disk was `kept` all the time.
    """
    seen = visible(server)
    with server.admin as client:
        if told.aside:
            _check_aside(client, told.aside, kept=kept)
        states = {commit.key: _state(client, commit) for commit in told.in_doubt}
        for commit in told.in_doubt:
            if states[commit.key] == "live":
                told.live = commit.applied_to(told.live)
        assert seen == told.live
        for commit in told.in_doubt:
            again = client.post(f"/api/v1/sessions/{commit.key}/commit")
            expected = 200 if states[commit.key] in ("open", "live") else 404 if not states[commit.key] else 409
            assert again.status_code == expected, again.text
            if states[commit.key] == "open":
                told.live = commit.applied_to(told.live)
        if "open" in states.values():
            assert visible(server) == told.live
    told.in_doubt.clear()


def commit_aside(server: Reachable, told: Told) -> None:
    """On a disk that was kept all the time, what was left staged can be committed."""
    if told.aside:
        with server.admin as client:
            _json(client.post(f"/api/v1/sessions/{told.aside}/commit"), 200)
        told.live[ident_of(ASIDE)] = ASIDE
        assert visible(server) == told.live


def _check_aside(client: httpx.Client, key: str, *, kept: bool) -> None:
    session = client.get(f"/api/v1/sessions/{key}")
    if not kept:
        assert session.status_code == 404 or session.json()["state"] == "aborted", session.text
        return
    assert _json(session, 200)["state"] == "open"
    asked = client.post(f"/api/v1/sessions/{key}/lookup", json={"idents": [ident_of(ASIDE)]})
    assert _json(asked, 200)["staged"] == [ident_of(ASIDE)]


def _state(client: httpx.Client, commit: Commit) -> str | None:
    """The session's state; None where it is unknown. No start leaves a commit under way."""
    session = client.get(f"/api/v1/sessions/{commit.key}")
    if session.status_code == 404:
        return None
    state = _json(session, 200)["state"]
    assert state in ("open", "live", "aborted"), state
    return str(state)


def failpoints_of(trace: Path) -> list[str]:
    """Every failpoint passed, as `name#k` for the k-th pass in its process."""
    passed: Counter[tuple[str, str]] = Counter()
    points = set()
    for line in trace.read_text().splitlines():
        thread, _, what = line.partition(" ")
        process = thread.partition(".")[0]
        if not what.startswith("!"):
            passed[process, what] += 1
            points.add(f"{what}#{passed[process, what]}")
    return sorted(points)


def in_shard(point: str, shard: int, shards: int) -> bool:
    """Whether the point is this shard's: by its name, so that two listings of them agree."""
    return zlib.crc32(point.encode()) % shards == shard


def copy_repository(source: ObjectStore, target: ObjectStore, epochs: int) -> None:
    """Copy every object, and take as many epochs."""
    for epoch in range(1, epochs + 1):
        assert target.create_exclusive(names.epoch(epoch))
    for prefix in (names.IMAGES, names.DB):
        for info in source.list(prefix):
            with source.get(info.name) as reader:
                _put(target, info.name, reader.read())


def _put(store: ObjectStore, name: str, content: bytes) -> None:
    store.put(name, io.BytesIO(content), media_type="application/octet-stream")


def starts_and_dies_or_tells(server: Server, told: Told) -> None:
    """Start a server that is to die at its failpoint, and tell it the story; returns when it is dead."""
    try:
        server.start()
    except ServerFailed:
        return
    try:
        tell(server, told)
        server.wait()
    except subprocess.TimeoutExpired:
        raise AssertionError(f"the failpoint was not reached:\n{server.output()}") from None
