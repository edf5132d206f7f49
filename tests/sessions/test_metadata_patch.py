"""JSON Merge Patch on what is said of an image."""

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagerepo.errors import InvalidMetadata
from imagerepo.sessions.metadata import MAX_ATTRIBUTES_BYTES, describe, description, merge_patch
from imagerepo.sessions.models import StagedImage

scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
objects = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


def has_null_member(value: object) -> bool:
    return isinstance(value, dict) and any(inner is None or has_null_member(inner) for inner in value.values())


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine draws slowly
@given(objects, objects)
def test_applying_a_patch_twice_is_applying_it_once(target, patch):
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine draws slowly
@given(objects)
def test_a_patch_of_nothing_changes_nothing(target):
    assert merge_patch(target, {}) == target


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine draws slowly
@given(objects)
def test_null_never_becomes_a_member(patch):
    assert not has_null_member(merge_patch({}, patch))


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine draws slowly
@given(objects, objects)
def test_members_that_a_patch_does_not_name_stay(target, patch):
    merged = merge_patch(target, patch)
    assert all(merged[name] == value for name, value in target.items() if name not in patch)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine draws slowly
@given(objects, objects)
def test_members_that_a_patch_nulls_go(target, patch):
    merged = merge_patch(target, patch)
    assert all(name not in merged for name, value in patch.items() if value is None)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine draws slowly
@given(objects, objects)
def test_neither_target_nor_patch_is_touched(target, patch):
    before = copy.deepcopy((target, patch))
    merge_patch(target, patch)
    assert (target, patch) == before


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "title": st.none() | st.text(max_size=5),
                "filename": st.none() | st.text(max_size=5),
                "tags": st.none() | st.lists(st.text(max_size=3), max_size=3),
            },
        ),
        max_size=4,
    )
)
def test_a_row_says_what_was_last_said_and_null_resets_it(patches):
    row, model = StagedImage(), {"title": "", "filename": "", "tags": []}
    for patch in patches:
        describe(row, patch)
        resets = {"title": "", "filename": "", "tags": []}
        model |= {name: resets[name] if value is None else value for name, value in patch.items()}
    assert {name: description(row)[name] for name in model} == model


def test_attributes_are_merged_and_not_replaced():
    row = StagedImage(attributes={"camera": {"make": "A", "model": "B"}, "roll": 7})
    describe(row, {"attributes": {"camera": {"model": None}, "shot": 1}})
    assert row.attributes == {"camera": {"make": "A"}, "roll": 7, "shot": 1}


def test_attributes_that_grow_over_the_limit_by_merging_are_refused():
    half = "x" * (MAX_ATTRIBUTES_BYTES // 2)
    row = StagedImage(attributes={"a": half})
    with pytest.raises(InvalidMetadata) as refused:
        describe(row, {"attributes": {"b": half}})
    assert refused.value.errors[0]["pointer"] == "/attributes"


def test_resetting_tags_of_one_row_leaves_other_rows_alone():
    one, other = StagedImage(tags=["a"]), StagedImage(tags=["a"])
    describe(one, {"tags": None})
    one.tags.append("mine")
    describe(other, {"tags": None})
    assert other.tags == []
