"""A server of the machine: a data folder, and real processes on it that can be killed and stopped."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from imagerepo.testing.remote import Remote
from tests.machine.processes import LOOK_SECONDS, Nursery, Pipe, Process
from tests.machine.zygote import ADMIN_TOKEN, Birth
from tests.waiting import until

ANSWER_SECONDS = 20.0
"""Longer than any request takes whose server is well."""


@dataclass(frozen=True)
class Work:
    """What a worker was asked to do: a look for what there is to repair, or something that an admin wants."""

    server: Server
    process: Process
    done: Future[Any]


class Server:
    """Start it, kill it with its disk kept or lost, stop it in mid-step, wake it. Its parts are as a real one's."""

    def __init__(
        self, nursery: Nursery, store: str, data_dir: Path, on_passed: Callable[[str, set[str]], None]
    ) -> None:
        self._nursery, self._store, self.data_dir, self._on_passed = nursery, store, data_dir, on_passed
        self.parent: Process | None = None
        self.workers: list[Process] = []
        self.starting: Future[tuple[int, bool]] | None = None
        self.epoch = 0
        self.rested = False
        """Whether it rested during its start: others may have pruned meanwhile what it had found."""
        self._held = False
        self.seen = 0
        """The newest revision that a visitor saw in this life."""

    @property
    def name(self) -> str:
        return self.data_dir.name

    @property
    def log(self) -> str:
        path = self.data_dir.with_suffix(".log")
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def alive(self) -> bool:
        return self.parent is not None and self.parent.alive

    @property
    def stopped(self) -> bool:
        return self.alive and any(process.stopped for process in self._processes())

    @property
    def serving(self) -> bool:
        return self.alive and self.starting is None and not self.stopped

    def begin(self, failpoint: str = "", action: str = "") -> None:
        """Begin a start. `starting` says how it ends."""
        assert not self.alive
        self.data_dir.mkdir(exist_ok=True)
        self.seen, self.rested, self._held = 0, False, False
        self.parent = self._bear("parent", None)
        if failpoint:
            self.parent.arm(failpoint, action)
        self.starting = self.parent.ask("start")

    def finish(self, workers: int) -> None:
        """The start has succeeded: the workers come. Raises what the start raised, or Gone."""
        assert self.starting is not None and self.parent is not None
        begun, self.starting = self.starting, None
        try:
            self.epoch, _ = begun.result(0)
        except BaseException:
            self.kill()
            raise
        self.parent.arm("", "")
        while len(self.workers) < workers:
            self.workers.append(self._bear("worker", self.parent.pid))

    @property
    def dead(self) -> list[Process]:
        """Processes that have ended and are not replaced or forgotten yet."""
        return [process for process in self._processes() if not process.alive]

    @property
    def armed(self) -> list[str]:
        return [process.armed for process in self._processes() if process.armed]

    @property
    def dies_whole(self) -> bool:
        """Whether the death of any of its processes is that of all: they don't end at quite the same moment."""
        return any(process.action == "kill-group" for process in self._processes())

    def disarm(self) -> None:
        """For a stopped one: it has reached where it was to stop, and is to go on from there when it wakes."""
        for process in self._processes():
            process.armed = process.action = ""

    def replace(self, dead: Process) -> None:
        """As the parent does with a worker that died."""
        assert self.parent is not None
        dead.forget()
        self.workers[self.workers.index(dead)] = self._bear("worker", self.parent.pid)

    def stop(self) -> None:
        assert self.parent is not None
        if not self._held:
            for process in self._processes():
                process.rests_at = process.armed if process.stopped else ""
        self._held = True
        self.parent.signal_group(signal.SIGSTOP)
        until(lambda: all(process.stopped or not process.alive for process in self._processes()))

    def wake(self) -> None:
        """It goes on where it stopped, and does not stop again at what it was told before."""
        assert self.parent is not None
        self._held = False
        for worker in self.workers:
            worker.ask("arm", name="")
            worker.rests_at = ""
        self.parent.signal_group(signal.SIGCONT)

    def kill(self) -> None:
        """As by a power cut: all at once; the disk stays as it is."""
        if self.parent is None:
            return
        self.parent.signal_group(signal.SIGKILL)
        for process in self._processes():
            process.kill()
            process.forget()
        self.parent, self.workers, self.starting = None, [], None

    def lose_disk(self) -> None:
        self.kill()
        if self.data_dir.exists():
            shutil.rmtree(self.data_dir)

    def worker(self, number: int) -> Process:
        """One of those that live, if one does."""
        living = [worker for worker in self.workers if worker.alive] or self.workers
        return living[number % len(living)]

    def client(self, number: int = 0) -> httpx.Client:
        return httpx.Client(
            transport=Pipe(self.worker(number), ANSWER_SECONDS),
            base_url="http://machine",
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        )

    def remote(self, number: int = 0) -> Remote:
        return Remote(self.client(number))

    def order(self, task: str, number: int = 0, **arguments: object) -> Any:
        """What a worker's task gave, or the exception that it raised; Gone and TimeoutError among them."""
        worker = self.worker(number)
        asked = worker.ask(task, **arguments)
        if not worker.wait_for(asked, ANSWER_SECONDS):
            return TimeoutError()
        return asked.exception() or asked.result()

    def _processes(self) -> list[Process]:
        return [process for process in (self.parent, *self.workers) if process is not None]

    def _bear(self, role: str, group: int | None) -> Process:
        log = self.data_dir.with_suffix(".log")
        birth = Birth(role, "", self._store, self.data_dir, log, group)
        return self._nursery.bear(birth, lambda passed: self._on_passed(role, passed))


def ends(asked: Future[Any], server: Server, seconds: float) -> bool:
    """Wait for an answer, as long as the server may give one. Whether it, or Gone, is there."""
    return eventually(asked.done, server, seconds) or (not server.alive and _at_last(asked))


def _at_last(asked: Future[Any]) -> bool:
    """Of a dead process: its end of the pipe is seen to close a little later."""
    return bool(futures.wait([asked], ANSWER_SECONDS).done)


def eventually(holds: Callable[[], bool], server: Server, seconds: float) -> bool:
    """Wait until it holds, as long as the server is up."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline and server.alive and not server.stopped:
        time.sleep(LOOK_SECONDS)
    return holds()
