"""The deletion of a base with one rule left out each: every class is one mistake, and must be caught."""

from __future__ import annotations

from tests.model.condemning import Condemning, Server, Transitions, World


class NoMark(Condemning):
    """Rows are looked at once more, and the base is deleted: grace period and protected images only."""

    def condemned(self, server: Server) -> Server:
        return server._replace(deleter="guards")


class CondemnedByThePlan(Condemning):
    """The mark is set without looking at the rows again."""

    def protects(self, server: Server) -> bool:
        return False


class MarkNotFinal(Condemning):
    """The DELETE is sent once the mark is on this disk."""

    def condemned(self, server: Server) -> Server:
        return server._replace(mark=True, deleter="guards")


class PresenceTrusted(Condemning):
    """A commit relies on an object that is there, whatever its mark says."""

    def must_wait(self, server: Server) -> bool:
        return False


class MarksSeenBeforeStaging(Condemning):
    """A commit looks for marks before its rows are staged, and not again."""

    def staged(self, server: Server) -> Server:
        return server if server.mark else server._replace(commit="stages")

    def _commits(self, world: World, server: Server) -> Transitions:
        if server.commit == "stages":
            staged = server._replace(row="staged", commit="uploads")
            yield f"{server} commit.claim", self._with(world, staged)
        else:
            yield from super()._commits(world, server)


class NoLookForNewerEpoch(Condemning):
    """A DELETE is sent without looking for a newer epoch."""

    def sees_newer_epoch(self, world: World, server: Server) -> bool:
        return False


class SecondAnswerSettles(Condemning):
    """A DELETE in doubt is sent again, and the second answer clears the mark."""

    def _wait(self, world: World, server: Server) -> Transitions:
        again = self._at(world._replace(there=False), server, "clears")
        yield f"{server} reconcile.delete again: 204", again


class InheritedMarksCleared(Condemning):
    """A mark that was found at the beginning is cleared at once."""

    def inherited(self, server: Server) -> Server:
        return server._replace(mark=False)


class RestsBeforeDelete(Condemning):
    """Not promised: a process rests between its last look and its DELETE for longer than the settling time."""

    rests_before_delete = True


CONDEMNING_MUTATIONS: tuple[type[Condemning], ...] = (
    NoMark,
    CondemnedByThePlan,
    MarkNotFinal,
    PresenceTrusted,
    MarksSeenBeforeStaging,
    NoLookForNewerEpoch,
    SecondAnswerSettles,
    InheritedMarksCleared,
)
