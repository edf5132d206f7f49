"""Copies of this tree, to plant bugs in and to run suites in."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.planted.suites import Suite

ROOT = Path(__file__).parents[2]
COPIED = ("docs", "migrations", "src", "tests", "pyproject.toml")
STOP_SECONDS = 30.0
"""What a suite gets to take down its servers when its time is up."""

_RED = re.compile(r"^(?:FAILED|ERROR) (?P<test>tests/.+?)(?: - (?P<why>.*))?$", re.MULTILINE)
_TESTS_FAILED = 1
"""pytest's exit status. Others mean that nothing was tested."""


class NotTried(Exception):
    """The patch does not apply to this tree, or a suite could not be run. The message is git's, or pytest's."""


@dataclass(frozen=True)
class Run:
    """A suite's run: `red` is the test that failed, None where all passed; `why` is what it said, at last."""

    suite: Suite
    seed: int
    seconds: float
    red: str | None = None
    why: str = ""
    output: str = ""


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of this tree, as it stands on the disk; it goes at the end."""
    with TemporaryDirectory(prefix="imagerepo-planted-") as folder:
        tree = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, tree / name)
        (tree / "src/imagerepo/migrations").symlink_to(tree / "migrations")
        yield tree


def plant(tree: Path, patch: Path) -> None:
    """Apply the patch. Raises NotTried."""
    _apply(tree, patch)


def pull_out(tree: Path, patch: Path) -> None:
    """Undo `plant`."""
    _apply(tree, patch, "--reverse")


def _apply(tree: Path, patch: Path, *options: str) -> None:
    # Else git would take a repository around the folder for the patch's own, and pass over every file in silence.
    environ = os.environ | {"GIT_CEILING_DIRECTORIES": str(tree.parent)}
    command = ["git", "apply", "--whitespace=nowarn", *options, str(patch)]
    done = subprocess.run(command, cwd=tree, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotTried(f"{patch.name} does not apply: {done.stderr.strip()}")


def first_red(tree: Path, suites: Iterable[Suite], seed: int) -> Run | None:
    """Run the suites, each as often as it says, until one is red; None where none is. Raises NotTried."""
    runs = (run(tree, suite, seed + n) for suite in suites for n in range(suite.rounds))
    return next((each for each in runs if each.red), None)


def run(tree: Path, suite: Suite, seed: int) -> Run:
    """Run a suite in a copy of the tree. Raises NotTried."""
    begun = time.monotonic()
    status, output = _run(
        tree, [sys.executable, "-m", *suite.command(seed)], _environ(tree, seed, whole=suite.whole), suite.seconds
    )
    seconds = time.monotonic() - begun
    if status == 0:
        return Run(suite, seed, seconds)
    found = _RED.search(output)
    if status != _TESTS_FAILED or found is None:
        raise NotTried(f"{suite.name} did not run (status {status}):\n{output[-4000:]}")
    return Run(suite, seed, seconds, found["test"], found["why"] or "", output)


def _environ(tree: Path, seed: int, *, whole: bool) -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("IMAGEREPO_", "PYTEST_"))}
    return environ | {
        "IMAGEREPO_SEED": str(seed),
        "IMAGEREPO_SOAK": str(int(whole)),
        "IMAGEREPO_SWIFT_VENV": os.environ.get("IMAGEREPO_SWIFT_VENV", str(ROOT / ".swift-venv")),
        "COLUMNS": "1000",  # pytest cuts its lines to fit
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"{tree / 'src'}{os.pathsep}{tree}",
    }


def _run(tree: Path, command: list[str], environ: dict[str, str], seconds: float) -> tuple[int, str]:
    with subprocess.Popen(
        command, cwd=tree, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # pytest ends what its tests started
            try:
                output, _ = process.communicate(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                output, _ = process.communicate()
    return process.returncode, output
