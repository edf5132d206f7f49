"""Cursors read back as they were written, and nothing else is one."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagerepo.catalogue import cursors
from imagerepo.catalogue.cursors import Cursor
from imagerepo.catalogue.queries import ORDERS, Position

NUMBERS = st.integers(0, (1 << 63) - 1)
CURSORS = st.builds(
    Cursor,
    NUMBERS,
    st.sampled_from(ORDERS),
    st.builds(Position, st.datetimes(timezones=st.just(UTC)), NUMBERS),
)

PACKED = st.binary(max_size=40) | st.binary(min_size=25, max_size=25)


@given(CURSORS)
def test_a_cursor_reads_back_as_it_was(cursor: Cursor) -> None:
    assert cursors.read(str(cursor)) == cursor


@given(NUMBERS)
def test_a_numbers_cursor_reads_back_as_it_was(number: int) -> None:
    assert cursors.read_number(cursors.of_number(number)) == number


@given(st.text() | PACKED.map(lambda packed: base64.urlsafe_b64encode(packed).decode().rstrip("=")))
def test_any_text_is_one_cursors_only_spelling_or_none(text: str) -> None:
    cursor, number = cursors.read(text), cursors.read_number(text)
    assert cursor is None or str(cursor) == text
    assert number is None or cursors.of_number(number) == text


@pytest.mark.parametrize("spoil", [lambda text: text[:-1], lambda text: text + "A", lambda text: text + "="])
def test_a_spoiled_cursor_is_none(spoil: object) -> None:
    text = str(Cursor(3, "added", Position(datetime(2026, 1, 1, tzinfo=UTC), 9)))
    assert callable(spoil)
    assert cursors.read(spoil(text)) is None
