"""Named places where a test makes a real process die. Off, and free, unless armed by the environment.

Every external effect of a commit, a snapshot, a restore and a recovery is wrapped in `effect`, which
passes one failpoint before it and one after it. Their names are made, not listed:

    <step>/<effect>/before        e.g.  commit.upload/store.put images/before

IMAGEREPO_FAILPOINT=NAME[#K]      act when NAME is passed for the K-th time (from 1)
IMAGEREPO_FAILPOINT_ACTION=       kill-group (default): SIGKILL to the whole process group, as a power cut
                                  kill-self: SIGKILL to this process alone
                                  raise: FailpointReached
IMAGEREPO_FAILPOINT_TRACE=FILE    append the name of every failpoint passed, a line each
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TARGET, _, _NTH = os.environ.get("IMAGEREPO_FAILPOINT", "").partition("#")
_ACTION = os.environ.get("IMAGEREPO_FAILPOINT_ACTION", "kill-group")
_TRACE = os.environ.get("IMAGEREPO_FAILPOINT_TRACE", "")
ARMED = bool(_TARGET or _TRACE)

_passed: Counter[str] = Counter()
_counting = threading.Lock()
_step = threading.local()


class FailpointReached(BaseException):
    """Raised by the action `raise`; not an Exception, so that no handler takes it for a store's failure."""


def failpoint(name: str) -> None:
    """Pass the failpoint `name`: die here if a test armed it."""
    if not ARMED:
        return
    if _TRACE:
        _append(Path(_TRACE), name)
    with _counting:
        _passed[name] += 1
        reached = name == _TARGET and _passed[name] == int(_NTH or 1)
    if reached:
        _act(name)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Name the protocol step that this thread is in; effects inside are named after it."""
    before, _step.name = getattr(_step, "name", ""), name
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
    yield
    failpoint(f"{name}/after")


def _act(name: str) -> None:
    if _ACTION == "raise":
        raise FailpointReached(name)
    if _ACTION == "kill-group":
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _append(path: Path, line: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, f"{line}\n".encode())
    finally:
        os.close(fd)
