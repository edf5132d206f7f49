"""The store of the machine: it lives in the test's process, and its servers ask it over a socket.

So a write that is late outlives whoever sent it.
"""

from __future__ import annotations

import io
import os
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Client, Connection
from typing import Any, BinaryIO, cast

from imagerepo.errors import StoreError, StoreUnavailable
from imagerepo.store.memory import MemoryStore
from imagerepo.store.objects import ObjectInfo, ObjectReader, ObjectStore
from imagerepo.store.reading import FileReader, clip

BACKLOG = 64


class Counter:
    """The test's end: answers calls on `store` until it is closed, each connection in a thread of its own.

    It also tells the time by which deletions settle, `now`, in seconds: it passes when the story says so.
    """

    def __init__(self, store: ObjectStore, address: str) -> None:
        self._store, self.address = store, address
        self.now = 0.0
        self._connections: set[Connection] = set()
        self._deleting: set[Connection] = set()
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(address)
        self._door.listen(BACKLOG)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        # A thread that is left waiting for a closed descriptor waits for its number: whenever the kernel begins the
        # call again (after a SIGCONT, say), it takes the connections of whoever has that number by then.
        self._door.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._door.close()

    @property
    def deletes(self) -> bool:
        """Whether a DELETE that was sent is still to be carried out, though its sender may be dead."""
        return bool(self._deleting) or any(_has_said_something(each) for each in self._connections.copy())

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._door.accept()
            except OSError:
                return
            connection = Connection(caller.detach())
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        self._connections.add(connection)
        with connection, suppress(EOFError, OSError):
            while True:
                connection.poll(None)
                self._deleting.add(connection)  # perhaps; before it is read, so that none is overlooked
                op, arguments = connection.recv()
                if op != "delete":
                    self._deleting.discard(connection)
                connection.send(self._answer(op, arguments))
                self._deleting.discard(connection)
        self._connections.discard(connection)
        self._deleting.discard(connection)

    def _answer(self, op: str, arguments: dict[str, Any]) -> object:
        try:
            return getattr(self, f"_{op}")(**arguments)
        except StoreError as error:
            return error

    def _put(self, name: str, content: bytes, **given: Any) -> ObjectInfo:
        return self._store.put(name, io.BytesIO(content), **given)

    def _get(self, name: str, newest: bool) -> tuple[ObjectInfo, bytes | None]:
        """None in place of a body that ends early."""
        with self._store.get(name, newest=newest) as reader:
            try:
                return reader.info, reader.read()
            except StoreUnavailable:
                return reader.info, None

    def _stat(self, name: str, newest: bool) -> ObjectInfo:
        return self._store.stat(name, newest=newest)

    def _delete(self, names: list[str]) -> None:
        self._store.delete(names)

    def _list(self, prefix: str, **given: Any) -> list[ObjectInfo]:
        return list(self._store.list(prefix, **given))

    def _create_exclusive(self, name: str) -> bool:
        return self._store.create_exclusive(name)

    def _clock(self) -> float:
        return self.now


def _has_said_something(connection: Connection) -> bool:
    try:
        return connection.poll(0)
    except (EOFError, OSError):
        return False


class DistantStore:
    """A server's end. Whoever asks a test that has ended ends too."""

    properties = MemoryStore.properties

    def __init__(self, address: str) -> None:
        self._address = address
        self._mine = threading.local()

    def put(
        self,
        name: str,
        body: BinaryIO,
        *,
        media_type: str,
        md5: str | None = None,
        expires_after: float | None = None,
    ) -> ObjectInfo:
        given = {"content": body.read(), "media_type": media_type, "md5": md5, "expires_after": expires_after}
        return cast(ObjectInfo, self._ask("put", name=name, **given))

    def get(self, name: str, *, newest: bool = False, byte_range: tuple[int, int] | None = None) -> ObjectReader:
        info, content = cast("tuple[ObjectInfo, bytes | None]", self._ask("get", name=name, newest=newest))
        begin, length = clip(info, byte_range)
        return FileReader(info, io.BytesIO((content or b"")[begin : begin + length]), length)

    def stat(self, name: str, *, newest: bool = False) -> ObjectInfo:
        return cast(ObjectInfo, self._ask("stat", name=name, newest=newest))

    def delete(self, names: Iterable[str]) -> None:
        self._ask("delete", names=list(names))

    def list(self, prefix: str, *, after: str = "", foreign: bool = False) -> Iterator[ObjectInfo]:
        given = {"prefix": prefix, "after": after, "foreign": foreign}
        return iter(cast("list[ObjectInfo]", self._ask("list", **given)))

    def create_exclusive(self, name: str) -> bool:
        return cast(bool, self._ask("create_exclusive", name=name))

    def clock(self) -> float:
        """The seconds by which deletions settle."""
        return cast(float, self._ask("clock"))

    def signed_url(self, name: str, *, seconds: float) -> str | None:
        return None

    def close(self) -> None:
        pass

    def _ask(self, op: str, **arguments: object) -> object:
        try:
            if not hasattr(self._mine, "connection"):
                self._mine.connection = Client(self._address, family="AF_UNIX")
            self._mine.connection.send((op, arguments))
            answer = self._mine.connection.recv()
        except (EOFError, OSError):
            os._exit(1)
        if isinstance(answer, StoreError):
            raise answer
        return cast(object, answer)
