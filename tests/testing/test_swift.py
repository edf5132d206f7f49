"""The Swift of the tests starts by one command, is found again, and leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagerepo.store.swift_auth import credentials_of
from imagerepo.testing import swift as module
from imagerepo.testing.swift import Swift, SwiftFailed
from tests.waiting import until

COMMAND = [sys.executable, "-m", "imagerepo.testing.swift"]


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], env=os.environ | environ, capture_output=True, text=True, check=False)


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[bytes]]:
    """A process for a Swift to watch, so that not even a test that fails leaves one behind."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_the_command_starts_one_that_a_client_can_sign_in_to_and_stops_it(
    tmp_path: Path, owner: subprocess.Popen[bytes]
) -> None:
    started = run("start", "--dir", str(tmp_path), "--watch-pid", str(owner.pid))
    assert started.returncode == 0, started.stderr
    assert run("env", "--dir", str(tmp_path)).stdout == started.stdout
    environ = dict(line.removeprefix("export ").split("=", 1) for line in started.stdout.splitlines())
    assert credentials_of(environ).sign_in(timeout=10).token
    assert run("status", "--dir", str(tmp_path)).returncode == 0
    assert run("stop", "--dir", str(tmp_path)).returncode == 0
    assert run("status", "--dir", str(tmp_path)).returncode == 1
    assert run("stop", "--dir", str(tmp_path)).returncode == 0


def test_it_ends_when_the_process_that_it_watches_is_gone(tmp_path: Path, owner: subprocess.Popen[bytes]) -> None:
    with Swift(tmp_path, replicas=3, watch_pid=owner.pid) as swift:
        assert all(swift.is_running(process) for process in swift.pids)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        until(lambda: not any(swift.is_running(process) for process in swift.pids))


def test_it_takes_no_stranger_for_its_own_process(tmp_path: Path, owner: subprocess.Popen[bytes]) -> None:
    swift = Swift(tmp_path)
    swift.pids = {"all": owner.pid}
    assert not swift.is_running("all")
    swift.stop()
    assert owner.poll() is None


def test_without_its_virtual_environment_it_says_what_to_run(tmp_path: Path) -> None:
    started = run("start", "--dir", str(tmp_path), IMAGEREPO_SWIFT_VENV=str(tmp_path / "venv"))
    assert started.returncode == 1
    assert f"python3 -m venv {tmp_path / 'venv'}" in started.stderr
    assert "pip install -r requirements-swift.txt" in started.stderr


def test_a_folder_without_one_is_said_so(tmp_path: Path) -> None:
    for command in ("stop", "status", "env"):
        answer = run(command, "--dir", str(tmp_path))
        assert answer.returncode == 1
        assert str(tmp_path) in answer.stderr


def test_a_server_that_does_not_come_up_is_told_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "server.py"
    broken.write_text("raise SystemExit('no luck today')")
    monkeypatch.setattr(module, "_SERVER", broken)
    with pytest.raises(SwiftFailed, match="no luck today"), Swift(tmp_path / "swift"):
        pass
