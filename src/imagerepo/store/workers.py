"""A pool of processes that touch pixels, each of which can be killed without loss.

They are started afresh (never forked: that would copy SQLite's connections), by `subprocess` and not by
`multiprocessing`: no re-import of the server's main module, no ban on children of a server's own workers,
and an end-of-file on their input when this process dies, however it dies.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

from imagerepo import errors
from imagerepo.store.worker import READY

START_SECONDS = 60.0
"""A new process that is not ready by then never will be."""

TASKS_PER_PROCESS = 1000
"""Then a process is replaced: decoders may leak."""

_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_TOO_COSTLY_SIGNALS = (signal.SIGALRM, signal.SIGXCPU, signal.SIGKILL)  # SIGKILL: the kernel, out of memory


class WorkerError(Exception):
    """Why a task has no result. Callers in store/ turn it into an error of theirs."""


class OverLimit(WorkerError):
    """The task took more than its time or memory."""


class Crashed(WorkerError):
    """The process died, or its code failed in an unforeseen way."""


class NoneFree(WorkerError):
    """All processes were busy for as long as the caller would wait, or the pool was closed."""


class WorkerPool:
    """At most `size` processes for one task, started when first needed. Safe for several threads.

    `task` is one of those in worker.py. Each run of it may take `seconds`, and allocate `memory_bytes` more
    than the idle process; waiting for a free process, `patience` seconds at most, does not count.
    """

    def __init__(self, task: str, size: int, *, seconds: float, memory_bytes: int, patience: float) -> None:
        self._task = task
        self._seconds, self._memory_bytes, self._patience = seconds, memory_bytes, patience
        self._free = threading.Semaphore(size)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._alive: set[_Worker] = set()
        self._closed = False
        self._finalizer = weakref.finalize(self, _stop_all, self._alive)

    def run(self, **arguments: Any) -> dict[str, Any]:
        """The task's result. Raises WorkerError, or the ImagerepoError that the task raised."""
        if not self._free.acquire(timeout=self._patience):
            raise NoneFree(f"no process was free for {self._patience} s")
        try:
            return self._run(arguments)
        finally:
            self._free.release()

    def close(self) -> None:
        """End all processes. Tasks under way fail with NoneFree."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = self._alive.difference(idle)
        for worker in busy:
            worker.kill()  # and the thread that waits for it cleans up
        for worker in idle:
            self._end(worker)

    def _run(self, arguments: dict[str, Any]) -> dict[str, Any]:
        worker = self._take()
        limits = {"seconds": self._seconds, "memory_bytes": self._memory_bytes}
        try:
            answer = worker.ask({"arguments": arguments, **limits}, self._seconds)
        except BaseException as error:
            self._end(worker)
            if isinstance(error, WorkerError) and self._closed:
                raise NoneFree("the pool was closed meanwhile") from None
            raise
        self._give_back(worker)
        return _result(answer)

    def _take(self) -> _Worker:
        while worker := self._pop_idle():
            if worker.is_alive():
                return worker
            self._end(worker)
        return self._start()

    def _pop_idle(self) -> _Worker | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _start(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise NoneFree("the pool is closed")
            worker = _Worker(self._task)
            self._alive.add(worker)
        try:
            worker.await_ready()
        except BaseException:
            self._end(worker)
            raise
        return worker

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            keep = worker.tasks < TASKS_PER_PROCESS and not self._closed
            if keep:
                self._idle.append(worker)
        if not keep:
            self._end(worker)

    def _end(self, worker: _Worker) -> None:
        with self._lock:
            self._alive.discard(worker)
        worker.stop()


class _Worker:
    """One process and the pipes to it; used by one thread at a time."""

    def __init__(self, task: str) -> None:
        self.tasks = 0
        # -P: no module is looked for in the folder that the server happens to run in.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "imagerepo.store.worker", task],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=_environment(),
        )
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def await_ready(self) -> None:
        if self._read_line(START_SECONDS) != READY:
            raise Crashed("a process for decoding images did not start; its error output says why")

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        self.tasks += 1
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self._death() from None
        answer: dict[str, Any] = json.loads(self._read_line(seconds))
        return answer

    def kill(self) -> None:
        """From any thread. It holds nothing that would want saving."""
        self._process.kill()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._requests.close()
        self._answers.close()

    def _read_line(self, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        waiting = select.poll()
        waiting.register(self._answers, select.POLLIN)
        line = b""
        while not line.endswith(b"\n"):
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise OverLimit(f"it takes more than {seconds:g} s")
            part = os.read(self._answers.fileno(), 1 << 16)
            if not part:
                raise self._death()
            line += part
        return line

    def _death(self) -> WorkerError:
        status = self._process.wait()
        if -status in _TOO_COSTLY_SIGNALS:
            return OverLimit("its process was killed for using up time or memory")
        return Crashed(f"the process that worked on it died ({_say_status(status)})")


def _result(answer: dict[str, Any]) -> dict[str, Any]:
    if "result" in answer:
        result: dict[str, Any] = answer["result"]
        return result
    if "memory" in answer:
        raise OverLimit("it takes more memory than is allowed")
    kind = getattr(errors, str(answer.get("error")), None)
    if isinstance(kind, type) and issubclass(kind, errors.IntakeError | errors.DerivativeError):
        raise kind(answer["detail"])
    raise Crashed(f"the code that worked on it failed:\n{answer.get('bug', answer)}")


def _environment() -> dict[str, str]:
    """No credentials reach a process that decodes strangers' images; libvips takes one thread an image."""
    passed = {key: value for key, value in os.environ.items() if key in _PASSED_ON or key.startswith("PYTHON")}
    return {**passed, "VIPS_CONCURRENCY": "1"}


def _say_status(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"


def _stop_all(workers: set[_Worker]) -> None:
    while workers:
        workers.pop().stop()
