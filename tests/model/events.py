"""What happens to servers from outside: late PUTs, starts, deaths, clients; and bases made in the background."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, TypeAlias

from tests.model.engine import replaced
from tests.model.facts import Disk, Final, Outbox, Row, Rows, World, Writer, fetch, stored
from tests.model.reading import Reading

Transitions: TypeAlias = Iterator[tuple[str, World]]


class Events(Reading):
    """Each method gives the transitions of one kind; what has no underscore is a rule that may be left out."""

    starting: ClassVar = ("start.claim", "start.owner", "start.find", "start.disk", "start.recover")

    def _arrivals(self, world: World) -> Transitions:
        for index, (name, content) in enumerate(world.flying):
            rest = (*world.flying[:index], *world.flying[index + 1 :])
            yield f"a late PUT of {name} arrives", world._replace(store=stored(world.store, name, content), flying=rest)

    def _starts(self, world: World) -> Transitions:
        if not world.left.starts:
            return
        left = world.left._replace(starts=world.left.starts - 1)
        new = Writer(max(writer.name for writer in world.writers) + 1, self.starting[0])
        yield f"{new} starts on an empty disk", world._replace(writers=(*world.writers, new), left=left)
        for dead in world.writers:
            if dead.at == "dead":
                others = tuple(writer for writer in world.writers if writer is not dead)
                heir = new._replace(disk=dead.disk)
                yield f"{new} starts on the disk of {dead}", world._replace(writers=(*others, heir), left=left)

    def _deaths(self, world: World, writer: Writer) -> Transitions:
        left = world.left
        if left.deaths:
            fewer = world._replace(left=left._replace(deaths=left.deaths - 1))
            yield from self._ends(fewer, writer, "dies", writer._replace(at="dead", serving=False, end=None))
        if left.worker_deaths and writer.serving and writer.disk and writer.disk.outbox:
            fewer = world._replace(left=left._replace(worker_deaths=left.worker_deaths - 1))
            next_worker = writer._replace(at="lane", disk=self.left_by_a_worker(writer.disk))
            yield from self._ends(fewer, writer, "loses the worker in the lane", next_worker)

    def _ends(self, world: World, writer: Writer, what: str, rest: Writer) -> Transitions:
        yield f"{writer} {what}", self._with(world, rest)
        owed = writer.disk.outbox if writer.disk else None
        if owed and writer.at == "lane" and world.left.doubts:
            yield f"{writer} {what}, its PUT of {owed.name} under way", self._with(self._sent(world, owed), rest)

    def left_by_a_worker(self, disk: Disk) -> Disk:
        return disk

    # What clients do, and what the background does

    def _clients(self, world: World, writer: Writer) -> Transitions:
        disk = writer.disk
        if not writer.serving or disk is None:
            return
        for session, row in enumerate(disk.rows):
            if world.told[session]:
                continue
            if row.state == "live":
                yield f"{writer} answers success for s{session}", self._tell(world, session, "success")
            elif row.state in ("aborted", "unknown"):
                yield f"{writer} answers {row.state} for s{session}", self._tell(world, session, "failed")
            elif writer.at != "fenced":
                yield from self._committing(world, writer, disk, session)

    def _committing(self, world: World, writer: Writer, disk: Disk, session: int) -> Transitions:
        row = disk.rows[session]
        if row.state == "open":
            claimed = self._on(disk, replaced(disk.rows, session, Row("committing")))
            yield f"{writer} commit.claim s{session}", self._with(world, writer._replace(disk=claimed))
        if row.state == "committing" and world.left.deadlines:
            left = world.left._replace(deadlines=world.left.deadlines - 1)
            after = self._tell(world._replace(left=left), session, "failed")
            given_back = writer._replace(disk=self._on(disk, self.given_back(disk.rows, session)))
            yield f"{writer} commit.give_back s{session}", self._with(after, given_back)

    def given_back(self, rows: Rows, session: int) -> Rows:
        return replaced(rows, session, Row("open"))

    def _bases(self, world: World, writer: Writer) -> Transitions:
        """base.build and base.put: of the newest final record, beside the lane."""
        disk = writer.disk
        if not (world.left.bases and writer.serving and writer.at != "fenced" and disk and disk.final):
            return
        name = disk.final.link.name._replace(kind="base")
        if fetch(world.store, name) is None:
            left = world.left._replace(bases=world.left.bases - 1)
            store = stored(world.store, name, self.base_of(disk, disk.final))
            yield f"{writer} base.put of {name}", world._replace(store=store, left=left)

    def base_of(self, disk: Disk, final: Final) -> Rows:
        return final.rows

    # Small changes of the world

    @staticmethod
    def _on(disk: Disk, rows: Rows) -> Disk:
        return disk._replace(rows=rows)

    @staticmethod
    def _tell(world: World, session: int, what: str) -> World:
        return world._replace(told=replaced(world.told, session, world.told[session] or what))

    @staticmethod
    def _sent(world: World, owed: Outbox) -> World:
        """A PUT that may still arrive, once."""
        left = world.left._replace(doubts=world.left.doubts - 1)
        return world._replace(flying=stored(world.flying, owed.name, owed.record), left=left)

    @staticmethod
    def _with(world: World, writer: Writer) -> World:
        """The world with this writer as it is now; a disk that nobody can start on any more is gone."""
        writers = (writer if each.name == writer.name else each for each in world.writers)
        some_start = world.left.starts > 0
        return world._replace(writers=tuple(each for each in writers if some_start or each.at != "dead"))
