"""Any drift, with deaths in mid-repair and commits beside it: then nothing is one-sided, and nothing alive is lost.

IMAGEREPO_SOAK=1 draws a thousand.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from imagerepo.catalogue.models import Condemned, Image, ImageVersion
from imagerepo.durability.gate import write
from imagerepo.errors import NothingToCommit, ObjectNotFound
from imagerepo.reconcile.findings import Code
from imagerepo.sessions.models import State, UploadSession
from imagerepo.store import names
from tests import sampling
from tests.reconcile.drift import ident_of, put, put_derivative
from tests.reconcile.pausing import in_thread
from tests.reconcile.repairing import Repairing, repairing
from tests.sessions.workers import stage
from tests.waiting import until

IMAGES = range(5)
_examples = itertools.count()
WAIT_SECONDS = 0.2
KEPT = b"always there: else the store would be taken for another one"


@pytest.fixture(scope="module")
def repair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repairing]:
    with repairing(tmp_path_factory.mktemp("drifts")) as repair:
        repair.add(KEPT)
        yield repair


class Died(BaseException):
    """The process that repairs is gone."""


class Interrupted:
    """A store, before whose `call`-th question or deletion of an image something happens."""

    def __init__(self, store: Any, call: int, what: Callable[[], None]) -> None:
        self._inner, self._left, self._what = store, call, what

    def __getattr__(self, op: str) -> Any:
        method = getattr(self._inner, op)
        if op in ("stat", "delete"):
            return lambda subject, **options: (self._count(subject), method(subject, **options))[1]
        return method

    def _count(self, subject: Any) -> None:
        if isinstance(subject, str) and not subject.startswith(names.IMAGES):
            return
        self._left -= 1
        if self._left == 0:
            self._what()


def lose(repair: Repairing, content: bytes) -> None:
    repair.lose(ident_of(content))


def leave(repair: Repairing, content: bytes) -> None:
    put(repair.repository.store, content)
    put_derivative(repair.repository.store, content)


def damage(repair: Repairing, content: bytes) -> None:
    put(repair.repository.store, b"damaged", names.base(ident_of(content)))


def forget(repair: Repairing, content: bytes) -> None:
    """The rows are gone, as after a restore of older ones."""
    with write(durable=True):
        ImageVersion.objects.filter(image__ident=ident_of(content)).delete()
        Image.objects.filter(ident=ident_of(content)).delete()


def commit(repair: Repairing, content: bytes) -> None:
    with suppress(NothingToCommit):
        repair.add(content)


def remove(repair: Repairing, content: bytes) -> None:
    if ident_of(content) in repair.live():
        repair.remove(ident_of(content))


DRIFTS = [lose, leave, damage, forget, commit, remove]
Drift = tuple[Callable[[Repairing, bytes], None], int]
"""What happens to which of the example's images."""


def bytes_of(repair: Repairing, ident: str) -> str | None:
    """The digest of what is stored."""
    with suppress(ObjectNotFound), repair.repository.store.get(names.base(ident), newest=True) as reader:
        return hashlib.sha256(reader.read()).hexdigest()
    return None


def sound(repair: Repairing) -> set[str]:
    """Live images that can be had, byte for byte."""
    return {ident for ident in repair.live() if bytes_of(repair, ident) == ident}


def begin(repair: Repairing, contents: list[bytes]) -> list[UploadSession]:
    """Commit, without waiting for whoever meets a mark."""
    sessions = [stage(repair.repository.service.spool, content) for content in contents]
    return [repair.repository.service.committer.commit(session, wait=WAIT_SECONDS) for session in sessions]


def interrupted(repair: Repairing, call: int, dies: bool, beside: list[bytes]) -> set[str]:
    """Repair; at some call the process dies, or others begin to commit. What was committed meanwhile."""
    begun: list[UploadSession] = []

    def happen() -> None:
        if dies:
            raise Died
        begun.extend(in_thread(lambda: begin(repair, beside)))

    store, plan = repair.repository.store, repair.order(repair.plan(percent=100), force=True)
    inner, store._store = store._store, Interrupted(store._store, call, happen)  # type: ignore[assignment]
    try:
        with suppress(Died):
            repair.done(plan)
    finally:
        store._store = inner
    if dies:
        repair.die()
        begun += begin(repair, beside)
    repair.done(plan)
    settle(repair, begun)
    return {ident_of(content) for content in beside} if begun else set()


def mend(repair: Repairing, contents: list[bytes]) -> None:
    """What an operator does about damage: the plan says which, and leaves it alone."""
    (plan,) = repair.plans.all()[-1:]
    for finding in repair.findings(plan):
        if finding.code == Code.CORRUPT_BASE:
            put(repair.repository.store, next(each for each in contents if ident_of(each) == finding.ident))


def settle(repair: Repairing, begun: list[UploadSession]) -> None:
    """Time passes, marks are cleared, and what waited for them goes on."""
    repair.clock.now += 1
    repair.runner.look()
    assert Condemned.objects.count() == 0
    for session in begun:
        until(lambda session=session: session.refresh_from_db() or session.state == State.LIVE)  # type: ignore[misc]


@settings(
    max_examples=1000 if sampling.SOAK else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    drifts=st.lists(st.tuples(st.sampled_from(DRIFTS), st.sampled_from(IMAGES)), max_size=10),
    call=st.integers(1, 16),
    dies=st.booleans(),
    beside=st.lists(st.sampled_from(IMAGES), max_size=3, unique=True),
)
@example(drifts=[(leave, 0)], call=3, dies=True, beside=[0])
@example(drifts=[(leave, 0)], call=3, dies=False, beside=[0])
def test_afterwards_nothing_is_one_sided_and_nothing_alive_is_lost(
    repair: Repairing, drifts: list[Drift], call: int, dies: bool, beside: list[int]
) -> None:
    number = next(_examples)
    contents = [b"example %d, image %d" % (number, image) for image in IMAGES]
    for drift, image in drifts:
        drift(repair, contents[image])
    alive = sound(repair)
    committed = interrupted(repair, call, dies, [contents[image] for image in beside])
    for _ in range(3):
        plan = repair.plan(percent=100)
        mend(repair, contents)
        if not plan.actionable:
            break
        repair.apply(plan)
    last = repair.plan(percent=100)
    assert (last.actionable, last.counts.get(Code.CORRUPT_BASE, 0)) == (0, 0)
    assert alive <= sound(repair) == repair.live()
    assert committed <= repair.live()
    for plan in repair.plans.all():
        repair.plans.remove(plan)
