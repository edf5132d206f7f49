"""Deleting the base of one image while sessions add it, and another server may take over (docs/reconcile.md).

Records are final in one step, as the chain's model (chain.py) shows that they may be taken: a writer that is
fenced gets none. Time is not modelled but by what it settles: no request is under way any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias


class Server(NamedTuple):
    """One server, or what is left of it: rows of the one image, its mark, and what its two hands do next."""

    epoch: int
    up: bool = True
    row: str = "none"
    """none, staged, live, or removed: then it is retained."""
    mark: bool = False
    deleter: str = "rests"
    """rests, condemns, ships, guards, deletes, waits or clears; stops where it is fenced."""
    commit: str = "none"
    """none, claims, looks, uploads, merges or ships; stops where it is fenced."""

    def __str__(self) -> str:
        return f"W{self.epoch}"


class Left(NamedTuple):
    starts: int = 1
    deaths: int = 1
    worker_deaths: int = 0
    doubts: int = 1
    changes: int = 2
    """Sessions that add the image, and those that remove it."""


class World(NamedTuple):
    there: bool
    """The base's object in the store."""
    flying: int
    """DELETEs that were sent and may still arrive."""
    row: str
    """Of the chain's last record, with the mark that it holds."""
    mark: bool
    promised: bool
    """Success was answered to who added it, and not since to who removed it."""
    servers: tuple[Server, ...]
    left: Left


Transitions: TypeAlias = Iterator[tuple[str, World]]


