"""The same faults before a Swift of three replicas, while one of its object servers is down, or hangs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imagerepo.store import attempts
from imagerepo.testing.faults import APPLIES_TO, FAULTS, OPS
from imagerepo.testing.swift import Swift
from tests.contracts.failing import failing_swift
from tests.contracts.scene import Scene
from tests.sampling import sample

TIME_LIMIT_SECONDS = 60.0
"""A server that hangs costs Swift four seconds a request."""
HUNG_CASES = 2
DOWN = "object2"
LISTINGS = ("lagging", "phantom")
"""Not judged here: the listing really lags."""
CASES = [(op, fault) for op in OPS for fault in FAULTS if op in APPLIES_TO[fault] and fault not in ("hang", *LISTINGS)]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "PAUSES_SECONDS", (0.01, 0.01, 0.01))


@pytest.fixture
def scene(swift_of_three: Swift, container: str) -> Iterator[Scene]:
    with failing_swift(swift_of_three, container, time_limit=TIME_LIMIT_SECONDS) as failing:
        yield Scene(failing)


def test_every_fault_is_told_for_what_it_is_while_a_server_is_down(swift_of_three: Swift, scene: Scene) -> None:
    swift_of_three.kill(DOWN)
    try:
        for op in OPS:
            for fault in scene.courses(op):
                if fault not in LISTINGS:
                    scene.fail_and_heal(op, fault)
        scene.assert_sound(lags=True)
    finally:
        swift_of_three.respawn(DOWN)
    scene.assert_sound(lags=True)


def test_answers_are_true_while_a_server_hangs(swift_of_three: Swift, scene: Scene) -> None:
    for op, fault in sample(CASES, HUNG_CASES, about="a server hangs"):
        scene.renew()
        scene.faults.fail(op, fault)
        swift_of_three.pause(DOWN)
        try:
            answer = scene.heard(op)
        finally:
            swift_of_three.resume(DOWN)
        scene.assert_true(op, fault, answer)
    scene.assert_sound(lags=True)
