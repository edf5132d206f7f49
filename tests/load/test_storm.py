"""Power cuts under load: 8 writers, 16 readers, two workers, the disk lost each time."""

from __future__ import annotations

from tests import sampling
from tests.conftest import NewServer
from tests.load.storm import Storm

SECONDS = 30.0


def test_power_cuts_under_load_break_no_promise(new_server: NewServer) -> None:
    server = new_server(workers=2)
    tally = Storm(server, sampling.chance("storm")).rage(seconds=SECONDS)
    assert tally.sessions and tally.readings, tally
