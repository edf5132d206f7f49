"""Every name in the store. Only this file builds or parses one.

images/<ident>                              base: the image as it was uploaded
images/<ident>-<variant>.<format>           derivative: computed from the base, may vanish at any time
epochs/<n>                                  taken by one writer for ever, never deleted; n from 1
db/<n>/owner                                who took epoch n: the writer's id
db/<n>-<writer>/<seq>                       record of that reign; seq from 0, the opening record
db/<n>-<writer>/base-<k>                    manifest of a base made in the background; k from 0
db/<n>-<writer>/parts/<digest>              part of a base
reports/fixity                              how far the checking of bases has come; overwritten, no truth rests on it

ident, digest   SHA-256 as 64 hex digits          writer   16 hex digits          (all lower-case)
variant         [<region>-]<width>x<height>[-<rotation>][-<quality>]
region          x<left>y<top>w<width>h<height>    in pixels of the base, cut first
rotation        r90 r180 r270 (clockwise) or m0 m90 m180 m270 (mirrored, then rotated)
quality         gray bitonal                      (color is not written)

One spelling each: numbers without leading zeros, nothing at its default. So `parse(build(thing)) == thing`,
and `build(parse(name)) == name` for every name that `parse` takes: it reads generously, builds the name of
what it read, and refuses all but that. `suggest` gives the name that was meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from imagerepo.errors import InvalidName

IMAGES = "images/"
DB = "db/"
EPOCHS = "epochs/"
REPORTS = "reports/"
FOLDERS = (DB, IMAGES, REPORTS)
"""What the names of all objects begin with, sorted; epochs are taken, and are no objects."""
FIXITY = f"{REPORTS}fixity"

MAX_SIDE = 999_999
"""Largest number of pixels that a name can say; what an image may really have is the intake's business."""
MAX_NUMBER = 10**18 - 1
"""Largest epoch, sequence or manifest number."""

