"""One process of an all-in-one Swift, run by the Python of Swift's own virtual environment.

    python -P swift_server.py FOLDER WATCH_PID role=fd [role=fd …]

It serves each role on a listening socket that it inherits, and ends when the process WATCH_PID (0: none) is
gone. Nothing of imagerepo is imported here: it is not installed there. `-P` keeps this folder, in which there
is a `swift.py`, out of the import path.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import eventlet
import eventlet.wsgi
from swift.common import constraints, utils, wsgi
from swift.common.ring import RingBuilder
from swift.common.utils import logs

PARTITION_POWER = 4
WATCH_SECONDS = 0.5
MAX_CLIENTS = 1024


class Cache:
    """What the proxy remembers of accounts and containers; it expects memcached."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._kept: dict[str, tuple[Any, float]] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        environ["swift.cache"] = self
        return self._app(environ, start_response)

    def get(self, key: str, raise_on_error: bool = False) -> Any:
        value, end = self._kept.get(key, (None, 0.0))
        return value if end > time.time() else None

    def set(self, key: str, value: Any, *_: Any, **options: Any) -> None:
        self._kept[key] = value, time.time() + (options.get("time") or 3600)

    def delete(self, key: str, server_key: str | None = None) -> None:
        self._kept.pop(key, None)


def configure(etc: Path) -> None:
    """Point Swift's process-wide state at `etc`, and its log at stderr alone."""
    logs.ThreadSafeSysLogHandler = lambda *_, **__: logging.NullHandler()
    logs.get_swift_logger.console_handler4logger = {}
    os.umask(0o022)
    os.environ["TZ"] = "UTC+0"
    time.tzset()
    utils.set_swift_dir(str(etc))
    constraints.reload_constraints()  # they were read from /etc/swift when imported
    utils.monkey_patch()
    eventlet.hubs.use_hub(utils.get_hub())
    utils.disable_fallocate()


def build_rings(etc: Path) -> None:
    """Write the rings. Every process writes the same bytes' worth, so whoever is last does no harm."""
    ports = {path.stem: int(wsgi.appconfig(str(path))["bind_port"]) for path in server_configurations(etc)}
    objects = sorted(role for role in ports if role.startswith("object"))
    for kind in ("account", "container", "object"):
        builder = RingBuilder(PARTITION_POWER, len(objects), 0)
        for index, role in enumerate(objects):
            builder.add_dev(
                {
                    "id": index,
                    "region": 1,
                    "zone": index + 1,
                    "ip": "127.0.0.1",
                    "port": ports[role if kind == "object" else kind],
                    "device": role,
                    "weight": 1.0,
                    "meta": "",
                }
            )
        builder.rebalance(seed=1)
        unfinished = etc / f"{kind}.{os.getpid()}"
        builder.get_ring().save(str(unfinished))
        unfinished.rename(etc / f"{kind}.ring.gz")


def server_configurations(etc: Path) -> list[Path]:
    return [path for path in etc.glob("*.conf") if path.name != "swift.conf"]


def serve(etc: Path, role: str, descriptor: int) -> Any:
    """Start serving `role`; the thread that does."""
    app = wsgi.loadapp(str(etc / f"{role}.conf"), global_conf={"log_name": role})
    return eventlet.spawn(
        eventlet.wsgi.server,
        socket.socket(fileno=descriptor),
        Cache(app) if role == "proxy" else app,
        utils.NullLogger(),
        custom_pool=eventlet.GreenPool(MAX_CLIENTS),
        protocol=wsgi.SwiftHttpProtocol,
        capitalize_response_headers=False,
        url_length_limit=constraints.MAX_REQUEST_LINE,
    )


def is_alive(pid: int) -> bool:
    return not pid or Path(f"/proc/{pid}").exists()


def main(folder: str, watched: str, *sockets: str) -> None:
    etc = Path(folder) / "etc"
    configure(etc)
    build_rings(etc)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    threads = []
    for assignment in sockets:
        role, _, descriptor = assignment.partition("=")
        threads.append(serve(etc, role, int(descriptor)))
    while is_alive(int(watched)) and not any(thread.dead for thread in threads):
        eventlet.sleep(WATCH_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
