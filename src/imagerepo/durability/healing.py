"""Healing: a chain that can't be restored, while the live database is whole, gets a base from that.

note ─▶ the next record is a base, cut in the lane ─▶ a base made in the background, of it or a later one ─▶ forget

The record alone heals a chain of which something is damaged. Where a record is gone, a start can't count past
the gap, but from a manifest on: so that is made, too. Whoever calls holds the lane.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from pydantic import ValidationError

from imagerepo.durability.records import Frozen, Header, Manifest
from imagerepo.durability.state import Disk
from imagerepo.errors import Damaged
from imagerepo.files import unlink_durably, write_durably

log = logging.getLogger(__name__)


class Unrestorable(Frozen):
    """Why the chain can't be restored up to the record `sequence`. `base`: that of the base record cut since."""

    noted_at: datetime
    why: str
    sequence: int
    base: int | None = None


def noted(disk: Disk) -> Unrestorable | None:
    """What is noted, until it is healed."""
    try:
        return Unrestorable.model_validate_json(disk.unrestorable.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def note(disk: Disk, error: Damaged, end: int | None = None) -> None:
    """The chain can't be restored up to its record `end`, or the last that is final: let the next one be a base.

    Unless it is to be, or has been since; where a restore up to that one fails, it did not help.
    """
    before, state = noted(disk), disk.state()
    if state is None or state.final is None:
        return
    end = state.final.sequence if end is None else end
    if before and (before.base is None or end < before.base):
        return
    log.error("the chain can't be restored; the next record will be a base: %s", error)
    _save(disk, Unrestorable(noted_at=datetime.now(UTC), why=str(error), sequence=state.final.sequence))


def wants_record(disk: Disk) -> bool:
    """Whether the next record is to be a base."""
    found = noted(disk)
    return found is not None and found.base is None


def wants_manifest(disk: Disk) -> bool:
    """Whether there is such a record, and a base in the background is to be made of it, or of a later one."""
    found = noted(disk)
    return found is not None and found.base is not None


def made(disk: Disk, snapshot: Header | Manifest) -> None:
    """Note that a record is final, or a manifest settled."""
    found = noted(disk)
    if found is None:
        return
    if isinstance(snapshot, Manifest):
        if found.base is not None and snapshot.sequence >= found.base:
            forget(disk)
    elif snapshot.kind == "base" and snapshot.sequence > found.sequence:
        _save(disk, found.model_copy(update={"base": snapshot.sequence}))


def forget(disk: Disk) -> None:
    unlink_durably([disk.unrestorable])


def _save(disk: Disk, found: Unrestorable) -> None:
    write_durably(disk.unrestorable, found.model_dump_json(indent=1).encode())
