"""The story of one drift: it happens, a plan is made and applied, processes die, writers go on; then all agrees."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imagerepo.store import names
from imagerepo.testing.images import Picture
from tests.machine import repairing
from tests.reconcile import over_http
from tests.reconcile.drifts import agreement
from tests.reconcile.drifts.kinds import Kind
from tests.reconcile.drifts.scene import DEAD_EPOCH, DEAD_WRITER, KEPT, LAST, LONGEST_SECONDS, PICTURES, Death, Scene

Drift = tuple[Kind, int]
"""What befalls which picture."""


@dataclass(frozen=True)
class Round:
    """Drifts that come before a plan is made, and `later` ones, before it is applied."""

    drifts: Sequence[Drift]
    later: Sequence[Drift]


@dataclass(frozen=True)
class Story:
    """`first`: pictures that are live at the beginning. Then rounds of drift and repair, until somebody has died."""

    first: Sequence[int]
    rounds: Sequence[Round]
    death: Death


def play(scene: Scene, story: Story) -> None:
    """Raises AssertionError where anything is one-sided in the end, or something alive is lost."""
    assert scene.server.serving
    _commit(scene, KEPT, *(PICTURES[number] for number in story.first))
    with scene.writing():
        scene.arm(story.death)
        before = scene.deaths
        for each in story.rounds:
            _repair(scene, each)
            if scene.deaths > before:
                break
        scene.disarm()
        _repair(scene, Round((), ()))
    _give_up_what_is_open(scene)
    left = _repair_until_nothing_is_to_be_done(scene)
    _mend(scene, agreement.explained(scene, left))
    _commit(scene, LAST)  # with it every row is in the store
    agreement.check(scene, _repair_until_nothing_is_to_be_done(scene))


def _happen(scene: Scene, drifts: Sequence[Drift]) -> None:
    for kind, number in drifts:
        scene.world.say(f"{kind.__name__} {PICTURES[number].ident[:4]}")
        scene.world.coverage.rules[kind.__name__] += 1
        kind(scene, PICTURES[number])


def _repair(scene: Scene, during: Round) -> None:
    """Have a plan made and applied, as far as they get who may die of it."""
    _happen(scene, during.drifts)
    made = repairing.plan(scene.world, scene.server, 0, deep=True)
    _happen(scene, during.later)
    if repairing.order(scene.world, scene.server, 0, made):
        repairing.look(scene.world, scene.server)
    scene.settle()


def _give_up_what_is_open(scene: Scene) -> None:
    """Sessions whose writers never heard what was staged in them. A repair that broke off is gone on with."""
    with scene.client() as client:
        for session in over_http.every(client, "/api/v1/sessions?state=open"):
            if session["owner"] != "reconcile":
                assert client.delete(f"/api/v1/sessions/{session['id']}").status_code == 204


def _repair_until_nothing_is_to_be_done(scene: Scene) -> list[dict[str, Any]]:
    """Gives the findings of the last plan, which names nothing that applying it would change."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while True:
        scene.settle()
        made = repairing.plan(scene.world, scene.server, 0, deep=True)
        if made and made["state"] == "ready" and not made["actionable"] and not _off_the_chain(scene):
            with scene.client() as client:
                return over_http.every(client, f"{repairing.PLANS}/{made['id']}/findings")
        assert time.monotonic() < deadline, f"there is always something to repair: {made}"
        if repairing.order(scene.world, scene.server, 0, made):
            repairing.look(scene.world, scene.server)


def _off_the_chain(scene: Scene) -> bool:
    """Whether a dead writer's objects are there. They may be too young to go."""
    return any(True for _ in scene.world.objects.list(names.reign(DEAD_EPOCH, DEAD_WRITER)))


def _mend(scene: Scene, idents: set[str]) -> None:
    """What an operator does about bases that are damaged, or that older revisions show and the store has lost."""
    _commit(scene, *(picture for picture in PICTURES if picture.ident in idents))


def _commit(scene: Scene, *pictures: Picture) -> None:
    """Add them, and wait for it."""
    if pictures:
        session = scene.admin.commit([(picture, False) for picture in pictures])
        deadline = time.monotonic() + LONGEST_SECONDS
        while session.revision is None:
            assert not session.over and time.monotonic() < deadline, f"it can't be committed: {session}"
            scene.settle()
            scene.admin.ask_again()
