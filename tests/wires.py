"""HTTP by hand, for requests that no client library would send."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection to a server at `url`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), TIMEOUT_SECONDS)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def request(self, line: str, *headers: str, body: bytes = b"") -> None:
        """Send a head such as `POST /path`, and a body, which may be less than was announced."""
        head = [f"{line} HTTP/1.1", "Host: test", *headers, "", ""]
        self.send("\r\n".join(head).encode() + body)

    def reply(self) -> Reply:
        """The next response, by its Content-Length."""
        file = self._socket.makefile("rb")
        status = int(file.readline().split()[1])
        headers = {}
        while line := file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return Reply(status, headers, file.read(int(headers.get("content-length", "0"))))

    def close(self) -> None:
        self._socket.close()
