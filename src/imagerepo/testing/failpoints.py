"""Named places where a test makes a real process die. Off, and free, unless armed by the environment.

Every external effect of a commit, a snapshot, a restore and a recovery is wrapped in `effect`, which
passes one failpoint before it and one after it. Their names are made, not listed:

    <step>/<effect>/before        e.g.  commit.upload/store.put images/before
                                        start.open>snapshot.put/store.put db/record/after

IMAGEREPO_FAILPOINT=NAME[#K]      act when NAME is passed for the K-th time (from 1)
IMAGEREPO_FAILPOINT_ACTION=       kill-group (default): SIGKILL to the whole process group, as a power cut
                                  kill-self: SIGKILL to this process alone
                                  stop-self: SIGSTOP to this process alone; SIGCONT wakes it at the same place
                                  raise: FailpointReached
IMAGEREPO_FAILPOINT_TRACE=FILE    append what happens, in order, a line each: `<pid>.<thread> <what>`, where what is
                                  the name of a failpoint passed, or `!commit` or `!file …` for an effect seen
                                  from below (SQLite's own trace, Python's audit events): what no failpoint
                                  surrounds is an effect that was forgotten
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_target, _, _nth = os.environ.get("IMAGEREPO_FAILPOINT", "").partition("#")
_action = os.environ.get("IMAGEREPO_FAILPOINT_ACTION", "kill-group")
_TRACE = os.environ.get("IMAGEREPO_FAILPOINT_TRACE", "")
ARMED = bool(_target or _TRACE)

_passed: Counter[str] = Counter()
_counting = threading.Lock()
_step = threading.local()


class FailpointReached(BaseException):
    """Raised by the action `raise`; not an Exception, so that no handler takes it for a store's failure."""


def arm(name: str, *, nth: int = 1, action: str = "kill-group") -> None:
    """Arm a failpoint of this process, counted from now, in place of any other; an empty name only counts."""
    global ARMED, _target, _nth, _action
    with _counting:
        ARMED, _target, _nth, _action = True, name, str(nth), action
        _passed.clear()


def passed() -> set[str]:
    """Names of the failpoints passed since this process began, or since `arm`."""
    with _counting:
        return set(_passed)


def failpoint(name: str) -> None:
    """Pass the failpoint `name`: die here if a test armed it."""
    if not ARMED:
        return
    if _TRACE:
        _note(name)
    with _counting:
        _passed[name] += 1
        reached = name == _target and _passed[name] == int(_nth or 1)
    if reached:
        _act(name)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Name the protocol step that this thread is in; effects inside are named after it, and a step inside too."""
    before = getattr(_step, "name", "")
    _step.name = f"{before}>{name}" if before else name
    try:
        yield
    finally:
        _step.name = before


def current_step() -> str:
    return getattr(_step, "name", "") or "-"


@contextmanager
def effect(what: str) -> Iterator[None]:
    """Wrap one external effect: a store call, a transaction, a durable change of a file."""
    if not ARMED:
        yield
        return
    name = f"{current_step()}/{what}"
    failpoint(f"{name}/before")
    try:
        yield
    finally:
        failpoint(f"{name}/after")


def _act(name: str) -> None:
    if _action == "raise":
        raise FailpointReached(name)
    if _action == "kill-group":
        os.killpg(0, signal.SIGKILL)
    if _action == "stop-self":
        # To this thread: a signal to the process might stop it only after this thread has gone on.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _note(what: str) -> None:
    line = f"{os.getpid()}.{threading.get_ident()} {what}\n"
    fd = _trace_file()
    os.write(fd, line.encode())


@cache
def _trace_file() -> int:
    return os.open(_TRACE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


_CHANGES = frozenset({"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"})


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event in _CHANGES:
        _note(f"!file {event} {arguments[0]!s}")
    elif event == "open" and isinstance(arguments[0], str | bytes) and _writes(arguments[2]):
        _note(f"!file open {os.fsdecode(arguments[0])}")


def _writes(flags: object) -> bool:
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


def _on_statement(statement: str) -> None:
    if statement.strip().upper().startswith("COMMIT"):
        _note("!commit")


def _watch_sqlite() -> None:
    connect = sqlite3.connect

    def watched(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(_on_statement)
        return connection

    sqlite3.connect = sqlite3.dbapi2.connect = watched  # type: ignore[assignment]


if _TRACE:
    _trace_file()
    _watch_sqlite()
    sys.addaudithook(_audit)
