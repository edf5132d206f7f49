"""One story's world: a store, servers that come and go, and clients who write down what they are told."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from imagerepo.errors import Damaged, Fenced, ObjectNotFound, StoreRefused
from imagerepo.store import names
from imagerepo.store.memory import MemoryStore
from imagerepo.testing.faulty import FaultyStore
from tests.machine import chains
from tests.machine.chains import View
from tests.machine.coverage import Coverage
from tests.machine.distant import Counter
from tests.machine.ledger import Ledger, Told
from tests.machine.processes import Gone, Nursery, Process
from tests.machine.servers import ANSWER_SECONDS, Server, Work, ends

SERVERS = 3
HANG_SECONDS = 0.1
PATIENCE_SECONDS = 1.5
"""How long a client, or an operator who starts a server, waits before the store is healed."""
NO_ANSWER = (httpx.TransportError, Gone, TimeoutError)
CHANGES = {"put", "delete"}
MOST_CALLS = 100
"""That a failure tells of."""
LYING = {"phantom", "absent", "stale", "lagging"}
"""Faults with which a start may take the store for damaged, and refuse."""


@dataclass
class Pending:
    """A commit that was asked for and not answered yet."""

    told: Told
    server: Server
    answer: Future[Any]


class World:
    """Every method may be called at any time: what makes no sense then does nothing."""

    def __init__(self, nursery: Nursery, coverage: Coverage, objects: MemoryStore | None = None) -> None:
        self.coverage = coverage
        self.folder = Path(tempfile.mkdtemp(prefix="story-", dir=nursery.folder))
        self.objects = objects or MemoryStore()
        self.store = FaultyStore(self.objects, hang_seconds=HANG_SECONDS)
        self.counter = Counter(self.store, str(self.folder / "store"))
        self.ledger = Ledger()
        self.servers = [
            Server(nursery, self.counter.address, self.folder / f"server{number}", coverage.passed)
            for number in range(1, SERVERS + 1)
        ]
        self.workers = 2
        self.pruned = self.denies = False
        """Whether the store was told to say of something that it is absent, though it is there."""
        self.pending: list[Pending] = []
        self.work: list[Work] = []
        """Looks, and what admins asked for, begun and perhaps not ended."""
        self.story: list[str] = []
        self._begun = time.monotonic()
        self._faults = 0
        self._print: object = None
        self.found = View((), {})
        """What a start would find in the store, as of the last look."""

    def say(self, what: str) -> None:
        self.story.append(f"{time.monotonic() - self._begun:6.2f}  {what}")

    @property
    def current(self) -> Server | None:
        """The server that serves and was not taken over from, if there is one."""
        return next((server for server in self.servers if server.serving and not self.is_old(server)), None)

    def is_old(self, server: Server) -> bool:
        """Whether a newer epoch was taken, whether or not the server knows it."""
        with suppress(ObjectNotFound):
            self.objects.stat(names.epoch(server.epoch + 1))
            return True
        return False

    def folder_of(self, server: Server) -> str:
        """Where in the store its records lie."""
        with self.objects.get(names.owner(server.epoch)) as owner:
            return names.record(server.epoch, owner.read().decode(), 0).removesuffix("0")

    def needed(self) -> Server | None:
        """The current server; where there is none, one is started."""
        if self.current is None:
            idle = next((server for server in self.servers if not server.alive), self.servers[0])
            idle.kill()
            self.start(idle)
        return self.current

    def start(self, server: Server, failpoint: str = "", action: str = "kill-group") -> None:
        if server.alive:
            return
        self.say(f"start {server.name}" + (f", {action} at {failpoint}" if failpoint else ""))
        if self.denies:  # with a 404 for what is there, a start would be right to take the chain for ended
            self.heal()
        self._faults = len(self.store.failed)
        server.begin(failpoint, action)
        assert server.starting is not None
        if not ends(server.starting, server, PATIENCE_SECONDS) and server.alive and not server.stopped:
            self.say("heal, for the start to go on")
            self.heal()
            ends(server.starting, server, ANSWER_SECONDS)
        self.tend(server)

    def wake(self, server: Server) -> None:
        if server.stopped:
            self.say(f"wake {server.name}")
            if self.denies and self.working(server):  # it would be right to take what is there for lost
                self.heal()
            server.wake()
            for pending in [each for each in self.pending if each.server is server]:
                ends(pending.answer, server, PATIENCE_SECONDS)
            for work in self.working(server):
                ends(work.done, server, PATIENCE_SECONDS)
            if server.starting is not None:
                ends(server.starting, server, PATIENCE_SECONDS)
            self.tend(server)

    def working(self, server: Server) -> list[Work]:
        """What was begun there and has not ended."""
        self.work = [each for each in self.work if not each.done.done()]
        return [each for each in self.work if each.server is server]

    def heal(self) -> None:
        self.store.heal()
        self.denies = False

    def tend(self, server: Server) -> None:
        """See what became of a server: a start that ended, a death, a rest."""
        if dead := server.dead:
            self._bury(server, dead)
        if server.alive and server.starting is not None and server.starting.done():
            self._conclude(server)
        if server.stopped:
            server.stop()
        if server.stopped and server.armed:
            self.say(f"{server.name} rests at {', '.join(server.armed)}")
            self.coverage.ended.update(server.armed)
            self.coverage.facts["rested at a failpoint"] += 1
            server.disarm()
        if server.stopped:
            server.rested |= server.starting is not None

    def _bury(self, server: Server, dead: Sequence[Process]) -> None:
        if not server.alive or server.dies_whole:
            armed = server.armed
            server.kill()
            self.coverage.facts["a server died at a failpoint"] += 1
        else:
            armed = [process.armed for process in dead if process.armed]
            for process in dead:
                server.replace(process)
            self.coverage.facts["a worker died"] += 1
        self.say(f"{server.name}: died at {', '.join(armed)}")
        assert armed, f"{server.name} died by itself"
        self.coverage.ended.update(armed)

    def _conclude(self, server: Server) -> None:
        lied = LYING & {fault for _, fault in self.store.failed[self._faults :]}
        try:
            server.finish(self.workers)
        except (Damaged, Fenced, StoreRefused) as error:
            self.say(f"{server.name} did not start: {error!r}")
            overtaken = server.rested and self.pruned
            assert lied or overtaken or not isinstance(error, Damaged), f"{error!r}, though the store told the truth"
            self.coverage.facts[f"a start ended with {type(error).__name__}"] += 1
        except Gone:
            self.say(f"{server.name} died while it started")
        else:
            self.say(f"{server.name} serves epoch {server.epoch}")
            self.coverage.facts["started"] += 1

    def ask_commit(self, told: Told, server: Server, number: int, prefer: str) -> Pending:
        told.asked, told.conflicts, told.empty = True, frozenset(), False
        headers = [*server.client().headers.raw, (b"Prefer", prefer.encode()), (b"Content-Length", b"0")]
        path = f"/api/v1/sessions/{told.key}/commit"
        answer = server.worker(number).ask("request", method="POST", path=path, headers=headers, content=b"")
        self.pending.append(Pending(told, server, answer))
        return self.pending[-1]

    def hear(self) -> None:
        """Take down every answer that has come."""
        for pending in [each for each in self.pending if each.answer.done()]:
            self.pending.remove(pending)
            error = pending.answer.exception()
            if error is None:
                status, _, body = pending.answer.result()
                self.heard(pending.told, status, orjson.loads(body))
            else:
                assert isinstance(error, Gone), error
                self.say(f"{pending.told.key[:4]}: no answer to its commit")
                self.coverage.facts["no answer to a commit"] += 1

    def heard(self, told: Told, status: int, body: dict[str, Any]) -> None:
        """What a client makes of an answer about its session's commit."""
        problem = str(body.get("type", "")).removeprefix("/problems/")
        state, noted = body.get("state"), body.get("error") or {}
        self.say(f"{told.key[:4]}: {status} {problem} {state or ''} {body.get('revision') or ''}")
        self.coverage.facts[f"{status} {problem} {state or ''}".strip()] += 1
        told.conflicts = frozenset(each["ident"] for each in body.get("conflicts") or noted.get("conflicts") or ())
        if status == httpx.codes.OK and state == "live":
            self.ledger.live_as(told, body["revision"])
        elif problem == "session-not-found" or state in ("aborted", "expired"):
            self.ledger.gone(told)
        elif problem == "conflict":
            self.ledger.conflicts_of(told, told.conflicts)
            self._came_to_nothing(told)
        elif problem == "nothing-to-commit":
            self.ledger.nothing_to_commit(told)
            self._came_to_nothing(told)
        elif state == "open":
            self._came_to_nothing(told)
        else:
            assert status in (200, 202, 503), f"{told.key}: {status} {body}"

    def _came_to_nothing(self, told: Told) -> None:
        if not any(pending.told is told for pending in self.pending):
            self.ledger.nothing_came_of(told)

    def look(self) -> None:
        """Check, after a step, what visitors see and what the store holds against what was told."""
        for server in self.servers:
            self.tend(server)
        self.hear()
        for server in self.servers:
            if server.serving:
                with suppress(*NO_ANSWER):
                    self._visit(server)
        self.hear()
        self._check_the_chain()

    def _visit(self, server: Server) -> None:
        with server.client(len(self.story)) as client:
            listing = client.get("/api/v1/images", params={"limit": "200"}).raise_for_status().json()
            log = client.get("/api/v1/revisions", params={"limit": "200"}).raise_for_status().json()
        revision = listing["revision"]
        assert revision >= server.seen, f"{server.name} went back from revision {server.seen} to {revision}"
        server.seen = revision
        keys = {entry["revision"]: entry["session"] for entry in log["results"]}
        if not set(keys.values()) <= self.ledger.sessions.keys() | self.ledger.removals.keys():
            self._read_the_chain()
        live = {image["ident"]: {name: image[name] for name in chains.NOTHING_SAID} for image in listing["results"]}
        self.ledger.seen(View(tuple(keys[number] for number in range(1, revision + 1)), live))

    def _check_the_chain(self) -> None:
        written = [(info.name, info.md5) for info in self.objects.list("")]
        if written != self._print:
            self._read_the_chain()
            self._print = written
        self.ledger.restorable(self.found)

    def _read_the_chain(self) -> None:
        """See what a start would find, with the bases of all that it refers to but for those that a story lost."""
        lost = self.ledger.lost
        for ident in lost.keys() - chains.without_base(self.objects, lost):
            del lost[ident]
        before, end, missing = None, chains.end(self.objects), set[str]()
        while end:
            self.found = chains.view(self.objects, end)
            missing = chains.without_base(self.objects, self.found.referred) - lost.keys()
            before, end = end, chains.end(self.objects)
            if not missing or end is None or end.link == before.link:
                break
        for key in self.found.removals.keys() - self.ledger.removals.keys():
            assert before is not None
            number = self.found.log.index(key) + 1
            self.ledger.removals[key] = chains.removed_by(self.objects, before, number, key)
        assert not missing, f"the bases of {missing} are lost"

    def close(self) -> None:
        self.store.heal()
        for server in self.servers:
            server.kill()
        self.counter.close()
        self.coverage.faults.update(self.store.failed)
        shutil.rmtree(self.folder)

    def logs(self) -> Iterator[str]:
        asked = [f"{op} {name}" for op, name in self.store.calls if op in CHANGES]
        yield "\n".join(["--- the store was last asked to:", *asked[-MOST_CALLS:]])
        for server in self.servers:
            if server.log:
                yield f"--- {server.name} wrote:\n{server.log[-2000:]}"
