"""Rules of drift and its repair: store and rows that disagree, plans, purges, history; deletions met in the middle."""

from __future__ import annotations

import io

from hypothesis import strategies as st
from hypothesis.stateful import rule

from imagerepo.store import names
from imagerepo.store.names import Variant
from imagerepo.testing.faults import FOR_GOOD, Fault
from imagerepo.testing.images import Picture
from tests.machine import repairing
from tests.machine.ledger import Told
from tests.machine.servers import Server, ends, eventually
from tests.machine.story import PICTURES, Story, any_number, clients, numbers, pictures, waits
from tests.machine.world import PATIENCE_SECONDS

SMALL = Variant(2, 2, "jpg")
FOREIGN = "images/notes.txt"
PHASES = (
    ("reconcile.condemn>snapshot.final", 1),
    ("-/store.stat images", 1),
    ("-/store.stat images", 2),
    ("reconcile.delete", 1),
    ("reconcile.", 1),
)
"""Parts of the names of failpoints, from the look at a base to the end of its mark, and at which pass."""

often = st.sampled_from([True, True, False])
rarely = st.sampled_from([False, False, True])
doubts = st.sampled_from(["late", "late", "late", "hang", "cut-before", "cut-after"])
how_often = st.sampled_from([1, FOR_GOOD])
endings = st.sampled_from(["nothing", "worker", "server", "disk"])

rule_of_a_doubt = rule(
    client=clients,
    picture=pictures,
    number=numbers,
    which=numbers,
    fault=doubts,
    times=how_often,
    ending=endings,
    passes=rarely,
)
"""A DELETE's answer is lost, and perhaps more; then its image comes back."""


