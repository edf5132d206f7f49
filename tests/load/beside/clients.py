"""Writers that want the same few images, readers of them, and an admin who repairs and purges all the while."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator

import httpx

from imagerepo.testing.images import draw, encode
from tests.load.beside.ledger import Ledger, Reading, Session
from tests.load.clients import ident_of, told
from tests.reconcile import over_http

SIZE = 8
CALL_SECONDS = 1.0
"""How long everybody wants an image that was called for."""
FOLLOWING = 0.9
"""How often a writer does; else it adds or removes any of the few."""
GOING = 0.8
"""How often it removes that: images must go for their bases to become orphans."""
ONE_MORE = 0.2
"""How often it changes another one too."""
FRESH = 0.1
AGAIN_SECONDS = 0.05
WRITING_PAUSE_SECONDS = 0.25
MOST_WAITING = 3
"""Sessions of one writer."""
READING_PAUSE_SECONDS = 0.2
CALLS = 0.2
"""How often somebody calls for what a plan is about to delete."""
PURGES = 0.3
"""How often a plan is followed by a purge."""


class Pool:
    """The few images. Whoever sees one about to be deleted calls for it: then everybody wants it, at the worst moment.

    The last of them is purged now and then, and what is staged of it goes with it. So a session that stages that one
    stages nothing else, and is refused then.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.pictures = {ident_of(picture): picture for picture in map(_picture, range(SIZE))}
        self.idents = list(self.pictures)
        self.purged = self.idents[-1]
        self._called, self._until = self.purged, 0.0

    def call(self, ident: str) -> None:
        self._called, self._until = ident, time.monotonic() + CALL_SECONDS

    def wanted(self) -> tuple[str, bool]:
        """An image, and whether it is to be removed."""
        if time.monotonic() < self._until and self._chance.random() < FOLLOWING:
            return self._called, False
        return self.any()

    def any(self) -> tuple[str, bool]:
        return self._chance.choice(self.idents), self._chance.random() < GOING

    def fresh(self) -> str:
        """One more image that nobody else knows."""
        picture = _picture(self._chance.getrandbits(60))
        self.pictures[ident_of(picture)] = picture
        return ident_of(picture)


def _picture(seed: int) -> bytes:
    return encode(draw(16, 12, seed=seed), "PNG")


class Writer:
    """Commits sessions, and goes on with others while some of them wait; in the end all are answered."""

    def __init__(self, pool: Pool, ledger: Ledger, chance: random.Random) -> None:
        self._pool, self._ledger, self._chance = pool, ledger, chance
        self._waiting: list[Session] = []

    def run(self, client: httpx.Client, over: threading.Event) -> None:
        while not over.wait(self._chance.uniform(0, 2 * WRITING_PAUSE_SECONDS)):
            self._ask_again(client)
            if len(self._waiting) < MOST_WAITING:
                self.commit(client, self._wanted())
        self.finish(client)

    def commit(self, client: httpx.Client, wanted: Iterable[tuple[str, bool]]) -> None:
        """Remove, where it is true, or add these images in one session."""
        session = Session(told(client.post("/api/v1/sessions", json={}), 201)["id"])
        for ident, goes in wanted:
            self._stage(client, session, ident, goes)
        self._ledger.began(session)
        self._ask(client, session, "wait=1")

    def finish(self, client: httpx.Client) -> None:
        """Wait until every session is answered."""
        while self._waiting:
            self._ask_again(client)
            time.sleep(AGAIN_SECONDS)

    def _wanted(self) -> Iterator[tuple[str, bool]]:
        """Images to be staged in one session, each with whether to remove it."""
        first, goes = self._pool.wanted()
        yield first, goes
        if first == self._pool.purged:
            return
        other, goes = self._pool.any()
        if other not in (first, self._pool.purged) and self._chance.random() < ONE_MORE:
            yield other, goes
        if self._chance.random() < FRESH:
            yield self._pool.fresh(), False

    def _stage(self, client: httpx.Client, session: Session, ident: str, goes: bool) -> None:
        path = f"/api/v1/sessions/{session.key}/images/{ident}"
        if goes:
            answer = client.delete(path)
            told(answer, 204, 404)
            if answer.status_code == 204:
                session.removes.add(ident)
        elif told(client.put(path, content=self._pool.pictures[ident]), 200, 201)["action"] == "add":
            session.adds.add(ident)

    def _ask_again(self, client: httpx.Client) -> None:
        waiting, self._waiting = self._waiting, []
        for session in waiting:
            self._ask(client, session, "respond-async")

    def _ask(self, client: httpx.Client, session: Session, preference: str) -> None:
        path = f"/api/v1/sessions/{session.key}"
        answer = client.post(f"{path}/commit", headers={"Prefer": preference})
        body = told(answer, 200, 202, 409, 503)
        if answer.status_code == 200:
            self._ledger.acknowledged(session, body["revision"])
        elif body["state"] == "open":  # with nothing to commit, or in conflict, or the store failed
            self._ledger.failed(session)
            told(client.delete(path), 204)
        else:
            self._waiting.append(session)


