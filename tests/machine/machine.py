"""The proof's state machine: clients, servers, deaths, rests and a store that fails, in any order.

What is drawn has the same form whatever the servers do meanwhile, as they are real processes and no two runs
of a story are quite alike: a rule that makes no sense where the story stands does nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import ClassVar

import httpx
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from imagerepo.errors import ImagerepoError
from imagerepo.testing.faults import APPLIES_TO, FOR_GOOD, Fault, Op
from imagerepo.testing.images import Picture
from tests.machine.coverage import Coverage
from tests.machine.ledger import Told
from tests.machine.processes import Nursery
from tests.machine.restores import comes_to_rest, restored
from tests.machine.servers import Server, ends, eventually
from tests.machine.staging import change
from tests.machine.world import NO_ANSWER, PATIENCE_SECONDS, Pending, World

CLIENTS = 4
PICTURES = [Picture(f"picture {number}".encode(), "png", 4, 3) for number in range(4)]
PREFIXES: dict[Op, tuple[str, ...]] = {
    "put": ("db/", "db/", "images/"),
    "get": ("db/",),
    "stat": ("epochs/", "db/", "images/"),
    "delete": ("db/",),
    "list": ("db/",),
    "create_exclusive": ("epochs/",),
}
DENIED = {("stat", "images/"), ("get", "db/")}
"""Where a 404 for what is there does no harm. Elsewhere the protocol rests on there being none."""

any_number = st.integers(0, 1000)
waits = st.sampled_from(["wait=9", "respond-async"])
clients = st.integers(0, CLIENTS - 1)
numbers = st.integers(0, 2)
titles = st.sampled_from(["", "A", "B"])
changes = st.lists(
    st.tuples(st.sampled_from(["stage", "stage", "describe", "remove", "discard"]), st.integers(0, 3), titles),
    min_size=1,
    max_size=3,
)
faults: st.SearchStrategy[tuple[Op, Fault]] = st.sampled_from(
    [(op, fault) for fault, ops in APPLIES_TO.items() for op in ops] + [("put", fault) for fault in
     ("cut-before", "cut-after", "late", "accepted", "unavailable", "hang")] * 2
)  # fmt: skip


class Machine(RuleBasedStateMachine):
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
        self.names = 0

    def begin(self, rule: str, what: str = "") -> None:
        self.coverage.rules[rule] += 1
        self.world.say(f"{rule} {what}".strip())

    @initialize(workers=st.sampled_from([1, 2, 2]))
    def the_first_server_starts(self, workers: int) -> None:
        self.world.workers = workers
        self.world.start(self.world.servers[0])

    # Clients.

    @rule(client=clients, changes=changes, number=numbers, stale=st.booleans())
    def stages(self, client: int, changes: Sequence[tuple[str, int, str]], number: int, stale: bool) -> None:
        server = self.any_server(stale)
        if server is None or self.under_way(server):
            return
        self.begin("stages", f"{client} {changes} on {server.name}")
        told = self.told[client]
        if not self.is_open(told, server):
            told = self.opens(client, server, number)
        if told is not None:
            self.changes(told, server, number, changes)

    @rule(client=clients, number=numbers, stale=st.booleans(), wait=waits)
    def commits(self, client: int, number: int, stale: bool, wait: str) -> None:
        asked = self.asks_commit(self.told[client], self.any_server(stale), number, wait)
        if asked:
            self.begin("commits", f"{client} {asked.told.key[:4]} on {asked.server.name}, {wait}")
            ends(asked.answer, asked.server, PATIENCE_SECONDS)

    @rule(number=numbers)
    def all_commit_together(self, number: int) -> None:
        server = self.world.needed()
        every = [self.asks_commit(told, server, number + n, "wait=9") for n, told in enumerate(self.told)]
        asked = [each for each in every if each]
        if asked:
            self.begin("all_commit_together", " ".join(each.told.key[:4] for each in asked))
        for each in asked:
            ends(each.answer, each.server, PATIENCE_SECONDS)

    @rule(picture=st.integers(0, 3), title=titles, number=numbers)
    def two_change_one_picture_and_commit(self, picture: int, title: str, number: int) -> None:
        """In conflict, unless they say the same."""
        server = self.world.needed()
        if server is None or self.under_way(server):
            return
        self.begin("two_change_one_picture_and_commit", f"{picture}")
        for client, said in ((0, title), (1, title + "!")):
            told = self.opens(client, server, number + client)
            if told and server.serving:
                self.changes(told, server, number, [("stage", picture, said)])
        asked = [self.asks_commit(told, server, number + n, "wait=9") for n, told in enumerate(self.told[:2])]
        for each in asked:
            if each:
                ends(each.answer, each.server, PATIENCE_SECONDS)

    @rule(client=clients, repeats=st.booleans(), number=numbers)
    def asks_what_became_of_it(self, client: int, repeats: bool, number: int) -> None:
        told, server = self.told[client], self.world.needed()
        if told is None or server is None or server.epoch < told.epoch:
            return
        self.begin("asks_what_became_of_it", f"{client} {told.key[:4]} on {server.name}")
        if repeats and told.may_be_live:
            asked = self.asks_commit(told, server, number, "wait=9")
            if asked:
                ends(asked.answer, server, PATIENCE_SECONDS)
        else:
            self.reads(told, server, number)

    @rule(client=clients, number=numbers)
    def aborts(self, client: int, number: int) -> None:
        told, server = self.told[client], self.world.needed()
        if not self.is_open(told, server):
            return
        assert told is not None and server is not None
        self.begin("aborts", f"{client} {told.key[:4]}")
        try:
            answer = server.client(number).delete(f"/api/v1/sessions/{told.key}")
        except NO_ANSWER:
            return
        if answer.status_code == httpx.codes.NO_CONTENT:
            self.world.ledger.gone(told)
        else:
            self.world.heard(told, answer.status_code, answer.json())

    @rule(client=clients, picture=st.integers(0, 3), number=numbers)
    def lets_a_session_expire(self, client: int, picture: int, number: int) -> None:
        server = self.world.needed()
        if server is None or self.under_way(server):
            return
        self.begin("lets_a_session_expire", f"{client}")
        told = self.opens(client, server, number, expires_in=0.001)
        if told:
            self.reads(told, server, number)

    @rule(number=numbers, kind=st.sampled_from(["delta", "base"]))
    def an_admin_asks_for_a_snapshot(self, number: int, kind: str) -> None:
        server = self.world.needed()
        if server is None:
            return
        self.begin("an_admin_asks_for_a_snapshot", kind)
        try:
            answer = server.client(number).post("/api/v1/snapshots", json={"kind": kind})
        except NO_ANSWER:
            return
        self.world.say(f"snapshot: {answer.status_code}")
        assert answer.status_code in (200, 201, 202, 502, 503), answer.text

    @rule(number=numbers, task=st.sampled_from(["token", "base", "prune"]))
    def an_admin_gives_an_order(self, number: int, task: str) -> None:
        server = self.world.needed()
        if server is None:
            return
        self.names += 1
        self.begin("an_admin_gives_an_order", f"{task} to {server.name}")
        given = {"name": f"token{self.names}"} if task == "token" else {}
        done = server.order(task, number, **given)
        self.world.say(f"{task}: {done!r:.80}")
        self.world.pruned |= task == "prune"
        assert not isinstance(done, Exception) or isinstance(done, (*NO_ANSWER, ImagerepoError)), repr(done)
        if task == "token" and not isinstance(done, Exception):
            self.world.ledger.tokens.add(given["name"])

    # The store.

    @rule(fault=faults, prefix=any_number, call=st.integers(1, 3), times=st.sampled_from([1, 1, 2, 3, FOR_GOOD]))
    def the_store_fails(self, fault: tuple[Op, Fault], prefix: int, call: int, times: float) -> None:
        op, how = fault
        name = PREFIXES[op][prefix % len(PREFIXES[op])]
        if how == "absent":
            if (op, name) not in DENIED:
                return
            self.world.denies = True
        self.begin("the_store_fails", f"{op} {how} {name} at call {call}, {times} times")
        self.world.store.fail(op, how, name=name, call=call, times=times)

    @rule()
    def the_store_heals(self) -> None:
        self.begin("the_store_heals")
        self.world.heal()

    @rule()
    def what_is_late_arrives(self) -> None:
        self.begin("what_is_late_arrives")
        self.world.store.deliver()

    # Servers.

    @rule(number=numbers, failpoint=any_number, nth=st.integers(1, 2), now=st.booleans())
    def a_worker_dies(self, number: int, failpoint: int, nth: int, now: bool) -> None:
        server = self.world.needed()
        if server is None:
            return
        worker, name = server.worker(number), self.coverage.failpoint("worker", failpoint)
        if now or not name:
            self.begin("a_worker_dies", f"of {server.name}, now")
            worker.kill_alone()
        else:
            self.begin("a_worker_dies", f"of {server.name}, at {name}")
            worker.arm(name, "kill-self", nth)

    @rule(number=numbers, failpoint=any_number, nth=st.integers(1, 2), now=st.booleans(), keeps=st.booleans())
    def a_server_dies(self, number: int, failpoint: int, nth: int, now: bool, keeps: bool) -> None:
        server = self.world.needed()
        if server is None:
            return
        name = self.coverage.failpoint("worker", failpoint)
        if now or not name:
            self.begin("a_server_dies", server.name if keeps else f"{server.name}, with its disk")
            server.kill() if keeps else server.lose_disk()
        else:
            self.begin("a_server_dies", f"{server.name} at {name}")
            server.worker(number).arm(name, "kill-group", nth)

    @rule(which=numbers)
    def a_dead_servers_disk_is_lost(self, which: int) -> None:
        server = self.world.servers[which]
        if not server.alive and server.data_dir.exists():
            self.begin("a_dead_servers_disk_is_lost", server.name)
            server.lose_disk()

    @rule(which=numbers, failpoint=any_number, action=st.sampled_from(["", "", "kill-group", "stop-self"]))
    def a_server_starts(self, which: int, failpoint: int, action: str) -> None:
        """Perhaps beside others, which it fences; perhaps only as far as a failpoint."""
        server = self.world.servers[which]
        if server.alive:
            return
        self.begin(
            "a_server_starts", f"{server.name} beside {self.world.current.name if self.world.current else 'none'}"
        )
        name = self.coverage.failpoint("parent", failpoint) if action else ""
        self.world.start(server, name, action)

    @rule(number=numbers, failpoint=any_number, now=st.booleans())
    def a_server_rests(self, number: int, failpoint: int, now: bool) -> None:
        server, name = self.world.needed(), self.coverage.failpoint("worker", failpoint)
        if server is None:
            return
        if now or not name:
            self.begin("a_server_rests", server.name)
            server.stop()
        else:
            self.begin("a_server_rests", f"{server.name} at {name}")
            server.worker(number).arm(name, "stop-self")

    @rule(which=numbers)
    def a_server_wakes(self, which: int) -> None:
        if self.world.servers[which].stopped:
            self.begin("a_server_wakes", self.world.servers[which].name)
            self.world.wake(self.world.servers[which])

    # What is rarely met by chance.

    @rule(client=clients, failpoint=any_number, number=numbers, which=numbers, wakes=st.booleans())
    def another_takes_over_in_mid_commit(
        self, client: int, failpoint: int, number: int, which: int, wakes: bool
    ) -> None:
        server = self.world.needed()
        if server is None or not self.with_something_staged(client, server, number):
            return
        name = self.coverage.failpoint("worker", failpoint, within="snapshot.")
        self.begin("another_takes_over_in_mid_commit", f"of {server.name}, which rests at {name}")
        for each in server.workers:
            if name:
                each.arm(name, "stop-self")
        asked = self.asks_commit(self.told[client], server, number, "wait=9")
        if asked:
            ends(asked.answer, server, PATIENCE_SECONDS)
        self.world.tend(server)
        others = [other for other in self.world.servers if not other.alive]
        if others:
            self.world.start(others[which % len(others)])
        if wakes:
            self.world.wake(server)

    @rule(
        client=clients, number=numbers, which=numbers, keeps=st.booleans(), arrives=st.booleans(),
        fault=st.sampled_from(["late", "late", "cut-before", "cut-after", "hang", "unavailable"]), wait=waits,
    )  # fmt: skip
    def a_server_dies_in_doubt(
        self, client: int, number: int, which: int, keeps: bool, arrives: bool, fault: Fault, wait: str
    ) -> None:
        """Its record is on the way, or there, or nowhere; another start has to find out."""
        server = self.world.needed()
        if server is None or not self.with_something_staged(client, server, number):
            return
        self.begin("a_server_dies_in_doubt", f"{server.name}, {fault}")
        self.world.store.fail("put", fault, name="db/", times=FOR_GOOD)
        asked = self.asks_commit(self.told[client], server, number, wait)
        if asked:
            ends(asked.answer, server, PATIENCE_SECONDS)
        self.waits_for_doubt(server)
        server.kill() if keeps else server.lose_disk()
        self.world.heal()
        if arrives:
            self.world.store.deliver()
        successor = self.world.servers[which]
        self.world.start(successor)
        self.told_by(successor)

    @rule(
        client=clients,
        number=numbers,
        fault=st.sampled_from(["late", "late", "cut-before", "unavailable"]),
        heals=st.booleans(),
        wait=waits,
    )
    def a_worker_dies_in_doubt(self, client: int, number: int, fault: Fault, heals: bool, wait: str) -> None:
        """Another finishes what it left: with a session more, perhaps, and perhaps the store is well again."""
        server = self.world.needed()
        if server is None or not self.with_something_staged(client, server, number):
            return
        self.begin("a_worker_dies_in_doubt", f"{server.name}, {fault}")
        self.world.store.fail("put", fault, name="db/", times=FOR_GOOD)
        asked = self.asks_commit(self.told[client], server, number, wait)
        if asked:
            ends(asked.answer, server, PATIENCE_SECONDS)
        self.waits_for_doubt(server)
        for worker in server.workers:
            worker.kill_alone()
        if heals:
            self.world.heal()
        self.world.tend(server)
        self.all_commit_together(number)
        self.world.heal()
        self.world.store.deliver()

    # Restores.

    @rule(revision=any_number)
    def an_operator_restores_beside(self, revision: int) -> None:
        self.begin("an_operator_restores_beside")
        if self.world.ledger.log:
            restored(self.world, 1 + revision % len(self.world.ledger.log))

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

    # What the rules are made of.

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
        return not server.serving or any(told.in_doubt for told in doubtful)

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
        self.changes(told, server, number, [("stage", number, "A"), ("stage", 3, "B")])
        return server.serving and self.is_open(told, server)

    def waits_for_doubt(self, server: Server) -> None:
        """Let a PUT of a record come to the store, if one does."""
        calls = self.world.store.calls
        before = len(calls)
        eventually(lambda: any(op == "put" and name.startswith("db/") for op, name in calls[before:]), server, 1.0)

    def told_by(self, server: Server) -> None:
        """Every client in doubt asks the new server."""
        if server.serving:
            for told in [each for each in self.world.ledger.sessions.values() if each.in_doubt]:
                if server.serving and told.epoch <= server.epoch:
                    self.reads(told, server, 0)