class Repairs(Story):
    @rule(picture=pictures, kind=st.sampled_from(["base", "derivative", "foreign"]))
    def the_store_has_what_nobody_wants(self, picture: int, kind: str) -> None:
        orphan = self.orphan(picture)
        self.begin("the_store_has_what_nobody_wants", f"{kind} {orphan.ident[:4]}")
        if kind == "derivative":
            self.put(names.derivative(orphan.ident, SMALL), b"smaller")
        elif kind == "foreign":
            self.put(FOREIGN, b"somebody's")

    @rule(which=any_number)
    def the_store_loses_a_base(self, which: int) -> None:
        """Of all but one, as reconcile takes a store that has none for another one."""
        server = self.at_rest()
        if server is None:
            return
        live = sorted(self.world.found.live.keys() - self.world.ledger.lost.keys())
        if len(live) < 2:
            return
        ident = live[which % len(live)]
        self.begin("the_store_loses_a_base", ident[:4])
        with self.world.objects.get(names.base(ident)) as reader:
            self.world.ledger.lost[ident] = reader.read()
        self.world.ledger.once_lost.add(ident)
        self.world.ledger.mends = True
        self.world.objects.delete([names.base(ident)])

    @rule(number=numbers, deep=st.booleans(), together=st.booleans())
    def an_admin_reconciles(self, number: int, deep: bool, together: bool) -> None:
        """Perhaps while every client commits."""
        server = self.world.needed()
        if server is None:
            return
        self.begin("an_admin_reconciles", f"{server.name} {'deeply' if deep else ''}")
        repairing.order(self.world, server, number, repairing.plan(self.world, server, number, deep=deep))
        asked = [self.asks_commit(told, server, n, "wait=9") for n, told in enumerate(self.told) if together]
        repairing.look(self.world, server)
        for each in asked:
            if each:
                ends(each.answer, server, PATIENCE_SECONDS)

    @rule(which=any_number, picture=pictures, number=numbers)
    def an_admin_takes_an_image_down(self, which: int, picture: int, number: int) -> None:
        server = self.at_rest()
        if server is None:
            return
        self.world.look()
        known = [*sorted(self.world.found.live), PICTURES[picture].ident]
        ident = known[which % len(known)]
        self.begin("an_admin_takes_an_image_down", ident[:4])
        if server.serving:
            repairing.take_down(self.world, server, number, ident)
            repairing.look(self.world, server)

    @rule(number=numbers, kept=st.integers(0, 3))
    def history_ends(self, number: int, kept: int) -> None:
        server = self.world.needed()
        if server is None or self.world.working(server):
            return
        self.begin("history_ends", f"but for {kept} revisions")
        repairing.gives_order(self.world, server, number, "history", kept=kept)

    @rule()
    def time_passes(self) -> None:
        self.begin("time_passes")
        repairing.settles(self.world)

    @rule(client=clients, picture=pictures, number=numbers, wait=waits, moment=st.sampled_from(["early", "late"]))
    def an_image_comes_back_before_its_repair(
        self, client: int, picture: int, number: int, wait: str, moment: str
    ) -> None:
        """Staged before the plan is applied, or after; in any case it was no image's when the plan was made."""
        server = self.at_rest()
        if server is None:
            return
        orphan = self.orphan(picture)
        self.begin("an_image_comes_back_before_its_repair", f"{orphan.ident[:4]} {moment}")
        made = repairing.plan(self.world, server, number)
        if moment == "early":
            self.adds(client, server, number, orphan)
        ordered = repairing.order(self.world, server, number, made)
        if ordered and moment == "late":
            self.adds(client, server, number, orphan)
        asked = self.asks_commit(self.told[client], server, number, wait)
        if asked:
            ends(asked.answer, server, PATIENCE_SECONDS)
        repairing.look(self.world, server)

    @rule_of_a_doubt
    def a_deletion_is_in_doubt(
        self, client: int, picture: int, number: int, which: int, fault: Fault, times: float, ending: str, passes: bool
    ) -> None:
        """Its image comes back, perhaps under another server; then what is late arrives."""
        server = self.at_rest()
        if server is None:
            return
        orphan = self.orphan(picture)
        self.begin("a_deletion_is_in_doubt", f"{orphan.ident[:4]} {fault}, {times} times; {ending} dies")
        if repairing.order(self.world, server, number, repairing.plan(self.world, server, number)):
            self.fails_to_delete(server, fault, times)
            self.dies(server, ending, which)
            self.comes_back_in_doubt(client, number, orphan, passes)

    @rule_of_a_doubt
    def a_purge_is_in_doubt(
        self, client: int, picture: int, number: int, which: int, fault: Fault, times: float, ending: str, passes: bool
    ) -> None:
        """Of an image that a client had committed a moment ago, and adds again."""
        server = self.at_rest()
        if server is None or not self.adds(client, server, number, PICTURES[picture]):
            return
        self.begin("a_purge_is_in_doubt", f"{PICTURES[picture].ident[:4]} {fault}, {times} times; {ending} dies")
        self.commits_now(client, server, number)
        if server.serving and not self.under_way(server):
            repairing.take_down(self.world, server, number, PICTURES[picture].ident)
            self.fails_to_delete(server, fault, times)
            self.dies(server, ending, which)
            self.comes_back_in_doubt(client, number, PICTURES[picture], passes)

    @rule(
        client=clients,
        picture=pictures,
        failpoint=any_number,
        phase=st.sampled_from(PHASES),
        number=numbers,
        which=numbers,
        passes=often,
    )
    def another_takes_over_in_mid_deletion(
        self, client: int, picture: int, failpoint: int, phase: tuple[str, int], number: int, which: int, passes: bool
    ) -> None:
        """The image comes back under the other one; then the first one wakes."""
        server = self.at_rest()
        if server is None:
            return
        part, nth = phase
        name = self.coverage.failpoint("worker", failpoint, within=part)
        orphan = self.orphan(picture)
        self.begin("another_takes_over_in_mid_deletion", f"{orphan.ident[:4]}, of {server.name} at {name}")
        made = repairing.plan(self.world, server, number)
        for worker in server.workers if name else []:
            worker.arm(name, "stop-self", nth)
        repairing.order(self.world, server, number, made)
        repairing.look(self.world, server)
        others = [other for other in self.world.servers if not other.alive]
        if others:
            self.world.start(others[which % len(others)])
        if passes:
            repairing.settles(self.world)
        self.comes_back(client, number, orphan)
        self.world.wake(server)

    @rule(
        number=numbers,
        picture=pictures,
        failpoint=any_number,
        step=st.sampled_from(["reconcile.", "reconcile.", "purge.", "fixity.", "-/"]),
        action=st.sampled_from(["kill-self", "kill-group", "stop-self"]),
    )
    def a_process_ends_in_mid_repair(self, number: int, picture: int, failpoint: int, step: str, action: str) -> None:
        server, name = self.at_rest(), self.coverage.failpoint("worker", failpoint, within=step)
        if server is None or not name:
            return
        self.begin("a_process_ends_in_mid_repair", f"of {server.name}, {action} at {name}")
        orphan = self.orphan(picture)
        self.put(names.derivative(orphan.ident, SMALL), b"smaller")
        for worker in server.workers:
            worker.arm(name, action)
        if step == "purge.":
            live = sorted(self.world.found.live)
            repairing.take_down(self.world, server, number, live[0] if live else PICTURES[picture].ident)
        if server.serving:
            repairing.order(self.world, server, number, repairing.plan(self.world, server, number))
            repairing.look(self.world, server)
        if step == "purge.":
            repairing.gives_order(self.world, server, number, "history", kept=0)

    def at_rest(self) -> Server | None:
        """The current server, where no client is in doubt; those that wait for a mark get its time."""
        for _ in range(2):
            server = self.world.needed()
            if server is not None and not self.under_way(server):
                return server
            repairing.settles(self.world)
        return None

    def put(self, name: str, content: bytes) -> None:
        self.world.objects.put(name, io.BytesIO(content), media_type="image/png")

    def orphan(self, picture: int) -> Picture:
        """Put a picture into the store that no row refers to, as far as can be seen: a contested one, if it may be."""
        chosen = PICTURES[picture]
        if chosen.ident in self.world.found.referred or self.world.ledger.staged_by(chosen.ident):
            self.fresh += 1
            chosen = PICTURES[self.fresh]
        self.put(names.base(chosen.ident), chosen.data)
        return chosen

    def adds(self, client: int, server: Server, number: int, picture: Picture) -> bool:
        """Stage the picture, in the client's open session or a new one."""
        told = self.told[client]
        if not self.is_open(told, server):
            told = self.opens(client, server, number) if server.serving else None
        if told is None or not server.serving:
            return False
        self.changes(told, server, number, [("stage", PICTURES.index(picture), "A")])
        return self.is_open(told, server)

    def comes_back(self, client: int, number: int, picture: Picture) -> None:
        """The client adds the picture, on whichever server is the current one, and commits."""
        server = self.world.needed()
        if server is not None and not self.under_way(server) and self.adds(client, server, number, picture):
            self.commits_now(client, server, number)

    def commits_now(self, client: int, server: Server, number: int) -> None:
        """Wait until the commit is settled, or waits for a mark."""
        asked = self.asks_commit(self.told[client], server, number, "wait=9")
        if asked:
            told = asked.told
            ends(asked.answer, server, PATIENCE_SECONDS)
            self.world.look()
            eventually(lambda: self.is_settled_or_waits(told, server, number), server, PATIENCE_SECONDS)
        self.world.look()

    def is_settled_or_waits(self, told: Told, server: Server, number: int) -> bool:
        if told.in_doubt and server.serving:
            self.reads(told, server, number)
        return not told.in_doubt or bool(repairing.gives_order(self.world, server, number, "marks"))

    def comes_back_in_doubt(self, client: int, number: int, picture: Picture, passes: bool) -> None:
        """After whoever carries repairs out now has looked."""
        self.world.heal()
        server = self.world.needed()
        if passes:
            repairing.settles(self.world)
        elif server is not None:
            repairing.look(self.world, server)
        self.comes_back(client, number, picture)
        self.world.store.deliver()

    def fails_to_delete(self, server: Server, fault: Fault, times: float) -> None:
        self.world.store.fail("delete", fault, name=names.IMAGES, times=times)
        repairing.look(self.world, server)

    def dies(self, server: Server, what: str, which: int) -> None:
        """Nothing of it, its workers, or all of it, with its disk or without."""
        if what == "worker":
            for worker in server.workers:
                worker.kill_alone()
            self.world.tend(server)
        elif what != "nothing":
            server.kill() if what == "server" else server.lose_disk()
            self.world.start(self.world.servers[which])
