"""What the strategies of `imagerepo.testing` promise: what is taken is taken, what is refused is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagerepo.api.metadata import patch_of
from imagerepo.errors import InvalidMetadata
from imagerepo.sessions import metadata as limits
from imagerepo.sessions.metadata import merge_patch
from imagerepo.testing import strategies
from imagerepo.testing.images import EACH_FORMAT, Picture, good
from imagerepo.testing.reference import NOTHING_SAID, Reference, Refused, merged
from imagerepo.testing.scripts import Commit, Open, Operation, Script, Stage, play
from imagerepo.testing.strategies import RefusedMetadata

objects = strategies.attributes()


@given(said=strategies.metadata())
def test_the_metadata_are_taken(said: dict[str, Any]) -> None:
    assert patch_of(said).keys() == said.keys()


@given(refused=strategies.refused_metadata())
def test_refused_metadata_are_refused_for_the_one_thing_that_is_wrong(refused: RefusedMetadata) -> None:
    with pytest.raises(InvalidMetadata) as error:
        patch_of(refused.patch)
    assert [wrong["pointer"] for wrong in error.value.errors] == [refused.pointer]


@given(name=strategies.filenames())
def test_the_filenames_are_taken(name: str) -> None:
    assert patch_of({"filename": name}) == {"filename": name}


def test_the_limits_are_those_of_the_service() -> None:
    names = ("MAX_CHARACTERS", "MAX_TAGS", "MAX_TAG_CHARACTERS", "MAX_ATTRIBUTES_BYTES", "MAX_ATTRIBUTES_DEPTH")
    assert [getattr(strategies, name) for name in names] == [getattr(limits, name) for name in names]


def test_images_are_drawn_in_every_format_and_only_in_those_asked_for() -> None:
    for format in EACH_FORMAT:
        assert _formats(strategies.images([format])) == {format}
    assert _formats(strategies.images()) == set(EACH_FORMAT)


@given(before=objects, patch=objects)
def test_the_reference_patches_attributes_as_the_service_does(before: dict[str, Any], patch: dict[str, Any]) -> None:
    assert merged(before, patch) == merge_patch(before, patch)


def test_scripts_reach_every_operation_and_the_ends_that_matter() -> None:
    """Commits that succeed, that conflict, and that have nothing to commit."""
    operations: set[type[Operation]] = set()
    outcomes: set[object] = set()

    @settings(max_examples=80, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(script=strategies.scripts(st.sampled_from(["png", "gif"]).map(good)))
    def draw(script: Script) -> None:
        operations.update(map(type, script))
        outcomes.update(
            "live" if isinstance(outcome, int) else outcome[0]
            for operation, outcome in zip(script, play(script, Reference()), strict=True)
            if isinstance(operation, Commit) and isinstance(outcome, int | tuple)
        )

    draw()
    assert operations == set(Operation.__args__)
    assert outcomes == {"live", "conflict", "nothing-to-commit", "wrong-state"}


def test_a_reference_is_not_changed_by_what_it_gave() -> None:
    reference, picture = Reference(), good("png")
    play([Open("a"), Stage("a", picture, metadata={"tags": ["x"]}), Commit("a")], reference)
    reference.live()[picture.ident]["tags"].append("y")
    assert reference.live() == {picture.ident: NOTHING_SAID | {"tags": ["x"]}}
    assert reference.live(at=0) == {}


def test_a_reference_knows_no_session_that_was_not_opened() -> None:
    with pytest.raises(Refused, match="session-not-found"):
        Reference().commit("a")


def test_what_a_lost_disk_takes_is_what_was_open() -> None:
    reference = Reference()
    play([Open("a"), Stage("a", good("png")), Commit("a"), Open("b"), Stage("b", good("gif"))], reference)
    reference.lose_disk()
    assert set(reference.live()) == {good("png").ident}
    with pytest.raises(Refused, match="wrong-state"):
        reference.commit("b")


def _formats(pictures: st.SearchStrategy[Picture]) -> set[str]:
    found: set[str] = set()

    @settings(max_examples=100, database=None, derandomize=True, suppress_health_check=list(HealthCheck), deadline=None)
    @given(picture=pictures)
    def draw(picture: Picture) -> None:
        found.add(picture.format)

    draw()
    return found
