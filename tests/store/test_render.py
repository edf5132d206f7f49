"""What derivatives look like. Made in this process: that they are made in others is test_manager's."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageOps, ImageStat
from PIL.ExifTags import IFD, Base

from imagerepo.store import names
from imagerepo.store.names import Format, Region, Variant
from imagerepo.store.render import render
from imagerepo.testing import images, strategies
from imagerepo.testing.images import Picture

METADATA = ("exif", "xmp", "icc_profile", "XML:com.adobe.xmp", "photoshop")
Make = Callable[..., Image.Image]


@pytest.fixture(params=[False, True], ids=["libvips first", "Pillow alone"])
def careful(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def make(tmp_path: Path, careful: bool) -> Make:
    def make(picture: Picture, width: int, height: int, format: Format, **options: object) -> Image.Image:
        return made(tmp_path, picture, Variant(width, height, format, **options), careful)  # type: ignore[arg-type]

    return make


def made(folder: Path, picture: Picture, variant: Variant, careful: bool) -> Image.Image:
    base, target = folder / "base", folder / "derivative"
    base.write_bytes(picture.data)
    render(base, target, variant, careful=careful)
    image = Image.open(io.BytesIO(target.read_bytes()))
    image.load()
    return image


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of the channel that differs most, 0 to 255."""
    return float(max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean))


@pytest.mark.parametrize("format", names.FORMATS)
@pytest.mark.parametrize("name", images.GOOD)
def test_every_picture_becomes_every_format_in_the_exact_size(make: Make, name: str, format: Format) -> None:
    picture = images.good(name)
    size = (picture.width // 2, picture.height // 3)
    derivative = make(picture, *size, format)
    kind = {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(format, format.upper())
    assert (derivative.format, derivative.size) == (kind, size)
    assert getattr(derivative, "n_frames", 1) == 1


@pytest.mark.parametrize("name", [name for name in images.GOOD if not re.search("animated|several|turned|gamut", name)])
def test_a_derivative_has_the_colours_of_its_base(make: Make, name: str) -> None:
    picture = images.good(name)
    mode = "LA" if "gray and alpha" in name else "RGBA" if "alpha" in name else "L" if "gray" in name else "RGB"
    mode = "1" if "1-bit" in name else "P" if "palette" in name else mode
    drawn = images.draw(96, 64, mode)
    white = Image.new("RGBA", (96, 64), "white")
    shown = [Image.alpha_composite(white, one.convert("RGBA")) for one in (make(picture, 96, 64, "png"), drawn)]
    assert difference(*shown) < (60 if "CMYK" in name else 6), "inks have other colours, yet not all others"


@pytest.mark.parametrize("format", names.FORMATS)
def test_nothing_of_the_metadata_is_in_a_derivative(make: Make, tmp_path: Path, format: Format) -> None:
    derivative = make(images.photograph(300, 200, orientation=6), 100, 150, format)
    assert not set(METADATA).intersection(derivative.info)
    assert not {IFD.Exif, IFD.GPSInfo, Base.DateTimeOriginal}.intersection(derivative.getexif())
    assert derivative.getexif().get(Base.Orientation, 1) == 1
    written = (tmp_path / "derivative").read_bytes()
    for told in (images.SERIAL_NUMBER, images.TAKEN_AT, images.CREATOR):
        assert told.encode() not in written
        assert told.encode() in (tmp_path / "base").read_bytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "tiff"])
