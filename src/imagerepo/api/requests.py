"""What can be wrong with a request before it reaches the repository: errors of HTTP itself.

RequestError
├── BadRequest          malformed, or a bad parameter (may have `errors`)
├── NoSuchResource      nothing at this path
├── Gone                it was there until some revision
├── WrongMediaType      a body of a type that is not taken here
├── BodyTooLarge        a body of JSON or form fields over its limit
├── PreconditionFailed  If-Match names another version
├── PreconditionRequired  what is to be done needs an If-Match
├── RangeNotSatisfiable no byte of the range exists (has `size`)
├── NotReady            asked whether it is ready, it is not (has `reasons`)
└── NotCanonical        not the name of an image (may have `canonical`, the path that was meant)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imagerepo.errors import ImagerepoError


class RequestError(ImagerepoError):
    """A request that HTTP's own rules, or the contract's conventions, refuse."""


class BadRequest(RequestError):
    """`errors` are `{pointer, code, detail}`, one for each parameter or member that is wrong."""

    def __init__(self, message: str, *, errors: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(message)
        self.errors = list(errors)


class NoSuchResource(RequestError):
    pass


class Gone(RequestError):
    """`revision` is the one that removed it, where it is known."""

    def __init__(self, message: str, *, revision: int | None = None) -> None:
        super().__init__(message)
        self.revision = revision


class WrongMediaType(RequestError):
    pass


class BodyTooLarge(RequestError):
    pass


class PreconditionFailed(RequestError):
    pass


class PreconditionRequired(RequestError):
    pass


class RangeNotSatisfiable(RequestError):
    """`size` is the object's, in bytes."""

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


class NotReady(RequestError):
    """`reasons` are sentences, one for each thing that is in the way; `drill` is what the last one found."""

    def __init__(self, message: str, *, reasons: Sequence[str], drill: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.reasons, self.drill = list(reasons), drill


class NotCanonical(RequestError):
    """`canonical` is the path that was meant, if one can be told."""

    def __init__(self, message: str, *, canonical: str | None) -> None:
        super().__init__(message)
        self.canonical = canonical
