"""`imagerepo serve`: the parent process. It starts the repository, keeps it, and tends the workers.

The parent holds server.lock, claims the epoch, restores or keeps the disk, and makes the opening record
final; until then a waiting room answers. Then granian spawns the workers (never forks: a forked child's
SQLite connections hold no locks) and respawns those that die. The parent's own connection, the keeper,
is never closed, as the last close would end the log: the process leaves by os._exit.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server as Granian

from imagerepo.boot import boot
from imagerepo.config import Config
from imagerepo.errors import ConfigError
from imagerepo.failures import sentence
from imagerepo.gateway.waiting import Problem, WaitingRoom
from imagerepo.worker import READY

TARGET = "imagerepo.worker:create"
STOP_EXTRA_SECONDS = 15
"""On top of the longest wait for a commit: what a worker may take to stop before it is killed."""
RESPAWN_PAUSE_SECONDS = 1.0
OVERLAP_SECONDS = 0.2
"""How long the waiting room stays after a worker said that it is about to listen."""
CONNECTIONS = 16384
"""Per worker. granian counts idle connections too, so this is no measure of work (gateway/ has those)."""

log = logging.getLogger(__name__)


def serve(host: str, port: int, workers: int, *, to_last_good: bool = False) -> NoReturn:
    """Start the repository and serve it until SIGTERM. Raises ConfigError before anything is touched.

    `to_last_good` allows a start from an older snapshot, where the newest is damaged (recovery.start).

    Ends the process: 0 after SIGTERM or SIGINT, 1 when it could not start.
    """
    config = boot()
    _leave_on_signals()
    room = _open_waiting_room(host, port)
    say(f"listening on http://{_bracketed(host)}:{room.port}, starting")
    _start_repository(config, to_last_good=to_last_good)
    signal.signal(READY, _closer(room))
    _run_workers(config, host, room.port, workers)
    say("stopped")
    _leave(0)


def say(line: str) -> None:
    """One line for whoever watches the server."""
    sys.stderr.write(f"imagerepo: {line}\n")
    sys.stderr.flush()


def _open_waiting_room(host: str, port: int) -> WaitingRoom:
    from imagerepo.api.problems import STARTING, members

    told = members(STARTING, "the repository is being restored; try again soon")
    try:
        return WaitingRoom(host, port, Problem(told, STARTING.retry_after or 1))
    except OSError as error:
        raise ConfigError(f"can't listen on {_bracketed(host)}:{port}: {error.strerror}; choose another port") from None


def _start_repository(config: Config, *, to_last_good: bool) -> None:
    from imagerepo.sessions import recovery

    begun = time.monotonic()
    try:
        started = recovery.start(config, go_back=_passed_over if to_last_good else None)
    except Exception as error:
        told = sentence(error)
        if told is None:
            raise
        say(told)
        _leave(1)
    _keep.append(started)
    how = "restored from the store" if started.restored else "opened"
    say(f"{how} in {time.monotonic() - begun:.1f} s; epoch {started.epoch}")


def _passed_over(what: str) -> None:
    say(f"passed over: {what}")


_keep: list[Any] = []
"""What must live as long as the process: its locks, and the keeper."""


def _run_workers(config: Config, host: str, port: int, workers: int) -> None:
    multiprocessing.set_start_method("spawn")
    granian = _Granian(
        TARGET,
        factory=True,
        address=host,
        port=port,
        workers=workers,
        interface=Interfaces.ASGI,
        websockets=False,
        backlog=1024,
        backpressure=CONNECTIONS,
        http1_settings=HTTP1Settings(header_read_timeout=int(config.body_grace_seconds * 1000)),
        respawn_failed_workers=True,
        workers_kill_timeout=int(config.commit_wait_seconds) + STOP_EXTRA_SECONDS,
        log_level=LogLevels.warning,
    )
    granian.serve()


class _Granian(Granian):  # type: ignore[misc, valid-type]
    """granian stops everything when a worker dies twice within seconds; here the others go on."""

    def _respawn_workers(self, workers: list[int], *args: Any, **kwargs: Any) -> None:
        say(f"{len(workers)} of {self.workers} workers died; replacing")
        time.sleep(RESPAWN_PAUSE_SECONDS)
        super()._respawn_workers(workers, *args, **kwargs)
        self.respawned_wrks.clear()


def _closer(room: WaitingRoom) -> Callable[[int, FrameType | None], None]:
    """On the first worker's signal: close the waiting room, a moment later."""
    closing = False

    def on_ready(_: int, __: FrameType | None) -> None:
        nonlocal closing
        if not closing:
            closing = True
            threading.Timer(OVERLAP_SECONDS, close).start()

    def close() -> None:
        room.close()
        say("ready")

    return on_ready


def _leave_on_signals() -> None:
    """While starting, stop at once: whatever was under way, the next start settles."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _leave(0))


def _leave(status: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
