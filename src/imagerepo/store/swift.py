"""Objects in OpenStack Swift, through python-swiftclient, which only this file knows.

Objects live in one container, under the repository's prefix; it is created when first written to. An epoch is
a container of its own beside it: creating one answers 201 to the first and 202 to everybody after.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO, TypeAlias, TypeVar, cast
from weakref import WeakSet

import requests
import swiftclient.client as swift
from swiftclient.exceptions import ClientException

from imagerepo.errors import ObjectNotFound, StoreRefused, StoreUnavailable
from imagerepo.store.attempts import AttemptFailed, Call, repeat
from imagerepo.store.names import EPOCHS, is_epoch
from imagerepo.store.objects import ObjectInfo, ObjectReader, Properties
from imagerepo.store.reading import FileReader
from imagerepo.store.swift_answers import listed_info, modified, object_info
from imagerepo.store.swift_auth import Access, Credentials
from imagerepo.store.swift_containers import epoch_containers
from imagerepo.store.swift_failures import TRANSPORT_ERRORS, answered, unanswered

T = TypeVar("T")
_Entries: TypeAlias = list[dict[str, Any]]

CHUNK_BYTES = 1 << 16
LISTING_PAGE = 1000


class SwiftStore:
    properties = Properties(
        scheme="swift",
        listing_may_lag=True,
        knows_md5=True,
        expires=True,
        signs_urls=False,
        keeps_media_type=True,
    )

    def __init__(self, container: str, prefix: str, credentials: Credentials, *, timeout: float) -> None:
        """Nothing is sent yet. `timeout`: the longest silence of the cluster, in seconds."""
        self._container = container
        self._epochs = epoch_containers(container, prefix)
        self._begins = f"{prefix}/" if prefix else ""
        self._cluster = _Cluster(credentials, timeout)

    def put(
        self,
        name: str,
        body: BinaryIO,
        *,
        media_type: str,
        md5: str | None = None,
        expires_after: float | None = None,
    ) -> ObjectInfo:
        call = Call("put", name, writes=True)
        start = body.tell()
        size = body.seek(0, os.SEEK_END) - start
        digest = md5 or _md5_from(body, start)
        headers = {} if expires_after is None else {"X-Delete-After": str(max(1, math.ceil(expires_after)))}

        def send(line: _Line) -> dict[str, Any]:
            body.seek(start)
            return line.answer_of(
                swift.put_object,
                self._container,
                self._begins + name,
                contents=body if size else b"",
                content_length=size,
                etag=digest,
                content_type=media_type,
                headers=headers,
            )

        answer = self._into_container(call, send)
        if answer["status"] != 201 or answer["headers"].get("etag", "").strip('"') != digest:
            raise call.in_doubt(f"Swift answered {answer['status']}, not 201 with the body's MD5")
        return ObjectInfo(name, size, modified(answer["headers"]), digest, media_type)

    def get(self, name: str, *, newest: bool = False, byte_range: tuple[int, int] | None = None) -> ObjectReader:
        headers = _newest(newest)
        if byte_range is not None:
            headers["Range"] = f"bytes={byte_range[0]}-{byte_range[1]}"
        answer, body = self._cluster.call(
            Call("get", name),
            lambda line: line(
                swift.get_object,
                self._container,
                self._begins + name,
                headers=headers,
                resp_chunk_size=CHUNK_BYTES,
            ),
        )
        length = int(answer["content-length"])
        size = int(answer.get("content-range", f"/{length}").rpartition("/")[2])
        return FileReader(object_info(name, answer, size), cast(BinaryIO, _Body(name, body.resp)), length)

    def stat(self, name: str, *, newest: bool = False) -> ObjectInfo:
        call, headers = Call("stat", name), _newest(newest)
        if is_epoch(name):
            answer = self._cluster.call(
                call, lambda line: line(swift.head_container, self._epoch(name), headers=headers)
            )
            return ObjectInfo(name, 0, modified(answer))
        answer = self._cluster.call(
            call,
            lambda line: line(swift.head_object, self._container, self._begins + name, headers=headers),
        )
        return object_info(name, answer, int(answer["content-length"]))

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            # Never sent twice: the 404 of a second would say nothing of a first that is still under way.
            call = Call("delete", name, writes=True, repeat_lost=False)
            with suppress(ObjectNotFound):
                self._cluster.call(call, self._deletion(name))

    def list(self, prefix: str, *, after: str = "", foreign: bool = False) -> Iterator[ObjectInfo]:
        marker = self._begins + after if after else ""
        while page := self._page(prefix, marker):
            for entry in page:
                yield listed_info(entry["name"].removeprefix(self._begins), entry)
            marker = page[-1]["name"]

    def create_exclusive(self, name: str) -> bool:
        call = Call("create_exclusive", name, writes=True, repeat_lost=False)
        status = self._create(call, self._epoch(name))
        if status not in (201, 202):
            raise call.in_doubt(f"Swift answered {status}")
        return status == 201

    def signed_url(self, name: str, *, seconds: float) -> str | None:
        return None

    def close(self) -> None:
        self._cluster.close()

    def _epoch(self, name: str) -> str:
        return self._epochs + name.removeprefix(EPOCHS)

    def _deletion(self, name: str) -> Callable[[_Line], object]:
        return lambda line: line(swift.delete_object, self._container, self._begins + name)

    def _page(self, prefix: str, marker: str) -> _Entries:
        def send(line: _Line) -> tuple[Any, _Entries]:
            wanted = {"marker": marker, "prefix": self._begins + prefix, "limit": LISTING_PAGE}
            found: tuple[Any, _Entries] = line(swift.get_container, self._container, **wanted)
            return found

        try:
            return self._cluster.call(Call("list", prefix), send)[1]
        except ObjectNotFound:
            return []  # nothing was ever written

    def _into_container(self, call: Call, send: Callable[[_Line], dict[str, Any]]) -> dict[str, Any]:
        """Send a PUT of an object; if its container is absent, create that and send again."""
        with suppress(ObjectNotFound):
            return self._cluster.call(call, send)
        self._create(Call("create container for", call.name), self._container)
        try:
            return self._cluster.call(call, send)
        except ObjectNotFound as error:
            why = f"the container {self._container!r} was created and is not there"
            raise StoreUnavailable(f"{call}: {why}", op=call.op, name=call.name) from error

    def _create(self, call: Call, container: str) -> int:
        try:
            return self._cluster.call(
                call, lambda line: cast(int, line.answer_of(swift.put_container, container)["status"])
            )
        except ObjectNotFound as error:
            raise call.refused("the account does not exist", "look at the credentials") from error


class _Line:
    """This thread's connection to the cluster, signed in."""

    def __init__(self, access: Access, connection: Any) -> None:
        self.access = access
        self._connection = connection

    def __call__(self, request: Callable[..., Any], *args: Any, **options: Any) -> Any:
        url, token = self.access.storage_url, self.access.token
        return request(url, token, *args, http_conn=self._connection, **options)

    def answer_of(self, request: Callable[..., Any], *args: Any, **options: Any) -> dict[str, Any]:
        """Status and headers: what swiftclient returns of a PUT does not tell 201 from 202."""
        answer: dict[str, Any] = {}
        self(request, *args, response_dict=answer, **options)
        return answer