class Condemning:
    rests_before_delete: bool = False
    """Whether a process may rest between its last look and its DELETE for longer than all requests take."""

    def __init__(self, left: Left, *, live: bool = False) -> None:
        """`live`: the image is there from the beginning; else its object is nobody's."""
        self._left, self._row = left, "live" if live else "none"

    def first(self) -> World:
        first = Server(1, row=self._row)
        return World(True, 0, self._row, False, self._row == "live", (first,), self._left)

    def broken(self, world: World) -> str | None:
        if world.there:
            return None
        if world.promised:
            return "2: success was answered for the image, and its base is gone"
        if world.row == "live":
            return "6: a restore shows the image, and its base is gone"
        return None

    def after(self, world: World) -> Transitions:
        if world.flying:
            landed = world._replace(flying=world.flying - 1)
            yield "a late DELETE arrives", landed._replace(there=False)
            yield "a DELETE is lost for good", landed
        yield from self._starts(world)
        for server in world.servers:
            if server.up:
                yield from self._deaths(world, server)
                yield from self._commits(world, server)
                yield from self._deletes(world, server)

    # What happens to servers

    def _starts(self, world: World) -> Transitions:
        if world.left.starts:
            left = world.left._replace(starts=world.left.starts - 1)
            row = "none" if world.row == "staged" else world.row
            new = self.inherited(Server(world.servers[-1].epoch + 1, row=row, mark=world.mark))
            yield f"{new} takes over", world._replace(servers=(*world.servers, new), left=left)

    def inherited(self, server: Server) -> Server:
        """A mark that was found: nobody knows when its DELETE was sent."""
        return server._replace(deleter="waits") if server.mark else server

    def _deaths(self, world: World, server: Server) -> Transitions:
        left, dead = world.left, Server(server.epoch, up=False)
        if left.deaths:
            fewer = world._replace(left=left._replace(deaths=left.deaths - 1))
            yield from self._ends(fewer, server, "dies", dead)
        if left.worker_deaths and server.deleter != "rests":
            fewer = world._replace(left=left._replace(worker_deaths=left.worker_deaths - 1))
            yield from self._ends(fewer, server, "loses the deleter", self.inherited(server._replace(deleter="rests")))

    def _ends(self, world: World, server: Server, what: str, rest: Server) -> Transitions:
        yield f"{server} {what}", self._with(world, rest)
        if server.deleter == "deletes":
            sent = world._replace(flying=world.flying + 1)
            yield f"{server} {what}, its reconcile.delete under way", self._with(sent, rest)

    def _is_fenced(self, world: World, server: Server) -> bool:
        return server.epoch < world.servers[-1].epoch

    # What sessions do

    def _commits(self, world: World, server: Server) -> Transitions:
        if server.commit == "none":
            yield from self._changes(world, server)
        elif server.commit == "claims":
            claimed = server._replace(commit="looks")
            yield f"{server} commit.claim", self._with(world, claimed)
        elif server.commit == "looks":
            if not self.must_wait(server):
                yield f"{server} commit.upload: no mark", self._with(world, server._replace(commit="uploads"))
        elif server.commit == "uploads":
            what = "present" if world.there else "absent, put"
            uploaded = server._replace(commit="merges")
            yield f"{server} commit.upload: {what}", self._with(world._replace(there=True), uploaded)
        elif server.commit == "merges":
            yield f"{server} commit.merge", self._with(world, server._replace(commit="ships", row="live"))
        elif server.commit == "ships":
            yield from self._final(world, server, server._replace(commit="none"), promised=True)

    def must_wait(self, server: Server) -> bool:
        return server.mark

    def _changes(self, world: World, server: Server) -> Transitions:
        left = world.left._replace(changes=world.left.changes - 1)
        if world.left.changes and server.row == "none":
            yield f"{server} stages the image", self._with(world._replace(left=left), self.staged(server))
        elif world.left.changes and server.row == "live":
            removed = server._replace(row="removed")
            yield from self._final(world._replace(left=left), server, removed, promised=False)
        elif server.row == "removed":
            yield from self._final(world, server, server._replace(row="none"), promised=False)

    def staged(self, server: Server) -> Server:
        return server._replace(row="staged", commit="claims")

    def _final(self, world: World, server: Server, after: Server, *, promised: bool) -> Transitions:
        if self._is_fenced(world, server):
            yield f"{server} snapshot.final: fenced", self._with(world, server._replace(commit="stops"))
        else:
            recorded = world._replace(row=after.row, mark=after.mark, promised=promised)
            yield f"{server} snapshot.final: the image is {after.row}", self._with(recorded, after)

    # What the deleter does

    def _deletes(self, world: World, server: Server) -> Transitions:
        steps = {
            "rests": self._look,
            "condemns": self._condemn,
            "ships": self._ship,
            "guards": self._guard,
            "deletes": self._delete,
            "waits": self._wait,
            "clears": self._clear,
        }
        if server.deleter in steps:
            yield from steps[server.deleter](world, server)

    def _look(self, world: World, server: Server) -> Transitions:
        if server.row == "none" and world.there:
            yield f"{server} plans: there is an object, and no row", self._at(world, server, "condemns")

    def _condemn(self, world: World, server: Server) -> Transitions:
        if self.protects(server):
            yield f"{server} reconcile.condemn: a row refers to it", self._at(world, server, "rests")
        else:
            marked = self.condemned(server)
            yield f"{server} reconcile.condemn", self._with(world, marked)

    def protects(self, server: Server) -> bool:
        """Looked at in the transaction that sets the mark."""
        return server.row != "none"

    def condemned(self, server: Server) -> Server:
        return server._replace(mark=True, deleter="ships")

    def _ship(self, world: World, server: Server) -> Transitions:
        if self._is_fenced(world, server):
            yield f"{server} snapshot.final: fenced, no DELETE", self._at(world, server, "stops")
        else:
            recorded = world._replace(mark=server.mark)
            yield f"{server} snapshot.final: the mark", self._at(recorded, server, "guards")

    def _guard(self, world: World, server: Server) -> Transitions:
        if self.sees_newer_epoch(world, server):
            yield f"{server} looks for a newer epoch: fenced, no DELETE", self._at(world, server, "stops")
        else:
            yield f"{server} looks for a newer epoch: absent", self._at(world, server, "deletes")

    def sees_newer_epoch(self, world: World, server: Server) -> bool:
        return self._is_fenced(world, server)

    def _delete(self, world: World, server: Server) -> Transitions:
        yield f"{server} reconcile.delete: 204", self._at(world._replace(there=False), server, "clears")
        if world.left.doubts:
            left = world.left._replace(doubts=world.left.doubts - 1)
            sent = world._replace(flying=world.flying + 1, left=left)
            yield f"{server} reconcile.delete: no answer", self._at(sent, server, "waits")

    def _wait(self, world: World, server: Server) -> Transitions:
        if self._is_settled(world, server):
            yield f"{server} waits until no request is under way", self._at(world, server, "clears")

    def _is_settled(self, world: World, server: Server) -> bool:
        """The settling time has passed: what was sent has arrived or never will, and nobody is about to send."""
        about_to_send = any(each.up and each.deleter == "deletes" for each in world.servers if each is not server)
        return not world.flying and (self.rests_before_delete or not about_to_send)

    def _clear(self, world: World, server: Server) -> Transitions:
        """On this disk; the chain's mark goes with the next record."""
        yield f"{server} reconcile.clear", self._with(world, server._replace(mark=False, deleter="rests"))

    @staticmethod
    def _with(world: World, server: Server) -> World:
        servers = (server if each.epoch == server.epoch else each for each in world.servers)
        return world._replace(servers=tuple(servers))

    def _at(self, world: World, server: Server, deleter: str) -> World:
        return self._with(world, server._replace(deleter=deleter))


SMALL = Left()
WIDE = Left(deaths=2, worker_deaths=2, doubts=2, changes=4), Left(starts=2, worker_deaths=1, changes=3)
