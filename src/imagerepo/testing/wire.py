"""A connection that tests can make fail: a TCP proxy on loopback, before any server."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

CHUNK_BYTES = 1 << 16


@dataclass
class _Fault:
    how: Literal["cut", "hang"]
    after: int
    times: float


class Wire:
    """Passes everything on to 127.0.0.1:`target`, until told otherwise. Use it as a context manager."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.requests_lost = 0
        self._fault: _Fault | None = None
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def lose_answers(self, how: Literal["cut", "hang"] = "cut", *, after: int = 0, times: float = float("inf")) -> None:
        """From now on let requests through, but of the next `times` answers only the first `after` bytes.

        `cut` then closes the connection, `hang` leaves it open and silent.
        """
        with self._lock:
            self._fault = _Fault(how, after, times)

    def heal(self) -> None:
        with self._lock:
            self._fault = None

    def hang_up(self) -> None:
        """Close all connections and the door: from now on they are refused."""
        for sock in (self._listener, *self._sockets):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                self._run(self._pass_requests, client, server)
                self._run(self._pass_answers, server, client)

    def _run(self, what: object, *args: socket.socket) -> None:
        thread = threading.Thread(target=what, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _pass_requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while chunk := client.recv(CHUNK_BYTES):
                server.sendall(chunk)
        _end(server)

    def _pass_answers(self, server: socket.socket, client: socket.socket) -> None:
        passed, seen = 0, None
        with suppress(OSError):
            while chunk := server.recv(CHUNK_BYTES):
                fault = self._fault
                if fault is not seen:
                    passed, seen = 0, fault
                if fault is None or fault.times <= 0:
                    client.sendall(chunk)
                    continue
                client.sendall(chunk[: max(0, fault.after - passed)])
                passed += len(chunk)
                if passed > fault.after:
                    self._lose(fault, server, client)
                    return
        _end(client)

    def _lose(self, fault: _Fault, server: socket.socket, client: socket.socket) -> None:
        with self._lock:
            fault.times -= 1
            self.requests_lost += 1
        if fault.how == "cut":
            _end(client)
            _end(server)


def _end(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
