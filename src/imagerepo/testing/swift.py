"""A real OpenStack Swift on this machine, for tests: proxy, account, container and object servers.

    python -m imagerepo.testing.swift start --dir DIR [--replicas 1|3] [--watch-pid PID]
    python -m imagerepo.testing.swift stop | status | env --dir DIR

`env` prints lines for a shell: eval "$(python -m imagerepo.testing.swift env --dir DIR)". All listens on free
ports of 127.0.0.1, and nothing outside DIR is written. Swift runs in a virtual environment of its own:
IMAGEREPO_SWIFT_VENV, or `.swift-venv` in the working folder or beside `src/`.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from imagerepo.testing.swift_conf import ACCOUNT_KEY, ACCOUNT_USER, write_configuration

START_SECONDS = 60.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.02
NODE_TIMEOUT_SECONDS = 10.0
_SERVER = Path(__file__).with_name("swift_server.py")
_STATE = "state.json"


class SwiftFailed(Exception):
    """Swift can't be run here. The message says why, and what to do."""


class Swift:
    """An all-in-one Swift in `folder`; as a context manager, it runs inside the `with`.

    With one replica it is the process `all`; with three, `proxy`, `meta` (account and container), `object1`,
    `object2`, `object3`. They end by themselves when the process `watch_pid` is gone (0: they do not).
    """

    def __init__(
        self,
        folder: Path,
        *,
        replicas: int = 1,
        watch_pid: int | None = None,
        node_timeout: float = NODE_TIMEOUT_SECONDS,
    ) -> None:
        """`node_timeout`: how long the proxy waits for a server that hangs, in seconds."""
        self.folder = folder.absolute()
        self.replicas = replicas
        self.node_timeout = node_timeout
        self.watch_pid = os.getpid() if watch_pid is None else watch_pid
        self.ports: dict[str, int] = {}
        self.pids: dict[str, int] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def found_in(cls, folder: Path) -> Self:
        """The one that was started in `folder`, by this process or another."""
        try:
            state = json.loads((folder / _STATE).read_text())
        except FileNotFoundError:
            raise SwiftFailed(f"no Swift was started in {folder}") from None
        swift = cls(folder, replicas=state["replicas"], watch_pid=state["watch_pid"])
        swift.ports, swift.pids = state["ports"], state["pids"]
        return swift

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['proxy']}"

    @property
    def environ(self) -> dict[str, str]:
        """The variables with which a client signs in."""
        return {"ST_AUTH": f"{self.url}/auth/v1.0", "ST_USER": ACCOUNT_USER, "ST_KEY": ACCOUNT_KEY}

    def start(self) -> None:
        """Start all processes and wait until every server answers. Raises SwiftFailed."""
        _swift_python()
        self._make_devices()
        listening = {role: _listen(0) for role in self._roles}
        self.ports = {role: sock.getsockname()[1] for role, sock in listening.items()}
        write_configuration(self.folder, self.ports, node_timeout=self.node_timeout)
        try:
            for process, roles in self._processes.items():
                self._spawn(process, {role: listening[role] for role in roles})
        finally:
            for sock in listening.values():
                sock.close()
        self._wait_for(self._processes)

    def stop(self) -> None:
        for process in self.pids:
            self._signal(process, signal.SIGTERM)
            self._signal(process, signal.SIGCONT)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and any(self.is_running(process) for process in self.pids):
            time.sleep(POLL_SECONDS)
        for process in self.pids:
            self.kill(process)

    def is_running(self, process: str) -> bool:
        if child := self._children.get(process):
            return child.poll() is None
        try:
            command = Path(f"/proc/{self.pids[process]}/cmdline").read_bytes()
        except (OSError, KeyError):
            return False
        return os.fsencode(self.folder) in command.split(b"\0")

    def kill(self, process: str) -> None:
        """End `process` at once and wait until it is gone."""
        self._signal(process, signal.SIGKILL)
        while self.is_running(process):
            time.sleep(POLL_SECONDS)

    def pause(self, process: str) -> None:
        """Make `process` hang: it takes connections and says nothing."""
        self._signal(process, signal.SIGSTOP)

    def resume(self, process: str) -> None:
        self._signal(process, signal.SIGCONT)

    def respawn(self, process: str) -> None:
        """Start `process` again after `kill`, on its old ports."""
        listening = {role: _listen(self.ports[role]) for role in self._processes[process]}
        self._spawn(process, listening)
        for sock in listening.values():
            sock.close()
        self._wait_for([process])

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _objects(self) -> list[str]:
        return [f"object{number}" for number in range(1, self.replicas + 1)]

    @property
    def _roles(self) -> list[str]:
        return ["proxy", "account", "container", *self._objects]

    @property
    def _processes(self) -> dict[str, list[str]]:
        if self.replicas == 1:
            return {"all": self._roles}
        apart = {role: [role] for role in self._objects}
        return {"proxy": ["proxy"], "meta": ["account", "container"], **apart}

    def _make_devices(self) -> None:
        for role in self._objects:
            device = self.folder / "devices" / role
            device.mkdir(parents=True, exist_ok=True)
        try:
            os.setxattr(device, "user.swift.metadata", b"x" * 3000)
            os.removexattr(device, "user.swift.metadata")
        except OSError as error:
            raise SwiftFailed(
                f"the file system of {self.folder} takes no extended attributes, which Swift needs ({error}): "
                "use a folder on ext4 or xfs"
            ) from error

    def _spawn(self, process: str, listening: Mapping[str, socket.socket]) -> None:
        descriptors = {role: sock.fileno() for role, sock in listening.items()}
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "ST_", "OS_"))}
        with (self.folder / f"{process}.log").open("ab") as log:
            child = subprocess.Popen(
                [
                    *(_swift_python(), "-P", "-W", "ignore", str(_SERVER)),
                    *(str(self.folder), str(self.watch_pid)),
                    *(f"{role}={descriptor}" for role, descriptor in descriptors.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=tuple(descriptors.values()),
                env=clean | {"PYTHONDONTWRITEBYTECODE": "1"},
                start_new_session=True,
            )
        self._children[process], self.pids[process] = child, child.pid
        self._save()

    def _wait_for(self, processes: Iterable[str]) -> None:
        deadline = time.monotonic() + START_SECONDS
        for process in processes:
            for role in self._processes[process]:
                while not _is_healthy(self.ports[role]):
                    if not self.is_running(process) or time.monotonic() > deadline:
                        log = (self.folder / f"{process}.log").read_text(errors="replace")
                        raise SwiftFailed(f"Swift's {role} server did not come up:\n{log[-3000:]}")

    def _signal(self, process: str, number: signal.Signals) -> None:
        if self.is_running(process):
            os.kill(self.pids[process], number)

    def _save(self) -> None:
        state = {name: getattr(self, name) for name in ("replicas", "watch_pid", "ports", "pids")}
        unfinished = self.folder / f"{_STATE}.new"
        unfinished.write_text(json.dumps(state))
        unfinished.rename(self.folder / _STATE)


def _swift_python() -> str:
    chosen = os.environ.get("IMAGEREPO_SWIFT_VENV")
    folders = [Path(chosen)] if chosen else [Path(".swift-venv"), Path(__file__).parents[3] / ".swift-venv"]
    for folder in folders:
        if (folder / "bin" / "swift-proxy-server").exists():
            return str(folder.absolute() / "bin" / "python")
    where = folders[0]
    raise SwiftFailed(
        f"OpenStack Swift is not installed in {where}; run: "
        f"python3 -m venv {where} && {where}/bin/pip install -r requirements-swift.txt"
    )


def _listen(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(1024)
    return sock


def _is_healthy(port: int) -> bool:
    """Whether the server on `port` answers; it may take two seconds to say so."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{port}/healthcheck", timeout=2.0) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        time.sleep(POLL_SECONDS)
        return False


def main() -> int:
    arguments = _parser().parse_args()
    try:
        return int(arguments.run(arguments))
    except SwiftFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m imagerepo.testing.swift", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(required=True)
    for run in (start, stop, status, env):
        command = commands.add_parser(run.__name__, help=run.__doc__)
        command.add_argument("--dir", type=Path, required=True)
        command.set_defaults(run=run)
        if run is start:
            command.add_argument("--replicas", type=int, choices=(1, 3), default=1)
            command.add_argument("--watch-pid", type=int, default=0, help="end when this process is gone")
    return parser


def start(arguments: argparse.Namespace) -> int:
    """Start a Swift that outlives this command."""
    swift = Swift(arguments.dir, replicas=arguments.replicas, watch_pid=arguments.watch_pid)
    try:
        swift.start()
    except BaseException:
        swift.stop()
        raise
    return env(arguments)


def stop(arguments: argparse.Namespace) -> int:
    """Stop it."""
    Swift.found_in(arguments.dir).stop()
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Say which processes run; exit 1 if one does not."""
    swift = Swift.found_in(arguments.dir)
    running = {process: swift.is_running(process) for process in swift.pids}
    sys.stdout.write(json.dumps({"running": running, "pids": swift.pids, "ports": swift.ports}) + "\n")
    return 0 if all(running.values()) else 1


def env(arguments: argparse.Namespace) -> int:
    """Print the variables with which a client signs in."""
    for variable, value in Swift.found_in(arguments.dir).environ.items():
        sys.stdout.write(f"export {variable}={shlex.quote(value)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
