"""The chain's protocol with one rule left out each: every class is one mistake, and must be caught.

Each overrides one decision of `Chain`; its docstring is the mistake, in a sentence.
"""

from __future__ import annotations

from tests.model.chain import Chain
from tests.model.engine import replaced
from tests.model.events import Transitions
from tests.model.facts import (
    Disk,
    Final,
    Link,
    Name,
    Outbox,
    Record,
    Row,
    Rows,
    Store,
    World,
    Writer,
    flipped,
)
from tests.model.scenarios import KNOWN, STAGED, TWO, Scenario


class SuccessBeforeSnapshot(Chain):
    """Success is answered at the merge."""

    def _merge(self, world: World, writer: Writer, disk: Disk) -> Transitions:
        for label, after in super()._merge(world, writer, disk):
            merged = self._disk(after, writer).rows
            told = tuple(
                "success" if row.state == "merged" else was for row, was in zip(merged, after.told, strict=True)
            )
            yield label, after._replace(told=told)

    @staticmethod
    def _disk(world: World, writer: Writer) -> Disk:
        (disk,) = (each.disk for each in world.writers if each.name == writer.name)
        assert disk
        return disk


class FlipBeforeSnapshot(Chain):
    """What is merged goes live before its record is sent."""

    def _put(self, world: World, writer: Writer, disk: Disk, owed: Outbox) -> Transitions:
        if flipped(disk.rows, owed.record.head_after) != disk.rows:
            yield f"{writer} commit.flip", self._flip(world, writer, disk, owed.record.head_after)
        else:
            yield from super()._put(world, writer, disk, owed)


class NoEpochCheck(Chain):
    """Nobody looks for a newer epoch."""

    def newer_epoch(self, world: World, writer: Writer) -> bool:
        return False


class EpochCheckBeforePut(Chain):
    """The newer epoch is looked for before the PUT, and not after."""

    def _put(self, world: World, writer: Writer, disk: Disk, owed: Outbox) -> Transitions:
        if super().newer_epoch(world, writer):
            yield f"{writer} sees a newer epoch: fenced", self._with(world, writer._replace(at="fenced"))
        else:
            yield from super()._put(world, writer, disk, owed)

    def newer_epoch(self, world: World, writer: Writer) -> bool:
        return False


class ReadBeforeClaim(Chain):
    """A start reads the chain's end first, and claims then."""

    starting = ("start.find", "start.claim", "start.owner", "start.disk", "start.recover")


class OpeningNotFinal(Chain):
    """A start serves once its opening record is settled, without looking for a newer epoch."""

    def newer_epoch(self, world: World, writer: Writer) -> bool:
        return writer.serving and super().newer_epoch(world, writer)


class NoOpeningRecord(Chain):
    """A start serves after its recovery; its first record is its first commit's."""

    def _recovered(self, world: World, writer: Writer, disk: Disk) -> World:
        return super()._recovered(world, writer._replace(serving=True), disk)

    def must_open(self, writer: Writer, final: Final) -> bool:
        return False


class NoOutbox(Chain):
    """The next worker in the lane cuts the number anew."""

    def left_by_a_worker(self, disk: Disk) -> Disk:
        return disk._replace(outbox=None)


class NextNumberWhileInDoubt(Chain):
    """A record in doubt is sent again under the next number."""

    def again(self, writer: Writer, disk: Disk, owed: Outbox) -> Writer:
        following = Name(owed.name.epoch, owed.name.seq + 1)
        return writer._replace(at="lane", disk=disk._replace(outbox=owed._replace(name=following)))


class DoubtIsSuccess(Chain):
    """A PUT without an answer, or with a 202, is taken for applied."""

    after_doubt = "snapshot.final"


class GivenUpAfterMerge(Chain):
    """A merged session whose record is in doubt goes back to open, and its client hears so."""

    def _settle(self, world: World, writer: Writer, disk: Disk, owed: Outbox) -> Transitions:
        rows, told = disk.rows, world.told
        for session, row in enumerate(disk.rows):
            if row.state == "merged":
                rows, told = replaced(rows, session, Row("open")), replaced(told, session, told[session] or "failed")
        given_up = writer._replace(at="lane", disk=disk._replace(rows=rows, outbox=None))
        yield f"{writer} commit.give_back after the merge", self._with(world._replace(told=told), given_up)


class FencedSaysFailed(Chain):
    """A fenced server says that what it merged has failed."""

    def _next(self, world: World, writer: Writer) -> Transitions:
        yield from super()._next(world, writer)
        if writer.at == "fenced" and writer.serving and writer.disk:
            for session, row in enumerate(writer.disk.rows):
                if row.state == "merged":
                    yield f"{writer} fenced, says s{session} failed", self._tell(world, session, "failed")


