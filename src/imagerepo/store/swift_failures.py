"""What it means when Swift answers with a failure, or not at all: try again, never, or nobody knows what it did."""

from __future__ import annotations

import logging
from http.client import HTTPException

import requests
import urllib3.exceptions

from imagerepo.store.attempts import AttemptFailed

log = logging.getLogger(__name__)

TRANSPORT_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError)
_PASSING = frozenset({408, 409, 425, 429, 498, 499, 500, 502, 503, 504})
_NOT_CARRIED_OUT = frozenset({425, 429, 498})
_HINTS = {
    401: "look at the credentials",
    403: "this user may not do that: look at its role and the container's ACL",
    413: "too large, or a quota is used up",
    416: "the range begins beyond the object's end",
    422: "the body is not the one that its MD5 says",
    507: "the cluster has no room",
}


def answered(status: int, reason: str) -> AttemptFailed:
    """What an answer other than success means."""
    passing = status in _PASSING
    return AttemptFailed(
        f"Swift answered {status} {reason}",
        status=status,
        passing=passing,
        lost=passing and status not in _NOT_CARRIED_OUT,
        hint=_HINTS.get(status, ""),
    )


def unanswered(error: Exception) -> AttemptFailed:
    """What it means that no whole answer came."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return AttemptFailed("Swift shows a certificate that is not trusted", hint="name its authority in OS_CACERT")
    log.info("no answer from Swift: %s", error)  # it names hosts and ports, which are nobody's business
    if _never_sent(error):
        return AttemptFailed("Swift can't be reached", passing=True)
    late = isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError)
    return AttemptFailed(
        "Swift did not answer in time" if late else "the connection to Swift broke off", passing=True, lost=True
    )


def _never_sent(error: Exception) -> bool:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(reason, urllib3.exceptions.NewConnectionError)
