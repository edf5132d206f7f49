"""The example in docs/testing.md is run as a user would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from imagerepo.testing.servers import clean_environ
from tests.conftest import ADMIN_TOKEN, NewServer

EXAMPLE = Path(__file__).parents[2] / "docs/examples/test_any_script.py"


def run_example(tmp_path: Path, url: str, examples: int) -> subprocess.CompletedProcess[str]:
    # Copied: what runs is what a user has, without this project's settings of pytest.
    copy = tmp_path / EXAMPLE.name
    copy.write_text(EXAMPLE.read_text())
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(copy)],
        cwd=tmp_path,
        env=clean_environ() | {"SERVER": url, "TOKEN": ADMIN_TOKEN, "EXAMPLES": str(examples), "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_the_documented_property_test_holds_on_a_running_server(tmp_path: Path, new_server: NewServer) -> None:
    result = run_example(tmp_path, new_server().start().url, examples=25)
    assert result.returncode == 0, result.stdout
    assert "1 passed" in result.stdout


def test_the_document_shows_the_example_as_it_is() -> None:
    document = (EXAMPLE.parents[1] / "testing.md").read_text()
    test = EXAMPLE.read_text().partition("@settings")[2]
    assert test in document
