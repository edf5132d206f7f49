"""The grammar of names, both ways, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imagerepo.errors import InvalidName
from imagerepo.store import names
from imagerepo.store.names import Base, Derivative, Epoch, Manifest, Owner, Part, Record, Region, Variant

IDENT = "0123456789abcdef" * 4
WRITER = "00ff00ff00ff00ff"

hex_digits = "0123456789abcdef"
idents = st.text(hex_digits, min_size=64, max_size=64)
writers = st.text(hex_digits, min_size=16, max_size=16)
sides = st.integers(1, names.MAX_SIDE)
offsets = st.integers(0, names.MAX_SIDE)
counts = st.integers(0, names.MAX_NUMBER)
epochs = st.integers(1, names.MAX_NUMBER)
variants = st.builds(
    Variant,
    width=sides,
    height=sides,
    format=st.sampled_from(names.FORMATS),
    region=st.none() | st.builds(Region, offsets, offsets, sides, sides),
    rotation=st.sampled_from(names.ROTATIONS),
    mirrored=st.booleans(),
    quality=st.sampled_from(names.QUALITIES),
)
things = st.one_of(
    st.builds(Base, idents),
    st.builds(Derivative, idents, variants),
    st.builds(Epoch, epochs),
    st.builds(Owner, epochs),
    st.builds(Record, epochs, writers, counts),
    st.builds(Manifest, epochs, writers, counts),
    st.builds(Part, epochs, writers, idents),
)


@st.composite
def mutated_names(draw: st.DrawFn) -> str:
    """A valid name with one stretch of it cut out, doubled, or replaced."""
    name = names.build(draw(things))
    begin = draw(st.integers(0, len(name)))
    end = draw(st.integers(begin, min(len(name), begin + 4)))
    alphabet = st.sampled_from("0129abfrmxywh-./ \n\x00%AXR\xe9\u0663\u017f") | st.characters()
    middle = draw(st.text(alphabet, max_size=3) | st.just(name[begin:end] * 2))
    return name[:begin] + middle + name[end:]


@given(things)
def test_what_is_built_is_parsed_to_the_same(thing: names.Name) -> None:
    assert names.parse(names.build(thing)) == thing


@given(mutated_names() | st.text())
@example(f"images/{IDENT}\n")
@example(f"images/{IDENT}-1x1.jpg\n")
@example(f"images/{IDENT}-\u0661x1.jpg")
def test_any_text_is_refused_or_is_the_one_spelling_of_what_it_names(text: str) -> None:
    try:
        thing = names.parse(text)
    except InvalidName:
        return
    assert names.build(thing) == text
    assert names.check(text) == text
    assert text.isascii()
    assert not {"..", ".", ""} & set(text.split("/"))


@given(things, things)
def test_two_things_never_share_a_name(one: names.Name, other: names.Name) -> None:
    assert (names.build(one) == names.build(other)) == (one == other)


@given(things)
def test_the_canonical_name_is_its_own_suggestion(thing: names.Name) -> None:
    assert names.suggest(names.build(thing)) == names.build(thing)


@given(mutated_names())
def test_a_suggestion_is_a_name(text: str) -> None:
    suggested = names.suggest(text)
    assert suggested is None or names.check(suggested) == suggested


@pytest.mark.parametrize(
    ("variant", "written"),
    [
        (Variant(1024, 512, "jpg"), "1024x512.jpg"),
        (
            Variant(1024, 512, "jpg", Region(100, 50, 2000, 1000), rotation=90, quality="gray"),
            "x100y50w2000h1000-1024x512-r90-gray.jpg",
        ),
        (
            Variant(1024, 512, "png", rotation=90, mirrored=True, quality="bitonal"),
            "1024x512-m90-bitonal.png",
        ),
        (Variant(1, 1, "jp2", mirrored=True), "1x1-m0.jp2"),
        (Variant(1, 1, "tif", Region(0, 0, 1, 1)), "x0y0w1h1-1x1.tif"),
    ],
)
def test_a_derivative_is_written_as_the_design_says(variant: Variant, written: str) -> None:
    assert names.derivative(IDENT, variant) == f"images/{IDENT}-{written}"


def test_each_kind_of_name_is_written_as_the_tree_says() -> None:
    assert names.base(IDENT) == f"images/{IDENT}"
    assert names.epoch(7) == "epochs/7"
    assert names.owner(7) == "db/7/owner"
    assert names.record(7, WRITER, 0) == f"db/7-{WRITER}/0"
    assert names.manifest(7, WRITER, 3) == f"db/7-{WRITER}/base-3"
    assert names.part(7, WRITER, IDENT) == f"db/7-{WRITER}/parts/{IDENT}"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "images",
        "images/",
        f"/images/{IDENT}",
        f"images/{IDENT}/",
        f"images//{IDENT}",
        f"images/../{IDENT}",
        f"images/{IDENT[:-1]}",
        f"images/{IDENT}0",
        f"images/{IDENT.upper()}",
        f"images/{IDENT}.jpg",
        f"images/{IDENT}-",
        f"images/{IDENT}-.jpg",
        f"images/{IDENT}-1x1",
        f"images/{IDENT}-1x1.",
        f"images/{IDENT}-1x1.bmp",
        f"images/{IDENT}-1x1.jpeg",
        f"images/{IDENT}-1x1.JPG",
        f"images/{IDENT}-0x1.jpg",
        f"images/{IDENT}-01x1.jpg",
        f"images/{IDENT}-1000000x1.jpg",
        f"images/{IDENT}-+1x1.jpg",
        f"images/{IDENT}-1x1-r0.jpg",
        f"images/{IDENT}-1x1-r45.jpg",
        f"images/{IDENT}-1x1-r360.jpg",
        f"images/{IDENT}-1x1-color.jpg",
        f"images/{IDENT}-1x1-grey.jpg",
        f"images/{IDENT}-1x1-gray-r90.jpg",
        f"images/{IDENT}-1x1-r90-r90.jpg",
        f"images/{IDENT}-1x1-1x1.jpg",
        f"images/{IDENT}-1x1--gray.jpg",
        f"images/{IDENT}-r90.jpg",
        f"images/{IDENT}-1x1-x0y0w1h1.jpg",
        f"images/{IDENT}-x0y0w0h1-1x1.jpg",
        f"images/{IDENT}-x00y0w1h1-1x1.jpg",
        "epochs/0",
        "epochs/01",
        "epochs/-1",
        "epochs/1/",
        "epochs/1000000000000000000",
        "epochs/" + "9" * 5000,
        "db/0/owner",
        "db/01/owner",
        "db/1/owners",
        f"db/0-{WRITER}/0",
        f"db/1-{WRITER}/00",
        f"db/1-{WRITER}",
        f"db/1-{WRITER}/",
        f"db/1-{WRITER.upper()}/0",
        f"db/1-{WRITER}0/0",
        f"db/1-{WRITER}/base-",
        f"db/1-{WRITER}/base-01",
        f"db/1-{WRITER}/parts/",
        f"db/1-{WRITER}/parts/{IDENT}/x",
        f"db/1-{WRITER}/parts/{WRITER}",
    ],
)
def test_everything_else_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        names.parse(name)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0064x064.jpg", "64x64.jpg"),
        ("64x64.jpeg", "64x64.jpg"),
        ("64x64.TIFF", "64x64.tif"),
        ("64X64-GRAY.PNG", "64x64-gray.png"),
        ("64x64-r0.png", "64x64.png"),
        ("64x64-color.png", "64x64.png"),
        ("64x64-default.png", "64x64.png"),
        ("64x64-grey.png", "64x64-gray.png"),
        ("gray-m0-64x64-x0y00w1h1.png", "x0y0w1h1-64x64-m0-gray.png"),
        ("64x64.bmp", None),
        ("0x64.jpg", None),
        ("gray.jpg", None),
        ("64x64-gray-bitonal.jpg", None),
        ("64x64-r90-m90.jpg", None),
    ],
)
def test_a_name_that_can_be_understood_gets_the_right_one_suggested(written: str, meant: str | None) -> None:
    suggested = names.suggest(f"images/{IDENT.upper()}-{written}")
    assert suggested == (None if meant is None else f"images/{IDENT}-{meant}")


def test_a_refusal_says_what_to_write_instead() -> None:
    with pytest.raises(InvalidName) as refusal:
        names.parse(f"images/{IDENT}-064x64.jpg")
    assert refusal.value.hint == f"images/{IDENT}-64x64.jpg"
    assert refusal.value.hint in str(refusal.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"height": -1},
        {"width": names.MAX_SIDE + 1},
        {"width": 1.0},
        {"width": True},
        {"format": "bmp"},
        {"format": "jpeg"},
        {"rotation": 45},
        {"rotation": 90.0},
        {"rotation": 360},
        {"quality": "grey"},
    ],
)
def test_a_variant_out_of_range_cannot_be_made(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidName):
        Variant(**{"width": 1, "height": 1, "format": "jpg"} | wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("region", [(-1, 0, 1, 1), (0, -1, 1, 1), (0, 0, 0, 1), (0, 0, 1, 0)])
def test_a_region_without_pixels_cannot_be_made(region: tuple[int, int, int, int]) -> None:
    with pytest.raises(InvalidName):
        Region(*region)


def test_only_epochs_are_taken_exclusively() -> None:
    assert names.is_epoch("epochs/1")
    for name in ("epochs/0", "epochs/x", "db/1/owner", f"images/{IDENT}", ""):
        assert not names.is_epoch(name)


def test_the_prefix_of_derivatives_leaves_out_the_base_and_other_images() -> None:
    prefix = names.derivatives(IDENT)
    assert names.derivative(IDENT, Variant(1, 1, "jpg")).startswith(prefix)
    assert not names.base(IDENT).startswith(prefix)


def test_the_prefix_of_a_reign_holds_all_that_its_writer_keeps() -> None:
    prefix = names.reign(1, WRITER)
    for name in (names.record(1, WRITER, 0), names.manifest(1, WRITER, 0), names.part(1, WRITER, IDENT)):
        assert name.startswith(prefix)
    assert not names.owner(1).startswith(prefix)
