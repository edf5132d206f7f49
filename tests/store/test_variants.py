"""The arithmetic of derivatives."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from imagerepo.errors import LargerThanBase, TooCostlyToMake
from imagerepo.store.names import FORMATS, Region, Variant
from imagerepo.store.variants import MEDIA_TYPES, check, fit

SIDES = st.integers(1, 70_000)
BOUNDS = st.none() | SIDES


@given(base=st.tuples(SIDES, SIDES), width=BOUNDS, height=BOUNDS)
def test_what_fits_is_inside_the_box_and_never_larger_than_the_base(
    base: tuple[int, int], width: int | None, height: int | None
) -> None:
    fitted = fit(*base, width, height)
    assert 1 <= fitted[0] <= min(base[0], width or base[0])
    assert 1 <= fitted[1] <= min(base[1], height or base[1])


@given(base=st.tuples(SIDES, SIDES), width=BOUNDS, height=BOUNDS)
def test_proportions_are_kept_to_half_a_pixel_and_one_side_fills_the_box(
    base: tuple[int, int], width: int | None, height: int | None
) -> None:
    fitted = fit(*base, width, height)
    scale = min(Fraction(1), Fraction(width or base[0], base[0]), Fraction(height or base[1], base[1]))
    for side, whole in zip(fitted, base, strict=True):
        assert side == 1 or -Fraction(1, 2) < side - whole * scale <= Fraction(1, 2)
    assert fitted == base or fitted[0] == width or fitted[1] == height


@pytest.mark.parametrize(
    ("base", "box", "fitted"),
    [
        ((3000, 2000), (1024, None), (1024, 683)),
        ((4, 2), (1, None), (1, 1)),  # a half is rounded up
        ((10, 5), (5, None), (5, 3)),
        ((10_000, 3), (100, 100), (100, 1)),  # never less than a pixel
        ((100, 50), (4000, 4000), (100, 50)),
        ((100, 50), (None, None), (100, 50)),
    ],
)
def test_sizes_as_a_person_would_work_them_out(
    base: tuple[int, int], box: tuple[int | None, int | None], fitted: tuple[int, int]
) -> None:
    assert fit(*base, *box) == fitted


@pytest.mark.parametrize("box", [(0, None), (None, 0), (-1, 5)])
def test_an_empty_box_fits_nothing(box: tuple[int | None, int | None]) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        fit(10, 10, *box)


@given(base=st.tuples(SIDES, SIDES), size=st.tuples(SIDES, SIDES))
def test_a_derivative_may_be_as_large_as_its_base_and_no_larger(base: tuple[int, int], size: tuple[int, int]) -> None:
    variant = Variant(*size, format="png")
    if size[0] <= base[0] and size[1] <= base[1]:
        check(variant, *base)
    else:
        with pytest.raises(LargerThanBase):
            check(variant, *base)


@given(base=st.tuples(SIDES, SIDES), left=st.integers(0, 70_000), width=SIDES)
def test_a_region_lies_within_the_base(base: tuple[int, int], left: int, width: int) -> None:
    assume(left + width > base[0])
    with pytest.raises(LargerThanBase, match="region"):
        check(Variant(1, 1, format="jpg", region=Region(left, 0, width, 1)), *base)


def test_a_cut_is_not_enlarged() -> None:
    check(Variant(10, 10, format="jpg", region=Region(5, 5, 10, 10)), 100, 100)
    with pytest.raises(LargerThanBase, match="10x10"):
        check(Variant(11, 10, format="jpg", region=Region(5, 5, 10, 10)), 100, 100)


def test_a_format_is_not_asked_for_a_size_that_it_can_not_say() -> None:
    check(Variant(16_383, 1, format="webp"), 20_000, 1)
    with pytest.raises(TooCostlyToMake, match="16383"):
        check(Variant(16_384, 1, format="webp"), 20_000, 1)


def test_every_format_has_a_media_type() -> None:
    assert set(MEDIA_TYPES) == set(FORMATS)