Format: TypeAlias = Literal["jpg", "png", "webp", "avif", "gif", "tif", "jp2"]
Quality: TypeAlias = Literal["color", "gray", "bitonal"]
FORMATS: tuple[Format, ...] = get_args(Format)
QUALITIES: tuple[Quality, ...] = get_args(Quality)
ROTATIONS = (0, 90, 180, 270)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_WRITER = re.compile(r"[0-9a-f]{16}")
_BASE = re.compile(r"images/[0-9a-f]{64}")
_EPOCH = re.compile(r"epochs/[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class Region:
    """A rectangle of the base, in its pixels."""

    left: int
    top: int
    width: int
    height: int

    def __post_init__(self) -> None:
        _in_range("left", self.left, 0, MAX_SIDE)
        _in_range("top", self.top, 0, MAX_SIDE)
        _in_range("region width", self.width, 1, MAX_SIDE)
        _in_range("region height", self.height, 1, MAX_SIDE)

    def __str__(self) -> str:
        return f"x{self.left}y{self.top}w{self.width}h{self.height}"


@dataclass(frozen=True)
class Variant:
    """How a derivative is made: cut `region`, resize to width by height, mirror, rotate clockwise.

    `width` and `height` are those before the rotation. Raises InvalidName for values out of range.
    """

    width: int
    height: int
    format: Format
    region: Region | None = None
    rotation: int = 0
    mirrored: bool = False
    quality: Quality = "color"

    def __post_init__(self) -> None:
        _in_range("width", self.width, 1, MAX_SIDE)
        _in_range("height", self.height, 1, MAX_SIDE)
        _one_of("format", self.format, FORMATS)
        _one_of("rotation", self.rotation, ROTATIONS)
        _one_of("quality", self.quality, QUALITIES)

    def __str__(self) -> str:
        region = f"{self.region}-" if self.region else ""
        turn = f"-{'m' if self.mirrored else 'r'}{self.rotation}" if self.mirrored or self.rotation else ""
        quality = "" if self.quality == "color" else f"-{self.quality}"
        return f"{region}{self.width}x{self.height}{turn}{quality}.{self.format}"


@dataclass(frozen=True)
class _OfImage:
    ident: str

    def __post_init__(self) -> None:
        _matches("ident", self.ident, _SHA256)


@dataclass(frozen=True)
class Base(_OfImage):
    def __str__(self) -> str:
        return f"{IMAGES}{self.ident}"


@dataclass(frozen=True)
class Derivative(_OfImage):
    variant: Variant

    def __str__(self) -> str:
        return f"{IMAGES}{self.ident}-{self.variant}"


@dataclass(frozen=True)
class _OfEpoch:
    n: int

    def __post_init__(self) -> None:
        _in_range("epoch", self.n, 1, MAX_NUMBER)


@dataclass(frozen=True)
class Epoch(_OfEpoch):
    def __str__(self) -> str:
        return f"{EPOCHS}{self.n}"


@dataclass(frozen=True)
class Owner(_OfEpoch):
    def __str__(self) -> str:
        return f"{DB}{self.n}/owner"


@dataclass(frozen=True)
class _OfReign:
    """What one writer keeps in one epoch."""

    epoch: int
    writer: str

    def __post_init__(self) -> None:
        _in_range("epoch", self.epoch, 1, MAX_NUMBER)
        _matches("writer", self.writer, _WRITER)


@dataclass(frozen=True)
class Record(_OfReign):
    seq: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _in_range("seq", self.seq, 0, MAX_NUMBER)

    def __str__(self) -> str:
        return f"{reign(self.epoch, self.writer)}{self.seq}"


@dataclass(frozen=True)
class Manifest(_OfReign):
    number: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _in_range("number", self.number, 0, MAX_NUMBER)

    def __str__(self) -> str:
        return f"{reign(self.epoch, self.writer)}base-{self.number}"


@dataclass(frozen=True)
class Part(_OfReign):
    digest: str

    def __post_init__(self) -> None:
        super().__post_init__()
        _matches("digest", self.digest, _SHA256)

    def __str__(self) -> str:
        return f"{reign(self.epoch, self.writer)}parts/{self.digest}"


@dataclass(frozen=True)
class Report:
    """What the service notes about the store. It may be lost, or an old copy: then a little is done again."""

    about: Literal["fixity"]

    def __post_init__(self) -> None:
        _one_of("report", self.about, ("fixity",))

    def __str__(self) -> str:
        return f"{REPORTS}{self.about}"


Name: TypeAlias = Base | Derivative | Epoch | Owner | Record | Manifest | Part | Report


def build(thing: Name) -> str:
    """The one name of `thing`."""
    return str(thing)


def base(ident: str) -> str:
    return str(Base(ident))


def derivative(ident: str, variant: Variant) -> str:
    return str(Derivative(ident, variant))


def epoch(n: int) -> str:
    return str(Epoch(n))


def owner(n: int) -> str:
    return str(Owner(n))


def record(n: int, writer: str, seq: int) -> str:
    return str(Record(n, writer, seq))


def manifest(n: int, writer: str, number: int) -> str:
    return str(Manifest(n, writer, number))


def part(n: int, writer: str, digest: str) -> str:
    return str(Part(n, writer, digest))


def reign(n: int, writer: str) -> str:
    """The prefix of all that one writer keeps in epoch `n`."""
    return f"{DB}{n}-{writer}/"


def derivatives(ident: str) -> str:
    """The prefix of an image's derivatives; its base does not begin so."""
    return f"{base(ident)}-"


_NAME = re.compile(
    r"images/(?P<ident>[0-9a-f]{64})(?:-(?P<variant>[0-9a-z-]+)\.(?P<suffix>[0-9a-z]+))?"
    r"|epochs/(?P<taken>[0-9]{1,20})"
    r"|db/(?P<owned>[0-9]{1,20})/owner"
    r"|reports/(?P<about>fixity)"
    r"|db/(?P<epoch>[0-9]{1,20})-(?P<writer>[0-9a-f]{16})/"
    r"(?:(?P<seq>[0-9]{1,20})|base-(?P<number>[0-9]{1,20})|parts/(?P<digest>[0-9a-f]{64}))"
)
_PARAMETER = re.compile(
    r"(?P<region>x[0-9]{1,9}y[0-9]{1,9}w[0-9]{1,9}h[0-9]{1,9})"
    r"|(?P<size>[0-9]{1,9}x[0-9]{1,9})"
    r"|(?P<turn>[rm](?:0|90|180|270))"
    r"|(?P<quality>color|colour|default|gray|grey|bitonal)"
)
_DIGITS = re.compile("[0-9]+")
_SUFFIXES = {"jpeg": "jpg", "tiff": "tif"}
_QUALITIES = {"colour": "color", "default": "color", "grey": "gray"}


def parse(name: str) -> Name:
    """What `name` names. Raises InvalidName for all that `build` does not make; `hint` is what was meant."""
    thing = _understand(name)
    meant = build(thing)
    if meant != name:
        raise InvalidName(f"{name!r} is not the name of an object: write {meant}", name=name, hint=meant)
    return thing


def check(name: str) -> str:
    """`name` itself, if it is one. Raises InvalidName."""
    parse(name)
    return name


def suggest(name: str) -> str | None:
    """The name that was meant: upper case, leading zeros, order, defaults and `.jpeg` put right. Or None."""
    try:
        return build(_understand(name))
    except InvalidName:
        return None


def is_epoch(name: str) -> bool:
    """Whether `name` is one that `create_exclusive` takes."""
    return _EPOCH.fullmatch(name) is not None


def is_name(text: str) -> bool:
    """Whether `text` is a name of the grammar."""
    try:
        parse(text)
    except InvalidName:
        return False
    return True


def image_of(name: str) -> str | None:
    """The ident of the image whose base or derivative `name` is; None for any other name. Quick for bases."""
    if _BASE.fullmatch(name):
        return name[len(IMAGES) :]
    return name[len(IMAGES) :][:64] if name.startswith(IMAGES) and is_name(name) else None


def is_ident(text: str) -> bool:
    """Whether `text` has the form of an image's permanent name."""
    return _SHA256.fullmatch(text) is not None


def _understand(name: str) -> Name:
    match = _NAME.fullmatch(name.lower())
    if match is None:
        raise InvalidName(f"{name[:200]!r} is not the name of an object", name=name)
    if match["ident"]:
        return _of_image(match)
    if match["taken"]:
        return Epoch(int(match["taken"]))
    if match["owned"]:
        return Owner(int(match["owned"]))
    if match["about"]:
        return Report("fixity")
    return _of_reign(match)


def _of_image(match: re.Match[str]) -> Base | Derivative:
    if match["variant"] is None:
        return Base(match["ident"])
    return Derivative(match["ident"], _variant(match["variant"], match["suffix"]))


def _of_reign(match: re.Match[str]) -> Record | Manifest | Part:
    n, writer = int(match["epoch"]), match["writer"]
    if match["seq"]:
        return Record(n, writer, int(match["seq"]))
    if match["number"]:
        return Manifest(n, writer, int(match["number"]))
    return Part(n, writer, match["digest"])


def _variant(text: str, suffix: str) -> Variant:
    found = _parameters(text)
    if "size" not in found:
        raise InvalidName(f"{text!r} has no size: <width>x<height>")
    width, height = _numbers(found["size"])
    turn = found.get("turn", "r0")
    quality = found.get("quality", "color")
    return Variant(
        width,
        height,
        format=_SUFFIXES.get(suffix, suffix),  # type: ignore[arg-type]  # Variant itself looks at it
        region=Region(*_numbers(found["region"])) if "region" in found else None,
        rotation=int(turn[1:]),
        mirrored=turn[0] == "m",
        quality=_QUALITIES.get(quality, quality),  # type: ignore[arg-type]
    )


def _parameters(text: str) -> dict[str, str]:
    """The parameters of a variant by kind, in whatever order they stand."""
    found: dict[str, str] = {}
    for token in text.split("-"):
        match = _PARAMETER.fullmatch(token)
        if match is None or match.lastgroup is None or match.lastgroup in found:
            raise InvalidName(f"{token!r} in {text!r} is not a parameter of an image, or stands there twice")
        found[match.lastgroup] = token
    return found


def _numbers(token: str) -> list[int]:
    return [int(digits) for digits in _DIGITS.findall(token)]


def _in_range(what: str, value: int, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise InvalidName(f"{what} {value!r} is not a whole number from {low} to {high}")


def _one_of(what: str, value: str | int, allowed: Sequence[str | int]) -> None:
    if value not in allowed or type(value) is not type(allowed[0]):
        raise InvalidName(f"{what} {value!r} is not one of {', '.join(map(str, allowed))}")


def _matches(what: str, value: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(value):
        raise InvalidName(f"{what} {value!r} does not have the form {pattern.pattern}")
