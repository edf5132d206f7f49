"""What a story is made of: its world, its clients, and what they do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import ClassVar

import httpx
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from imagerepo.testing.faults import FOR_GOOD, Fault, Op
from imagerepo.testing.images import Picture
from tests.machine.coverage import Coverage
from tests.machine.ledger import Told
from tests.machine.processes import Nursery
from tests.machine.repairing import gives_order
from tests.machine.restores import comes_to_rest
from tests.machine.servers import Server, ends, eventually
from tests.machine.staging import change
from tests.machine.world import NO_ANSWER, PATIENCE_SECONDS, Pending, World

CLIENTS = 4
CONTESTED = 4
"""Pictures that every client changes. The others are each staged once."""
PICTURES = [Picture(f"picture {number}".encode(), "png", 4, 3) for number in range(100)]

any_number = st.integers(0, 1000)
clients = st.integers(0, CLIENTS - 1)
numbers = st.integers(0, 2)
pictures = st.integers(0, CONTESTED - 1)
titles = st.sampled_from(["", "A", "B"])
waits = st.sampled_from(["wait=9", "respond-async"])


class Story(RuleBasedStateMachine):
    """What every rule is made of. What makes no sense where the story stands gives None, or False."""

    nursery: ClassVar[Nursery]
    coverage: ClassVar[Coverage]
    failures: ClassVar[list[Exception]]
    """The first ends the run: Hypothesis would play that story again, which need not fail again."""

    def __init__(self) -> None:
        if self.failures:
            raise self.failures[0]
        super().__init__()
        self.world = World(self.nursery, self.coverage)
        self.told: list[Told | None] = [None] * CLIENTS
        self.names, self.fresh = 0, CONTESTED

    def begin(self, rule: str, what: str = "") -> None:
        self.coverage.rules[rule] += 1
        self.world.say(f"{rule} {what}".strip())

    @initialize(workers=st.sampled_from([1, 2, 2]))
    def the_first_server_starts(self, workers: int) -> None:
        self.world.workers = workers
        self.world.start(self.world.servers[0])

    @invariant()
    def what_was_told_is_true(self) -> None:
        self.world.look()

    def teardown(self) -> None:
        error = sys.exc_info()[1]
        try:
            if error is None:
                comes_to_rest(self.world)
        except Exception as late:
            error = late
            raise
        finally:
            if isinstance(error, Exception) and not isinstance(error, HypothesisException):
                error.add_note("\n".join(["The story:", *self.world.story, *self.world.logs()]))
                self.failures.append(error)
            self.world.close()

    def any_server(self, stale: bool) -> Server | None:
        """The current server; with `stale`, an older one that serves yet, if there is one."""
        current = self.world.needed()
        older = [server for server in self.world.servers if server.serving and server is not current]
        return older[0] if stale and older else current

    def under_way(self, server: Server) -> bool:
        """Whether commits are that could change what is live before a change is staged: then clients wait."""
        doubtful = [
            told for told in self.world.ledger.sessions.values() if told.in_doubt and told.epoch <= server.epoch
        ]
        for told in doubtful:
            self.reads(told, server, 0)
        self.world.look()
        return not server.serving or any(told.in_doubt for told in doubtful) or self.repairs_are_under_way(server)

    def repairs_are_under_way(self, server: Server) -> bool:
        """Whether images may go that somebody purges, also where nobody waits for it, or that the store has lost."""
        ledger = self.world.ledger
        if self.world.working(server):
            return True
        if not ledger.taken_down | ledger.once_lost:
            return False
        try:
            for state in ("committing", "merged"):
                answer = server.client().get("/api/v1/sessions", params={"state": state})
                if {session["id"] for session in answer.raise_for_status().json()["results"]} - ledger.sessions.keys():
                    return True
        except NO_ANSWER:
            return True
        return gives_order(self.world, server, 0, "purging") != []

    def is_open(self, told: Told | None, server: Server | None) -> bool:
        if told is None or server is None or server.epoch < told.epoch:
            return False
        return not (told.asked or told.over or told.revision)

    def opens(self, client: int, server: Server, number: int, **given: object) -> Told | None:
        try:
            answer = server.client(number).post("/api/v1/sessions", json=given)
        except NO_ANSWER:
            return None
        if answer.status_code != httpx.codes.CREATED:
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
            return None
        self.told[client] = told = self.world.ledger.opened(answer.json()["id"], server.epoch)
        self.world.say(f"{told.key[:4]} is open")
        return told

    def changes(self, told: Told, server: Server, number: int, changes: Sequence[tuple[str, int, str]]) -> None:
        told.modelled = told.modelled and not self.world.is_old(server)
        for kind, picture, title in changes:
            if server.serving and not told.over:
                change(self.world, told, server, number, kind, PICTURES[picture], title)

    def asks_commit(self, told: Told | None, server: Server | None, number: int, prefer: str) -> Pending | None:
        if told is None or server is None or not server.serving or server.epoch < told.epoch:
            return None
        if told.over or any(pending.told is told for pending in self.world.pending):
            return None
        return self.world.ask_commit(told, server, number, prefer)

    def reads(self, told: Told, server: Server, number: int) -> None:
        """GET the session."""
        try:
            answer = server.client(number).get(f"/api/v1/sessions/{told.key}")
        except NO_ANSWER:
            return
        self.world.heard(told, answer.status_code, answer.json())

    def with_something_staged(self, client: int, server: Server, number: int) -> bool:
        """See that the client has an open session with changes."""
        if self.under_way(server):
            return False
        told = self.told[client]
        if not self.is_open(told, server):
            told = self.opens(client, server, number)
        if told is None or not server.serving:
            return False
        self.fresh += 1
        self.changes(told, server, number, [("stage", number, "A"), ("stage", self.fresh, "B")])
        return server.serving and self.is_open(told, server)

    def fails_to_ship(
        self,
        client: int,
        server: Server,
        number: int,
        fault: Fault,
        wait: str,
        prefix: str = "db/",
        *,
        parts: bool = True,
    ) -> None:
        """Ask for a commit whose PUTs below `prefix` fail so; return when its client was answered and one was sent.

        Without `parts`: only those of records.
        """
        before = len(self.world.store.calls)
        for name in [prefix] if parts else [f"{prefix}{digit}" for digit in range(10)]:
            self.world.store.fail("put", fault, name=name, times=FOR_GOOD)
        asked = self.asks_commit(self.told[client], server, number, wait)
        if asked:
            ends(asked.answer, server, PATIENCE_SECONDS)
        eventually(lambda: self.was_sent("put", prefix, before), server, 1.0)
        self.world.hear()

    def was_sent(self, op: Op, prefix: str, since: int) -> bool:
        """Whether the store was asked this since its call number `since`."""
        return any(each == op and name.startswith(prefix) for each, name in self.world.store.calls[since:])

    def every_commit(self, server: Server | None, number: int) -> list[Pending]:
        """Every client asks for its commit at once, and is waited for."""
        every = [self.asks_commit(told, server, number + n, "wait=9") for n, told in enumerate(self.told)]
        asked = [each for each in every if each]
        for each in asked:
            ends(each.answer, each.server, PATIENCE_SECONDS)
        return asked

    def told_by(self, server: Server) -> None:
        """Every client in doubt asks the new server."""
        if server.serving:
            for told in [each for each in self.world.ledger.sessions.values() if each.in_doubt]:
                if server.serving and told.epoch <= server.epoch:
                    self.reads(told, server, 0)
