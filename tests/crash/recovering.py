"""A start and nothing more, in a process that may die of it.

    python -m tests.crash.recovering        one, as IMAGEREPO_* say
    python -m tests.crash.recovering FD     one each time it is asked to over this socket

The second imports everything once, and forks for each start: it has no thread and no SQLite connection, so a fork of it
is as good as a process of its own, for a tenth of the time.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

from imagerepo.boot import boot
from imagerepo.config import get_config
from imagerepo.testing.servers import clean_environ

SECONDS = 60.0
ROOT = Path(__file__).parents[2]


def trace_a_start(data_dir: Path, store: Path, trace: Path) -> None:
    """Start a repository on this disk in a process of its own, which then ends; it leaves a failpoints' trace."""
    environ = _settings(data_dir, store) | {"IMAGEREPO_FAILPOINT_TRACE": str(trace)}
    command = [sys.executable, "-m", __name__]
    subprocess.run(command, cwd=ROOT, env=clean_environ() | environ, timeout=SECONDS, check=True)


def die_starting(data_dir: Path, store: Path, point: str) -> int:
    """The same, in a process that is to die at this failpoint. Gives its exit status."""
    asked = _starter()
    asked.send((_settings(data_dir, store), point))
    assert asked.poll(SECONDS), f"the start hangs before {point}"
    status: int = asked.recv()
    return status


def _settings(data_dir: Path, store: Path) -> dict[str, str]:
    return {"IMAGEREPO_DATA_DIR": str(data_dir), "IMAGEREPO_STORE_URL": f"file://{store}"}


@cache
def _starter() -> Connection:
    """One for this process, and for as long as it lives."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=ROOT,
            env=clean_environ(),
            pass_fds=[theirs.fileno()],
        )
    asked = Connection(ours.detach())
    atexit.register(_end, asked, process)
    return asked


def _end(asked: Connection, process: subprocess.Popen[bytes]) -> None:
    asked.close()
    process.wait(SECONDS)


def main() -> None:
    if len(sys.argv) == 1:
        boot()
        _start()
    with tempfile.TemporaryDirectory(prefix="imagerepo-starter-") as folder:
        os.environ["IMAGEREPO_DATA_DIR"] = folder
        boot()
        _import_all()
        _start_when_asked(Connection(int(sys.argv[1])))


def _import_all() -> None:
    from imagerepo.sessions import recovery  # noqa: F401


def _start_when_asked(asked: Connection) -> None:
    while True:
        try:
            settings, point = asked.recv()
        except EOFError:
            return
        child = os.fork()
        if not child:
            _start_and_die(settings, point)
        asked.send(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _start_and_die(settings: dict[str, str], point: str) -> None:
    from django.db import connection

    from imagerepo.testing import failpoints

    try:
        os.environ |= settings
        get_config.cache_clear()
        connection.settings_dict["NAME"] = str(get_config().data_dir / "catalogue.sqlite3")
        name, _, nth = point.partition("#")
        failpoints.arm(name, nth=int(nth or 1), action="kill-self")
        _start()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _start() -> None:
    from imagerepo.sessions import recovery

    recovery.start(get_config())
    os._exit(0)  # as a server ends: closing the last connection would end the log


if __name__ == "__main__":
    main()
