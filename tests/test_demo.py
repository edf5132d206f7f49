"""`imagerepo demo` shows the main job, on the local store and on a real Swift."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imagerepo.testing import images
from imagerepo.testing.servers import clean_environ


@pytest.mark.parametrize("store", ["local", "swift"])
def test_every_step_holds_with_drawn_pictures(store: str) -> None:
    result = _demo("--store", store)
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1].startswith("All of it holds.")
    assert len(lines) >= 12


def test_a_folder_of_photos_may_hold_other_files_too(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper/one.png").write_bytes(images.good("png").data)
    (tmp_path / "notes.txt").write_text("no image")
    result = _demo("--photos", str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 images taken, 1 files refused" in result.stdout


def test_a_folder_without_images_fails_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    result = _demo("--photos", str(tmp_path))
    assert (result.returncode, result.stderr) == (
        1,
        "imagerepo: none of the files is an image that is taken: choose another folder\n",
    )


def test_without_a_temporary_folder_it_fails_in_one_sentence() -> None:
    result = _demo(limits=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))  # no file takes a byte
    assert result.returncode == 1
    assert result.stderr.startswith("imagerepo: No usable temporary directory")
    assert result.stderr.endswith("set TMPDIR to a folder that can be written to\n")
    assert result.stderr.count("\n") == 1


def _demo(*options: str, limits: Callable[[], object] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "imagerepo", "demo", *options]
    return subprocess.run(
        command, env=clean_environ(), preexec_fn=limits, capture_output=True, text=True, timeout=240, check=False
    )