class Reader:
    """Asks for the few images again and again."""

    def __init__(self, pool: Pool, ledger: Ledger) -> None:
        self._pool, self._ledger = pool, ledger

    def run(self, client: httpx.Client, over: threading.Event) -> None:
        since = _revision(client)
        while not over.wait(READING_PAUSE_SECONDS):
            shown = {ident: answered(client, ident) for ident in self._pool.idents}
            upto = _revision(client)
            for ident, answer in shown.items():
                if answer is not None:
                    self._ledger.read(Reading(ident, since, upto, is_whole(answer, ident), _problem(answer)))
            since = upto


class Admin:
    """Has plans made and applied, one after another."""

    def __init__(self, pool: Pool, chance: random.Random) -> None:
        self._pool, self._chance = pool, chance
        self.counts: Counter[str] = Counter()

    def run(self, client: httpx.Client, over: threading.Event) -> None:
        while not over.is_set():
            plan = self.plan(client)
            found = over_http.findings(client, plan)
            if found and self._chance.random() < CALLS:
                self._pool.call(self._chance.choice(found)["ident"] or self._pool.purged)
            self.apply(client, plan)
            if self._chance.random() < PURGES:
                answer = client.post(f"/api/v1/images/{self._pool.purged}/purge")
                told(answer, 202, 404, 409, 503)
                self.counts["purges"] += answer.status_code == 202

    def plan(self, client: httpx.Client, **asked: bool) -> httpx.Response:
        plan = over_http.planned(client, **asked)
        assert plan.json()["state"] == "ready", plan.text
        self.counts["plans"] += 1
        return plan

    def apply(self, client: httpx.Client, plan: httpx.Response) -> None:
        """Unless there is nothing to do, or others have changed what it names."""
        if not plan.json()["actionable"]:
            return
        answer = over_http.apply(client, plan)
        told(answer, 202, 412)
        if answer.status_code == 202:
            self.counts.update(over_http.settled(client, answer.headers["Location"]).json()["outcomes"])
        else:
            self.counts["stale"] += 1


def answered(client: httpx.Client, ident: str) -> httpx.Response | None:
    """What is answered to who asks for the image. None: the store is slow, and has lost nothing for that."""
    answer = client.get(f"/images/{ident}")
    return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer


def is_whole(answer: httpx.Response, ident: str) -> bool:
    """Whether the image was delivered. Never anything in its place."""
    if answer.status_code != 200:
        return False
    assert ident_of(answer.content) == ident, f"other bytes were delivered: {answer.request.url}"
    return True


def _problem(answer: httpx.Response) -> str:
    return "200" if answer.status_code == 200 else answer.text


def _revision(client: httpx.Client) -> int:
    return int(told(client.get("/api/v1/images", params={"limit": 1}), 200)["revision"])
