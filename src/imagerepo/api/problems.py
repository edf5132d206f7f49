"""The types of problems (RFC 9457), and the one table from errors to HTTP statuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.exceptions import BadRequest as DjangoBadRequest
from django.core.exceptions import SuspiciousOperation
from django.http import Http404
from rest_framework import exceptions as drf

from imagerepo import errors
from imagerepo.api import requests


@dataclass(frozen=True)
class Kind:
    """One type of problem: `/problems/<slug>`, a page that says its `meaning`. `retry_after` in seconds."""

    slug: str
    status: int
    title: str
    meaning: str
    retry_after: int | None = None
    close: bool = False
    """Close the connection: the rest of the body was not read."""

    @property
    def type(self) -> str:
        return f"/problems/{self.slug}"


BAD_REQUEST = Kind("bad-request", 400, "The request is malformed", "`errors` or `detail` say where.")
UNAUTHORIZED = Kind(
    "unauthorized",
    401,
    "A valid token is needed",
    "Send `Authorization: Bearer <token>`. A wrong token is refused even where none is needed.",
)
FORBIDDEN = Kind("forbidden", 403, "The token's role does not allow this", "Ask an admin for one of a higher role.")
NOT_FOUND = Kind(
    "not-found",
    404,
    "There is nothing here",
    "No such path, or no such thing at it. Paths have no trailing slash.",
)
METHOD_NOT_ALLOWED = Kind(
    "method-not-allowed", 405, "The method is not allowed here", "The answer's `Allow` lists those that are."
)
GONE = Kind(
    "gone",
    410,
    "It was removed",
    "`revision` removed it; older revisions show it.",
)
LENGTH_REQUIRED = Kind(
    "length-required",
    411,
    "The body's length is missing",
    "Send `Content-Length`; a chunked body is not taken.",
    close=True,
)
TOO_LARGE = Kind("too-large", 413, "The body is too large", "`detail` says the limit.", close=True)
UNSUPPORTED_MEDIA_TYPE = Kind(
    "unsupported-media-type",
    415,
    "The body's Content-Type is not taken here",
    "`detail` says which are.",
)
TOO_MANY_REQUESTS = Kind(
    "too-many-requests", 429, "Too many requests", "Wait for `Retry-After` seconds.", retry_after=10
)
STAGING_LOST = Kind(
    "staging-lost",
    410,
    "What was staged is lost",
    "The server's disk was lost before the commit. Nothing of this session is live; stage it in a new one.",
)
INTERNAL_ERROR = Kind(
    "internal-error",
    500,
    "The service failed",
    "A defect of the service. Its log says more.",
)
STARTING = Kind(
    "starting",
    503,
    "The service is starting",
    "It is restoring what was committed. Repeat the request after `Retry-After` seconds.",
    retry_after=1,
)
STORE_UNAVAILABLE = Kind(
    "store-unavailable",
    503,
    "The object store does not answer",
    "Repeat the request later. Nothing was changed, unless `detail` says that it goes on; then a repeat finds it done.",
    retry_after=5,
)

TABLE: dict[type[BaseException], Kind] = {
    requests.BadRequest: BAD_REQUEST,
    requests.NoSuchResource: NOT_FOUND,
    requests.Gone: GONE,
    errors.LengthRequired: LENGTH_REQUIRED,
    requests.WrongMediaType: UNSUPPORTED_MEDIA_TYPE,
    requests.BodyTooLarge: TOO_LARGE,
    requests.PreconditionFailed: Kind(
        "precondition-failed",
        412,
        "It is not what the condition names",
        "Read it again: its `ETag` is another one now.",
    ),
    requests.PreconditionRequired: Kind(
        "precondition-required",
        428,
        "A condition is needed",
        "Send `If-Match` with the `ETag` of what you looked at, so that nothing else is carried out.",
    ),
    requests.RangeNotSatisfiable: Kind(
        "range-not-satisfiable",
        416,
        "The range lies beyond the end",
        "`Content-Range` says how many bytes there are.",
    ),
    requests.NotReady: Kind(
        "not-ready",
        503,
        "The service is not ready",
        "`reasons` say why. What is committed can be read all the same.",
        retry_after=5,
    ),
    requests.NotCanonical: Kind(
        "not-canonical",
        400,
        "Not the name of an image",
        "Each image has one spelling, so that caches keep it once. `canonical` is the one that was meant, "
        "where that can be told.",
    ),
    DjangoBadRequest: BAD_REQUEST,
    SuspiciousOperation: BAD_REQUEST,
    Http404: NOT_FOUND,
    drf.ParseError: BAD_REQUEST,
    drf.ValidationError: BAD_REQUEST,
    drf.AuthenticationFailed: UNAUTHORIZED,
    drf.NotAuthenticated: UNAUTHORIZED,
    drf.PermissionDenied: FORBIDDEN,
    drf.NotFound: NOT_FOUND,
    drf.MethodNotAllowed: METHOD_NOT_ALLOWED,
    drf.UnsupportedMediaType: UNSUPPORTED_MEDIA_TYPE,
    drf.Throttled: TOO_MANY_REQUESTS,
    errors.UnsupportedFormat: Kind(
        "unsupported-format",
        415,
        "Not an image of a known format",
        "Judged by content: JPEG, PNG, GIF, WebP, TIFF, BMP, AVIF and JPEG 2000 are taken.",
    ),
    errors.UndecodableImage: Kind(
        "undecodable-image",
        422,
        "The image does not decode",
        "Every frame is decoded in full before an image is taken; this one is damaged or cut short.",
    ),
    errors.TooManyPixels: Kind("too-many-pixels", 422, "The image has too many pixels", "See IMAGEREPO_MAX_PIXELS."),
    errors.TooManyFrames: Kind("too-many-frames", 422, "The image has too many frames", "See IMAGEREPO_MAX_FRAMES."),
    errors.TooCostly: Kind(
        "too-costly",
        422,
        "The image takes too long or too much memory to decode",
        "See IMAGEREPO_DECODE_SECONDS and IMAGEREPO_DECODE_MEMORY_BYTES.",
    ),
    errors.TooLarge: TOO_LARGE,
    errors.TooSlow: Kind("too-slow", 408, "The body came too slowly", "`detail` says the least rate.", close=True),
    errors.TooManyBodies: TOO_MANY_REQUESTS,
    errors.TooManyUploads: TOO_MANY_REQUESTS,
    errors.DigestMismatch: Kind(
        "digest-mismatch",
        422,
        "The bytes are not those that were named",
        "The body's SHA-256 differs from the one in the path or in `Content-Digest`. Send it again.",
    ),
    errors.TruncatedBody: Kind(
        "truncated-body",
        400,
        "The body ended early",
        "Fewer bytes came than `Content-Length` announced, or a multipart body misses its end.",
        close=True,
    ),
    errors.SpoolFull: Kind(
        "spool-full",
        507,
        "There is no room for the upload",
        "The service's local disk is full. Commit or abort open sessions, then send it again.",
        close=True,
    ),
    errors.DiskFails: Kind(
        "disk-failing",
        503,
        "The service's local disk fails",
        "The change was not made; what is committed is safe in the object store. Its operator should look at once.",
        retry_after=60,
    ),
    errors.LargerThanBase: Kind(
        "larger-than-base", 400, "Larger than the base image", "Derivatives are never enlarged."
    ),
    errors.TooCostlyToMake: Kind(
        "too-costly-to-make",
        400,
        "The image can't be made within the limits",
        "`detail` says which limit. Ask for a smaller size or another format.",
    ),
    errors.DamagedBase: Kind(
        "damaged-base",
        502,
        "The stored image is damaged",
        "The store has lost the image, or has other bytes under its name. Whoever adds the same file again mends it.",
    ),
    errors.Busy: Kind("busy", 503, "Too many images are being made", "Wait for `Retry-After`.", retry_after=2),
    errors.SessionNotFound: Kind(
        "session-not-found", 404, "No such session", "It does not exist, or it is somebody else's."
    ),
    errors.WrongState: Kind(
        "wrong-state",
        409,
        "The session's state does not allow this",
        "`state` says where the session stands. Only an open session can be changed.",
    ),
    errors.InvalidMetadata: Kind(
        "invalid-metadata", 422, "The metadata are not valid", "`errors` point at each member that is wrong."
    ),
    errors.UnknownImage: NOT_FOUND,
    errors.BeingCommitted: Kind(
        "being-committed",
        409,
        "A session that changes the image is being committed",
        "It is not purged yet, though it may be removed by now. Repeat the request in a moment.",
        retry_after=1,
    ),
    errors.PlanNotFound: Kind(
        "plan-not-found", 404, "No such plan", "Plans are kept on the server's own disk, for some days."
    ),
    errors.PlanNotReady: Kind(
        "plan-not-ready", 409, "The plan can't be applied", "It is still being made, or it failed. `detail` says which."
    ),
    errors.ApplyUnderWay: Kind(
        "apply-under-way", 409, "Another plan is being applied", "Wait until it is done, then make a new plan."
    ),
    errors.TooLargeAShare: Kind(
        "too-large-a-share",
        409,
        "The plan touches too much of the repository",
        "So much is rather a mistake than drift. Read the findings; `force` applies them all the same.",
    ),
    errors.StalePlan: Kind(
        "stale-plan",
        412,
        "The plan is stale",
        "An image that it names was changed by a revision since. Make a new one.",
    ),
    errors.NotInSession: Kind(
        "not-in-session", 404, "No such image in this session", "It is neither staged in it nor live."
    ),
    errors.NothingToCommit: Kind(
        "nothing-to-commit", 409, "The session changes nothing", "Stage a change first, or abort the session."
    ),
    errors.Conflicted: Kind(
        "conflict",
        409,
        "Somebody else changed the same images first",
        "`conflicts` lists them. The session is still open: discard or repeat those changes, then commit.",
    ),
    errors.CommitFailed: Kind(
        "commit-unfinished",
        503,
        "The commit is not done",
        "State `open`: nothing happened, repeat the request. State `committing` or `merged`: it is being finished, and "
        "may be live already; poll the session.",
        retry_after=5,
    ),
    errors.ObjectNotFound: Kind(
        "missing-object",
        502,
        "The stored image is missing",
        "The object store has no such object. Reconcile finds it.",
    ),
    errors.InvalidName: Kind(
        "invalid-name",
        400,
        "Not the name of an image",
        "`detail` says what is wrong with it.",
    ),
    errors.StoreError: STORE_UNAVAILABLE,
    errors.Fenced: Kind(
        "fenced",
        503,
        "Another server has taken over",
        "This server may only read. What was under way is in doubt until the new one answers for it.",
        retry_after=5,
    ),
    errors.DurabilityError: Kind(
        "not-durable",
        503,
        "Nothing can be made durable now",
        "See `/readyz` for the reasons.",
        retry_after=30,
    ),
}

KINDS: dict[str, Kind] = {kind.slug: kind for kind in (*TABLE.values(), STAGING_LOST, INTERNAL_ERROR, STARTING)}


def kind_of(error: BaseException) -> Kind | None:
    """The row of the table for the error's nearest class, or None for a defect."""
    return next((TABLE[cls] for cls in type(error).__mro__ if cls in TABLE), None)


def members(kind: Kind, detail: str, **more: Any) -> dict[str, Any]:
    """A problem as JSON has it, without an instance."""
    return {"type": kind.type, "title": kind.title, "status": kind.status, "detail": detail} | more


def recorded(error: dict[str, Any] | None) -> dict[str, Any] | None:
    """The problem that a row keeps as `{code, detail, …}`, or None where it keeps none."""
    if error is None:
        return None
    more = {name: value for name, value in error.items() if name not in ("code", "detail")}
    return members(KINDS.get(error["code"], INTERNAL_ERROR), error["detail"], **more)
