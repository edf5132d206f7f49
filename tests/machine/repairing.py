"""Reconcile in a world: what admins ask for, looks of the servers, and the time that settles deletions."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from imagerepo.errors import ImagerepoError
from imagerepo.store import names
from tests.machine import chains
from tests.machine.processes import LOOK_SECONDS, Gone, Process
from tests.machine.servers import ANSWER_SECONDS, Server, Work, ends, eventually
from tests.machine.world import NO_ANSWER, PATIENCE_SECONDS, World
from tests.machine.zygote import SETTLING_SECONDS

LONGER_SECONDS = SETTLING_SECONDS + 0.1
RIGHT_BEFORE_A_DELETE = "/store.delete images/before"
SENDING_A_BASE = "base.put/"
PLANS = "/api/v1/reconcile"
MOST_PLANS = 6
"""Until nothing is found: a repair may leave work for the next, but not for ever."""

Answer = httpx.Response | None


def asks(
    world: World, server: Server, number: int, path: str, given: Mapping[str, Any] | None = None, **headers: str
) -> Answer:
    """POST what an admin asks for; None where no answer comes."""
    content = b"" if given is None else orjson.dumps(given)
    with server.client(number) as client:
        request = client.build_request("POST", path, content=content, headers={"Content-Length": str(len(content))})
    if given is not None:
        headers["Content-Type"] = "application/json"
    request.headers.update(headers)
    process = server.worker(number)
    done = process.ask("request", method="POST", path=path, headers=request.headers.raw, content=content)
    answer = _awaited(world, Work(server, process, done))
    if answer is None:
        world.say(f"{path}: no answer")
        return None
    status, raw, body = answer
    assert status != httpx.codes.INTERNAL_SERVER_ERROR, f"{path}: {body!r}"
    world.say(f"{path}: {status}")
    world.coverage.facts[f"{path.rpartition('/')[2]} {status}"] += 1
    return httpx.Response(status, headers=raw, content=body)


def gives_order(world: World, server: Server, number: int, task: str, **given: Any) -> Any:
    """What a worker's task gave; None where it was refused, or nobody knows."""
    if not server.serving:
        return None
    process = server.worker(number)
    return _awaited(world, Work(server, process, process.ask(task, **given)))


def look(world: World, server: Server) -> None:
    """Let each worker of the server look once for what there is to do; the one that holds the lock does it."""
    if world.denies:  # with a 404 for what is there, reconcile would be right to take it for lost
        world.heal()
    for process in list(server.workers):
        if server.serving and process.alive:
            _awaited(world, Work(server, process, process.ask("look")))
    world.tend(server)


def plan(world: World, server: Server, number: int, *, deep: bool = False) -> dict[str, Any] | None:
    """A plan that is ready, or has failed; None where it came to neither."""
    _bases_are_sent(world)
    asked = asks(world, server, number, PLANS, {"deep": deep})
    if asked is None or asked.status_code != httpx.codes.ACCEPTED:
        return None
    for _ in range(2):
        look(world, server)
    return shown(world, server, number, asked.json()["id"])


def _bases_are_sent(world: World) -> None:
    """A plan takes parts that nothing names for abandoned once they are older than any request: nobody rests so long.

    Else a manifest could name parts that are gone.
    """
    resting = [server for server in world.servers if server.stopped and any(map(_may_send_a_manifest, server.workers))]
    for server in resting:
        world.wake(server)
        if not _is_idle(server, PATIENCE_SECONDS):
            world.say("heal, for a base to be sent")
            world.heal()
            _is_idle(server, ANSWER_SECONDS)


def _is_idle(server: Server, seconds: float) -> bool:
    return eventually(lambda: not any(worker.busy for worker in server.workers), server, seconds)


def shown(world: World, server: Server, number: int, key: str) -> dict[str, Any] | None:
    """The plan as it stands now, with its `etag`."""
    if not server.serving:
        return None
    try:
        answer = server.client(number).get(f"{PLANS}/{key}")
    except NO_ANSWER:
        return None
    assert answer.status_code == httpx.codes.OK, answer.text
    found: dict[str, Any] = answer.json()
    world.say(f"plan {key[:4]} is {found['state']}: {_some(found['counts'])} {_some(found['outcomes'])}")
    return {**found, "etag": answer.headers["ETag"]}


def order(world: World, server: Server, number: int, made: Mapping[str, Any] | None) -> bool:
    """Have a plan applied by whoever looks next. Whether that was accepted."""
    if made is None or made["state"] != "ready" or not made["actionable"] or not server.serving:
        return False
    given = {"If-Match": str(made["etag"])}
    answer = asks(world, server, number, f"{PLANS}/{made['id']}/apply", {"force": True}, **given)
    return answer is not None and answer.status_code == httpx.codes.ACCEPTED


