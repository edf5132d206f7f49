"""Rules of clients."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.machine.servers import ends
from tests.machine.story import Story, clients, numbers, pictures, titles, waits
from tests.machine.world import NO_ANSWER, PATIENCE_SECONDS

changes = st.lists(
    st.tuples(st.sampled_from(["stage", "stage", "describe", "remove", "discard"]), pictures, titles),
    min_size=1,
    max_size=3,
)


class Clients(Story):
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
        asked = self.every_commit(self.world.needed(), number)
        if asked:
            self.begin("all_commit_together", " ".join(each.told.key[:4] for each in asked))

    @rule(picture=pictures, title=titles, number=numbers)
    def two_change_one_picture_and_commit(self, picture: int, title: str, number: int) -> None:
        """In conflict, unless they say the same; each has a picture of its own besides."""
        server = self.world.needed()
        if server is None or self.under_way(server):
            return
        self.begin("two_change_one_picture_and_commit", f"{picture}")
        for client, said in ((0, title), (1, title + "!")):
            told = self.opens(client, server, number + client)
            if told and server.serving:
                self.fresh += 1
                self.changes(told, server, number, [("stage", picture, said), ("stage", self.fresh, "")])
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
