"""The bar of commands that take long: on a terminal, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys

MOVE_A_BAR = """
from imagerepo.cli.output import byte_progress
with byte_progress("restoring") as progress:
    progress(0, 2_000_000)
    progress(1_000_000, 2_000_000)
"""


def test_a_terminal_sees_how_far_it_is() -> None:
    terminal, end = os.openpty()
    subprocess.run([sys.executable, "-c", MOVE_A_BAR], stderr=end, timeout=60, check=True)
    os.close(end)
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert "restoring" in shown
    assert "1.0/2.0 MB" in shown


def test_what_is_no_terminal_sees_nothing() -> None:
    run = subprocess.run([sys.executable, "-c", MOVE_A_BAR], capture_output=True, timeout=60, check=True)
    assert (run.stdout, run.stderr) == (b"", b"")
