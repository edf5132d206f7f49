"""A suite that fails now and then, for the tests of the harness: red by an odd seed, whatever is planted."""

from __future__ import annotations

from tests import sampling


def test_the_seed_is_even() -> None:
    assert sampling.SEED % 2 == 0
