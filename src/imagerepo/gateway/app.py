"""The ASGI application: what granian calls for each request."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from functools import partial
from typing import IO, Any
from wsgiref.types import WSGIApplication

from imagerepo.errors import ImagerepoError, LengthRequired, TooLarge
from imagerepo.gateway.bodies import MEMORY_BYTES, Receive, Receiver
from imagerepo.gateway.calls import Answer, Scope, call, environ_of
from imagerepo.gateway.threads import Threads

log = logging.getLogger(__name__)

Send = Callable[[dict[str, Any]], Awaitable[None]]
Refuse = Callable[[ImagerepoError, str], Answer]
"""The answer to a request that failed so; the second argument is its path."""

Admits = Callable[[str], bool]
"""Whether whoever sends this Authorization header may send a large body. May block."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
DELIVERY = "/images/"
"""Where reads wait for the store: they have threads of their own, so that a store that hangs stops no others."""
LINGER_SECONDS = 5.0
"""How long the rest of a refused body is read and thrown away, so that its client sees the answer."""


class Gateway:
    """Receives bodies, then calls a WSGI application in a thread.

    Reading, delivering and writing requests have threads of their own, so that whatever waits for the store
    or the decoder never keeps anybody from browsing.
    """

    def __init__(
        self,
        application: WSGIApplication,
        receiver: Receiver,
        *,
        refuse: Refuse,
        admits: Admits,
        most_bytes: int,
        reading_threads: int,
        writing_threads: int,
        close: Callable[[], None] = lambda: None,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._application, self._receiver, self._refuse = application, receiver, refuse
        self._admits, self._most_bytes = admits, most_bytes
        self._reading = Threads(reading_threads, "reading")
        self._delivering = Threads(reading_threads, "delivering")
        self._writing = Threads(writing_threads, "writing")
        self._ready, self._close = ready, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            length = self._length(scope)
            if length > MEMORY_BYTES and not await self._is_admitted(scope):
                await self._respond(scope, io.BytesIO(), receive, send)
                await _linger(receive)
                return
            with closing(await self._body(receive, length)) as body:
                await self._respond(scope, body, receive, send)
        except ImagerepoError as error:
            await _send_whole(self._refuse(error, scope["path"]), send)
            await _linger(receive)

    def _length(self, scope: Scope) -> int:
        """The body's announced length; 0 without a body. Raises LengthRequired and TooLarge."""
        if _header(scope, b"transfer-encoding"):
            raise LengthRequired("a body needs a Content-Length; Transfer-Encoding is not taken")
        length = int(_header(scope, b"content-length") or "0")
        if length > self._most_bytes:
            raise TooLarge(f"the body has {length} bytes; at most {self._most_bytes} are taken")
        return length

    async def _is_admitted(self, scope: Scope) -> bool:
        """Whether the body is wanted. If not, the application is asked without it, and says why."""
        return await self._writing.run(partial(self._admits, _header(scope, b"authorization")))

    async def _body(self, receive: Receive, length: int) -> IO[bytes]:
        return await self._receiver.body(receive, length) if length else io.BytesIO()

    async def _respond(self, scope: Scope, body: IO[bytes], receive: Receive, send: Send) -> None:
        threads = self._threads(scope)
        answer = await threads.run(partial(call, self._application, environ_of(scope, body)))
        if answer.at_hand:
            await _send_whole(answer, send)
            return
        try:
            await self._send_stream(answer, threads, receive, send)
        finally:
            await threads.run(answer.close)

    def _threads(self, scope: Scope) -> Threads:
        if scope["method"] not in SAFE_METHODS:
            return self._writing
        return self._delivering if scope["path"].startswith(DELIVERY) else self._reading

    async def _send_stream(self, answer: Answer, threads: Threads, receive: Receive, send: Send) -> None:
        """Send chunk by chunk. A slow receiver holds no thread: `send` waits, and a thread makes the next."""
        next_chunk = partial(next, iter(answer.body), None)
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await send(_head(answer))
            while not gone.done() and (chunk := await threads.run(next_chunk)) is not None:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._ready()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            self._reading.stop()
            self._delivering.stop()
            self._writing.stop()
            self._close()
        except Exception:  # granian would pass over it in silence
            log.exception("the worker did not close cleanly")
        await send({"type": "lifespan.shutdown.complete"})


def _header(scope: Scope, name: bytes) -> str:
    """One header's value, or an empty string."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _head(answer: Answer) -> dict[str, Any]:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    return {"type": "http.response.start", "status": answer.status, "headers": headers}


async def _send_whole(answer: Answer, send: Send) -> None:
    await send(_head(answer))
    await send({"type": "http.response.body", "body": b"".join(answer.body), "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _linger(receive: Receive) -> None:
    """Read on for a while: closing a connection with unread bytes resets it, and the answer is lost."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body"):
                pass
