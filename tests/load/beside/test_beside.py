"""Writers that want the same few images, beside plans that are made and applied in a loop."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagerepo.testing.swift import Swift
from tests import sampling
from tests.load.beside.scene import Scene

SECONDS = 20.0


@pytest.mark.timeout(600)  # on a busy machine it takes its time until enough has happened
def test_no_acknowledged_image_is_lost_while_orphans_are_deleted_beside(
    swift: Swift, container: str, tmp_path: Path
) -> None:
    tally = Scene(swift, container, tmp_path, sampling.chance("beside")).play(seconds=SECONDS)
    assert tally.sessions and tally.readings, tally
