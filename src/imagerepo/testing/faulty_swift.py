"""A real Swift that fails on demand: a proxy on loopback that does to its requests what `FaultyStore` does to calls.

with FaultySwift(swift, container) as faulty:
    store = SwiftStore(container, "", credentials_of(faulty.environ), timeout=5.0)
    faulty.fail("put", "late", name="db/")      # the next PUT below db/ is held back, and applies at `deliver`
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self, TypeAlias, cast

from imagerepo.testing.faults import Fault, Hung, Op, Orders
from imagerepo.testing.faulty import PHANTOMS
from imagerepo.testing.history import History
from imagerepo.testing.swift import Swift
from imagerepo.testing.swift_requests import LAST_MODIFIED, Answer, Dialect, Request, answer_from, forward, md5_of

HANG_SECONDS = 60.0
"""Longer than the time limit of any client in a test."""
_STATUSES: dict[Fault, int] = {"refused": 403, "absent": 404, "unavailable": 503}
Doorkeeper: TypeAlias = Callable[[Op, str], None]
"""Called with operation and name before anything is done about a request, in its thread: it may hold it up."""


def _nobody(op: Op, name: str) -> None: ...


class FaultySwift:
    """Use it as a context manager. A fault is one request's: a store that repeats a request may get over it.

    Requests are counted by the operation of the seam that they are, and by name: `calls`. The sign-in and
    the creation of the repository's container are neither counted nor failed.
    """

    def __init__(
        self,
        swift: Swift,
        container: str,
        prefix: str = "",
        *,
        hang_seconds: float = HANG_SECONDS,
        doorkeeper: Doorkeeper = _nobody,
    ) -> None:
        self._swift = swift
        self._doorkeeper = doorkeeper
        self._dialect = Dialect(container, prefix)
        self._hang_seconds = hang_seconds
        self._orders = Orders()
        self._hung = Hung()
        self._history: History[Request] = History()
        self._late: list[tuple[Op, str, Request]] = []
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def environ(self) -> dict[str, str]:
        """The variables with which a client signs in through it."""
        return self._swift.environ | {"ST_AUTH": f"http://127.0.0.1:{self._server.server_port}/auth/v1.0"}

    @property
    def calls(self) -> list[tuple[str, str]]:
        return self._orders.calls

    def fail(self, op: Op, fault: Fault, *, name: str = "", call: int = 1, times: float = 1) -> None:
        """As FaultyStore.fail."""
        self._orders.add(op, fault, name=name, call=call, times=times)

    def heal(self) -> None:
        """Forget all orders. What hangs is cut now; what is late stays so."""
        self._orders.clear()
        self._hung.release()

    def deliver(self) -> None:
        """Send on what is late, in the order in which it came."""
        with self._lock:
            late, self._late = self._late, []
        for op, name, request in late:
            self._apply(op, name, request)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()

    def answer(self, request: Request) -> Answer | None:
        """What the client hears; None: the connection is cut."""
        meant = self._dialect.meaning(request)
        try:
            return self._answer(*meant, request) if meant else self._forward(request)
        except (OSError, HTTPException):  # Swift itself is down
            return None

    def _answer(self, op: Op, name: str, request: Request) -> Answer | None:
        self._doorkeeper(op, name)
        fault = self._orders.next(op, name)
        if fault in _STATUSES:
            return _told(_STATUSES[fault])
        if fault in ("cut-before", "late", "hang"):
            self._keep_back(fault, op, name, request)
            return None
        if fault == "accepted" and op == "put":
            return _told(202, **{"ETag": md5_of(request.body), "Last-Modified": LAST_MODIFIED})  # as of a 201
        if fault == "stale":
            return self._stale(name, request)
        answer = self._apply(op, name, request)
        return self._spoilt(fault, answer, request) if fault and answer.succeeded else answer

    def _forward(self, request: Request) -> Answer:
        return forward(request, self._swift.ports["proxy"])

    def _apply(self, op: Op, name: str, request: Request) -> Answer:
        answer = self._forward(request)
        if answer.succeeded and op == "put":
            self._history.wrote(name, request)
        elif answer.succeeded and op == "delete":
            self._history.deleted(name)
        return answer

    def _keep_back(self, fault: Fault, op: Op, name: str, request: Request) -> None:
        if fault != "cut-before":
            with self._lock:
                self._late.append((op, name, request))
        if fault == "hang":
            self._hung.wait(self._hang_seconds)

    def _stale(self, name: str, request: Request) -> Answer:
        if older := self._history.older(name):
            return answer_from(older, request)
        answer = self._forward(request)
        return _told(503) if answer.succeeded else answer

    def _spoilt(self, fault: Fault, answer: Answer, request: Request) -> Answer | None:
        match fault:
            case "truncated":
                return answer.truncated()
            case "lagging":
                return self._dialect.without(answer, self._history.lately())
            case "phantom":
                return self._dialect.with_more(answer, {*self._history.gone(), *PHANTOMS}, request)
            case "accepted":
                return _told(202)
            case _:
                return None


def _told(status: int, **headers: str) -> Answer:
    return Answer(status, {"Content-Length": "0", **headers})


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # they are waited for: none outlives its test

    def __init__(self, owner: FaultySwift) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        self._open.add(cast(socket.socket, request))
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        self._open.discard(cast(socket.socket, request))
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away in the middle of it."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def hang_up(self) -> None:
        """Cut every connection, and wait for its thread."""
        for sock in list(self._open):
            _cut(sock)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def _pass(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        owner = cast(_Server, self.server).owner
        answer = owner.answer(Request(self.command, self.path, self.headers, body)) if len(body) == length else None
        if answer is not None:
            self._tell(answer)
        if answer is None or answer.sent is not None:
            self.close_connection = True
            _cut(self.connection)

    def _tell(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body[: answer.sent])
        self.wfile.flush()

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass  # noqa: N815  # http.server's own names

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _cut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
