"""Rules for what is rarely met by chance: several troubles at once, in mid-commit or in mid-start."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from imagerepo.testing.faults import FOR_GOOD, Fault
from tests.machine.restores import commits_at_last
from tests.machine.servers import ends, eventually
from tests.machine.story import Story, any_number, clients, numbers, waits
from tests.machine.world import PATIENCE_SECONDS

TASKS = {"prune.": "prune", "base.": "base", "publish.": "token"}
"""By the steps that they take."""

often = st.sampled_from([True, True, False])


class Meetings(Story):
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
        client=clients,
        step=st.sampled_from(["commit.claim", "commit.upload", "commit.merge", "commit.flip"]),
        failpoint=any_number,
        number=numbers,
        which=numbers,
        keeps=often,
    )
    def a_server_dies_in_mid_commit(
        self, client: int, step: str, failpoint: int, number: int, which: int, keeps: bool
    ) -> None:
        """Its client is told what came of it, and goes on with what is staged, where that is kept."""
        server, name = self.world.needed(), self.coverage.failpoint("worker", failpoint, within=step)
        if server is None or not name or not self.with_something_staged(client, server, number):
            return
        self.begin("a_server_dies_in_mid_commit", f"{server.name} at {name}")
        for each in server.workers:
            each.arm(name, "kill-group")
        asked = self.asks_commit(self.told[client], server, number, "wait=9")
        if asked:
            ends(asked.answer, server, PATIENCE_SECONDS)
        self.world.tend(server)
        if not server.alive and not keeps:
            server.lose_disk()
        self.world.heal()
        successor = server if keeps else self.world.servers[which]
        self.world.start(successor)
        self.world.hear()
        self.told_by(successor)
        self.goes_on(client)

    @rule(
        client=clients,
        number=numbers,
        which=numbers,
        keeps=st.booleans(),
        arrives=st.booleans(),
        wait=waits,
        fault=st.sampled_from(["late", "late", "cut-before", "cut-after", "hang", "unavailable"]),
    )
    def a_server_dies_in_doubt(
        self, client: int, number: int, which: int, keeps: bool, arrives: bool, wait: str, fault: Fault
    ) -> None:
        """Its record is on the way, or there, or nowhere; another start has to find out."""
        server = self.world.needed()
        if server is None or not self.with_something_staged(client, server, number):
            return
        self.begin("a_server_dies_in_doubt", f"{server.name}, {fault}, {wait}")
        self.fails_to_ship(client, server, number, fault, wait)
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
        recovers=st.booleans(),
        wait=waits,
    )
    def a_worker_dies_in_doubt(self, client: int, number: int, fault: Fault, recovers: bool, wait: str) -> None:
        """Its successor finishes what it left, with other sessions that wait; then what is late arrives."""
        server = self.world.needed()
        if server is None or not self.with_something_staged(client, server, number):
            return
        self.begin("a_worker_dies_in_doubt", f"{server.name}, {fault}")
        self.fails_to_ship(client, server, number, fault, wait)
        for worker in server.workers:
            worker.kill_alone()
        if recovers:
            self.world.heal()
        self.world.tend(server)
        self.every_commit(server, number)
        self.world.heal()
        self.world.store.deliver()

    @rule(
        client=clients,
        number=numbers,
        fault=st.sampled_from(["cut-before", "unavailable", "hang", "late"]),
        prefix=st.sampled_from(["db/", "images/"]),
    )
    def a_store_recovers_from_a_doubt(self, client: int, number: int, fault: Fault, prefix: str) -> None:
        """The client waits to its deadline for what can't be shipped; when it can, the client asks again."""
        server = self.world.needed()
        if server is None or not self.with_something_staged(client, server, number):
            return
        self.begin("a_store_recovers_from_a_doubt", f"{server.name}, {fault} {prefix}")
        self.fails_to_ship(client, server, number, fault, "wait=9", prefix)
        self.world.heal()
        self.goes_on(client)
        self.world.store.deliver()

    @rule(client=clients, number=numbers, which=numbers)
    def a_base_is_under_way_when_a_server_dies_in_doubt(self, client: int, number: int, which: int) -> None:
        """Its manifest arrives when a successor has told the client that nothing came of its commit."""
        server = self.world.needed()
        if server is None or not self.with_something_staged(client, server, number):
            return
        folder = self.world.folder_of(server)
        self.begin("a_base_is_under_way_when_a_server_dies_in_doubt", f"{server.name}, {folder}")
        self.world.store.fail("put", "late", name=f"{folder}base-", times=FOR_GOOD)
        self.fails_to_ship(client, server, number, "unavailable", "respond-async", folder, parts=False)
        before = len(self.world.store.calls)
        if server.serving:
            server.worker(number).ask("base")
            eventually(lambda: self.was_sent("put", f"{folder}base-", before), server, 1.0)
        server.lose_disk()
        self.world.heal()
        self.world.start(self.world.servers[which])
        self.told_by(self.world.servers[which])
        self.world.store.deliver()

    @rule(
        first=any_number,
        second=any_number,
        fault=st.sampled_from([None, "cut-before", "cut-after", "accepted", "late"]),
    )
    def two_start_at_once(self, first: int, second: int, fault: Fault | None) -> None:
        """Each rests somewhere in its start while the other goes on."""
        idle = [server for server in self.world.servers if not server.alive][:2]
        if len(idle) < 2:
            return
        self.begin("two_start_at_once", f"{idle[0].name} {idle[1].name} {fault or ''}")
        if fault:
            self.world.store.fail("create_exclusive", fault, name="epochs/")
        for server, number in zip(idle, (first, second), strict=True):
            self.world.start(server, self.coverage.failpoint("parent", number, within="start."), "stop-self")
        for server in idle:
            self.world.wake(server)

    @rule(
        number=numbers,
        failpoint=any_number,
        step=st.sampled_from(sorted(TASKS)),
        action=st.sampled_from(["kill-self", "kill-group", "stop-self"]),
    )
    def a_process_ends_in_an_admins_task(self, number: int, failpoint: int, step: str, action: str) -> None:
        server, name = self.world.needed(), self.coverage.failpoint("worker", failpoint, within=step)
        if server is None or not name:
            return
        self.begin("a_process_ends_in_an_admins_task", f"of {server.name}, {action} at {name}")
        worker = server.worker(number)
        worker.arm(name, action)
        self.names += 1
        given = {"name": f"token{self.names}"} if TASKS[step] == "token" else {}
        if TASKS[step] == "prune" and worker.alive:  # there is nothing to prune without
            server.order("base", number)
        if worker.alive:
            self.world.say(f"{TASKS[step]}: {server.order(TASKS[step], number, **given)!r:.80}")
        self.world.pruned |= TASKS[step] == "prune"

    def goes_on(self, client: int) -> None:
        """A client who is in no doubt commits what is staged."""
        told = self.told[client]
        if told and not told.in_doubt:
            commits_at_last(self.world, told)
