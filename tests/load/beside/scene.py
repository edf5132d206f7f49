"""8 writers want the same few images while plans are made and applied in a loop, on a Swift that dawdles.

Images whose rows went become orphans again and again: history is kept for half a second, one image is purged now and
then, and uploads are left behind whose server died before the merge. Each DELETE of a base is held up on its way, some
for longer than their sender waits; meanwhile everybody wants the image.
"""

from __future__ import annotations

import io
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx

from imagerepo.errors import ObjectNotFound
from imagerepo.store import names
from imagerepo.store.door import Door
from imagerepo.store.objects import ObjectStore
from imagerepo.store.swift import SwiftStore
from imagerepo.store.swift_auth import credentials_of
from imagerepo.testing.faults import Op
from imagerepo.testing.faulty_swift import FaultySwift
from imagerepo.testing.servers import Server
from imagerepo.testing.swift import Swift
from tests.load.beside.clients import Admin, Pool, Reader, Writer, answered, is_whole
from tests.load.beside.ledger import Ledger, Session
from tests.reconcile import over_http
from tests.waiting import until

TOKEN = "the-admin-token-of-the-scene"
WRITERS = 8
READERS = 2
LONGEST_DELAY_SECONDS = 0.7
LATE = 0.3
"""Share of the DELETEs that are held up for longer than their sender waits."""
LATEST_SECONDS = 4.0
"""For how long: well within the settling time."""
HOLDING_SECONDS = 0.02
LEAVING_SECONDS = 0.7
SETTINGS = {
    "grace_seconds": "0.000001",
    "store_timeout_seconds": "1",
    "delete_settle_seconds": "8",
    "history_seconds": "0.5",
    "fixity_days": "0.0002",
    "drill_seconds": "0",
}
LOOK_SECONDS = 0.1
LEAST_DELETIONS = 6
LEAST_MEETINGS = 2
LONGEST_SECONDS = 180.0
"""Beyond the time that was asked for: until enough has happened, or the dust has settled."""
OUR_ERROR = " ERROR imagerepo."


class Client(Protocol):
    def run(self, client: httpx.Client, over: threading.Event) -> None: ...


@dataclass
class Tally:
    """What happened. `deletions`: DELETEs of bases that reached the store, of which `late` applied after their sender
    had given them up. `meetings`: commits that had begun to add an image when a DELETE of its base was carried out.
    """

    sessions: int = 0
    readings: int = 0
    deletions: int = 0
    late: int = 0
    meetings: int = 0
    left_behind: int = 0
    admin: dict[str, int] = field(default_factory=dict)

    @property
    def enough(self) -> bool:
        return self.deletions >= LEAST_DELETIONS and self.meetings >= LEAST_MEETINGS and self.late > 0


class Watch:
    """Stands at the store's door: holds up each DELETE of a base, and calls for its image meanwhile.

    As soon as somebody is told that it is live, the DELETE goes on: then it is a loss, and is noted. Else it does in
    a moment, or only after its sender has given it up.
    """

    def __init__(self, pool: Pool, ledger: Ledger, tally: Tally, chance: random.Random) -> None:
        self._pool, self._ledger, self._tally, self._chance = pool, ledger, tally, chance
        self._lock = threading.Lock()

    def __call__(self, op: Op, name: str) -> None:
        if op == "delete" and name.startswith(names.IMAGES):
            ident, before = name.removeprefix(names.IMAGES), self._ledger.sessions
            self._pool.call(ident)
            with self._lock:
                late = self._chance.random() < LATE
                longest = LATEST_SECONDS if late else self._chance.uniform(0, LONGEST_DELAY_SECONDS)
            self._hold(lambda: self._ledger.adders(ident, before), longest)
            self._note(ident, late, self._ledger.adders(ident, before))

    def _hold(self, until: Callable[[], object], longest: float) -> None:
        deadline = time.monotonic() + longest
        while time.monotonic() < deadline and not until():
            time.sleep(HOLDING_SECONDS)

    def _note(self, ident: str, late: bool, adders: list[Session]) -> None:
        with self._lock:
            self._tally.deletions += 1
            self._tally.late += late
            self._tally.meetings += self._ledger.adding(ident)
        for session in adders:
            self._ledger.deleted(ident, session)


