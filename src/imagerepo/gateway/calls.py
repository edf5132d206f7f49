"""One WSGI call: the environ of an ASGI scope, and what the application answered."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any
from wsgiref.types import StartResponse, WSGIApplication

Scope = dict[str, Any]
Headers = list[tuple[str, str]]
_UNPREFIXED = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


@dataclass
class Answer:
    """A response: its head, and its body as the application gives it."""

    status: int = 500
    headers: Headers = field(default_factory=list)
    body: Iterable[bytes] = ()

    @property
    def at_hand(self) -> bool:
        """The body is in memory: reading it can't block."""
        return not getattr(self.body, "streaming", False)

    def close(self) -> None:
        """Tell the application that its answer is sent, or given up."""
        close: Callable[[], None] | None = getattr(self.body, "close", None)
        if close is not None:
            close()


def call(application: WSGIApplication, environ: dict[str, Any]) -> Answer:
    """Run the application, blocking. A body at hand comes as one piece and is done with; else close it."""
    answer = _call(application, environ)
    if answer.at_hand:
        whole = [b"".join(answer.body)]
        answer.close()
        answer.body = whole
    return answer


def _call(application: WSGIApplication, environ: dict[str, Any]) -> Answer:
    answer = Answer()

    def start_response(
        status: str,
        headers: Headers,
        exc_info: tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None = None,
        /,
    ) -> Callable[[bytes], object]:
        answer.status, answer.headers = int(status[:3]), headers
        return _no_write

    start: StartResponse = start_response
    answer.body = application(environ, start)
    return answer


def _no_write(_: bytes) -> object:
    raise NotImplementedError("write() of the oldest WSGI applications is not offered")


def environ_of(scope: Scope, body: IO[bytes]) -> dict[str, Any]:
    """The WSGI environ (PEP 3333). Nothing of os.environ is in it: that holds secrets."""
    host, port = scope.get("server") or ("localhost", 80)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": (scope.get("client") or ("", 0))[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope["headers"]:
        _add_header(environ, name.decode("latin-1"), value.decode("latin-1"))
    return environ


def _add_header(environ: dict[str, Any], name: str, value: str) -> None:
    if "_" in name:
        return  # X_Y would pass for X-Y
    key = _UNPREFIXED.get(name) or "HTTP_" + name.upper().replace("-", "_")
    environ[key] = f"{environ[key]},{value}" if key in environ else value
