"""What a forked process does: it is a server's parent, or one of its workers, and carries out what it is asked."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any, NoReturn

import httpx
from django.db import connection

from imagerepo.catalogue import queries
from imagerepo.catalogue.models import Condemned
from imagerepo.config import get_config
from imagerepo.durability import bases, chain, drill, pages, retention, settle, writer
from imagerepo.durability.locks import acquire
from imagerepo.durability.state import Disk
from imagerepo.processes import die_with_parent
from imagerepo.reconcile import carrying, deletion, duties, fixity, history, purge, runner
from imagerepo.reconcile.deletion import Clock
from imagerepo.sessions import committer, lane, recovery, service, tokens
from imagerepo.store.door import Door
from imagerepo.store.formats import Decoded
from imagerepo.testing import failpoints
from imagerepo.worker import open_service
from imagerepo.wsgi import application
from tests.machine.distant import DistantStore
from tests.machine.zygote import ADMIN_TOKEN, SETTLING_SECONDS, Birth
from tests.reconcile.drifts import rows

SETTINGS = {
    "ADMIN_TOKEN": ADMIN_TOKEN,
    "COMMIT_WAIT_SECONDS": "0.5",
    "EPOCH_CHECK_SECONDS": "0.3",
    "DRILL_SECONDS": "0",
    "GRACE_SECONDS": "0.000001",
    "STORE_TIMEOUT_SECONDS": "0.1",
    "DELETE_SETTLE_SECONDS": str(SETTLING_SECONDS),
    "FIXITY_DAYS": "0.00005",
    "SNAPSHOT_SECONDS": "0",
}
RECYCLE_BYTES = 200_000
"""The log is begun anew so soon here that it happens in a story of a few commits."""
Task = Callable[..., object]


def warm_up() -> None:
    """Have all that a first request imports imported; no database is opened by it."""
    assert _request(httpx.WSGITransport(application), "GET", "/nowhere", [], b"")[0] == httpx.codes.NOT_FOUND
    assert connection.connection is None


def live(birth: Birth, zygote: int) -> NoReturn:
    """Be what `birth` says until killed. Never returns: nothing of the zygote's may be cleaned up here."""
    try:
        die_with_parent(zygote)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, birth.group or 0)
        _log_to(birth.log)
        _configure(birth.data_dir)
        store = DistantStore(birth.store)
        tasks = _parent_tasks(Door(store)) if birth.role == "parent" else _worker_tasks(Door(store), store.clock)
        with Client(birth.address, family="AF_UNIX") as asked:
            _Desk(asked, tasks | {"arm": failpoints.arm}).run()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


class _Desk:
    """Carries out requests, each in a thread, and answers each with the failpoints passed since the last answer."""

    def __init__(self, asked: Connection, tasks: Mapping[str, Task]) -> None:
        self._asked, self._tasks = asked, tasks
        self._told: set[str] = set()
        self._sending = threading.Lock()

    def run(self) -> None:
        failpoints.arm("")
        self._asked.send(os.getpid())
        with ThreadPoolExecutor(16) as threads:
            while True:
                try:
                    number, task, arguments = self._asked.recv()
                except EOFError:
                    os._exit(0)
                threads.submit(self._carry_out, number, task, arguments)

    def _carry_out(self, number: int, task: str, arguments: dict[str, Any]) -> None:
        try:
            result: object = self._tasks[task](**arguments)
        except Exception as error:
            traceback.print_exc()
            result = error
        with self._sending:
            passed = failpoints.passed() - self._told
            self._told |= passed
            self._asked.send((number, result, passed))


class Taken:
    """In place of the decoder: takes all bytes for a picture of 4 by 3."""

    def inspect(self, path: Path) -> Decoded:
        return Decoded("png", "image/png", 4, 3, 1, False, None)

    def close(self) -> None: ...


def _parent_tasks(store: Door) -> dict[str, Task]:
    held = []

    def start() -> tuple[int, bool]:
        """The epoch, and whether the disk was restored."""
        held.append(recovery.start(get_config(), store=store))
        return held[-1].epoch, held[-1].restored

    return {"start": start}


def _worker_tasks(store: Door, clock: Clock) -> dict[str, Task]:
    config = get_config()
    disk = Disk(config.data_dir.absolute())
    lock = acquire(disk.workers_lock, shared=True, wait=False)
    assert lock is not None
    made = open_service(config, store=store)
    made.decoder = Taken()  # type: ignore[assignment]
    made.committer.start()
    return {
        "request": partial(_request, httpx.WSGITransport(application)),
        "token": lambda name: tokens.create(made.writer, name, "reader"),
        "base": lambda: bases.make(made.writer) is not None,
        "heal": lambda: lane.base(made.writer)[1],
        "drill": lambda: _drill(made),
        "prune": lambda: _prune(made),
        "history": lambda kept: list(history.forget(made.writer, queries.head() - kept, actor="admin")),
        "forget_rows": rows.forget,
        "add_row": rows.add,
        "look": _looks(made, clock),
        "purging": lambda: [removal.purges for removal in purge.unfinished()],
        "marks": lambda: [str(ident) for ident in Condemned.objects.values_list("ident", flat=True)],
    }


def _looks(made: service.Service, clock: Clock) -> Task:
    """Reconcile has no thread here: a story says when it looks, and whoever looks is waited for."""
    looking, alone = runner.Runner(made, clock=clock), threading.Lock()

    def look() -> None:
        with alone:
            looking.look()

    return look


def _request(
    transport: httpx.WSGITransport, method: str, path: str, headers: list[tuple[bytes, bytes]], content: bytes
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    request = httpx.Request(method, f"http://machine{path}", headers=headers, content=content)
    response = transport.handle_request(request)
    return response.status_code, response.headers.raw, response.read()


def _drill(made: service.Service) -> list[str]:
    """What a drill finds to be wrong; nothing where another worker restores beside just now."""
    lock = acquire(made.writer.disk.bases_lock, wait=False)
    if lock is None:
        return []
    patience = settle.Patience(most_questions=drill.QUESTIONS)
    try:
        return list(drill.run(bases.restored(made.writer, patience), made.store, patience).problems)
    finally:
        lock.release()


def _prune(made: service.Service) -> int:
    """Delete whatever no restore from now on needs. Gives how many objects."""
    final = made.writer.state.final
    assert final is not None
    patience = settle.Patience(most_questions=2)
    end = chain.follow(made.writer.store, final.link, patience)
    return retention.apply(made.writer, retention.plan(made.writer.store, end, datetime.now(UTC), patience))


def _configure(data_dir: Path) -> None:
    """This process's settings, and pauses as short as a machine with steps of milliseconds needs them."""
    os.environ |= {f"IMAGEREPO_{name}": value for name, value in SETTINGS.items()}
    os.environ["IMAGEREPO_DATA_DIR"] = str(data_dir)
    get_config.cache_clear()
    connection.settings_dict["NAME"] = str(data_dir / "catalogue.sqlite3")
    committer.TICK_SECONDS = committer.FALLBACK_SECONDS = 0.02
    settle.FIRST_PAUSE_SECONDS = 0.01
    carrying.RETRY_SECONDS = duties.RETRY_SECONDS = fixity.AGAIN_SECONDS = fixity.SAVE_SECONDS = 0.0
    # One thread, so that one DELETE is under way at a time, and it is known who rests before it.
    runner.Deleter = partial(deletion.Deleter, threads=1)  # type: ignore[misc, assignment]
    writer.Pages = partial(pages.Pages, recycle_bytes=RECYCLE_BYTES)  # type: ignore[misc, assignment]


def _log_to(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
