"""The two commands, the lock, the container, and the rule that nothing is skipped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from imagerepo.testing.servers import clean_environ
from tests import dockerfile
from tests.waiting import until

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.txt", "requirements-service.txt", "requirements-swift.txt")


def test_ci_runs_the_readmes_test_command_and_nothing_else() -> None:
    commands = [line for line in _lines(".ci/run") if not line.startswith(("#", "set ", "cd "))]
    assert commands == ["make test"]
    assert re.search(r"^make test\b", (ROOT / "README.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_version_by_hash_and_names_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text()
    entries = re.split(r"\n(?=\S)", text.replace("\\\n", " "))
    pinned = [entry for entry in entries if not entry.startswith("#")]
    assert pinned
    assert all(re.match(r"[a-z0-9.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", entry) for entry in pinned)
    assert not re.search(r"://|--index|--find-links| @ ", text)


def test_the_container_has_the_versions_that_were_tested() -> None:
    tested, shipped = (set(re.findall(r"^[a-z0-9.-]+==\S+", (ROOT / lock).read_text(), re.M)) for lock in LOCKS[:2])
    assert shipped <= tested


def test_setup_names_the_one_command_where_it_may_not_install(tmp_path: Path) -> None:
    result = _set_up_on_a_bare_machine(tmp_path, user=1000)
    assert result.returncode == 1
    assert "sudo apt-get install --yes --no-install-recommends python3-venv" in result.stderr


def test_setup_installs_what_is_missing_as_root(tmp_path: Path) -> None:
    _set_up_on_a_bare_machine(tmp_path, user=0)
    done = (tmp_path / "apt-get.log").read_text().splitlines()
    assert done == ["update --quiet=2", "install --yes --no-install-recommends python3-venv"]


def test_a_skipped_test_fails_the_run(tmp_path: Path) -> None:
    assert _run_pytest(tmp_path, "def test_it(): pass") == 0
    assert _run_pytest(tmp_path, "import pytest\ndef test_it(): pytest.skip('no Swift here')") == 1
    assert _run_pytest(tmp_path, "import pytest\npytest.skip('none', allow_module_level=True)") != 0


def test_the_image_is_built_in_stages_and_runs_as_nobody_special() -> None:
    found = dockerfile.instructions()
    bases = [each.argument for each in found if each.name == "FROM"]
    assert len(bases) == 2
    assert all("-slim" in base for base in bases)
    last = {each.name: each.argument for each in dockerfile.last_stage()}
    assert last["USER"] not in ("root", "0")
    assert (last["EXPOSE"], last["VOLUME"]) == ("8000", "/data")
    assert dockerfile.environment()["IMAGEREPO_DATA_DIR"] == "/data"
    assert "/livez" in last["HEALTHCHECK"]


def test_the_container_refuses_to_start_without_a_store(tmp_path: Path) -> None:
    result = subprocess.run(
        _entry_command(), env=_container_environ(tmp_path), capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 2
    assert "IMAGEREPO_STORE_URL: must be given" in result.stderr


def test_sigterm_reaches_the_containers_server(tmp_path: Path) -> None:
    environ = _container_environ(tmp_path) | {"IMAGEREPO_STORE_URL": f"file://{tmp_path}/store"}
    log = tmp_path / "log"
    with log.open("wb") as output:
        entry = subprocess.Popen(_entry_command(), env=environ, stderr=output, start_new_session=True)
    try:
        _wait_for("imagerepo: ready", log, entry)
        entry.send_signal(signal.SIGTERM)
        assert entry.wait(30) == 0
    finally:
        _kill_group(entry.pid)
        entry.wait()
    assert log.read_text().endswith("imagerepo: stopped\n")


def _lines(name: str) -> list[str]:
    return [line for line in (ROOT / name).read_text().splitlines() if line.strip()]


def _set_up_on_a_bare_machine(folder: Path, *, user: int) -> subprocess.CompletedProcess[str]:
    """Run scripts/setup with a python3 that has no venv, and an apt-get that only takes notes."""
    _script(folder / "python3", "exit 1")
    _script(folder / "id", f"echo {user}")
    _script(folder / "apt-get", f'echo "$@" >> {folder}/apt-get.log')
    return subprocess.run(
        [ROOT / "scripts/setup", "python3", folder / "venv", "requirements.txt"],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def _run_pytest(folder: Path, source: str) -> int:
    (folder / "test_one.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "--rootdir", folder, folder]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=False).returncode


def _entry_command() -> list[str]:
    """As it stands, with a port and an address of the test's added, as `docker run image ARGUMENT…` adds them."""
    (entry,) = [each for each in dockerfile.last_stage() if each.name == "ENTRYPOINT"]
    return [*entry.words, "--host", "127.0.0.1", "--port", "0", "--workers", "1"]


def _container_environ(folder: Path) -> dict[str, str]:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return clean_environ() | dockerfile.environment() | {"PATH": programs, "IMAGEREPO_DATA_DIR": str(folder / "data")}


def _wait_for(line: str, log: Path, process: subprocess.Popen[bytes]) -> None:
    until(lambda: line in log.read_text() or process.poll() is not None, seconds=60, tell=log.read_text)
    assert process.poll() is None, log.read_text()


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
