"""Rules of admins and operators, and of time."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from imagerepo.errors import ImagerepoError
from tests.machine.restores import restored
from tests.machine.story import Story, any_number, clients, numbers, pictures
from tests.machine.world import NO_ANSWER


class Admins(Story):
    @rule(client=clients, picture=pictures, number=numbers)
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
        if task == "prune":  # there is nothing to prune without
            server.order("base", number)
        done = server.order(task, number, **given) if server.serving else None
        self.world.say(f"{task}: {done!r:.80}")
        self.world.pruned |= task == "prune"
        assert not isinstance(done, Exception) or isinstance(done, (*NO_ANSWER, ImagerepoError)), repr(done)
        if task == "token" and isinstance(done, str):
            self.world.ledger.tokens.add(given["name"])

    @rule(number=numbers)
    def an_admin_has_a_drill(self, number: int) -> None:
        """It finds all whole, unless the store has lost a base, or fails meanwhile."""
        server = self.world.needed()
        if server is None or self.world.working(server):
            return
        self.begin("an_admin_has_a_drill", server.name)
        failures = len(self.world.store.failed)
        found = server.order("drill", number)
        self.world.say(f"drill: {found!r:.80}")
        assert not isinstance(found, Exception) or isinstance(found, (*NO_ANSWER, ImagerepoError)), repr(found)
        if isinstance(found, list) and len(self.world.store.failed) == failures and not self.world.ledger.lost:
            assert not found, f"a drill found something, though nothing was damaged: {found}"

    @rule(revision=any_number)
    def an_operator_restores_beside(self, revision: int) -> None:
        self.begin("an_operator_restores_beside")
        if self.world.ledger.log:
            restored(self.world, 1 + revision % len(self.world.ledger.log))
