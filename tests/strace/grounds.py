"""The grounds on which victims are hurt: stores with a past, and disks that servers left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imagerepo.config import Config
from imagerepo.store.backends import open_store
from tests.inprocess import running
from tests.strace.hurting import Ground, Victim
from tests.strace.victim import (
    AFTER,
    BEFORE,
    FIRST,
    NEW,
    SECOND,
    TOKEN,
    WARM,
    WARMED,
    commit_a_session,
    ident_of,
    titles,
)

OLD = {ident_of(FIRST): BEFORE, ident_of(SECOND): BEFORE}
WARMED_UP = OLD | {ident_of(WARM): WARMED}
CHANGED = WARMED_UP | {ident_of(picture): AFTER for picture in (FIRST, SECOND, NEW)}
"""What browsing shows before a victim commits, once it is warmed up, and after its session."""


@dataclass(frozen=True)
class Grounds:
    """`begun`: a store that shows OLD. `left`: a victim died there in its commit, when its record had arrived.
    `behind`: the same, and another server has committed to the store since, which shows CHANGED too.
    """

    begun: Ground
    left: Ground
    behind: Ground


def make_grounds(folder: Path) -> Grounds:
    begun = Ground(folder / "begun")
    begun.disk.mkdir(parents=True)
    store = open_store(f"file://{begun.store}", config=Config())
    with running(begun.disk, store=store) as repository, repository.admin as client:
        for picture in (FIRST, SECOND):
            commit_a_session(client, BEFORE, picture)
        assert titles(client) == OLD
    left = begun.copied(folder / "left", disk=False)
    _die_when_the_record_has_arrived(left)
    behind = left.copied(folder / "behind")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    assert look(elsewhere, behind.store) == CHANGED
    return Grounds(begun, left, behind)


def _die_when_the_record_has_arrived(ground: Ground) -> None:
    # The first such record is that of the warming up.
    point = {"FAILPOINT": "snapshot.put/store.put db/record/after#2", "FAILPOINT_ACTION": "kill-self"}
    with Victim(ground, "commit", {f"IMAGEREPO_{name}": value for name, value in point.items()}) as victim:
        told = victim.wait_until_ready().go()
    assert told[-1].get("step") == "stage", told


def look(disk: Path, store: Path) -> dict[str, str]:
    """What is shown by the next server on this disk and this store."""
    objects = open_store(f"file://{store}", config=Config())
    with running(disk, store=objects, admin_token=TOKEN) as repository, repository.client() as client:
        return titles(client)
