"""Every command in the README is run, or is a target of the Makefile that another test runs."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from imagerepo.testing.servers import clean_environ
from tests.conftest import NewServer

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
RUN_ELSEWHERE = {"make serve", "make demo", "make test"}
LOCAL = "http://127.0.0.1:8000"


def test_the_first_steps_lead_to_a_committed_image(new_server: NewServer, tmp_path: Path) -> None:
    (token,) = re.findall(r"^export IMAGEREPO_ADMIN_TOKEN=(\S+)$", README, re.MULTILINE)
    server = new_server(admin_token=token).start()
    (block,) = [block for block in BLOCKS if "curl" in block]
    assert LOCAL in block
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.replace(LOCAL, server.url)],
        cwd=tmp_path,
        env=clean_environ() | {"no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    _staged, before, committed, after = _documents(result.stdout)
    assert before["results"] == []
    assert (committed["state"], committed["revision"]) == ("live", 1)
    assert [image["title"] for image in after["results"]] == ["A pixel"]


def test_every_other_command_is_run_by_another_test() -> None:
    others = [line for block in BLOCKS if "curl" not in block for line in block.splitlines()]
    assert {line for line in others if not line.startswith("export ")} == RUN_ELSEWHERE


def test_every_target_named_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)", README)) <= targets


def _documents(text: str) -> list[dict[str, object]]:
    """JSON documents written one after the other."""
    decoder, found = json.JSONDecoder(), []
    while text.strip():
        document, end = decoder.raw_decode(text.lstrip())
        found.append(document)
        text = text.lstrip()[end:]
    return found