def test_a_derivative_is_turned_as_exif_says(make: Make, format: str, orientation: int) -> None:
    picture = images.photograph(120, 80, orientation=orientation, format=format)
    derivative = make(picture, picture.width // 2, picture.height // 2, "png")
    stored = images.draw(120, 80)
    stored.getexif()[Base.Orientation] = orientation
    turned = ImageOps.exif_transpose(stored)
    assert difference(derivative, turned.resize(derivative.size)) < 6


@pytest.mark.parametrize("format", ["png", "webp", "avif", "tif", "jp2"])
def test_transparency_is_kept_where_the_format_has_it(make: Make, format: Format) -> None:
    derivative = make(images.good("png with alpha"), 48, 32, format).convert("RGBA")
    alpha = derivative.getchannel("A")
    assert alpha.getpixel((4, 16)) < 16
    assert alpha.getpixel((44, 16)) > 239


@pytest.mark.parametrize("name", ["png with alpha", "webp with alpha", "png with gray and alpha"])
def test_transparency_becomes_white_in_a_jpeg(make: Make, name: str) -> None:
    derivative = make(images.good(name), 48, 32, "jpg").convert("RGB")
    assert min(derivative.getpixel((4, 16))) > 239  # type: ignore[arg-type,type-var]
    assert min(derivative.getpixel((44, 16))) < 200  # type: ignore[arg-type,type-var]


def test_colours_of_a_wide_gamut_are_converted_to_srgb(make: Make) -> None:
    derivative = make(images.wide_gamut(60, 40), 30, 20, "png").convert("RGB")
    red, green, blue = derivative.getpixel((15, 10))  # type: ignore[misc]
    assert red < 20, "unconverted it would be 117"
    assert green > 235
    assert blue < 20


def test_inks_become_the_colours_that_they_print(make: Make) -> None:
    yellow = Image.new("CMYK", (40, 40), (0, 0, 255, 0))
    picture = Picture(images.encode(yellow, "tiff"), "tiff", 40, 40)
    red, green, blue = make(picture, 10, 10, "png").convert("RGB").getpixel((5, 5))  # type: ignore[misc]
    assert red > 200
    assert green > 200
    assert blue < 90


def test_sixteen_bits_are_scaled_to_eight_and_not_clipped(make: Make) -> None:
    for name in ("png 16-bit gray", "tiff 16-bit gray"):
        eight_bits = images.draw(96, 64, "L")
        assert difference(make(images.good(name), 96, 64, "png"), eight_bits) < 2


@pytest.mark.parametrize("name", ["gif animated", "webp animated", "png animated (APNG)", "avif animated"])
def test_an_animation_shows_its_first_frame(make: Make, name: str) -> None:
    derivative = make(images.good(name), 96, 64, "png")
    first = images.draw(96, 64, "RGBA" if "APNG" in name else "RGB", seed=1)
    white = Image.new("RGBA", (96, 64), "white")
    shown = [Image.alpha_composite(white, one.convert("RGBA")) for one in (derivative, first)]
    assert difference(*shown) < 8


def test_a_broken_colour_profile_is_no_obstacle(make: Make) -> None:
    data = images.encode(images.draw(40, 40), "jpeg", icc_profile=b"no profile at all" * 20)
    assert difference(make(Picture(data, "jpeg", 40, 40), 40, 40, "png"), images.draw(40, 40)) < 6


def test_a_region_is_cut_before_resizing(make: Make) -> None:
    picture = images.photograph(120, 80, orientation=6)
    derivative = make(picture, 20, 30, "png", region=Region(10, 20, 40, 60))
    upright = images.draw(120, 80).transpose(Image.Transpose.ROTATE_270)
    assert difference(derivative, upright.crop((10, 20, 50, 80)).resize((20, 30))) < 6


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", names.ROTATIONS)
def test_turning_comes_after_resizing_and_mirroring(make: Make, rotation: int, mirrored: bool) -> None:
    derivative = make(images.good("png"), 48, 32, "png", rotation=rotation, mirrored=mirrored)
    expected = images.draw(96, 64).resize((48, 32))
    expected = ImageOps.mirror(expected) if mirrored else expected
    assert difference(derivative, expected.rotate(-rotation, expand=True)) < 6


def test_gray_has_one_channel_and_bitonal_two_values(make: Make) -> None:
    assert make(images.good("jpeg"), 48, 32, "png", quality="gray").mode == "L"
    bitonal = make(images.good("png with alpha"), 48, 32, "png", quality="bitonal")
    assert {value for _, value in bitonal.convert("L").getcolors() or []} == {0, 255}


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(picture=strategies.images(), data=st.data())
def test_any_size_up_to_the_base_is_met_exactly(make: Make, picture: Picture, data: st.DataObject) -> None:
    size = data.draw(strategies.sizes(picture.width, picture.height))
    assert make(picture, *size, data.draw(st.sampled_from(["jpg", "png", "webp"]))).size == size
