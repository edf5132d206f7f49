"""The waiting room: answers the port while the repository is being restored, and knows nothing of it."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

ALIVE = "/livez"
REQUEST_LINE_PARTS = 3
LINE_BYTES = 1 << 16
REQUEST_SECONDS = 5.0
LINGER_SECONDS = 1.0


@dataclass(frozen=True)
class Problem:
    """What everybody is told: the members of problem+json, and to come back in `retry_after` seconds."""

    members: dict[str, Any]
    retry_after: int


class WaitingRoom:
    """Listens on `host` and `port` (0: any free one) from construction to `close`.

    The socket is shared (SO_REUSEPORT): workers bind the same port before it closes, so that there is
    never nobody. Everything but /livez is answered 503 with `problem`. Raises OSError where somebody else
    has the port.
    """

    def __init__(self, host: str, port: int, problem: Problem) -> None:
        _refuse_taken(host, port)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        handler = type("Handler", (_Handler,), {"problem": problem})
        self._server = type("Server", (_Server,), {"address_family": family})((host, port), handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()


class _Handler(StreamRequestHandler):
    """Answers one request, whatever it is, and closes the connection."""

    problem: Problem
    timeout = REQUEST_SECONDS

    def handle(self) -> None:
        with suppress(OSError):
            request = self.rfile.readline(LINE_BYTES).decode("latin-1").split()
            while self.rfile.readline(LINE_BYTES).strip():
                pass
            if len(request) == REQUEST_LINE_PARTS:
                self._answer(request[0], request[1].partition("?")[0])

    def _answer(self, method: str, path: str) -> None:
        if path == ALIVE:
            head, content = "200 OK\r\nContent-Type: application/json", {"status": "live"}
        else:
            head = (
                "503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
                f"Retry-After: {self.problem.retry_after}"
            )
            content = self.problem.members | {"instance": path}
        body = json.dumps(content).encode()
        self.wfile.write(
            f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\nCache-Control: no-store\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        self.wfile.write(b"" if method == "HEAD" else body)

    def finish(self) -> None:
        super().finish()
        # Closing a connection with unread bytes resets it, and the answer is lost.
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER_SECONDS)
            while self.connection.recv(LINE_BYTES):
                pass


def _refuse_taken(host: str, port: int) -> None:
    """A second server on a shared port would silently take half of the first one's connections."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        probe.listen()
