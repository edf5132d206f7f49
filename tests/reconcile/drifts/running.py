"""Running stories of drifts: how many, by which seed."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests import steps
from tests.machine import running as machine
from tests.machine.coverage import Coverage
from tests.machine.processes import Nursery
from tests.reconcile.drifts.kinds import KINDS, a_base_is_left
from tests.reconcile.drifts.scene import CONTESTED, PICTURES, Death, Scene
from tests.reconcile.drifts.story import Round, Story, play

STEPS = ("commit.", "snapshot.", "reconcile.")
"""What the steps of commits, of plans and of their application begin with."""
NOT_PLAYED = {
    "commit.give_back": "the store answers all along",
    "snapshot.compare": "nobody asks for a snapshot",
}
"""Those of them that no drift needs, and why."""

ROUNDS = 3
"""Of drift and repair in one story, at most."""
EVERYTHING = Round([(kind, number % len(PICTURES)) for number, kind in enumerate(KINDS)], [(a_base_is_left, CONTESTED)])
"""Of each kind one."""
NOTHING = Round((), ())
SOUGHT = ((EVERYTHING, NOTHING, NOTHING), (EVERYTHING, EVERYTHING), (EVERYTHING, NOTHING, NOTHING))
"""Stories for one failpoint. What a dead writer left is old enough to be swept only if it does not come again."""
AFTER_A_DEATH = ("snapshot.cut/pages.base", "snapshot.cut/file.write part", "snapshot.put/store.put db/part")
"""Parts of names of failpoints that are not sought: a worker cuts a base in the lane only where a death left the log
in doubt. The machine's long run seeks them, as its stories have damaged chains healed."""

_pictures = st.integers(0, len(PICTURES) - 1)
_drifts = st.tuples(st.sampled_from(KINDS), _pictures)
_rounds = st.builds(Round, drifts=st.lists(_drifts, min_size=2, max_size=5), later=st.lists(_drifts, max_size=3))
_deaths = st.builds(
    Death,
    within=st.sampled_from(STEPS),
    number=st.integers(0, 1000),
    nth=st.sampled_from([1, 1, 1, 2, 3]),
    whole=st.booleans(),
    keeps=st.booleans(),
)
stories = st.builds(
    Story,
    first=st.lists(_pictures, max_size=CONTESTED, unique=True),
    rounds=st.lists(_rounds, min_size=ROUNDS, max_size=ROUNDS),
    death=_deaths,
)


def run(nursery: Nursery, coverage: Coverage, *, number: int, drifts: int) -> None:
    """Play as many stories, drawn by the seed `number`. Raises what the first bad one found, with its story.

    Nothing is shrunk and nothing remembered: a story played again is not quite the same, as its servers are real
    processes.
    """
    failures: list[Exception] = []

    @seed(number)
    @settings(
        max_examples=drifts,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(story=stories, chance=st.integers(0, 1 << 32))
    def plays(story: Story, chance: int) -> None:
        if failures:
            raise failures[0]
        try:
            _play(nursery, coverage, story, chance)
        except Exception as error:
            failures.append(error)
            raise

    try:
        plays()
    except BaseException:
        if failures:
            raise failures[0] from None
        raise


def seek_all(nursery: Nursery, coverage: Coverage) -> None:
    """Play stories for each failpoint that chance has not met."""
    for name in missed(coverage):
        for number, rounds in enumerate(SOUGHT):
            if not coverage.ended[name] and not comes_after_a_death(name):
                death = Death(within=name, number=0, nth=1, whole=False, keeps=True)
                _play(nursery, coverage, Story((0, 1, 2), rounds, death), number)


def missed(coverage: Coverage) -> list[str]:
    """Failpoints in the steps of commits and repairs that some process has passed, and where nobody died."""
    return [name for role, name in coverage.unmet() if role == "worker" and any(step in name for step in STEPS)]


def is_excused(name: str) -> bool:
    """Whether a long run may miss it."""
    return machine.is_by_chance(name) or comes_after_a_death(name)


def comes_after_a_death(name: str) -> bool:
    return any(part in name for part in AFTER_A_DEATH)


def unpassed(coverage: Coverage) -> list[str]:
    """Steps of commits and repairs that no process has passed at all."""
    return sorted(step for step in steps.of_the_code() - coverage.steps() - NOT_PLAYED.keys() if step.startswith(STEPS))


def _play(nursery: Nursery, coverage: Coverage, story: Story, chance: int) -> None:
    scene = Scene(nursery, coverage, random.Random(chance))
    try:
        play(scene, story)
        coverage.facts["drifts"] += 1
        coverage.facts["commits acknowledged"] += scene.ledger.acknowledged
    except Exception as error:
        error.add_note("\n".join([f"The story: {story}", *scene.world.story, *scene.world.logs()]))
        raise
    finally:
        scene.close()
