"""One worker process: it makes its Service, and the application that granian calls. Started by server.py."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from wsgiref.types import WSGIApplication

from imagerepo.boot import boot
from imagerepo.config import Config
from imagerepo.durability.locks import acquire
from imagerepo.durability.state import Disk
from imagerepo.durability.writer import Writer
from imagerepo.errors import ImagerepoError, InUse
from imagerepo.gateway.app import Gateway
from imagerepo.gateway.bodies import Pace, Receiver
from imagerepo.gateway.calls import Answer
from imagerepo.processes import allow_many_files, die_with_parent
from imagerepo.sessions.service import Service, use
from imagerepo.store.backends import open_store
from imagerepo.store.objects import ObjectStore
from imagerepo.store.spool import Spool

READY = signal.SIGUSR1
"""What a worker sends its parent when it is about to listen."""


def create() -> Gateway:
    """granian's target, called once in each worker, which must be a spawned child of the server."""
    parent = multiprocessing.parent_process()
    assert parent is not None and parent.pid is not None  # noqa: S101  # only spawned processes get here
    die_with_parent(parent.pid)
    allow_many_files()
    config = boot()
    lock = acquire(Disk(config.data_dir.absolute()).workers_lock, shared=True, wait=False)
    if lock is None:
        raise InUse(f"{config.data_dir} is being taken over by another server: this worker ends")
    work = ExitStack()
    work.callback(lock.release)
    work.enter_context(at_work(config))
    parent_pid = parent.pid
    return gateway(config, ready=lambda: os.kill(parent_pid, READY), close=work.close)


@contextmanager
def at_work(config: Config, *, reconciling: bool = True) -> Iterator[Service]:
    """This process as one more worker of its data folder: it commits and, `reconciling`, does that if no other does."""
    from imagerepo.reconcile.runner import Runner

    service = open_service(config)
    service.committer.start()
    runner = Runner(service)
    if reconciling:
        runner.start()
    try:
        yield service
    finally:
        runner.stop()
        close_service(service)


def open_service(config: Config, *, store: ObjectStore | None = None) -> Service:
    """Make this process's Service, and let `service.current` answer it. Its committer isn't started yet."""
    # Models may be imported only once Django is set up.
    from imagerepo.sessions.committer import Committer
    from imagerepo.store.intake import Decoder
    from imagerepo.store.manager import Manager

    stop = threading.Event()
    disk = Disk(config.data_dir.absolute())
    objects = store or open_store(config.resolved_store_url, config=config)
    writer = Writer(disk, store or open_store(config.resolved_snapshot_url, config=config), stop=stop)
    spool = Spool(disk.spool)
    service = Service(
        config=config,
        store=objects,
        spool=spool,
        decoder=Decoder(config),
        manager=Manager(config, objects),
        writer=writer,
        committer=Committer(config, objects, spool, writer, stop),
        stop=stop,
    )
    use(service)
    return service


def close_service(service: Service) -> None:
    """End its threads and processes. Commits under way stay as they are, for the next start."""
    service.committer.stop()
    service.manager.close()
    service.decoder.close()
    service.store.close()
    use(None)


def gateway(config: Config, *, ready: Callable[[], None], close: Callable[[], None]) -> Gateway:
    """The application, with its limits from the settings."""
    from imagerepo.api.parsing import MAX_FORM_BYTES
    from imagerepo.wsgi import application

    receiver = Receiver(
        config.data_dir,
        pace=Pace(grace=config.body_grace_seconds, rate=config.body_bytes_per_second),
        most=config.bodies_at_once,
    )
    return Gateway(
        _typed(application),
        receiver,
        refuse=_refuse,
        admits=lambda authorization: _is_known(authorization, config),
        most_bytes=config.max_upload_bytes + MAX_FORM_BYTES,
        reading_threads=config.reading_threads,
        writing_threads=config.writing_threads,
        ready=ready,
        close=close,
    )


def _typed(application: object) -> WSGIApplication:
    assert callable(application)  # noqa: S101
    return application


def _refuse(error: ImagerepoError, path: str) -> Answer:
    from django.http import HttpRequest

    from imagerepo.api.handlers import handle

    request = HttpRequest()
    request.path = path
    response = handle(error, {"request": request})
    if response is None:
        raise error
    return Answer(response.status_code, list(response.items()), [response.content])


def _is_known(authorization: str, config: Config) -> bool:
    """Whether a large body is worth receiving: a stranger's request is answered without it."""
    from imagerepo.sessions.actors import identify

    scheme, _, token = authorization.partition(" ")
    return scheme.lower() == "bearer" and identify(token.strip(), config) is not None
