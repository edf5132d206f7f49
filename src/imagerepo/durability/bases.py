"""Bases made in the background, so that a restore never has to read many deltas.

A base stands in for a record that is final. It is not cut from the live database but built beside it, as a
restore would: so it is exactly the pages of that record, it holds up no commit, and making it proves that
the chain can be restored. Its parts are settled first, then its manifest, whose number has no gap before it.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

from imagerepo.durability import chain, restore
from imagerepo.durability.cutting import write_parts
from imagerepo.durability.locks import acquire
from imagerepo.durability.outbox import Entry, Outbox
from imagerepo.durability.records import Manifest, encode
from imagerepo.durability.settle import Stopped
from imagerepo.durability.state import ChainState, Weight
from imagerepo.durability.writer import Writer
from imagerepo.errors import Fenced, ImagerepoError
from imagerepo.testing.failpoints import step

LEAST_DELTA_BYTES = 8 << 20
"""Deltas lighter than this are never worth a base: a restore reads them in well under a second."""
SHARE_OF_BASE = 0.5
"""Deltas that weigh more than so much of their base call for a new one: a restore then reads at most 1.5
times what the newest base alone would be."""
LOOK_SECONDS = 5.0

log = logging.getLogger(__name__)


def is_due(weight: Weight) -> bool:
    """Whether a restore would read so much of deltas that a new base pays."""
    return weight.deltas > max(LEAST_DELTA_BYTES, SHARE_OF_BASE * weight.base)


def make(writer: Writer) -> Manifest | None:
    """Make a base of the newest final record, settled. None: another process is making one.

    Raises Fenced, and Damaged where the chain can't be restored.
    """
    lock = acquire(writer.disk.bases_lock, wait=False)
    if lock is None:
        return None
    try:
        return _make(writer)
    finally:
        lock.release()


def _make(writer: Writer) -> Manifest:
    outbox, state = Outbox(writer.disk.bases), writer.state
    entry = outbox.pending() or _build(writer, outbox, state)
    with step("base.put"):
        writer.look_for_newer_epoch()
        writer.put(entry)
    manifest = entry.header
    assert isinstance(manifest, Manifest)  # noqa: S101  # records have an outbox of their own
    with step("base.known"):
        _note(writer, manifest, state.weight)
        outbox.remove(entry)
    return manifest


def _build(writer: Writer, outbox: Outbox, state: ChainState) -> Entry:
    final = state.final
    assert final is not None  # noqa: S101  # a server runs, so its opening record is final
    end = chain.follow(writer.store, final.link, writer.patience)
    outbox.sweep()
    with step("base.build"), tempfile.TemporaryDirectory(prefix="base-", dir=writer.disk.scratch) as folder:
        database = Path(folder) / "base.sqlite3"
        restore.build(writer.store, end, database, writer.patience)
        parts, digest = write_parts(database, outbox, state.epoch, state.writer)
    manifest = Manifest(
        repository=state.repository,
        epoch=state.epoch,
        writer=state.writer,
        number=chain.manifests(writer.store, state.epoch, state.writer, writer.patience),
        of=final.link,
        seq=final.seq,
        sequence=final.sequence,
        created_at=datetime.now(UTC),
        page_size=end.header.page_size,
        page_count=end.header.page_count,
        head_after=end.header.head_after,
        payload_digest=digest,
        parts=parts,
    )
    return outbox.add(manifest, encode(manifest))


def _note(writer: Writer, manifest: Manifest, before: Weight) -> None:
    """What a restore reads from now on: this base, and the deltas that came while it was made."""
    with writer.lane():
        state = writer.state
        weight = Weight(base=manifest.stored_bytes, deltas=max(0, state.weight.deltas - before.deltas))
        writer.disk.save_state(state.model_copy(update={"weight": weight}))


class Maker:
    """A thread that makes a base whenever one is due."""

    def __init__(self, writer: Writer, stop: threading.Event) -> None:
        self._writer, self._stop = writer, stop
        self._thread = threading.Thread(target=self._run, name="bases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                if not self._writer.fenced and is_due(self._writer.state.weight):
                    make(self._writer)
            except (Stopped, Fenced):
                return
            except ImagerepoError:
                log.exception("no base could be made; it is tried again")
