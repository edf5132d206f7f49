"""Writers that add and remove the same few images all along, whatever dies under them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator

import httpx

from imagerepo.testing.images import Picture
from tests.machine.world import NO_ANSWER
from tests.reconcile.drifts.ledger import Ledger, Session

PAUSE_SECONDS = 0.1
"""Between two sessions, at most."""
AGAIN_SECONDS = 0.05
GOING = 0.4
"""How often an image is removed, and not added."""
ONE_MORE = 0.3
MOST_WAITING = 3
"""Sessions of one writer."""
SESSIONS = "/api/v1/sessions"

Door = Callable[[], httpx.Client]
"""A client of some process of the server. Raises httpx.ConnectError while there is none."""


class Unexpected(AssertionError):
    """An answer that no writer should get."""


class Writer:
    """Commits one session after another, and asks again wherever no answer came."""

    def __init__(self, door: Door, ledger: Ledger, pictures: list[Picture], chance: random.Random) -> None:
        self._door, self._ledger, self._pictures, self._chance = door, ledger, pictures, chance
        self._waiting: list[Session] = []
        self.called: Picture | None = None
        """What it wants to add before anything else."""

    def run(self, over: threading.Event) -> None:
        """Until it is over, and every session is answered."""
        while not over.wait(self._chance.uniform(0, PAUSE_SECONDS)):
            self.ask_again()
            if len(self._waiting) < MOST_WAITING:
                self.commit(self._wanted())
        self.finish()

    def commit(self, wanted: Iterable[tuple[Picture, bool]]) -> Session:
        """Remove, where it is true, or add these images in one session."""
        session = self._ledger.begin()
        try:
            with self._door() as client:
                session.key = _told(client.post(SESSIONS, json={}), 201)["id"]
                staged = all(self._stage(client, session, picture, goes) for picture, goes in wanted)
        except NO_ANSWER:
            staged = False  # nobody knows what is
        if staged:
            self._ask(session, "wait=1")
        return session

    def finish(self) -> None:
        pause = threading.Event()
        while self._waiting:
            self.ask_again()
            pause.wait(AGAIN_SECONDS)

    def _wanted(self) -> Iterator[tuple[Picture, bool]]:
        if called := self.called:
            yield called, False
            return
        several = self._chance.random() < ONE_MORE
        for picture in self._chance.sample(self._pictures, 1 + several):
            yield picture, self._chance.random() < GOING

    def _stage(self, client: httpx.Client, session: Session, picture: Picture, goes: bool) -> bool:
        """False: the session was lost with a disk."""
        path = f"{SESSIONS}/{session.key}/images/{picture.ident}"
        if goes:
            answer = client.delete(path)
            _told(answer, 204, 404, 409)
            if answer.status_code == 204:
                session.removes.add(picture.ident)
            return answer.status_code != 409
        answer = client.put(path, content=picture.data)
        action = _told(answer, 200, 201, 404, 409).get("action")
        if action == "add":
            session.adds.add(picture.ident)
        elif action:
            session.repeats.add(picture.ident)
        return action is not None

    def ask_again(self) -> None:
        """Ask for the commits that are not answered yet."""
        waiting, self._waiting = self._waiting, []
        for session in waiting:
            self._ask(session, "respond-async")

    def _ask(self, session: Session, preference: str) -> None:
        path, session.asked = f"{SESSIONS}/{session.key}", True
        try:
            with self._door() as client:
                answer = client.post(f"{path}/commit", headers={"Prefer": preference})
                body = _told(answer, 200, 202, 404, 409, 503)
                if answer.status_code == 200:
                    session.revision = body["revision"]
                elif body.get("state") in ("committing", "merged") or answer.status_code in (202, 503):
                    self._waiting.append(session)
                else:
                    session.over = True
                    client.delete(path)
        except NO_ANSWER:
            if session.revision is None and not session.over:
                self._waiting.append(session)


def _told(answer: httpx.Response, *expected: int) -> dict[str, object] | dict[str, str]:
    if answer.status_code not in expected:
        raise Unexpected(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}")
    return answer.json() if answer.content else {}  # type: ignore[no-any-return]
