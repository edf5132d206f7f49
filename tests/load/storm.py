"""A server under 8 writers and 16 readers, killed as by power cuts, its disk lost each time."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import httpx

from imagerepo.testing.servers import Server
from tests.load.clients import Reader, Writer, new_family, read, told
from tests.load.ledger import Change, Ledger
from tests.processes import workers

WRITERS = 8
READERS = 16
PROGRESS_SECONDS = 60.0
"""Within which a server must have committed and shown something."""
MOST_SECONDS_OF_A_LIFE = 2.5
MOST_WORKERS_KILLED = 3
LEAST_LIVES = 2
OUR_ERROR = " ERROR imagerepo."
"""In a server's log: a step broke off, as none may for want of other workers."""


@dataclass
class Tally:
    """What a storm saw: of `doubts`, sessions whose answer a power cut took, `lived` were live afterwards."""

    lives: int = 0
    workers_killed: int = 0
    sessions: int = 0
    readings: int = 0
    doubts: int = 0
    lived: int = 0


class Storm:
    """Power cuts under load, on whatever store the server has."""

    def __init__(self, server: Server, chance: random.Random) -> None:
        self._server, self._chance = server, chance
        self._ledger = Ledger()
        contested = new_family()
        self._writers = [Writer(self._ledger, self._own_chance(), contested) for _ in range(WRITERS)]
        self._readers = [Reader(self._ledger, self._own_chance()) for _ in range(READERS)]
        self.tally = Tally()

    def _own_chance(self) -> random.Random:
        return random.Random(self._chance.random())

    def rage(self, *, seconds: float) -> Tally:
        """Kill the server again and again for that long, twice at least. Fails where a promise was broken."""
        end = time.monotonic() + seconds
        while True:
            with self._server:
                self._settle_doubts()
                self._ledger.check()
                if time.monotonic() > end and self.tally.lives >= LEAST_LIVES:
                    return self._told()
                self._live()
            self._server.lose_disk()

    def _live(self) -> None:
        over = threading.Event()
        clients = [*self._writers, *self._readers]
        with ThreadPoolExecutor(len(clients)) as threads:
            running = [threads.submit(self._run, client, over) for client in clients]
            try:
                self._await_progress(over)
                self._kill_some_workers(over)
            finally:
                over.set()
                os.killpg(self._server.pid, signal.SIGKILL)
        for thread in running:
            thread.result()
        assert OUR_ERROR not in self._server.output(), self._server.output()
        self.tally.lives += 1

    def _run(self, client: Writer | Reader, over: threading.Event) -> None:
        try:
            client.run(self._server.client(self._server.admin_token if isinstance(client, Writer) else None), over)
        except BaseException:
            over.set()
            self._ledger.wake()
            raise

    def _await_progress(self, over: threading.Event) -> None:
        ledger = self._ledger
        commits, readings = len(ledger.live()) + WRITERS // 2, ledger.readings + READERS
        moved = ledger.wait(
            lambda: over.is_set() or (len(ledger.live()) >= commits and ledger.readings >= readings),
            seconds=PROGRESS_SECONDS,
        )
        assert moved, f"the server does nothing:\n{self._server.output()}"

    def _kill_some_workers(self, over: threading.Event) -> None:
        kills = self._chance.randint(0, MOST_WORKERS_KILLED)
        for _ in range(kills):
            over.wait(self._pause())
            pids = workers(self._server)
            if pids:
                with suppress(ProcessLookupError):
                    os.kill(self._chance.choice(pids), signal.SIGKILL)
                self.tally.workers_killed += 1
        over.wait(self._pause())

    def _pause(self) -> float:
        return self._chance.uniform(0, MOST_SECONDS_OF_A_LIFE / (MOST_WORKERS_KILLED + 1))

    def _settle_doubts(self) -> None:
        """Ask the new server what became of the sessions whose answer the old one owed."""
        with self._server.admin as client:
            for change in self._ledger.in_doubt():
                self._settle(change, client.get(f"/api/v1/sessions/{change.key}"))
            read(client, self._ledger)

    def _settle(self, change: Change, answer: httpx.Response) -> None:
        self.tally.doubts += 1
        session = told(answer, 200, 404)
        if answer.status_code == 200 and session["state"] == "live":
            self.tally.lived += 1
            self._ledger.succeeded(change, session["revision"])
        else:
            assert answer.status_code == 404 or session["state"] == "aborted", session
            self._ledger.failed(change)

    def _told(self) -> Tally:
        self.tally.sessions, self.tally.readings = len(self._ledger.live()), self._ledger.readings
        return self.tally
