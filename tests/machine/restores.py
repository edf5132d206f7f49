"""Restores beside, and how a story ends."""

from __future__ import annotations

import time

import httpx

from imagerepo.durability import chain
from imagerepo.errors import Damaged
from tests.machine import chains
from tests.machine.ledger import Told
from tests.machine.repairing import agrees_at_last, settles
from tests.machine.servers import Server, ends
from tests.machine.staging import gives_way
from tests.machine.world import NO_ANSWER, World

REST_SECONDS = 20.0


def restored(world: World, revision: int) -> None:
    """`restore --revision`: a state that was live at it, or the news that it was pruned."""
    end = chains.end(world.objects)
    assert end is not None
    try:
        snapshot = chain.select(world.objects, end, chains.PATIENCE, revision=revision)
        view = chains.view(world.objects, snapshot, revision)
        missing = chains.without_base(world.objects, view.live.keys() & world.found.referred)
        assert missing <= world.ledger.lost.keys(), f"revision {revision} is kept, and the bases of {missing} are lost"
    except Damaged as error:
        world.say(f"revision {revision}: {error}")
        if not world.pruned:
            raise
    else:
        assert view.revision <= revision
        world.ledger.restored(view)


def comes_to_rest(world: World) -> None:
    """All is well again: every client then learns what became of its session, and every revision is there."""
    world.say("all is well again")
    world.heal()
    world.store.deliver()
    for server in world.servers:
        world.wake(server)
    world.look()
    deadline = time.monotonic() + REST_SECONDS
    while doubtful := [told for told in world.ledger.sessions.values() if told.in_doubt]:
        assert time.monotonic() < deadline, f"{[told.key for told in doubtful]} stay in doubt"
        settles(world)
        server = world.needed()
        assert server is not None
        for told in doubtful:
            try:
                answer = server.client().get(f"/api/v1/sessions/{told.key}")
            except NO_ANSWER:
                break
            world.heard(told, answer.status_code, answer.json())
        world.look()
    for told in world.ledger.sessions.values():
        if not told.over and told.revision is None:
            commits_at_last(world, told)
    world.look()
    agrees_at_last(world)
    for revision in range(1, len(world.ledger.log) + 1):
        restored(world, revision)


def commits_at_last(world: World, told: Told) -> None:
    """What is still open can be committed, but for what others were first with: what went wrong took none of it."""
    deadline = time.monotonic() + REST_SECONDS
    while not told.over and told.revision is None and not told.empty:
        assert time.monotonic() < deadline, f"{told.key} can't be committed"
        server = world.needed()
        assert server is not None
        if server.epoch < told.epoch:
            return
        if told.conflicts and not told.asked:
            gives_way(world, told, server)
        if server.serving and not told.over:
            _commits(world, told, server)
        if told.in_doubt:
            settles(world)


def _commits(world: World, told: Told, server: Server) -> None:
    """A server that is ready, as it says, gives no session back before a store that fails at nothing."""
    ready, failures = _is_ready(server), len(world.store.failed)
    asked = world.ask_commit(told, server, 0, "wait=9")
    ends(asked.answer, server, REST_SECONDS)
    world.look()
    answered = asked.answer.done() and asked.answer.exception() is None
    if ready and answered and len(world.store.failed) == failures:
        assert not told.given_back, f"{told.key} was given back, and nothing had failed: {asked.answer.result()}"


def _is_ready(server: Server) -> bool:
    try:
        return server.client().get("/readyz").status_code == httpx.codes.OK
    except NO_ANSWER:
        return False
