"""A server and its writers, whose store and rows drift apart while processes die and are replaced."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from imagerepo.store import names
from imagerepo.testing.images import Picture
from tests.machine import repairing
from tests.machine.coverage import Coverage
from tests.machine.processes import BIRTH_SECONDS, Gone, Nursery, Pipe
from tests.machine.servers import ANSWER_SECONDS, Server
from tests.machine.world import World
from tests.machine.zygote import ADMIN_TOKEN
from tests.reconcile.drifts.dawdling import DawdlingStore
from tests.reconcile.drifts.ledger import Ledger
from tests.reconcile.drifts.writers import Writer

CONTESTED = 4
"""Pictures that every writer wants. The others are nobody's, but for drifts."""
PICTURES = [Picture(f"picture {number}".encode(), "png", 4, 3) for number in range(8)]
KEPT = Picture(b"always there: else the store would be taken for another one", "png", 4, 3)
LAST = Picture(b"added when all is repaired", "png", 4, 3)
WRITERS = 2
DEAD_EPOCH, DEAD_WRITER = 1, "0123456789abcdef"
"""Of a server that took the first epoch and died: whatever it left is off the chain."""
HELD = 0.5
"""Share of the DELETEs of bases that are held up, while writers want the image."""
HOLDING_SECONDS = 0.4
LOOK_SECONDS = 0.01
LONGEST_SECONDS = 60.0
DEATHS = ("a worker died", "a server died at a failpoint")


@dataclass(frozen=True)
class Death:
    """Where processes are to die: at a failpoint with `within` in its name, when it is passed the `nth` time.

    `number` draws which of them. `whole`: the server dies with all its processes. `keeps`: its disk is there then.
    """

    within: str
    number: int
    nth: int
    whole: bool
    keeps: bool


class Scene:
    """Only the writers have threads of their own; all else is one thread's."""

    def __init__(self, nursery: Nursery, coverage: Coverage, chance: random.Random) -> None:
        self.objects, self.ledger = DawdlingStore(self._hold), Ledger()
        self.world = World(nursery, coverage, self.objects)
        self.losses: list[str] = []
        self._chance = random.Random(chance.random())
        self.foreign: set[str] = set()
        """Names of foreign objects that were put into the store."""
        self._keeps = True
        self.admin = self._writer(PICTURES, chance)
        self._writers = [self._writer(PICTURES[:CONTESTED], chance) for _ in range(WRITERS)]
        self.world.objects.create_exclusive(names.epoch(DEAD_EPOCH))

    def _writer(self, pictures: list[Picture], chance: random.Random) -> Writer:
        return Writer(self.client, self.ledger, pictures, random.Random(chance.random()))

    @property
    def server(self) -> Server:
        """The server, started anew where it died."""
        server = self.world.servers[0]
        self.world.tend(server)
        if not server.alive:
            if not self._keeps:
                self.world.say(f"{server.name} loses its disk")
                server.lose_disk()
            self.world.start(server)
        return server

    def client(self) -> httpx.Client:
        """A client of some process of the server, for any thread. Raises httpx.ConnectError while there is none."""
        workers = [worker for worker in self.world.servers[0].workers if worker.alive]
        if not workers:
            raise httpx.ConnectError("the server is gone")
        transport = Pipe(random.choice(workers), ANSWER_SECONDS)  # a server's processes share its port
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        return httpx.Client(transport=transport, base_url="http://drifts", headers=headers)

    @property
    def deaths(self) -> int:
        return sum(self.world.coverage.facts[each] for each in DEATHS)

    def arm(self, death: Death) -> None:
        """Let every process of the server die there from now on."""
        name = self.world.coverage.failpoint("worker", death.number, within=death.within)
        self._keeps = death.keeps
        action = "kill-group" if death.whole else "kill-self"
        self.world.say(f"to die: {action} at {name}, passed {death.nth} times; keeps its disk: {death.keeps}")
        for worker in self.server.workers if name else []:
            worker.arm(name, action, death.nth)

    def disarm(self) -> None:
        """Nobody dies from now on. Whoever is dying already is known to."""
        for worker in list(self.server.workers):
            asked = worker.ask("arm", name="")
            worker.wait_for(asked, BIRTH_SECONDS)
            if not isinstance(asked.exception(), Gone):
                worker.armed = worker.action = ""
        _ = self.server

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Writers commit all along. In the end every one of them is answered, as marks are cleared in their time."""
        over = threading.Event()
        with ThreadPoolExecutor(WRITERS) as threads:
            running = [threads.submit(writer.run, over) for writer in self._writers]
            try:
                yield
            finally:
                over.set()
                deadline = time.monotonic() + LONGEST_SECONDS
                while not all(each.done() for each in running):
                    assert time.monotonic() < deadline, "writers are never answered"
                    self.settle()
        for each in running:
            each.result()

    def settle(self) -> None:
        """Time passes in which deletions settle, and marks are cleared."""
        for _ in range(2):
            repairing.look(self.world, self.server)
            repairing.time_passes(self.world)

    def _hold(self, ident: str) -> None:
        """A DELETE of a base has come. Let it wait, until somebody was told that the image is added: a loss."""
        since = self.ledger.now
        if self._chance.random() < HELD:
            called = next((picture for picture in PICTURES if picture.ident == ident), None)
            self._call(called)
            deadline = time.monotonic() + HOLDING_SECONDS
            while time.monotonic() < deadline and not self.ledger.added(ident, since):
                time.sleep(LOOK_SECONDS)
            self._call(None)
        self.losses += [f"{ident} goes, which was added by {session}" for session in self.ledger.added(ident, since)]

    def _call(self, picture: Picture | None) -> None:
        for writer in self._writers:
            writer.called = picture

    def close(self) -> None:
        self.world.close()
