"""One change to a session, on a server and in the reference model, whose answers must be the same."""

from __future__ import annotations

import httpx

from imagerepo.testing.images import Picture
from imagerepo.testing.reference import Refused, Repository
from imagerepo.testing.remote import Remote
from imagerepo.testing.scripts import Describe, Discard, Operation, Outcome, Remove, Stage
from tests.machine.ledger import Told
from tests.machine.servers import Server
from tests.machine.world import NO_ANSWER, World


def change(world: World, told: Told, server: Server, number: int, kind: str, picture: Picture, title: str) -> None:
    _change(world, told, server, number, _operation(kind, told.key, picture, title))


def gives_way(world: World, told: Told, server: Server) -> None:
    """Discard what the last commit was refused for: others were first with it."""
    world.say(f"{told.key[:4]} gives way")
    world.coverage.facts["gave way to others"] += 1
    for ident in sorted(told.conflicts):
        if server.serving and not told.over:
            _change(world, told, server, 0, Discard(told.key, ident))


def _change(world: World, told: Told, server: Server, number: int, operation: Operation) -> None:
    """Where no answer comes, nobody knows what is staged: the client gives the session up."""
    before = len(world.ledger.log)
    try:
        with server.client(number) as client:
            said = _carried_out(operation, Remote(client, {told.key: f"/api/v1/sessions/{told.key}"}))
    except NO_ANSWER:
        told.over = True
        return
    except httpx.HTTPStatusError as error:
        assert error.response.status_code in (502, 503, 507), error.response.text
        told.over = True
        return
    if said in (("wrong-state", {}), ("session-not-found", {})):
        world.ledger.gone(told)
        return
    if told.modelled:
        expected = _carried_out(operation, world.ledger.reference)
        assert said == expected, f"{operation}: {said}, and not {expected}, at revision {before}"


def _operation(kind: str, key: str, picture: Picture, title: str) -> Operation:
    said = {"title": title} if title else {}
    if kind == "stage":
        return Stage(key, picture, "picture.png", said)
    if kind == "describe":
        return Describe(key, picture.ident, said)
    return (Remove if kind == "remove" else Discard)(key, picture.ident)


def _carried_out(operation: Operation, repository: Repository) -> Outcome:
    try:
        return operation.on(repository)
    except Refused as refused:
        return refused.problem, refused.conflicts
