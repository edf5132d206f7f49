"""multipart/form-data with one image: the image goes to the spool as it comes, the rest is small."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler
from django.http import QueryDict
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from django.utils.http import parse_header_parameters
from rest_framework.request import Request

from imagerepo.api import parsing
from imagerepo.api.metadata import METADATA_PART
from imagerepo.api.requests import BadRequest, BodyTooLarge
from imagerepo.api.validation import wrong
from imagerepo.errors import InvalidMetadata, TruncatedBody
from imagerepo.store.spool import CHUNK_BYTES, Spool, Spooled, SpoolWriter

IMAGE_PART = "file"
MEDIA_TYPES = ("multipart/form-data",)
_LOSSLESS = "latin-1"
"""What Django's parser decodes fields by: by UTF-8, it would put other characters for what is none."""
_TAIL_BYTES = 1024
"""Where a form's closing boundary must be: at its very end, but for an epilogue that nobody sends."""


@dataclass(frozen=True)
class Form:
    """A form that came whole. `sha256` is that of the body in all its bytes, if a digest was named."""

    spooled: Spooled
    filename: str
    fields: QueryDict
    sha256: bytes | None


def receive(request: Request, spool: Spool, *, limit: int) -> Form:
    """Receive a form whose `file` has up to `limit` bytes. The caller discards what is spooled.

    Raises BadRequest (no image, two images, not a form), TruncatedBody, TooLarge, BodyTooLarge, SpoolFull;
    then nothing is spooled.
    """
    parsing.check_media_type(request, MEDIA_TYPES)
    stream = _Watched(request, parsing.content_length(request))
    handler = _Parts(spool, limit)
    try:
        fields = _parse(request, stream, handler)
        stream.check_whole(request)
        return Form(handler.image(), handler.filename, fields, stream.sha256.digest() if stream.sha256 else None)
    except BaseException:
        handler.forget()
        raise


def _parse(request: Request, stream: _Watched, handler: _Parts) -> QueryDict:
    try:
        fields, _ = _parser(request, stream, handler).parse()
    except MultiPartParserError as error:
        stream.check_whole(request)
        raise BadRequest(f"the form can't be read: {error}") from None
    except RequestDataTooBig:
        raise BodyTooLarge("the form's fields, all but `file`, are too large") from None
    return handler.with_text(fields)


def _parser(request: Request, stream: _Watched, handler: _Parts) -> MultiPartParser:
    try:
        return _Parser(request.META, stream, [handler], _LOSSLESS)  # type: ignore[arg-type]  # it only reads
    except MultiPartParserError as error:
        raise BadRequest(f"the form's Content-Type can't be read: {error}") from None


class _Watched:
    """The body as Django's parser reads it; afterwards it is known whether it came whole."""

    def __init__(self, request: Request, length: int) -> None:
        self._request, self._left = request, length
        self._tail = b""
        self.sha256 = hashlib.sha256() if "HTTP_CONTENT_DIGEST" in request.META else None

    def read(self, size: int | None = None, /) -> bytes:
        chunk = parsing.read(self._request, self._left if size is None else min(size, self._left))
        self._left -= len(chunk)
        if self.sha256:
            self.sha256.update(chunk)
        self._tail = (self._tail + chunk)[-_TAIL_BYTES:]
        return chunk

    def check_whole(self, request: Request) -> None:
        """Raise TruncatedBody where bytes or the closing boundary are missing: Django's parser forgives both."""
        while self.read(CHUNK_BYTES):
            pass
        if self._left:
            raise TruncatedBody(f"the body ended {self._left} bytes before its announced end; send it again")
        _, options = parse_header_parameters(request.META.get("CONTENT_TYPE", ""))
        if f"--{options.get('boundary', '')}--".encode() not in self._tail:
            raise TruncatedBody("the form ends without its closing boundary; send it again")


class _Parser(MultiPartParser):
    def sanitize_file_name(self, file_name: str) -> str | None:
        """A filename is only kept as text here: a folder goes, all else stays as it is."""
        file_name = file_name.encode(_LOSSLESS).decode()
        return file_name.replace("\\", "/").rpartition("/")[2] or None


class _Parts(FileUploadHandler):
    """Takes the parts that have a filename: `file` goes to the spool, `metadata` is a text."""

    chunk_size = CHUNK_BYTES

    def __init__(self, spool: Spool, limit: int) -> None:
        super().__init__()
        self._spool, self._limit = spool, limit
        self._writer: SpoolWriter | None = None
        self._spooled: Spooled | None = None
        self._text: bytearray | None = None
        self.filename = ""

    def new_file(self, field_name: str, file_name: str, *more: Any, **named: Any) -> None:
        super().new_file(field_name, file_name, *more, **named)
        if field_name == METADATA_PART and self._text is None:
            self._text = bytearray()
        elif field_name == IMAGE_PART and self._writer is None:
            self._writer = self._spool.open_writer(limit=self._limit)
            self.filename = file_name
        else:
            raise BadRequest(f"the form has a file too many, {field_name[:100]!r}: send one image, as `file`")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if self.field_name == IMAGE_PART and self._writer is not None:
            self._writer.write(raw_data)
        elif self._text is not None:
            self._text += raw_data
            if len(self._text) > parsing.MAX_FORM_BYTES:
                raise BodyTooLarge(f"`metadata` has more than {parsing.MAX_FORM_BYTES} bytes")

    def file_complete(self, file_size: int) -> None:
        if self.field_name == IMAGE_PART and self._writer is not None:
            self._spooled = self._writer.finish()

    def with_text(self, fields: QueryDict) -> QueryDict:
        """`fields`, and `metadata` too where it came as a file. Raises InvalidMetadata unless all is UTF-8."""
        texts = QueryDict(mutable=True)
        for name, values in fields.lists():
            texts.setlist(name, [_utf8(name, value.encode(_LOSSLESS)) for value in values])
        if self._text is not None:
            texts.appendlist(METADATA_PART, _utf8(METADATA_PART, self._text))
        return texts

    def image(self) -> Spooled:
        """What was spooled. Raises BadRequest without a `file`."""
        if self._spooled is None:
            raise BadRequest("the form has no image: send it as `file`, with a filename")
        return self._spooled

    def forget(self) -> None:
        """Leave no file."""
        if self._writer is not None:
            self._writer.abort()
        if self._spooled is not None:
            self._spooled.discard()


def _utf8(name: str, value: bytes | bytearray) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        error = wrong(f"/{name}", "not-utf-8", "not text in UTF-8")
        raise InvalidMetadata(f"the form's {name[:100]!r} is not text in UTF-8", errors=[error]) from None
