"""Bases made in the background, so that a restore never has to read many deltas.

A base stands in for a record that is final. It is not cut from the live database but built beside it, as a
restore would: so it is exactly the pages of that record, it holds up no commit, and making it proves that
the chain can be restored. Its parts are settled first, then its manifest, whose number has no gap before it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from imagerepo.durability import chain, healing, manifests, restore
from imagerepo.durability.cutting import write_parts
from imagerepo.durability.fetching import Progress, unseen
from imagerepo.durability.locks import acquire, exclusive
from imagerepo.durability.outbox import Entry, Outbox
from imagerepo.durability.records import Header, Manifest, encode
from imagerepo.durability.settle import Patience
from imagerepo.durability.state import Final, Weight
from imagerepo.durability.writer import Writer
from imagerepo.errors import Damaged
from imagerepo.files import scratch_folder
from imagerepo.store.objects import ObjectStore
from imagerepo.testing.failpoints import step

LEAST_DELTA_BYTES = 8 << 20
"""Deltas lighter than this are never worth a base: a restore reads them in well under a second."""
SHARE_OF_BASE = 0.5
"""Deltas that weigh more than so much of their base call for a new one: a restore then reads at most 1.5
times what the newest base alone would be."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restored:
    """The chain's `end` as a database of its own, for as long as it is worked on. `weight` was read for it.

    `passed_over` says which bases were damaged: nothing is lost without them, and a new one takes their place.
    """

    end: chain.Snapshot
    database: Path
    weight: Weight
    passed_over: tuple[str, ...] = ()


def is_due(weight: Weight) -> bool:
    """Whether a restore would read so much of deltas that a new base pays."""
    return weight.deltas > max(LEAST_DELTA_BYTES, SHARE_OF_BASE * weight.base)


def make(writer: Writer) -> Manifest | None:
    """Make a base of the newest final record, settled. None: another process is making one.

    Raises Fenced, NoRoom, and Damaged where the chain can't be restored.
    """
    lock = acquire(writer.disk.bases_lock, wait=False)
    if lock is None:
        return None
    try:
        return _make(writer)
    finally:
        lock.release()


def ensure(writer: Writer, progress: Progress = unseen) -> tuple[Header | Manifest, bool]:
    """A base of the newest final record, or of a later one, and whether it was made now.

    One that is being made is waited for. Raises as `make` does.
    """
    wanted = chain.follow(writer.store, _final(writer).link, writer.patience).header
    if wanted.kind == "base" and not healing.wants_manifest(writer.disk):
        return wanted, False
    with exclusive(writer.disk.bases_lock):
        state, made = writer.state, False
        manifest = manifests.newest(writer.store, state.epoch, state.writer, writer.patience)
        while manifest is None or manifest.sequence < wanted.sequence:
            manifest, made = _make(writer, progress), True
    return manifest, made


def _make(writer: Writer, progress: Progress = unseen) -> Manifest:
    if manifest := settle(writer):
        return manifest
    with restored(writer, writer.patience, progress) as found:
        for sentence in found.passed_over:
            log.warning(sentence)
        return put(writer, found)


@contextmanager
def restored(writer: Writer, patience: Patience, progress: Progress = unseen) -> Iterator[Restored]:
    """Restore the newest final record beside the live database. Holders of the bases' lock only.

    Raises NoRoom, and Damaged where the chain can't be restored: then the next record heals it (healing.py).
    """
    final = _final(writer)
    with ExitStack() as stack:
        try:
            end = chain.follow(writer.store, final.link, patience)
            beside = restored_beside(writer.store, end, writer.disk.scratch, patience, progress)
            found = stack.enter_context(beside)
        except Damaged as error:
            with writer.lane():
                healing.note(writer.disk, error, final.sequence)
            raise
        yield found


@contextmanager
def restored_beside(
    store: ObjectStore, end: chain.Snapshot, scratch: Path, patience: Patience, progress: Progress = unseen
) -> Iterator[Restored]:
    """Restore `end` in a folder of its own below `scratch`, and look at all of it. Raises NoRoom, and Damaged."""
    passed_over: list[str] = []
    with scratch_folder(scratch, "restored-") as folder:
        restore.check_room(folder, end)
        database = folder / "restored.sqlite3"
        weight = restore.around_damaged_bases(
            lambda without: restore.build(store, end, database, patience, progress, without=without, thorough=True),
            passed_over.append,
        )
        yield Restored(end, database, weight, tuple(passed_over))


def put(writer: Writer, found: Restored) -> Manifest:
    """Make what was restored a base, settled. Holders of the bases' lock only. Raises Fenced."""
    with step("base.build"):
        entry = _pack(writer, found)
    return _send(writer, entry, found.weight)


def _pack(writer: Writer, found: Restored) -> Entry:
    state, outbox, header = writer.state, Outbox(writer.disk.bases), found.end.header
    outbox.sweep()
    parts, digest = write_parts(found.database, outbox, state.epoch, state.writer)
    manifest = Manifest(
        repository=state.repository,
        epoch=state.epoch,
        writer=state.writer,
        number=manifests.how_many(writer.store, state.epoch, state.writer, writer.patience),
        of=found.end.link,
        seq=header.seq,
        sequence=header.sequence,
        created_at=datetime.now(UTC),
        page_size=header.page_size,
        page_count=header.page_count,
        head_after=header.head_after,
        payload_digest=digest,
        parts=parts,
    )
    return outbox.add(manifest, encode(manifest))


def settle(writer: Writer) -> Manifest | None:
    """Finish the base that lies in the outbox, if one does. Holders of the bases' lock only. Raises Fenced."""
    entry = Outbox(writer.disk.bases).pending()
    return _send(writer, entry, writer.state.weight) if entry else None


def _send(writer: Writer, entry: Entry, before: Weight) -> Manifest:
    manifest = entry.header
    assert isinstance(manifest, Manifest)  # noqa: S101  # records have an outbox of their own
    with step("base.put"):
        writer.look_for_newer_epoch()
        writer.put(entry)
    with step("base.known"):
        _note(writer, manifest, before)
        Outbox(writer.disk.bases).remove(entry)
    return manifest


def _note(writer: Writer, manifest: Manifest, before: Weight) -> None:
    """What a restore reads from now on: this base, and the deltas that came after what it read `before`."""
    with writer.lane():
        state = writer.state
        weight = Weight(base=manifest.stored_bytes, deltas=max(0, state.weight.deltas - before.deltas))
        writer.disk.save_state(state.model_copy(update={"weight": weight}))
        healing.made(writer.disk, manifest)


def _final(writer: Writer) -> Final:
    final = writer.state.final
    assert final is not None  # noqa: S101  # a server runs, so its opening record is final
    return final
