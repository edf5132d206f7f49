"""Hypothesis strategies: what the service takes, what it refuses, and scripts of sessions.

Needs the extra `imagerepo[testing]`; nothing else of imagerepo imports hypothesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from imagerepo.testing.images import BAD, EACH_FORMAT, GOOD, Picture, Refused, bad, draw, encode, good, photograph
from imagerepo.testing.reference import Reference
from imagerepo.testing.scripts import (
    Abort,
    Commit,
    Describe,
    Discard,
    Open,
    Operation,
    Remove,
    Script,
    Stage,
    carry_out,
    play,
)

MAX_CHARACTERS = {
    "filename": 500,
    "title": 500,
    "description": 20_000,
    "alt_text": 20_000,
    "creator": 1_000,
    "rights": 1_000,
}
MAX_TAGS = 100
MAX_TAG_CHARACTERS = 100
MAX_ATTRIBUTES_BYTES = 64 * 1024
MAX_ATTRIBUTES_DEPTH = 32

MODES = {
    "jpeg": ("RGB", "L", "CMYK"),
    "png": ("RGB", "RGBA", "L", "LA", "P", "1"),
    "gif": ("P", "L"),
    "webp": ("RGB", "RGBA"),
    "tiff": ("RGB", "RGBA", "L", "CMYK", "1"),
    "bmp": ("RGB", "L", "1"),
    "avif": ("RGB", "RGBA"),
    "jp2": ("RGB", "RGBA", "L"),
}
"""Pillow's pixel modes that each format is drawn in."""

# Ranges and no categories: hypothesis takes two seconds to look those up for the first time.
_CHARACTERS = st.characters(min_codepoint=1, max_codepoint=0xD7FF) | st.characters(min_codepoint=0xE000)
_EXACT = 1 << 53
"""Whole numbers beyond it are not the same to every reader of JSON."""


def sizes(most_width: int = 300, most_height: int = 300) -> SearchStrategy[tuple[int, int]]:
    """Width and height, in pixels; with a base's own as the most: what it can be asked for."""
    return st.tuples(st.integers(1, most_width), st.integers(1, most_height))


def images(formats: Sequence[str] = EACH_FORMAT, *, most_side: int = 300) -> SearchStrategy[Picture]:
    """Good pictures of these formats: of any mode and size, turned by EXIF, with several frames."""
    kinds = [name for name in GOOD if good(name).format in formats]
    turned = [format for format in ("jpeg", "png", "webp", "tiff") if format in formats]
    strategies = [st.sampled_from(kinds).map(good), _drawn(formats, most_side)]
    if turned:
        strategies.append(_turned(turned, most_side))
    return st.one_of(strategies)


def refused_images() -> SearchStrategy[Refused]:
    """What is not taken, each with the error that says why: damaged, of other formats, too large."""
    return st.sampled_from(BAD).map(bad)


def filenames() -> SearchStrategy[str]:
    """Any that is taken."""
    return _text(MAX_CHARACTERS["filename"])


def metadata(*, resets: bool = True) -> SearchStrategy[dict[str, Any]]:
    """What may be said of an image: any of the members, `resets` some of them to null."""
    members: dict[str, SearchStrategy[Any]] = {name: _text(limit) for name, limit in MAX_CHARACTERS.items()}
    members |= {"taken_at": times(), "tags": tags(), "attributes": attributes()}
    given = {name: (st.none() | member) if resets else member for name, member in members.items()}
    return st.fixed_dictionaries({}, optional=given)


def times() -> SearchStrategy[str]:
    """RFC 3339, with an offset, with Z, or with neither."""
    moments = st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29))  # noqa: DTZ001
    zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
    return st.one_of(
        moments.map(datetime.isoformat),
        st.builds(lambda moment: f"{moment.isoformat()}Z", moments),
        st.builds(lambda moment, zone: moment.replace(tzinfo=zone).isoformat(), moments, st.just(UTC) | zones),
    )


def tags() -> SearchStrategy[list[str]]:
    """Some of them more than once."""
    some = st.lists(st.text(_CHARACTERS, min_size=1, max_size=10) | st.sampled_from("abc"), max_size=8)
    most = st.just(["x" * MAX_TAG_CHARACTERS] * MAX_TAGS)
    return some | most


