"""The folders are the architecture, and the documents are true: whatever has a name is in them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from imagerepo.api.problems import KINDS
from imagerepo.cli import app
from imagerepo.config import PREFIX, SECRETS, Config
from tests import sampling

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src/imagerepo").rglob("*.py"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LONGEST_FILE_LINES = 400
HELP_BYTES = 2000


def test_imports_go_one_way_only() -> None:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout


def test_every_package_is_shipped() -> None:
    listed = set(re.findall(r'^    "(imagerepo[a-z.]*)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    found = {".".join(path.parent.relative_to(ROOT / "src").parts) for path in SOURCES}
    assert found | {"imagerepo.migrations"} <= listed


@pytest.mark.parametrize("name", Config.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{PREFIX}{name.upper()}`" in (ROOT / "docs/operations.md").read_text()


def test_no_setting_is_documented_that_is_not_there() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Config.model_fields}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in SECRETS}
    testing = {f"{PREFIX}{name}" for name in ("FAILPOINT", "FAILPOINT_ACTION", "FAILPOINT_TRACE", "SWIFT_VENV")}
    testing |= set(sampling.VARIABLES)
    for document in DOCUMENTS:
        assert set(re.findall(rf"{PREFIX}[A-Z_]+[A-Z]", document.read_text())) <= known | testing, document


def _commands() -> list[str]:
    group = typer.main.get_group(app)
    return [
        f"{name} {inner}".strip()
        for name, command in group.commands.items()
        for inner in getattr(command, "commands", {"": None})
    ]


@pytest.mark.parametrize("command", _commands())
def test_every_command_is_documented(command: str) -> None:
    assert f"`imagerepo {command}" in (ROOT / "docs/operations.md").read_text()


@pytest.mark.parametrize("slug", KINDS)
def test_every_problem_is_documented(slug: str) -> None:
    assert f"`{slug}`" in (ROOT / "docs/api.md").read_text()


def test_documents_name_only_files_that_are_there() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_no_file_has_become_a_heap() -> None:
    long = {path.name: count for path in SOURCES if (count := len(path.read_text().splitlines())) > LONGEST_FILE_LINES}
    assert long == {}
