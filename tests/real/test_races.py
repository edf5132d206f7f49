"""Many starts at once: one wins in the end, and the others know it (50 rounds of it: `python -m tests.real.soak`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagerepo.testing.swift import Swift
from tests.real.races import STARTERS, Race
from tests.real.starters import Starters


@pytest.mark.parametrize("fixture", ["swift", "swift_of_three"])
def test_of_twenty_starts_at_once_one_can_commit_in_the_end(
    fixture: str, container: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    swift: Swift = request.getfixturevalue(fixture)
    with Starters(STARTERS, tmp_path, container, swift.environ) as starters:
        Race(starters).run(spread=0.0)
