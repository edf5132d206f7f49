"""Cuts by several processes at once, which write and read meanwhile, as a server's workers do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from imagerepo.durability import checks
from imagerepo.durability.pages import Pages
from tests.durability.together import Shared

PROCESSES = 3
SECONDS = 4.0
ENDING_SECONDS = 60.0


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    with closing(Shared(tmp_path).begin()):
        command = [sys.executable, "-m", "tests.durability.together", str(tmp_path)]
        running = [
            subprocess.Popen(
                [*command, str(number)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(PROCESSES)
        ]
        try:
            yield running
        finally:
            for process in running:
                process.kill()
                process.communicate()


def test_processes_that_write_read_and_cut_at_once_lose_nothing(
    processes: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    time.sleep(SECONDS)  # of work, which has no end of its own
    written = [_end(process) for process in processes]
    shared = Shared(tmp_path)
    with closing(Pages(shared.database, shared.gate)) as cutter:
        shared.cut(cutter)
    checks.quick_check(shared.copy)
    for first, last in written:
        assert last > first
        assert shared.copied(first, last) == last - first + 1


def _end(process: subprocess.Popen[str]) -> tuple[int, int]:
    output, errors = process.communicate("", timeout=ENDING_SECONDS)
    assert process.returncode == 0, errors
    first, last = output.split()
    return int(first), int(last)
