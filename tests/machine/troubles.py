"""Rules of the store that fails, and of servers that die, rest and start."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from imagerepo.testing.faults import APPLIES_TO, FOR_GOOD, Fault, Op
from tests.machine.story import Story, any_number, numbers

PREFIXES: dict[Op, tuple[str, ...]] = {
    "put": ("db/", "db/", "images/"),
    "get": ("db/", "images/"),
    "stat": ("epochs/", "db/", "images/"),
    "delete": ("db/", "images/"),
    "list": ("db/", "images/"),
    "create_exclusive": ("epochs/",),
}
DENIED = {("stat", "images/"), ("get", "db/")}
"""Where a 404 for what is there does no harm. Elsewhere the protocol rests on there being none."""
DELETED = "images/"
"""Where names are deleted and written again: the protocol rests on the newest copy being no older one."""

faults: st.SearchStrategy[tuple[Op, Fault]] = st.sampled_from(
    [(op, fault) for fault, ops in APPLIES_TO.items() for op in ops]
)
rarely = st.sampled_from([False, False, True])


class Troubles(Story):
    @rule(fault=faults, prefix=any_number, call=st.integers(1, 3), times=st.sampled_from([1, 1, 2, 3, FOR_GOOD]))
    def the_store_fails(self, fault: tuple[Op, Fault], prefix: int, call: int, times: float) -> None:
        op, how = fault
        name = PREFIXES[op][prefix % len(PREFIXES[op])]
        if how == "absent":
            if (op, name) not in DENIED:
                return
            self.world.denies = self.world.ledger.mends = True
        if how == "stale" and name == DELETED:
            return
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

    @rule(number=numbers, failpoint=any_number, nth=st.integers(1, 2), now=rarely)
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

    @rule(number=numbers, failpoint=any_number, nth=st.integers(1, 2), now=rarely, keeps=st.booleans())
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

    @rule(which=numbers, failpoint=any_number, action=st.sampled_from(["", "kill-group", "stop-self"]))
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

    @rule(number=numbers, failpoint=any_number, now=rarely)
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
        if stopped := [server for server in self.world.servers if server.stopped]:
            server = stopped[which % len(stopped)]
            self.begin("a_server_wakes", server.name)
            self.world.wake(server)
