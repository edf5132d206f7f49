"""Writers and readers, each in a thread, for as long as one server lives."""

from __future__ import annotations

import hashlib
import itertools
import random
import threading
import uuid
from typing import Any

import httpx

from imagerepo.testing.images import draw, encode
from tests.load.ledger import Change, Family, Ledger

FAMILIES = 3
"""Of each writer; and one that all writers give titles to, in conflict."""
SIZE = 3
"""Images of one family."""
READING_PAUSE_SECONDS = 0.2
AGAIN_SECONDS = 0.05

_numbers = itertools.count(1)


def new_family() -> Family:
    number = next(_numbers)
    pictures = [encode(draw(8 + member, 6 + number), "PNG") for member in range(SIZE)]
    return Family(number, {ident_of(picture): picture for picture in pictures})


class Writer:
    """Commits sessions one after another, asking again wherever an answer was lost."""

    def __init__(self, ledger: Ledger, chance: random.Random, contested: Family) -> None:
        self._ledger, self._chance, self._contested = ledger, chance, contested
        self._families = [new_family() for _ in range(FAMILIES)]

    def run(self, client: httpx.Client, over: threading.Event) -> None:
        while not over.is_set():
            change = self._next_change()
            try:
                self._stage(client, change)
            except httpx.TransportError:
                over.wait(AGAIN_SECONDS)
                continue
            self._ledger.begin(change)
            self._commit(client, change, over)

    def _next_change(self) -> Change:
        family = self._chance.choice([*self._families, self._contested])
        there = self._ledger.title(family) is not None
        goes = there and family is not self._contested and self._chance.random() < 0.2
        return Change(family, None if goes else f"{family.number} {uuid.uuid4().hex}")

    def _stage(self, client: httpx.Client, change: Change) -> None:
        change.key = told(client.post("/api/v1/sessions", json={}), 201)["id"]
        images = f"/api/v1/sessions/{change.key}/images"
        there = self._ledger.title(change.family) is not None
        for ident, picture in change.family.images.items():
            if change.mark is None:
                told(client.delete(f"{images}/{ident}"), 204)
            elif there:
                told(client.patch(f"{images}/{ident}", json={"title": change.mark}), 200)
            else:
                form = {"files": {"file": ("drawn.png", picture)}, "data": {"title": change.mark}}
                told(client.post(images, **form), 200, 201)  # type: ignore[arg-type]

    def _commit(self, client: httpx.Client, change: Change, over: threading.Event) -> None:
        while not over.is_set():
            try:
                answer = client.post(f"/api/v1/sessions/{change.key}/commit")
            except httpx.TransportError:
                over.wait(AGAIN_SECONDS)
                continue
            body = told(answer, 200, 202, 409, 503)
            if answer.status_code == 200:
                self._ledger.succeeded(change, body["revision"])
                return
            if body.get("state") == "open":
                self._ledger.failed(change)
                return


class Reader:
    """Lists everything again and again, and fetches one of the images that it was shown."""

    def __init__(self, ledger: Ledger, chance: random.Random) -> None:
        self._ledger, self._chance = ledger, chance

    def run(self, client: httpx.Client, over: threading.Event) -> None:
        while not over.is_set():
            try:
                self._read(client)
            except httpx.TransportError:
                over.wait(AGAIN_SECONDS)
            over.wait(self._chance.uniform(0.5, 1.5) * READING_PAUSE_SECONDS)

    def _read(self, client: httpx.Client) -> None:
        listing = read(client, self._ledger)
        if listing:
            ident = self._chance.choice(listing)["ident"]
            answer = client.get(f"/images/{ident}")
            assert answer.status_code == 410 or ident_of(answer.content) == ident, answer.text


def read(client: httpx.Client, ledger: Ledger) -> list[dict[str, Any]]:
    """The listing, which the ledger judges."""
    floor = ledger.floor
    listing = told(client.get("/api/v1/images", params={"limit": 200}), 200)
    assert listing["next"] is None
    ledger.saw(listing, floor=floor)
    return list(listing["results"])


def ident_of(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()


def told(answer: httpx.Response, *statuses: int) -> Any:
    """What an answer says, which must have one of these statuses."""
    assert answer.status_code in statuses, f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None
