"""The process that touches pixels: `python -m imagerepo.store.worker TASK`, started and killed by workers.py.

It reads one JSON request a line from standard input, answers one JSON line, and ends with its input. It has
no database, no store, no credentials; a decoder that is taken over by a hostile image finds nothing here.

request   {"arguments": {…}, "seconds": …, "memory_bytes": …}
answer    {"result": {…}} | {"error": <class of imagerepo.errors>, "detail": …} | {"memory": …} | {"bug": …}
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from imagerepo.errors import ImagerepoError

Task: TypeAlias = Callable[..., dict[str, Any]]

READY = b"ready\n"

ORPHAN_SECONDS = 2.0
"""How long past its time a task may run when the parent that should have killed it is dead."""


def main() -> None:
    task = _LOADERS[sys.argv[1]]()
    answers = _claim_stdout()
    _settle_process()
    answers.write(READY)
    for line in sys.stdin.buffer:
        answers.write(json.dumps(_answer(task, json.loads(line))).encode() + b"\n")


def _claim_stdout() -> BinaryIO:
    """Keep standard output for answers: decoders print what they like to descriptors 1 and 2."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return answers


def _settle_process() -> None:
    """End with the input, not with the terminal's Ctrl-C: the parent may still finish what is under way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(task: Task, request: dict[str, Any]) -> dict[str, Any]:
    try:
        with _bounded(request["seconds"], request["memory_bytes"]):
            return {"result": task(**request["arguments"])}
    except ImagerepoError as error:
        return {"error": type(error).__name__, "detail": str(error)}
    except MemoryError:
        return {"memory": "used up"}
    except Exception:
        return {"bug": traceback.format_exc()}


@contextmanager
def _bounded(seconds: float, memory_bytes: int) -> Iterator[None]:
    """Limit what the task may allocate on top of the idle process, and its time should the parent die."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    # RLIMIT_DATA counts private writable memory; RLIMIT_AS would count what allocators only reserve.
    resource.setrlimit(resource.RLIMIT_DATA, (_allocated_bytes() + memory_bytes, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds + ORPHAN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _allocated_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def _load_inspect() -> Task:
    from imagerepo.store.decode import Limits, inspect

    def task(path: str, **limits: int) -> dict[str, Any]:
        decoded = asdict(inspect(Path(path), Limits(**limits)))
        taken_at = decoded["taken_at"]
        return {**decoded, "taken_at": taken_at and taken_at.isoformat()}

    return task


def _load_render() -> Task:
    from imagerepo.store.names import Region, Variant
    from imagerepo.store.render import render

    def task(path: str, target: str, variant: dict[str, Any], careful: bool) -> dict[str, Any]:
        region = variant["region"] and Region(**variant["region"])
        wanted = Variant(**{**variant, "region": region})
        render(Path(path), Path(target), wanted, careful=careful)
        return {}

    return task


# Loaded before the first request: what a task may allocate is counted from there.
_LOADERS: dict[str, Callable[[], Task]] = {"inspect": _load_inspect, "render": _load_render}


if __name__ == "__main__":
    main()
