"""Two repositories never share an epoch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagerepo.errors import ConfigError
from imagerepo.store.swift_containers import epoch_containers

texts = st.lists(st.sampled_from(["a", "b", "-", "_", ".", "/", "1", "-epoch-", "_2d"]), max_size=6).map("".join)


def test_epochs_lie_beside_the_container() -> None:
    assert epoch_containers("photos", "") + "1" == "photos-epoch-1"
    assert epoch_containers("photos", "prod/eu-1") + "12" == "photos--prod_2feu_2d1-epoch-12"


@given(texts, texts, texts, texts)
def test_two_places_never_share_a_container(one: str, prefix: str, other: str, other_prefix: str) -> None:
    try:
        first, second = epoch_containers(one, prefix), epoch_containers(other, other_prefix)
    except ConfigError:
        return
    same = (one, prefix) == (other, other_prefix)
    assert (first + "1" == second + "1") == same
    for number in ("1", "23"):
        assert other != first + number, "an epoch would be another repository's container of objects"


@pytest.mark.parametrize(
    ("container", "prefix"),
    [("a-b", "c"), ("a", "b-c"), ("a", "b/c"), ("a", "b_2fc"), ("a-b-c", ""), ("a", "b.c"), ("a", "")],
)
def test_places_that_look_alike_are_told_apart(container: str, prefix: str) -> None:
    places = [("a-b", "c"), ("a", "b-c"), ("a", "b/c"), ("a", "b_2fc"), ("a-b-c", ""), ("a", "b.c"), ("a", "")]
    mine = epoch_containers(container, prefix)
    assert [epoch_containers(*place) == mine for place in places].count(True) == 1


@pytest.mark.parametrize(
    ("container", "prefix"),
    [
        ("", ""),
        ("a--b", ""),
        ("a-", ""),
        ("-a", ""),
        ("a/b", ""),
        ("a b", ""),
        ("photos-epoch-1", ""),
        ("a", "b//c"),
        ("a", "../b"),
        ("a", "b/.."),
        ("a", "."),
        ("a", "b c"),
        ("a" * 240, ""),
        ("a", "-" * 90),
    ],
)
def test_what_would_be_ambiguous_or_too_long_is_a_wrong_setting(container: str, prefix: str) -> None:
    with pytest.raises(ConfigError) as error:
        epoch_containers(container, prefix)
    assert repr(container) in str(error.value) or prefix in str(error.value)
