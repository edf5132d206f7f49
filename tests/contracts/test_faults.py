"""Under every fault an answer is right, or one of the seam's errors; a definite answer is never taken back."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagerepo.errors import StoreUnavailable
from imagerepo.store import attempts
from imagerepo.testing.faults import FOR_GOOD, OPS, Op
from tests.contracts.failing import Failing
from tests.contracts.scene import NOW, ONCE, Scene, expected, read

TIME_LIMIT_SECONDS = 2.0


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "PAUSES_SECONDS", (0.01, 0.01, 0.01))


@pytest.fixture(params=["memory", "local", "swift"])
def scene(request: pytest.FixtureRequest, new_failing: Callable[..., Failing]) -> Scene:
    return Scene(new_failing(request.param))


@pytest.fixture(params=["memory", "local", "swift"])
def hasty(request: pytest.FixtureRequest, new_failing: Callable[..., Failing]) -> Scene:
    """One whose backend gives up soon."""
    return Scene(new_failing(request.param, time_limit=TIME_LIMIT_SECONDS))


@pytest.mark.parametrize("op", OPS)
def test_after_a_single_fault_the_answer_is_true_and_the_next_one_right(scene: Scene, op: Op) -> None:
    for fault in scene.courses(op):
        scene.faults.fail(op, fault)
        first = scene.heard(op)
        scene.assert_true(op, fault, first)
        again = scene.heard(op)
        if op == "create_exclusive":
            assert [first, again].count(True) <= 1, fault
        else:
            assert again == scene.call(op, scene.behind), fault


@pytest.mark.parametrize("op", OPS)
def test_a_fault_that_stays_is_told_for_what_it_is_and_once_healed_all_is_well(scene: Scene, op: Op) -> None:
    for fault in scene.courses(op):
        scene.fail_and_heal(op, fault)
    scene.assert_sound()


def test_what_hangs_is_given_up_at_the_time_limit_and_once_healed_all_is_well(hasty: Scene) -> None:
    hasty.renew()
    for op in OPS:
        hasty.faults.fail(op, "hang", times=FOR_GOOD)
    begun = time.monotonic()
    with ThreadPoolExecutor(len(OPS)) as threads:
        answers = list(threads.map(hasty.heard, OPS))
    assert time.monotonic() - begun < TIME_LIMIT_SECONDS + 10
    assert answers == [expected(hasty.kind, op, "hang") for op in OPS]
    hasty.faults.heal()
    hasty.assert_sound()
    hasty.faults.deliver()
    assert read(hasty.store, ONCE) == NOW


@pytest.mark.parametrize("op", ["get", "stat"])
def test_a_name_written_once_has_no_stale_copy(scene: Scene, op: Op) -> None:
    """Swift answers 503 when only a server that missed it is up; and an old copy of what was overwritten."""
    scene.faults.fail(op, "stale", times=FOR_GOOD)
    with pytest.raises(StoreUnavailable):
        read(scene.store, ONCE) if op == "get" else scene.store.stat(ONCE, newest=True)