def attributes() -> SearchStrategy[dict[str, Any]]:
    """JSON objects, some with nulls, which in a patch remove a member."""
    names = st.text(_CHARACTERS, max_size=8)
    scalars = (
        st.none() | st.booleans() | st.integers(-_EXACT, _EXACT) | st.floats(allow_nan=False, allow_infinity=False)
    )
    values = st.recursive(
        scalars | st.text(_CHARACTERS, max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=8,
    )
    return st.dictionaries(names, values, max_size=4) | st.just(_nested(MAX_ATTRIBUTES_DEPTH))


@dataclass(frozen=True)
class RefusedMetadata:
    """`patch` has one thing wrong, which the JSON pointer `pointer` must point at."""

    patch: dict[str, Any]
    pointer: str


def refused_metadata() -> SearchStrategy[RefusedMetadata]:
    """Members of a wrong type, over their limit, with characters that are not taken, or unknown."""
    return st.builds(
        lambda wrong, others: RefusedMetadata({**others, wrong[0]: wrong[1]}, f"/{wrong[0]}{wrong[2]}"),
        _wrong_members(),
        metadata(),
    )


def scripts(
    pictures: SearchStrategy[Picture] | None = None, *, sessions: int = 2, most_operations: int = 30
) -> SearchStrategy[Script]:
    """Sessions that change the same few images, one among the other. They begin open; later ones take their names."""
    return _scripts(images(most_side=64) if pictures is None else pictures, sessions, most_operations)


@st.composite
def _scripts(draw: DrawFn, pictures: SearchStrategy[Picture], sessions: int, most: int) -> Script:
    pool = st.sampled_from(draw(st.lists(pictures, min_size=1, max_size=3, unique_by=lambda picture: picture.data)))
    names = [f"session {number}" for number in range(1, sessions + 1)]
    script: list[Operation] = [Open(name) for name in names]
    reference = Reference()
    play(script, reference)
    for _ in range(draw(st.integers(1, most))):
        session = draw(st.sampled_from(names))
        kind = draw(st.sampled_from(_likely(reference, session)))
        script.append(draw(_operation(kind, session, pool)))
        carry_out(script[-1], reference)
    return tuple(script)


def _likely(reference: Reference, session: str) -> list[type[Operation]]:
    """What a client would do next, mostly: a script of refusals says little."""
    if reference.sessions[session].state != "open":
        return [Open, Open, Open, Commit, Abort, Stage]
    if not reference.staged(session):
        return [Stage, Stage, Stage, Describe, Describe, Remove, Discard, Commit]
    return [Commit, Commit, Stage, Describe, Remove, Discard, Abort]


def _operation(kind: type[Operation], session: str, pool: SearchStrategy[Picture]) -> SearchStrategy[Operation]:
    ident = pool.map(lambda picture: picture.ident)
    if kind is Stage:
        return st.one_of(
            st.builds(Stage, st.just(session), pool, filename=filenames()),
            st.builds(Stage, st.just(session), pool, filename=_plain_filenames(), metadata=metadata().filter(bool)),
        )
    if kind is Describe:
        return st.builds(Describe, st.just(session), ident, metadata())
    if kind is Remove or kind is Discard:
        return st.builds(kind, st.just(session), ident)
    return st.builds(kind, st.just(session))


def _drawn(formats: Sequence[str], most_side: int) -> SearchStrategy[Picture]:
    kinds = st.sampled_from([(format, mode) for format in formats for mode in MODES[format]])
    return st.builds(_picture, kinds, sizes(most_side, most_side), st.integers(0, 3))


def _picture(kind: tuple[str, str], size: tuple[int, int], seed: int) -> Picture:
    format, mode = kind
    return Picture(encode(draw(*size, mode, seed), format), format, *size, has_alpha=mode in ("RGBA", "LA"))


def _turned(formats: Sequence[str], most_side: int) -> SearchStrategy[Picture]:
    side = st.integers(1, most_side)
    return st.builds(photograph, side, side, orientation=st.integers(1, 8), format=st.sampled_from(formats))


def _text(limit: int) -> SearchStrategy[str]:
    return st.text(_CHARACTERS, max_size=20) | st.just("\u00e9" * limit)


def _plain_filenames() -> SearchStrategy[str]:
    return st.from_regex(r"[a-z0-9]{1,12}\.(jpg|png)", fullmatch=True)


def _nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def _wrong_members() -> SearchStrategy[tuple[str, Any, str]]:
    """Name, value, and where in it the error lies."""
    texts = st.sampled_from(sorted(MAX_CHARACTERS))
    return st.one_of(
        st.builds(lambda name: (name, "x" * (MAX_CHARACTERS[name] + 1), ""), texts),
        st.builds(lambda name, text: (name, f"{text}\0", ""), texts, st.text(_CHARACTERS, max_size=5)),
        st.builds(lambda name, value: (name, value, ""), texts, _no_text()),
        st.builds(lambda value: ("taken_at", value, ""), st.sampled_from(["", "yesterday", "2020-01-01"]) | _no_text()),
        st.builds(lambda value: ("tags", value, ""), st.just("x") | st.integers()),
        st.builds(lambda tag: ("tags", ["ok", tag], "/1"), st.sampled_from(["", "a\0", "x" * 101]) | _no_text()),
        st.just(("tags", [str(number) for number in range(MAX_TAGS + 1)], "")),
        st.builds(lambda value: ("attributes", value, ""), st.sampled_from(_WRONG_ATTRIBUTES) | st.integers()),
        st.builds(lambda name: (name, 1, ""), st.sampled_from(["titel", "ident", "width", "revision"])),
    )


def _no_text() -> SearchStrategy[Any]:
    return st.integers() | st.booleans() | st.just([]) | st.just({})


_WRONG_ATTRIBUTES: tuple[Any, ...] = (
    [],
    "{}",
    {"a": ["\0"]},
    {"a\0": 1},
    _nested(MAX_ATTRIBUTES_DEPTH + 1),
    {"a": "x" * MAX_ATTRIBUTES_BYTES},
)