class _Cluster:
    """The sign-in, shared by all threads, and a connection for each."""

    def __init__(self, credentials: Credentials, timeout: float) -> None:
        self._credentials = credentials
        self._timeout = timeout
        self._signing_in = threading.Lock()
        self._access: Access | None = None
        self._of_thread = threading.local()
        self._connections: WeakSet[Any] = WeakSet()

    def call(self, call: Call, send: Callable[[_Line], T]) -> T:
        return repeat(call, lambda: self._attempt(send), patience=self._timeout)

    def close(self) -> None:
        for connection in list(self._connections):
            connection.close()

    def _attempt(self, send: Callable[[_Line], T]) -> T:
        line = self._line()
        try:
            return _translated(send, line)
        except AttemptFailed as failure:
            if failure.status != 401:
                raise
        self._sign_out(line.access)  # the token may have expired
        return _translated(send, self._line())

    def _line(self) -> _Line:
        access = self._sign_in()
        url, connection = getattr(self._of_thread, "connection", (None, None))
        if url != access.storage_url:
            connection = swift.http_connection(
                access.storage_url, cacert=self._credentials.cacert, timeout=self._timeout
            )
            self._of_thread.connection = access.storage_url, connection
            self._connections.add(connection[1])
        return _Line(access, connection)

    def _sign_in(self) -> Access:
        with self._signing_in:
            if self._access is None:
                try:
                    self._access = self._credentials.sign_in(timeout=self._timeout)
                except StoreUnavailable as error:
                    raise AttemptFailed(str(error), passing=True) from error
                except StoreRefused as error:
                    raise AttemptFailed(str(error), hint=error.hint) from error
            return self._access

    def _sign_out(self, access: Access) -> None:
        with self._signing_in:
            if self._access is access:
                self._access = None


class _Body:
    """The body of a GET as a file whose reading fails as the seam says.

    It is read from the answer itself: swiftclient's own body reads from whatever answer its connection got
    last, so that another call in this thread would put other bytes into it.
    """

    def __init__(self, name: str, answer: requests.Response) -> None:
        self._name = name
        self._answer = answer

    def read(self, size: int) -> bytes:
        try:
            chunk: bytes = self._answer.raw.read(size)
        except TRANSPORT_ERRORS as error:
            raise StoreUnavailable(f"get {self._name}: the body broke off", op="get", name=self._name) from error
        return chunk

    def close(self) -> None:
        self._answer.close()


def _translated(send: Callable[[_Line], T], line: _Line) -> T:
    try:
        return send(line)
    except ClientException as error:
        if error.http_status is None:
            raise AttemptFailed(str(error)) from error
        raise answered(error.http_status, error.http_reason) from error
    except TRANSPORT_ERRORS as error:
        raise unanswered(error) from error


def _newest(newest: bool) -> dict[str, str]:
    return {"X-Newest": "true"} if newest else {}


def _md5_from(body: BinaryIO, start: int) -> str:
    body.seek(start)
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := body.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