class Leaver:
    """Puts bases into the store and never merges them, as a server does that dies in a commit."""

    def __init__(self, pool: Pool, store: ObjectStore, tally: Tally) -> None:
        self._pool, self._store, self._tally = pool, store, tally

    def run(self, client: httpx.Client, over: threading.Event) -> None:
        while not over.wait(LEAVING_SECONDS):
            for ident in self._pool.idents:
                self._leave(client, ident)

    def _leave(self, client: httpx.Client, ident: str) -> None:
        if client.get(f"/api/v1/images/{ident}").status_code == httpx.codes.OK:
            return  # it might mend what was lost
        try:
            self._store.stat(names.base(ident))
        except ObjectNotFound:
            picture = io.BytesIO(self._pool.pictures[ident])
            self._store.put(names.base(ident), picture, media_type="image/png")
            self._tally.left_behind += 1


class Scene:
    """A server with two workers, and all its clients."""

    def __init__(self, swift: Swift, container: str, folder: Path, chance: random.Random) -> None:
        self._tally, self._ledger, self._pool = Tally(), Ledger(), Pool(chance)
        self._faulty = FaultySwift(swift, container, doorkeeper=Watch(self._pool, self._ledger, self._tally, chance))
        self._store = Door(SwiftStore(container, "", credentials_of(swift.environ), timeout=60.0))
        url, environ = f"swift://{container}", self._faulty.environ
        self._server = Server(folder / "data", url, admin_token=TOKEN, workers=2, environ=environ, **SETTINGS)
        self._admin = Admin(self._pool, random.Random(chance.random()))
        self._clients: list[Client] = [
            *(Writer(self._pool, self._ledger, random.Random(chance.random())) for _ in range(WRITERS)),
            *(Reader(self._pool, self._ledger) for _ in range(READERS)),
            Leaver(self._pool, self._store, self._tally),
            self._admin,
        ]

    def play(self, *, seconds: float) -> Tally:
        """For so long at least, and until enough has happened. Fails where a promise was broken."""
        with self._faulty, self._server, closing(self._store):
            self._add_one_that_stays()
            self._live(seconds)
            self._settle()
            self._check()
        tally = self._told()
        assert tally.enough, f"too little happened: {tally}"
        return tally

    def _add_one_that_stays(self) -> None:
        """A store that has none of the bases would be taken for another one."""
        writer = Writer(self._pool, self._ledger, random.Random())
        with self._server.admin as client:
            writer.commit(client, [(self._pool.fresh(), False)])
            writer.finish(client)

    def _live(self, seconds: float) -> None:
        over = threading.Event()
        with ThreadPoolExecutor(len(self._clients)) as threads:
            running = [threads.submit(self._run, client, over) for client in self._clients]
            try:
                self._await_enough(over, seconds)
            finally:
                over.set()
        for thread in running:
            thread.result()

    def _run(self, client: Client, over: threading.Event) -> None:
        try:
            client.run(self._server.admin, over)
        except BaseException:
            over.set()
            raise

    def _await_enough(self, over: threading.Event, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end or not (self._told().enough or time.monotonic() > end + LONGEST_SECONDS):
            if over.wait(LOOK_SECONDS):
                return

    def _settle(self) -> None:
        """Repair until a new plan finds nothing at all."""
        deadline = time.monotonic() + LONGEST_SECONDS
        with self._server.admin as client:
            while any((plan := self._admin.plan(client, deep=True)).json()["counts"].values()):
                assert time.monotonic() < deadline, plan.text
                self._admin.apply(client, plan)

    def _check(self) -> None:
        """All that was acknowledged is live and whole, and nothing else is."""
        with self._server.admin as client:
            live = self._ledger.check(over_http.every(client, "/api/v1/revisions?limit=200"))
            shown = {image["ident"] for image in over_http.every(client, "/api/v1/images?limit=200")}
            assert shown == live
            for ident in live:
                answer = until(lambda ident=ident: answered(client, ident))  # type: ignore[misc]
                assert answer and is_whole(answer, ident), f"a live image was lost: {answer}"
        assert OUR_ERROR not in self._server.output(), self._server.output()

    def _told(self) -> Tally:
        tally = self._tally
        tally.sessions, tally.readings = self._ledger.sessions, self._ledger.readings
        tally.admin = dict(self._admin.counts)
        return tally
