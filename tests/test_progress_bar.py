"""The bar of commands that take long: on a terminal, and nowhere else."""

from __future__ import annotations

import subprocess
import sys

from tests.commands import on_a_terminal

MOVE_A_BAR = """
from imagerepo.cli.output import byte_progress
with byte_progress("restoring") as progress:
    progress(0, 2_000_000)
    progress(1_000_000, 2_000_000)
"""


def test_a_terminal_sees_how_far_it_is() -> None:
    command = [sys.executable, "-c", MOVE_A_BAR]
    _, shown = on_a_terminal(lambda end: subprocess.run(command, stderr=end, timeout=60, check=True))
    assert "restoring" in shown
    assert "1.0/2.0 MB" in shown


def test_what_is_no_terminal_sees_nothing() -> None:
    run = subprocess.run([sys.executable, "-c", MOVE_A_BAR], capture_output=True, timeout=60, check=True)
    assert (run.stdout, run.stderr) == (b"", b"")
