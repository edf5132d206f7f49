"""After any history and any pruning: what is promised can be restored, and what isn't says so; bytes do go."""

from __future__ import annotations

import io
import secrets
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from imagerepo.durability import ancestry, bases, chain, choosing, epochs, retention
from imagerepo.errors import Damaged
from imagerepo.store import names
from imagerepo.store.backends import open_memory
from tests import sampling
from tests.durability.reign import ONCE, Reign, rows

FAR_AHEAD = timedelta(days=1)


class History(RuleBasedStateMachine):
    """Commits, bases, restarts and prunings, and the rows that were durable at each noted moment."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="imagerepo-history-")
        self.path = Path(self._folder.name)
        self.store = open_memory()
        self.reign = Reign(self.path / "data", self.store).start()
        self.moments: list[tuple[datetime, list[int]]] = []
        self.promised_since: datetime | None = None
        self.abandoned: set[str] = set()

    def teardown(self) -> None:
        self.reign.close()
        self._folder.cleanup()

    @initialize()
    def begin(self) -> None:
        self._note()

    @rule(times=st.integers(1, 3))
    def commit(self, times: int) -> None:
        for _ in range(times):
            self.reign.commit()
            self._note()

    @rule(meanwhile=st.booleans())
    def make_a_base(self, meanwhile: bool) -> None:
        """Perhaps of a record that the live database is ahead of."""
        if meanwhile:
            self.reign.stage()
        bases.make(self.reign.writer)
        self._restore(*self.moments[-1])

    @rule()
    def commit_with_the_log_in_doubt(self) -> None:
        self.reign.forget_the_log()
        assert self.reign.commit().kind == "base"
        self._note()

    @rule()
    def restart(self) -> None:
        self.reign.die()
        self.reign.start()
        self._note()

    @rule()
    def restart_without_the_disk(self) -> None:
        self.reign.lose_disk()
        self.reign.start()
        assert self.reign.rows() == self.moments[-1][1]
        self._note()

    @rule()
    def leave_a_base_unfinished(self) -> None:
        state = self.reign.writer.state
        name = names.part(state.epoch, state.writer, secrets.token_hex(32))
        self.store.put(name, io.BytesIO(b"half a base"), media_type="x/y")
        self.abandoned.add(name)

    @rule(back=st.sampled_from([0, 0, 0, 1, 2, 4, 8]), behind_a_new_base=st.booleans())
    def prune(self, back: int, behind_a_new_base: bool) -> None:
        if behind_a_new_base:
            bases.make(self.reign.writer)
        moment, _ = self.moments[max(0, len(self.moments) - 1 - back)]
        cutoff = max(moment, self.promised_since or moment)
        before = self._names()
        later = self.reign.now() + FAR_AHEAD
        plan = retention.prune(self.reign.writer, cutoff, ONCE, abandoned=later, delete=True)
        gone = before - self._names()
        assert gone == {info.name for info in plan.objects}
        assert not any(name.startswith("images/") for name in gone)
        self.promised_since = cutoff
        self._assert_what_is_waste_went(plan)

    @precondition(lambda self: self.moments)
    @rule(at=st.integers(0, 1 << 16))
    def look_back(self, at: int) -> None:
        moment, durable = self.moments[at % len(self.moments)]
        self._restore(moment, durable)

    @invariant()
    def every_retained_snapshot_has_its_parts(self) -> None:
        there = self._names()
        for snapshot in chain.kept(self.store, self.reign.last(), ONCE):
            assert {part.name for part in snapshot.parts} <= there

    def _restore(self, moment: datetime, durable: list[int]) -> None:
        database = self.path / "restored.sqlite3"
        before = epochs.first_unclaimed(self.store, ONCE)
        try:
            choosing.restore_wanted(self.store, before, database, choosing.Wanted(at=moment), ONCE)
        except Damaged as error:
            assert "no snapshot is that old" in str(error), error
            assert self.promised_since and moment < self.promised_since, "it was promised"
        else:
            assert rows(database) == durable

    def _assert_what_is_waste_went(self, plan: retention.Plan) -> None:
        there, now = self._names(), self.reign.writer.state.epoch
        assert ancestry.unreachable(self.store, self.reign.writer.state, self.reign.now() + FAR_AHEAD, ONCE) == []
        for name in self.abandoned & there:
            part = names.parse(name)
            assert isinstance(part, names.Part)
            assert part.epoch == now, "it may be under way only in this epoch"
        if plan.base is None:
            return
        for name in there:
            thing = names.parse(name)
            assert getattr(thing, "epoch", plan.base.epoch) >= plan.base.epoch
            if isinstance(thing, names.Record) and thing.epoch == plan.base.epoch:
                assert thing.seq == 0 or thing.seq >= plan.base.seq

    def _note(self) -> None:
        self.moments.append((self.reign.now(), self.reign.rows()))

    def _names(self) -> set[str]:
        return {info.name for info in self.store.list(names.DB)}


TestPrunedHistories = History.TestCase
TestPrunedHistories.settings = settings(
    max_examples=3000 if sampling.SOAK else 25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
