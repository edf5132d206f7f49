"""A real `imagerepo serve` in a process of its own, to start, kill, rob of its disk, and start again."""

from __future__ import annotations

import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

START_SECONDS = 60.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.01
REQUEST_SECONDS = 120.0
_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Never used, as servers speak plain HTTP, but a client that makes its own takes 50 ms for it."""
_READY = re.compile(r"^imagerepo: ready$", re.MULTILINE)
_ADDRESS = re.compile(r"listening on (http://\S+?),")


class ServerFailed(Exception):
    """The server did not come up, or did not stop. The message holds its output."""


class Server:
    """One server on `data_dir` and `store_url`; as a context manager, it runs inside the `with`.

    It takes a free port, gets `settings` as IMAGEREPO_* variables (by lower-case name) and `environ`, and
    none of this process's own IMAGEREPO_* variables. It ends when this process ends.
    """

    def __init__(
        self,
        data_dir: Path,
        store_url: str,
        *,
        admin_token: str,
        workers: int = 1,
        environ: Mapping[str, str] | None = None,
        **settings: str,
    ) -> None:
        self.data_dir, self.store_url, self.admin_token = data_dir.absolute(), store_url, admin_token
        self.workers = workers
        self.environ = dict(environ or {})
        self.settings = settings
        self.log = self.data_dir.with_name(f"{self.data_dir.name}.log")
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[httpx.Client] = []

    @property
    def pid(self) -> int:
        """The parent's; it leads a process group of its own."""
        assert self._process is not None  # noqa: S101  # a caller's mistake
        return self._process.pid

    def start(self, *options: str, wait: bool = True) -> Self:
        """Start it; `wait` until it answers requests, else only until it has a port. Raises ServerFailed.

        `options` are more of those that `imagerepo serve --help` lists.
        """
        self.log.unlink(missing_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*_dying_with_us(), *self._command(), *options],
                env=self._environ(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.url = self._wait_for(_ADDRESS)[1]
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self) -> None:
        self._wait_for(_READY)

    def stop(self) -> int:
        """SIGTERM, as an operator stops it. Gives its exit status."""
        self._close_clients()
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"the server did not stop on SIGTERM:\n{self.output()}") from None

    def kill(self) -> None:
        """SIGKILL to the parent and all it started, as a power cut."""
        self._close_clients()
        if self._process is not None:
            _kill_group(self._process.pid)
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP to the parent and all it started: everything of it rests until `resume`."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def pause_at_failpoint(self) -> None:
        """Wait until a failpoint's `stop-self` has stopped one of its processes, then pause the others too."""
        deadline = time.monotonic() + START_SECONDS
        while not any(state == "T" for state in _states_in_group(self.pid)):
            if time.monotonic() > deadline:
                raise ServerFailed(f"no failpoint stopped it:\n{self.output()}")
            time.sleep(POLL_SECONDS)
        self.pause()

    def wait(self) -> int:
        """Wait until it has ended by itself (a failpoint, say), with its workers. Gives its exit status."""
        assert self._process is not None  # noqa: S101  # a caller's mistake
        status = self._process.wait(START_SECONDS)
        _kill_group(self._process.pid)
        return status

    def lose_disk(self) -> None:
        """Delete the data folder of a server that does not run."""
        shutil.rmtree(self.data_dir)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def client(self, token: str | None = None) -> httpx.Client:
        """A client with this token; closed when the server stops."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        client = httpx.Client(base_url=self.url, headers=headers, timeout=REQUEST_SECONDS, trust_env=False, verify=_TLS)
        self._clients.append(client)
        return client

    @property
    def admin(self) -> httpx.Client:
        return self.client(self.admin_token)

    def command(self, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
        """Run `imagerepo` with this server's settings. `stderr`: a file descriptor, a terminal's perhaps."""
        return subprocess.run(
            [sys.executable, "-m", "imagerepo", *arguments],
            env=self._environ(),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _command(self) -> list[str]:
        serve = ["serve", "--host", "127.0.0.1", "--port", "0", "--workers", str(self.workers)]
        return [sys.executable, "-m", "imagerepo", *serve]

    def _environ(self) -> dict[str, str]:
        own = {"data_dir": str(self.data_dir), "store_url": self.store_url, "admin_token": self.admin_token}
        variables = {f"IMAGEREPO_{name.upper()}": value for name, value in (own | self.settings).items()}
        return clean_environ() | variables | self.environ

    def _wait_for(self, line: re.Pattern[str]) -> re.Match[str]:
        deadline = time.monotonic() + START_SECONDS
        while not (found := line.search(self.output())):
            if self._process is None or self._process.poll() is not None:
                raise ServerFailed(f"the server ended:\n{self.output()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"the server did not come up:\n{self.output()}")
            time.sleep(POLL_SECONDS)
        return found

    def _close_clients(self) -> None:
        while self._clients:
            self._clients.pop().close()


def clean_environ() -> dict[str, str]:
    """This process's environment without settings of imagerepo."""
    return {key: value for key, value in os.environ.items() if not key.startswith("IMAGEREPO_")}


def _dying_with_us() -> Sequence[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def _states_in_group(group: int) -> Iterator[str]:
    """The kernel's letter for each process of a process group: T is stopped."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, its_group, *_ = stat.read_text().rpartition(")")[2].split()
            if int(its_group) == group:
                yield state


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
