"""The writer: one process's hand on the chain. Whatever it ships, it ships while it holds the lane.

Ship is: cut into the outbox, PUT, settle, look for a newer epoch; then the record is final. Whoever
holds the lane first finishes the record that an earlier holder left in the outbox.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from imagerepo.durability import chain, epochs, healing
from imagerepo.durability.cutting import Place, cut_base, cut_delta
from imagerepo.durability.locks import exclusive
from imagerepo.durability.outbox import Entry, Outbox
from imagerepo.durability.pages import Pages
from imagerepo.durability.records import Header, Manifest
from imagerepo.durability.settle import Patience, settle
from imagerepo.durability.state import ChainState, Disk, Final
from imagerepo.errors import Damaged, Doubtful, DurabilityError, Fenced, SpoolFull
from imagerepo.failures import DiskFailure
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.failpoints import effect, step

LOG_LIMIT_BYTES = 512 << 20
"""Of SQLite's log: a store that takes nothing must not fill the disk."""

log = logging.getLogger(__name__)


class Writer:
    """Safe to ask from any thread; everything that ships belongs inside `with writer.lane():`.

    `looked`: when the next epoch was last seen absent here, by time.monotonic(). `tell` hears each time that the store
    fails, and is asked again.
    """

    def __init__(
        self,
        disk: Disk,
        store: ObjectStore,
        *,
        stop: threading.Event | None = None,
        refusals_end: bool = False,
        tell: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self.disk, self.store = disk, store
        self._outbox = Outbox(disk.outbox)
        self._pages: Pages | None = None
        self.looked = time.monotonic()
        self._disk_failure: tuple[datetime, DiskFailure] | None = None

        def report(reason: str) -> None:
            disk.report_trouble(reason)
            tell(reason)

        self.patience = Patience(stop=stop, report=report, recovered=disk.clear_trouble, refusals_end=refusals_end)

    @property
    def state(self) -> ChainState:
        """Whose epoch this is. Raises Damaged before a start has finished on this disk."""
        state = self.disk.state()
        if state is None:
            raise Damaged(f"{self.disk.data_dir} holds no repository: run `imagerepo serve` on it first")
        return state

    @property
    def fenced(self) -> bool:
        """Whether this disk may only be read: a newer epoch was seen, or another writer in this one."""
        return self.disk.fenced(self.state.epoch) is not None

    def check_writable(self) -> None:
        """Raise Fenced where this disk may only be read."""
        why = self.disk.fenced(self.state.epoch)
        if why is not None:
            raise Fenced(why)

    def trouble(self) -> list[str]:
        """Why this service is not ready; empty when it is."""
        reasons, fenced = [], self.disk.fenced(self.state.epoch)
        if fenced is not None:
            reasons.append(f"fenced: {fenced}")
        trouble = self.disk.trouble()
        if trouble:
            reasons.append(trouble.sentence)
        if self._disk_failure:
            since, failure = self._disk_failure
            reasons.append(f"the local disk fails since {since:%Y-%m-%dT%H:%M:%SZ}: {failure.says}")
        return reasons

    @property
    def disk_fails(self) -> bool:
        """Whether the local disk does, as far as this process has noticed."""
        return self._disk_failure is not None

    def note_disk_failure(self, failure: DiskFailure | None) -> None:
        """Note what the disk says, or that it works again. In this process alone: such a disk keeps no note of it."""
        since = self._disk_failure[0] if self._disk_failure else datetime.now(UTC)
        self._disk_failure = (since, failure) if failure else None

    def look_for_newer_epoch(self) -> None:
        """Ask the store; raises Fenced, and marks this disk so, where a newer epoch exists."""
        epoch = self.state.epoch
        try:
            epochs.check_newest(self.store, epoch, self.patience)
        except Fenced as error:
            self.disk.fence(epoch, str(error))
            raise
        self.looked = time.monotonic()

    @contextmanager
    def lane(self) -> Iterator[None]:
        """Hold the lane of this data folder alone, across threads and processes. Raises Fenced."""
        with exclusive(self.disk.lane_lock, stop=self.patience.stop):
            self.check_writable()
            yield

    def settle_outbox(self) -> None:
        """Finish the record that an earlier holder of the lane left: then it is final. Raises Fenced."""
        entry = self._outbox.pending()
        if entry:
            self._finish(entry)

    def owes(self) -> bool:
        """Whether a record lies in the outbox."""
        return self._outbox.owes()

    def ship(self, *, head: int, head_after: int) -> Header:
        """Make the database as it stands durable: returns when its record is final.

        `head_after` is the revision that may be live from then on. The first record of an epoch is its
        opening record. Raises Fenced, and Damaged where the chain is not this writer's.
        """
        state = self.state
        with self.disk.distrusting():
            entry = self._cut(_next_place(state, head=head, head_after=head_after), state.final)
        return self._finish(entry)

    def _cut(self, place: Place, final: Final | None) -> Entry:
        if healing.wants_record(self.disk):
            try:
                return self._cut_base(place)
            except (DurabilityError, OSError):
                log.exception("no base could be cut to heal the chain; it goes on as it was")
                healing.forget(self.disk)
        if final:
            try:
                return cut_delta(self._pages_open(), self._outbox, place, final.following)
            except Doubtful as doubt:
                log.warning("a base is taken instead of a delta: %s", doubt)
        return self._cut_base(place)

    def _cut_base(self, place: Place) -> Entry:
        return cut_base(self._pages_open(), self._outbox, self.disk.scratch, place)

    def log_bytes(self) -> int:
        """About how much the log has grown since it was begun."""
        return self._pages_open().log_bytes()

    def unshipped_log_bytes(self) -> int:
        """About how much the log has grown since the last final record was cut."""
        final = self.state.final
        return self._pages_open().log_bytes(final.following if final else None)

    def log_held_up(self) -> bool:
        """Whether a reader keeps the log from being begun anew, whatever is shipped now."""
        with step("snapshot.compare"), effect("pages.compare"), self.disk.distrusting():
            return self._pages_open().held_up()

    def check_room(self) -> None:
        """Raise SpoolFull where the log can't be shipped and has grown so large that nothing more may be staged."""
        if self.log_bytes() > LOG_LIMIT_BYTES:
            raise SpoolFull(
                "the metadata staged so far can't be shipped to the object store, and no more of it is taken; "
                "see /readyz, and try again when the store is back"
            )

    def changed(self) -> bool:
        """Whether anything was committed here since the last final record was cut."""
        final = self.state.final
        with step("snapshot.compare"), effect("pages.compare"), self.disk.distrusting():
            return final is None or self._pages_open().changed_since(final.following)

    def snapshots(self) -> Iterator[Header]:
        """The headers of the chain, newest first, read from the store as they are asked for. Raises StoreError."""
        final, patience = self.state.final, Patience(most_questions=1)
        if final:
            end = chain.follow(self.store, final.link, patience)
            yield from (snapshot.header for snapshot in chain.back(self.store, end, patience))

    def kept(self, without: Collection[str] = ()) -> Iterator[Header | Manifest]:
        """Every snapshot that is kept, as `chain.kept` has them. Raises StoreError, and Damaged."""
        final, patience = self.state.final, Patience(most_questions=1)
        if final:
            yield from chain.kept(self.store, chain.follow(self.store, final.link, patience), patience, without)

    def put(self, entry: Entry) -> None:
        """Send what an outbox holds, parts first, and see it settled. Raises Fenced.

        Other bytes under the name of a record are another writer's, or damage: nothing is sent after that, as it
        would go over them, and this disk may only be read.
        """
        for part in entry.header.parts:
            self._settle(part.name, entry.part_path(part))
        try:
            self._settle(entry.header.name, entry.path)
        except Damaged as error:
            self.disk.fence(self.state.epoch, str(error))
            raise Fenced(str(error)) from error

    def _finish(self, entry: Entry) -> Header:
        header = entry.header
        assert isinstance(header, Header)  # noqa: S101  # manifests have an outbox of their own
        with step("snapshot.put"):
            self.put(entry)
        with step("snapshot.final"):
            self.look_for_newer_epoch()
            self._save_final(header, entry.digest)
            self._outbox.remove(entry)
        return header

    def _settle(self, name: str, body: Path) -> None:
        settle(self.store, name, body, patience=self.patience, before_retry=self.look_for_newer_epoch)

    def _save_final(self, header: Header, digest: str) -> None:
        self.disk.save_state(self.state.after(header, digest))
        healing.made(self.disk, header)

    def _pages_open(self) -> Pages:
        if self._pages is None:
            self._pages = Pages(self.disk.database, self.disk.gate_lock)
        return self._pages

    def close(self) -> None:
        """For tests and commands; a server ends with its connections open."""
        if self._pages:
            self._pages.close()
            self._pages = None


def _next_place(state: ChainState, *, head: int, head_after: int) -> Place:
    final = state.final
    same_reign = final is not None and (final.epoch, final.writer) == (state.epoch, state.writer)
    return Place(
        repository=state.repository,
        epoch=state.epoch,
        writer=state.writer,
        seq=final.seq + 1 if final and same_reign else 0,
        sequence=final.sequence + 1 if final else 1,
        parent=final.link if final else None,
        head=head,
        head_after=head_after,
    )
