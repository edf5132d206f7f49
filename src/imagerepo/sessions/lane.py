"""The lane: what its holder does, in the protocol's order. Whoever holds it does it for everybody.

settle the outbox ─▶ flip what that made final ─▶ merge every session that waits
  ─▶ ship a record ─▶ flip
"""

from __future__ import annotations

import time
from collections.abc import Callable

from imagerepo.durability import bases, healing
from imagerepo.durability.fetching import Progress, unseen
from imagerepo.durability.gate import write
from imagerepo.durability.records import Header, Manifest
from imagerepo.durability.writer import Writer
from imagerepo.errors import Damaged
from imagerepo.sessions import merge
from imagerepo.sessions.models import State, UploadSession
from imagerepo.store.spool import Spool
from imagerepo.testing.failpoints import step

LOG_BYTES = 32 << 20
"""A log that has grown to this without a commit is shipped, and begun anew."""
RELIEF_SECONDS = 60.0
"""How soon it is noticed that the reader is gone who kept such a log from being begun anew."""


def run(writer: Writer) -> None:
    """Commit every session that waits.

    Raises Fenced; then whatever is merged is in doubt, and the newer writer decides.
    """
    with writer.lane():
        _finish_earlier(writer)
        if merge.waiting():
            merge.merge_waiting()
        if merge.unflipped():
            _ship(writer)


def publish(writer: Writer, change: Callable[[], None]) -> None:
    """Make a small change of rows (a token, a mark) durable: returns when a final record holds it.

    What `change` raises rolls it back and is raised. Raises Fenced.
    """
    with writer.lane():
        _finish_earlier(writer)
        with step("publish.change"), write(durable=True):
            change()
        _ship(writer)


def relieve(writer: Writer) -> None:
    """Ship what is only staged, so that the log can be begun anew: it merges nothing, and is no commit.

    Not where a reader keeps it from that and little is new: such a reader may stay for days.
    """
    with writer.lane():
        _finish_earlier(writer)
        if writer.log_bytes() > LOG_BYTES and (_much_is_new(writer) or not writer.log_held_up()):
            _ship(writer)


class Relief:
    """When one worker relieves the log: at once where much is new, and now and then if it still is that long."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._tried = time.monotonic()

    def due(self) -> bool:
        """Whether to relieve it now. Asking the database who reads lets the log grow: so that is not done each time."""
        if self._writer.log_bytes() <= LOG_BYTES:
            return False
        if not _much_is_new(self._writer) and time.monotonic() - self._tried < RELIEF_SECONDS:
            return False
        self._tried = time.monotonic()
        return True


def _much_is_new(writer: Writer) -> bool:
    return writer.unshipped_log_bytes() > LOG_BYTES


def ship_staged(writer: Writer, since: str) -> None:
    """Ship what was staged after the record named `since`, if that is still the last: it merges nothing."""
    with writer.lane():
        _finish_earlier(writer)
        final = writer.state.final
        if final and final.name == since and _anything_open() and writer.changed():
            _ship(writer)


def snapshot(writer: Writer) -> tuple[Header, bool]:
    """The newest snapshot, and whether it was made now: not if nothing changed since the last, and that can be read."""
    with writer.lane():
        _finish_earlier(writer)
        if not writer.changed():
            try:
                return next(writer.snapshots()), False
            except Damaged as error:
                healing.note(writer.disk, error)
        return _ship(writer), True


def base(writer: Writer, progress: Progress = unseen) -> tuple[Header | Manifest, bool]:
    """A base of everything as it stands now, and whether one was made for it.

    Where the chain can't be restored any more, it is made of the live database. Raises as `bases.ensure` does.
    """
    snapshot(writer)
    try:
        return bases.ensure(writer, progress)
    except Damaged:
        if not healing.wants_record(writer.disk):
            raise
    heal(writer)
    return bases.ensure(writer, progress)


def heal(writer: Writer) -> None:
    """Ship the base that a chain wants which can't be restored. It merges nothing."""
    with writer.lane():
        _finish_earlier(writer)
        if healing.wants_record(writer.disk):
            _ship(writer)


def _anything_open() -> bool:
    return UploadSession.objects.filter(state__in=[State.OPEN, State.COMMITTING]).exists()


def _finish_earlier(writer: Writer) -> None:
    writer.settle_outbox()
    final = writer.state.final
    if final and merge.unflipped():
        _flip(writer, final.head_after)


def _ship(writer: Writer) -> Header:
    header = writer.ship(head=merge.head(), head_after=merge.newest_revision())
    _flip(writer, header.head_after)
    return header


def _flip(writer: Writer, head_after: int) -> None:
    spool = Spool(writer.disk.spool)
    for key in merge.flip(head_after):
        spool.drop_session(key)
