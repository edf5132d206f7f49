"""The processes of the machine's servers, seen from the test: asked, killed, stopped, waited for."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import httpx

from tests.machine.zygote import Birth

BIRTH_SECONDS = 60.0
LOOK_SECONDS = 0.005


class Gone(Exception):
    """The process died before it answered."""


class Nursery:
    """The zygote, and how new processes are had from it. One for a test process."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="imagerepo-machine-", dir=_quick_disk()))
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(self.address)
        self._door.listen()
        self._zygote = subprocess.Popen([sys.executable, "-m", "tests.machine.zygote", self.address])
        self._orders = self._next_caller(os.pidfd_open(self._zygote.pid))

    @property
    def address(self) -> str:
        return str(self.folder / "door")

    def bear(self, birth: Birth, on_passed: Callable[[set[str]], None]) -> Process:
        self._orders.send(replace(birth, address=self.address))
        pid = self._orders.recv()
        pidfd = os.pidfd_open(pid)
        return Process(pid, pidfd, self._next_caller(pidfd), on_passed)

    def close(self) -> None:
        """The zygote removes the folder, as it does when this process is killed."""
        self._orders.close()
        self._door.close()
        self._zygote.wait(BIRTH_SECONDS)

    def _next_caller(self, pidfd: int) -> Connection:
        """The connection of a process that was begun just now. Raises Gone where it died instead."""
        if self._door not in wait([self._door, pidfd], BIRTH_SECONDS):
            raise Gone("a process died while it was born: see its log")
        caller, _ = self._door.accept()
        return Connection(caller.detach())


class Process:
    """One process of a server. `on_passed` hears the names of failpoints that it passed for the first time.

    `armed` is the failpoint where it is to die or to stop, by `action`; `rests_at` the one where it has stopped.
    """

    def __init__(self, pid: int, pidfd: int, asked: Connection, on_passed: Callable[[set[str]], None]) -> None:
        self.pid, self._pidfd, self._asked, self._on_passed = pid, pidfd, asked, on_passed
        self._waiting: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._number = 0
        self._gone = False
        self.armed = self.action = self.rests_at = ""
        assert asked.recv() == pid
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, task: str, **arguments: object) -> Future[Any]:
        """Its answer, or Gone. An answer may be an exception that is raised."""
        answer: Future[Any] = Future()
        with self._lock:
            self._number += 1
            number = self._number
            if self._gone:
                answer.set_exception(Gone())
                return answer
            self._waiting[number] = answer
        with suppress(OSError):  # it is gone, as the listener will say
            self._asked.send((number, task, arguments))
        return answer

    def arm(self, failpoint: str, action: str, nth: int = 1) -> None:
        """Let it die or stop at the failpoint from now on; "" disarms it."""
        self.armed, self.action = failpoint, action
        self.wait_for(self.ask("arm", name=failpoint, action=action, nth=nth), BIRTH_SECONDS)

    def wait_for(self, asked: Future[Any], seconds: float) -> bool:
        """Wait for an answer, as long as it may come: not of one that is stopped. Whether it, or Gone, is there."""
        deadline = time.monotonic() + seconds
        while not asked.done() and time.monotonic() < deadline and not self.stopped:
            futures.wait([asked], LOOK_SECONDS)
        return asked.done()

    @property
    def busy(self) -> bool:
        """Whether something that it was asked is not answered yet."""
        with self._lock:
            return bool(self._waiting)

    @property
    def alive(self) -> bool:
        return not self._ended(0)

    @property
    def stopped(self) -> bool:
        with suppress(OSError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        return False

    def kill(self) -> None:
        """SIGKILL, and wait until nothing of it is left: its locks are free then."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._ended(None)

    def kill_alone(self) -> None:
        """The same, on purpose: nobody wonders."""
        self.armed, self.action = "nothing", "kill-self"
        self.kill()

    def signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def forget(self) -> None:
        """For one that is dead."""
        with self._lock:
            if self._pidfd >= 0:
                os.close(self._pidfd)
                self._pidfd = -1

    def _ended(self, milliseconds: int | None) -> bool:
        if self._pidfd < 0:
            return True
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(milliseconds))

    def _listen(self) -> None:
        while True:
            try:
                number, result, passed = self._asked.recv()
            except (EOFError, OSError):
                break
            self._on_passed(passed)
            with self._lock:
                answer = self._waiting.pop(number)
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)
        # Its end of the pipe closes a little earlier, and Gone says that it is dead.
        self._ended(int(BIRTH_SECONDS * 1000))
        with self._lock:
            self._gone = True
            lost, self._waiting = list(self._waiting.values()), {}
        self._asked.close()
        for answer in lost:
            answer.set_exception(Gone())


class Pipe(httpx.BaseTransport):
    """HTTP to a worker. No answer within `patience` seconds is a timeout; the request goes on."""

    def __init__(self, process: Process, patience: float) -> None:
        self._process, self._patience = process, patience

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        content = request.read()
        path = request.url.raw_path.decode()
        asked = self._process.ask(
            "request", method=request.method, path=path, headers=request.headers.raw, content=content
        )
        if not self._process.wait_for(asked, self._patience):
            raise httpx.ReadTimeout("no answer", request=request)
        try:
            status, headers, body = asked.result()
        except Gone:
            raise httpx.ReadError("the worker died", request=request) from None
        return httpx.Response(status, headers=headers, content=body)


def _quick_disk() -> str | None:
    """Where fsync costs nothing: the machine's deaths are of processes, not of power."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
