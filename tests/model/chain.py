"""The protocol of commits and starts, step by step as in docs/durability.md, without any mistake.

A session is three facts (its state, its revision, the images that it adds), a server is one disk and the
step that it takes next, and each transition is labelled with the step's name. Everything may happen in any
order: a server may rest before every step for as long as it likes, which is what a pause is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tests.model import invariants
from tests.model.engine import replaced
from tests.model.events import Events, Transitions
from tests.model.facts import (
    Disk,
    Final,
    Left,
    Link,
    Name,
    Outbox,
    Record,
    Row,
    Rows,
    World,
    Writer,
    fetch,
    flipped,
    live,
    newest_revision,
    stored,
)


class Chain(Events):
    """Sessions of which `images[i]` says what session i adds; those `in_chain` are in the first record."""

    after_doubt: ClassVar = "settle"

    def __init__(self, images: Sequence[frozenset[str]], in_chain: Sequence[bool], left: Left) -> None:
        super().__init__(len(images))
        self.images, self._in_chain, self._left = tuple(images), tuple(in_chain), left

    def first(self) -> World:
        """W1 serves. All sessions are open on its disk; the chain knows some of them."""
        known = tuple(Row("open") if here else row for here, row in zip(self._in_chain, self.empty(), strict=True))
        name = Name(1, 0)
        record = self._cut(None, self.empty(), known, head_after=0)
        final = Final(Link(name, self.digest(record)), 0, known)
        disk = Disk((Row("open"),) * len(self.images), final)
        return World(
            claimed=1,
            store=stored(stored((), name, record), Name(1, 0, "owner"), 1),
            flying=(),
            writers=(Writer(1, "lane", 1, disk, serving=True),),
            told=("",) * len(self.images),
            shown=frozenset(),
            left=self._left,
        )

    def broken(self, world: World) -> str | None:
        return invariants.broken(self, world)

    def after(self, world: World) -> Transitions:
        yield from self._arrivals(world)
        yield from self._starts(world)
        for writer in world.writers:
            if writer.at not in ("dead", "stopped"):
                yield from self._deaths(world, writer)
                yield from self._clients(world, writer)
                yield from self._bases(world, writer)
                yield from self._next(world, writer)

    # What a server does

    def _next(self, world: World, writer: Writer) -> Transitions:
        if writer.at == "fenced":
            return
        if writer.at in self.starting:
            step = {
                "start.claim": self._claim,
                "start.owner": self._own,
                "start.find": self._find,
                "start.disk": self._take_over,
                "start.recover": self._recover,
            }[writer.at]
            yield from step(world, writer)
        elif writer.disk:
            if writer.at == "lane":
                yield from self._lane(world, writer, writer.disk)
            elif writer.disk.outbox:
                step_of_record = self._settle if writer.at == "settle" else self._final
                yield from step_of_record(world, writer, writer.disk, writer.disk.outbox)

    def _onward(self, writer: Writer) -> Writer:
        return writer._replace(at=self.starting[self.starting.index(writer.at) + 1])

    def _claim(self, world: World, writer: Writer) -> Transitions:
        epoch = world.claimed + 1
        mine = self._onward(writer)._replace(epoch=epoch)
        yield f"{writer} start.claim {epoch}: 201", self._with(world._replace(claimed=epoch), mine)
        if world.left.doubts:
            left = world.left._replace(doubts=world.left.doubts - 1)
            yield (
                f"{writer} start.claim {epoch}: in doubt, then 202: nobody's",
                world._replace(claimed=epoch, left=left),
            )

    def _own(self, world: World, writer: Writer) -> Transitions:
        store = stored(world.store, Name(writer.epoch, 0, "owner"), writer.name)
        yield f"{writer} start.owner", self._with(world._replace(store=store), self._onward(writer))

    def _find(self, world: World, writer: Writer) -> Transitions:
        """One question a step: owner and opening record downwards, then records upwards."""
        store, end = world.store, writer.end
        if end is None:
            newest = (writer.epoch or world.claimed + 1) - 1
            end = Name(newest, -1)
        following = Name(end.epoch, end.seq + 1)
        if fetch(store, following) is not None and fetch(store, Name(end.epoch, 0, "owner")) is not None:
            yield f"{writer} start.find {following}: there", self._with(world, writer._replace(end=following))
        elif end.seq < 0:
            older = Name(end.epoch - 1, -1)
            yield f"{writer} start.find epoch {end.epoch}: not opened", self._with(world, writer._replace(end=older))
        else:
            found = self._onward(writer)._replace(end=end)
            yield f"{writer} start.find {following}: absent, {end} is the end", self._with(world, found)

    def _take_over(self, world: World, writer: Writer) -> Transitions:
        assert writer.end
        disk, end = writer.disk, Link(writer.end, self.digest(self.record(world.store, writer.end)))
        rows = self.restored(world.store, end.name)
        if disk and disk.final and disk.final.link.name > end.name:
            what, after = f"refuses: it is ahead of {end.name}", writer._replace(at="stopped")
        elif rows is None:
            what, after = "refuses: the chain is broken", writer._replace(at="stopped")
        elif disk and (kept := self.kept(disk, end, rows)):
            what, after = "is kept", self._onward(writer)._replace(disk=kept)
        else:
            what, after = "is restored", self._onward(writer)._replace(disk=Disk(rows, None))
        yield f"{writer} start.disk {what}", self._with(world, after)

    def kept(self, disk: Disk, end: Link, rows: Rows) -> Disk | None:
        """The disk, if the chain's end is its last final record or the one in its outbox; `rows` are the end's."""
        final, owed = disk.final, disk.outbox
        if final and final.link == end:
            return disk._replace(outbox=None)
        if owed and self.link(owed) == end:
            return Disk(disk.rows, Final(end, owed.record.head_after, owed.rows))
        return None

    def _recover(self, world: World, writer: Writer) -> Transitions:
        disk, end = writer.disk, writer.end
        assert disk
        assert end
        record = self.record(world.store, end)
        final = disk.final or Final(Link(end, self.digest(record)), record.head_after, disk.rows)
        rows = self.recovered(disk.rows, record.head_after, kept=disk.final is not None)
        yield f"{writer} start.recover", self._recovered(world, writer._replace(at="lane", end=None), Disk(rows, final))

    def _recovered(self, world: World, writer: Writer, disk: Disk) -> World:
        return self._with(world, writer._replace(disk=disk))

    def _lane(self, world: World, writer: Writer, disk: Disk) -> Transitions:
        """Whoever holds the lane finishes what an earlier holder left, then goes on."""
        assert disk.final
        states = {row.state for row in disk.rows}
        opened = disk.final.link.name.epoch == writer.epoch
        if disk.outbox:
            yield from self._put(world, writer, disk, disk.outbox)
        elif flipped(disk.rows, disk.final.head_after) != disk.rows or (opened and not writer.serving):
            yield f"{writer} commit.flip", self._flip(world, writer, disk, disk.final.head_after)
        else:
            if "committing" in states and writer.serving:
                yield from self._merge(world, writer, disk)
            if "merged" in states or self.must_open(writer, disk.final):
                yield from self._owe(world, writer, disk, disk.final)

    def must_open(self, writer: Writer, final: Final) -> bool:
        return final.link.name.epoch != writer.epoch

    def _merge(self, world: World, writer: Writer, disk: Disk) -> Transitions:
        rows, told = disk.rows, world.told
        for session, row in enumerate(disk.rows):
            if row.state == "committing":
                if self._conflicts(rows, session):
                    rows = replaced(rows, session, Row("open"))
                    told = replaced(told, session, told[session] or "failed")
                else:
                    rows = replaced(rows, session, Row("merged", newest_revision(rows) + 1))
        yield (
            f"{writer} commit.merge",
            self._with(world._replace(told=told), writer._replace(disk=self._on(disk, rows))),
        )

    def _conflicts(self, rows: Rows, session: int) -> bool:
        there = [images for row, images in zip(rows, self.images, strict=True) if row.state in ("merged", "live")]
        return any(images & self.images[session] for images in there)

    def _owe(self, world: World, writer: Writer, disk: Disk, final: Final) -> Transitions:
        """Into the outbox, before anything is sent."""
        mine = final.link.name.epoch == writer.epoch
        name = Name(writer.epoch, final.link.name.seq + 1 if mine else 0)
        record = self._cut(final.link, final.rows, disk.rows, newest_revision(disk.rows))
        owing = writer._replace(disk=disk._replace(outbox=Outbox(name, record, disk.rows)))
        step = "snapshot.cut" if mine else "start.open, snapshot.cut"
        yield f"{writer} {step} {name}", self._with(world, owing)

    @staticmethod
    def _cut(parent: Link | None, before: Rows, rows: Rows, head_after: int) -> Record:
        changes = tuple((i, row) for i, (row, old) in enumerate(zip(rows, before, strict=True)) if row != old)
        return Record(parent, changes, head_after)

    def _put(self, world: World, writer: Writer, disk: Disk, owed: Outbox) -> Transitions:
        put = f"{writer} snapshot.put {owed.name}"
        applied = world._replace(store=stored(world.store, owed.name, owed.record))
        yield f"{put}: 201", self._with(applied, writer._replace(at="snapshot.final"))
        if world.left.doubts:
            doubtful = writer._replace(at=self.after_doubt)
            left = world.left._replace(doubts=world.left.doubts - 1)
            yield f"{put}: in doubt, applied", self._with(applied._replace(left=left), doubtful)
            yield f"{put}: in doubt, still under way", self._with(self._sent(world, owed), doubtful)

    def _settle(self, world: World, writer: Writer, disk: Disk, owed: Outbox) -> Transitions:
        found, back = fetch(world.store, owed.name), f"{writer} snapshot.put {owed.name}: read back"
        if found == owed.record:
            yield f"{back}, ours", self._with(world, writer._replace(at="snapshot.final"))
        elif found is not None:
            yield f"{back}, other bytes: stops", self._with(world, writer._replace(at="stopped"))
        elif self.newer_epoch(world, writer):
            yield f"{back}, absent; fenced", self._with(world, writer._replace(at="fenced"))
        else:
            yield f"{back}, absent: the same again", self._with(world, self.again(writer, disk, owed))

    def again(self, writer: Writer, disk: Disk, owed: Outbox) -> Writer:
        return writer._replace(at="lane")

    def newer_epoch(self, world: World, writer: Writer) -> bool:
        return world.claimed > writer.epoch

    def _final(self, world: World, writer: Writer, disk: Disk, owed: Outbox) -> Transitions:
        if self.newer_epoch(world, writer):
            yield f"{writer} snapshot.final {owed.name}: fenced", self._with(world, writer._replace(at="fenced"))
        else:
            final = Final(self.link(owed), owed.record.head_after, owed.rows)
            after = writer._replace(at="lane", disk=Disk(disk.rows, final))
            yield f"{writer} snapshot.final {owed.name}", self._with(world, after)

    def _flip(self, world: World, writer: Writer, disk: Disk, head_after: int) -> World:
        """Once the opening record is final, this also begins to serve."""
        assert disk.final
        rows = flipped(disk.rows, head_after)
        serving = writer.serving or disk.final.link.name.epoch == writer.epoch
        after = self._with(world, writer._replace(disk=self._on(disk, rows), serving=serving))
        return after._replace(shown=world.shown | live(rows)) if serving else after
