"""A process to be hurt: it starts a repository, commits one session, and tells each answer.

`python -m tests.strace.victim FD`: FD is a socket, so that what is told passes none of the system calls that fail.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import httpx

from imagerepo.boot import boot
from imagerepo.testing.images import draw, encode
from tests.waiting import until

TOKEN = "the-admin-token-of-the-victims"
FIRST, SECOND, WARM, NEW = (encode(draw(20 + number, 15, seed=number), "PNG") for number in range(4))
"""Two images that a store begins with, one for warming up, and the one that the session adds."""
BEFORE, WARMED, AFTER = "before", "warmed up", "after"
"""Titles, by the commit that gave them."""


Tell: TypeAlias = Callable[..., None]


def ident_of(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()


class Teller:
    """The victim's end of the socket."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)

    def tell(self, **what: Any) -> None:
        self._socket.sendall(json.dumps(what).encode() + b"\n")

    def wait(self) -> None:
        """Until the other end says something; the process ends when it is gone."""
        if not self._socket.recv(1):
            os._exit(0)


def main() -> None:
    teller, story = Teller(int(sys.argv[1])), sys.argv[2]
    config = boot()
    from imagerepo.sessions import recovery
    from imagerepo.worker import open_service

    def start() -> httpx.Client:
        recovery.start(config)
        open_service(config).committer.start()
        return a_client()

    if story == "start":
        a_client()
        _ready(teller)
        start_and_list(start, teller)
    else:
        client = start()
        commit_a_session(client, WARMED, WARM)
        until(lambda: ident_of(WARM) in titles(client))  # a busy machine may take longer than the commit's answer
        _ready(teller)
        commit_a_session(client, AFTER, NEW, FIRST, SECOND, tell=teller.tell)
        teller.tell(ready=client.get("/readyz").status_code)
        teller.tell(listing=titles(client))
    teller.wait()


def _ready(teller: Teller) -> None:
    teller.tell(threads={str(thread.native_id): thread.name for thread in threading.enumerate()})
    teller.wait()


def start_and_list(start: Callable[[], httpx.Client], teller: Teller) -> None:
    try:
        client = start()
    except Exception as error:
        teller.tell(refused=f"{type(error).__name__}: {error}")
    else:
        teller.tell(listing=titles(client))


def a_client() -> httpx.Client:
    """Of the application in this process, as an admin."""
    from imagerepo.wsgi import application

    transport = httpx.WSGITransport(application)
    return httpx.Client(
        transport=transport, base_url="http://victim", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60
    )


def commit_a_session(
    client: httpx.Client, title: str, adds: bytes, *retitles: bytes, tell: Tell = lambda **_: None
) -> None:
    """Add an image and give it, and others, one title; then commit. Ends when staging is refused."""
    opened = client.post("/api/v1/sessions", json={})
    _tell_answer(tell, "open", opened)
    if opened.is_error:
        return
    session = f"/api/v1/sessions/{opened.json()['id']}"
    staged = [
        client.post(f"{session}/images", files={"file": ("drawn.png", adds)}, data={"title": title}),
        *(client.patch(f"{session}/images/{ident_of(other)}", json={"title": title}) for other in retitles),
    ]
    for answer in staged:
        _tell_answer(tell, "stage", answer)
    if not any(answer.is_error for answer in staged):
        _tell_answer(tell, "commit", client.post(f"{session}/commit"))


def _tell_answer(tell: Tell, step: str, answer: httpx.Response) -> None:
    tell(step=step, status=answer.status_code, type=answer.headers["Content-Type"], body=answer.json())


def titles(client: httpx.Client) -> dict[str, str]:
    """What browsing shows: each image's title, its bytes being right."""
    listing = client.get("/api/v1/images", params={"limit": 200})
    assert listing.status_code == 200, listing.text
    shown = {image["ident"]: image["title"] for image in listing.json()["results"]}
    for ident in shown:
        assert ident_of(client.get(f"/images/{ident}").content) == ident, f"{ident} is served damaged"
    return shown


if __name__ == "__main__":
    main()
