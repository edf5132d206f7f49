"""Every error that imagerepo raises on purpose. No HTTP in here: statuses are in api/problems.py.

ImagerepoError
├── ConfigError                 a setting is wrong; the start stops
├── BodyError                   a request's body that is not received
│   ├── LengthRequired          it has no Content-Length
│   ├── TooSlow                 it comes in below the least rate
│   └── TooManyBodies           as many as may be are being received
├── StoreError                  the object store
│   ├── ObjectNotFound          no object of that name
│   ├── StoreUnavailable        no answer, or "try later": a repeat may succeed
│   ├── StoreRefused            a definite no (credentials, quota, too large): a repeat won't help
│   ├── InDoubt                 a write whose outcome is unknown: it may apply now, later or never
│   └── InvalidName             not a name of the grammar (store/names.py)
├── IntakeError                 an upload that is not taken (has a `code`)
│   ├── UnsupportedFormat       not one of the eight formats, by content
│   ├── UndecodableImage        of a known format, but some frame does not decode
│   ├── TooManyPixels
│   ├── TooManyFrames
│   ├── TooCostly               over the limit of time or memory
│   ├── TooLarge                over the limit of bytes
│   ├── DigestMismatch          the bytes are not those that the client named
│   ├── TruncatedBody           fewer bytes came than were announced
│   ├── SpoolFull               no room for the upload on the local disk
│   └── TooManyUploads          every decoder stays busy
├── DerivativeError             a derivative that can't be made
│   ├── LargerThanBase
│   ├── DamagedBase             the stored base is not what its name says
│   ├── TooCostlyToMake         over the limit of time or memory
│   └── Busy                    too many are being made
├── SessionError
│   ├── SessionNotFound
│   ├── WrongState              the session's state does not allow it (has `session` and `state`)
│   │   ├── NothingToCommit
│   │   ├── Conflicted          the commit's changes conflict (has `conflicts`)
│   │   └── CommitFailed        the store failed: nothing happened, or it is being finished
│   ├── InvalidMetadata         (has `errors`)
│   └── NotInSession            the image is neither staged nor live
├── ReconcileError
│   ├── UnknownImage            neither the database nor a snapshot of it knows the image
│   ├── BeingCommitted          a session that changes the image is being committed just now
│   ├── PlanNotFound            no plan of that name is kept here
│   ├── PlanNotReady            the plan's state does not allow it
│   ├── ApplyUnderWay           another plan is being applied
│   ├── TooLargeAShare          it would touch so much that it is rather a mistake: needs force
│   └── StalePlan               what it names was changed since
└── DurabilityError
    ├── Fenced                  a newer epoch exists: this writer may only read
    ├── Damaged                 the chain, or this disk, is not what it must be: stop and report
    │   └── Missing             a name of the chain is absent: pruned a moment ago, or lost
    ├── DiskFails               the local disk does not take what is written
    ├── NoRoom                  the local disk can't hold a database beside the live one
    ├── Doubtful                the WAL does not provably continue the chain
    └── InUse                   another process holds the data folder
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class ImagerepoError(Exception):
    """Base of all. `str(error)` is one sentence for a person: what was wrong, where, what to do."""


class ConfigError(ImagerepoError):
    """A setting is missing or wrong."""


class BodyError(ImagerepoError):
    """A request's body is not received: its sender may try again, better or later."""


class LengthRequired(BodyError):
    pass


class TooSlow(BodyError):
    pass


class TooManyBodies(BodyError):
    pass


class StoreError(ImagerepoError):
    """The object store failed `op` on `name`. `hint` says what to look at."""

    def __init__(self, message: str, *, op: str = "", name: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.op, self.name, self.hint = op, name, hint


class ObjectNotFound(StoreError):
    pass


class StoreUnavailable(StoreError):
    pass


class StoreRefused(StoreError):
    pass


class InDoubt(StoreError):
    pass


class InvalidName(StoreError):
    pass


class IntakeError(ImagerepoError):
    """An upload that is not taken; `code` is the last part of its problem type."""

    code = "invalid-upload"


class UnsupportedFormat(IntakeError):
    code = "unsupported-format"


class UndecodableImage(IntakeError):
    code = "undecodable-image"


class TooManyPixels(IntakeError):
    code = "too-many-pixels"


class TooManyFrames(IntakeError):
    code = "too-many-frames"


class TooCostly(IntakeError):
    code = "too-costly"


class TooLarge(IntakeError):
    code = "too-large"


class DigestMismatch(IntakeError):
    code = "digest-mismatch"


class TruncatedBody(IntakeError):
    code = "truncated-body"


class SpoolFull(IntakeError):
    code = "spool-full"


class TooManyUploads(IntakeError):
    code = "too-many-uploads"


class DerivativeError(ImagerepoError):
    """A derivative that can't be made."""


class LargerThanBase(DerivativeError):
    pass


class DamagedBase(DerivativeError):
    pass


class TooCostlyToMake(DerivativeError):
    pass


class Busy(DerivativeError):
    pass


class SessionError(ImagerepoError):
    """A request on an upload session that can't be carried out."""


class SessionNotFound(SessionError):
    pass


class WrongState(SessionError):
    """`state` is the session's, which does not allow the request."""

    def __init__(self, message: str, *, session: str, state: str) -> None:
        super().__init__(message)
        self.session, self.state = session, state


class InvalidMetadata(SessionError):
    """`errors` are `{pointer, code, detail}`, one for each member that is wrong."""

    def __init__(self, message: str, *, errors: Sequence[Mapping[str, str]]) -> None:
        super().__init__(message)
        self.errors = list(errors)


class NotInSession(SessionError):
    pass


class NothingToCommit(WrongState):
    """The session is open and has no changes."""


class Conflicted(WrongState):
    """The session is open again. `conflicts` are `{ident, code, revision, detail}`, as the HTTP contract has them."""

    def __init__(self, message: str, *, session: str, state: str, conflicts: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(message, session=session, state=state)
        self.conflicts = list(conflicts)


class CommitFailed(WrongState):
    """`state` is `open` (nothing happened) or `merged` (in doubt, being finished: never "failed")."""


class ReconcileError(ImagerepoError):
    """A request on what store and database have in common that can't be carried out."""


class UnknownImage(ReconcileError):
    pass


class BeingCommitted(ReconcileError):
    pass


class PlanNotFound(ReconcileError):
    pass


class PlanNotReady(ReconcileError):
    pass


class ApplyUnderWay(ReconcileError):
    pass


class TooLargeAShare(ReconcileError):
    pass


class StalePlan(ReconcileError):
    pass


class DurabilityError(ImagerepoError):
    """The chain of snapshots in the object store, or this disk's part in it."""


class Fenced(DurabilityError):
    """`session` and `state` are those of the commit that is in doubt, where there is one."""

    session = ""
    state = ""


class Damaged(DurabilityError):
    """`name` is the record or manifest that can't be used, where it is one."""

    def __init__(self, message: str, *, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class DamagedEnd(Damaged):
    """Of the chain's last record, which is there."""


class Missing(Damaged):
    pass


class DiskFails(DurabilityError):
    pass


class NoRoom(DurabilityError):
    pass


class Doubtful(DurabilityError):
    pass


class InUse(DurabilityError):
    pass