class DeadlineWithoutCompareAndSet(Chain):
    """At the deadline the client hears "open", while the row stays committing."""

    def given_back(self, rows: Rows, session: int) -> Rows:
        return rows


class DiskAlwaysKept(Chain):
    """A start keeps the disk that it finds."""

    def kept(self, disk: Disk, end: Link, rows: Rows) -> Disk | None:
        return super().kept(disk, end, rows) or (Disk(disk.rows, disk.final) if disk.final else None)

    def _recover(self, world: World, writer: Writer) -> Transitions:
        assert writer.end
        rows = self.restored(world.store, writer.end)
        disk = writer.disk
        if disk and disk.final and rows:
            record = self.record(world.store, writer.end)
            final = Final(Link(writer.end, self.digest(record)), record.head_after, rows)
            writer = writer._replace(disk=disk._replace(final=final))
        yield from super()._recover(world, writer)


class DiskKeptIfItDescends(DiskAlwaysKept):
    """A disk behind the chain's end is kept, and what it lacks is replayed over it."""

    def kept(self, disk: Disk, end: Link, rows: Rows) -> Disk | None:
        exact = Chain.kept(self, disk, end, rows)
        if exact or disk.final is None:
            return exact
        replayed = (
            theirs if ours.state in ("unknown", "open", "committing") and theirs.state != "open" else ours
            for ours, theirs in zip(disk.rows, rows, strict=True)
        )
        return Disk(tuple(replayed), disk.final)


class MergeNotSynced(Chain):
    """A power cut can take the merge and leave its record in the outbox, and the log's place is not looked for."""

    def _deaths(self, world: World, writer: Writer) -> Transitions:
        yield from super()._deaths(world, writer)
        disk = writer.disk
        if world.left.deaths and disk and disk.outbox and disk.final:
            left = world.left._replace(deaths=world.left.deaths - 1)
            dead = writer._replace(at="dead", serving=False, disk=disk._replace(rows=disk.final.rows))
            yield f"{writer} loses its power, and the merge", self._with(world._replace(left=left), dead)

    def kept(self, disk: Disk, end: Link, rows: Rows) -> Disk | None:
        kept = super().kept(disk, end, rows)
        return kept and kept._replace(final=kept.final and kept.final._replace(rows=kept.rows))


class DeltasByNumber(Chain):
    """A restore applies every record there is in the order of the numbers, whatever its parent."""

    def restored(self, store: Store, end: Name) -> Rows | None:
        records = [content for name, content in store if name <= end and isinstance(content, Record)]
        return self._applied(self.empty(), records[::-1])


class BaseFromCurrentRows(Chain):
    """A base in the background is cut from the rows as they are now."""

    def base_of(self, disk: Disk, final: Final) -> Rows:
        return disk.rows


class NoRollForward(Chain):
    """Recovery from the store aborts what is merged and not live."""

    def recovered(self, rows: Rows, head_after: int, *, kept: bool) -> Rows:
        back = rows if kept else tuple(Row("aborted") if row.state == "merged" else row for row in rows)
        return super().recovered(back, head_after, kept=kept)


MUTATIONS: dict[type[Chain], Scenario] = {
    SuccessBeforeSnapshot: KNOWN.within(),
    FlipBeforeSnapshot: KNOWN.within(),
    NoEpochCheck: KNOWN.within(starts=1),
    EpochCheckBeforePut: KNOWN.within(starts=1, doubts=1),
    ReadBeforeClaim: KNOWN.within(starts=1),
    OpeningNotFinal: KNOWN.within(starts=2, deaths=1),
    NoOpeningRecord: KNOWN.within(starts=2),
    NoOutbox: TWO.within(worker_deaths=1, doubts=1),
    NextNumberWhileInDoubt: KNOWN.within(doubts=1),
    DoubtIsSuccess: KNOWN.within(doubts=1),
    GivenUpAfterMerge: KNOWN.within(doubts=1),
    FencedSaysFailed: KNOWN.within(starts=1),
    DeadlineWithoutCompareAndSet: KNOWN.within(deadlines=1),
    DiskAlwaysKept: KNOWN.within(starts=2, deaths=1),
    DiskKeptIfItDescends: KNOWN.within(starts=2, deaths=1),
    MergeNotSynced: KNOWN.within(starts=1, deaths=1),
    DeltasByNumber: STAGED.within(starts=2, deaths=1),
    BaseFromCurrentRows: STAGED.within(starts=2, bases=1),
    NoRollForward: KNOWN.within(),
}
"""Each with a scenario that is wide enough to show it."""