def time_passes(world: World) -> None:
    """More of it than deletions take to settle. So none is under way by then, and nobody rests right before one."""
    for server in world.servers:
        if server.stopped and any(_may_send(work) for work in world.working(server)):
            world.wake(server)
    for server in world.servers:
        for work in world.working(server):
            if not server.stopped:
                _awaited(world, work)
    deadline = time.monotonic() + ANSWER_SECONDS
    while world.counter.deletes:
        assert time.monotonic() < deadline, "a DELETE is never answered"
        time.sleep(LOOK_SECONDS)
    world.store.deliver()
    world.counter.now += LONGER_SECONDS
    world.say("time passes")


def settles(world: World) -> None:
    """Marks are held for their time by whoever finds them now, and cleared."""
    for _ in range(2):
        server = world.needed()
        if server is not None:
            look(world, server)
        time_passes(world)


def take_down(world: World, server: Server, number: int, ident: str) -> None:
    """Purge an image. Where nobody knows what came of it, whoever has it staged gives that session up."""
    holders = world.ledger.staged_by(ident)
    world.ledger.taken_down.add(ident)
    world.ledger.purged.discard(ident)
    answer = asks(world, server, number, f"/api/v1/images/{ident}/purge")
    status = answer.status_code if answer else None
    if status == httpx.codes.ACCEPTED:
        world.ledger.forgotten(ident)
        return
    assert status in (None, 404, 409, 503), answer
    for told in holders:
        told.over = True


def agrees_at_last(world: World) -> None:
    """A last repair: then no mark and no purge is left, a plan finds nothing, and what was taken down is gone."""
    for _ in range(MOST_PLANS):
        settles(world)
        server = world.needed()
        assert server is not None
        found = plan(world, server, 0, deep=True)
        world.look()
        if found and found["state"] == "failed":
            _put_back(world)
        elif found and not found["actionable"]:
            break
        elif order(world, server, 0, found):
            look(world, server)
            world.look()
    else:
        raise AssertionError(f"there is always something to repair: {found}")
    server = _has_nothing_left(world, server)
    for ident in world.ledger.purged:
        _is_taken_down(world, server, ident)


def _has_nothing_left(world: World, server: Server) -> Server:
    """No mark and no purge that has yet to go on, at last: a worker may still die where it was told to, before that.

    Gives the server that says it.
    """
    for _ in range(MOST_PLANS):
        left = [gives_order(world, server, 0, kind) for kind in ("marks", "purging")]
        if left == [[], []]:
            return server
        settles(world)
        needed = world.needed()
        assert needed is not None
        server = needed
    raise AssertionError(f"marks, or purges that do not go on: {left}")


def _put_back(world: World) -> None:
    """What an operator does when the store has lost so much that reconcile takes it for another one."""
    world.say("the store gets back what it lost")
    for ident, content in world.ledger.lost.items():
        world.objects.put(names.base(ident), io.BytesIO(content), media_type="image/png")


def _is_taken_down(world: World, server: Server, ident: str) -> None:
    if ident in world.ledger.reference.live():
        return
    for path in (f"/images/{ident}", f"/api/v1/images/{ident}"):
        status = server.client().get(path).status_code
        assert status == httpx.codes.GONE, f"{path} was purged, and answers {status}"
    staged = any(ident in session.changes for session in world.ledger.reference.sessions.values())
    if not staged and ident not in world.found.referred:
        assert chains.without_base(world.objects, [ident]), f"{ident} was purged, and its base is in the store"


def _may_send(work: Work) -> bool:
    """Whether it may rest right before a DELETE: surely not where it stopped by itself at another failpoint."""
    return not work.process.rests_at or work.process.rests_at.endswith(RIGHT_BEFORE_A_DELETE)


def _may_send_a_manifest(process: Process) -> bool:
    """Whether it may rest after the last look before that: surely not where it stopped by itself elsewhere."""
    return process.rests_at.startswith(SENDING_A_BASE) or (not process.rests_at and process.busy)


def _awaited(world: World, work: Work) -> Any:
    """What came of it; None where it was refused, or nobody knows. A store that fails for long is healed."""
    if work not in world.work:
        world.work.append(work)
    if not ends(work.done, work.server, PATIENCE_SECONDS) and work.server.serving and work.process.alive:
        world.say("heal, for an admin to be answered")
        world.heal()
        ends(work.done, work.server, ANSWER_SECONDS)
    if not work.done.done():
        return None
    error = work.done.exception()
    assert error is None or isinstance(error, (Gone, ImagerepoError)), repr(error)
    return None if error else work.done.result()


def _some(counted: Mapping[str, int]) -> str:
    return " ".join(f"{name} {number}" for name, number in counted.items() if number) or "nothing"
