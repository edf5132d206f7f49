"""What a later step relies on was fsynced before: content, then name, then folder; told by the system calls.

The failpoints that the victim passes are written to a file, and so stand between its other calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.strace.grounds import Grounds
from tests.strace.hurting import Ground, Story, unhurt
from tests.strace.log import Call
from tests.strace.power import Platter

LOG, STATE = "data/catalogue.sqlite3-wal", "data/chain.json"
STORED = ("store/db", "store/images", "store/epochs")

RELIED_ON = {
    "commit.uploaded/transaction/before": STORED,
    "commit.merge/transaction/after": (LOG,),
    "snapshot.put/store.put db/record/before": ("data/outbox", LOG),
    "snapshot.final/store.stat epochs/before": STORED,
    "snapshot.final/file.unlink/before": (STATE,),
    "commit.flip/transaction/before": (*STORED, STATE),
}
RELIED_ON_BY_A_START = {
    "start.owner/store.put db/owner/before": STORED,
    "start.find/store.list db/before": STORED,
    "start.disk>restore.fetch/file.write deltas/before": (STATE, "data/outbox"),
    "start.disk>restore.install/file.rename/before": (LOG, "data/catalogue.sqlite3-shm"),
    "start.disk/pages.adopt/before": ("data/catalogue.sqlite3",),
    "start.open>snapshot.put/store.put db/record/before": ("data/outbox", LOG, STATE),
    "start.open>snapshot.final/store.stat epochs/before": STORED,
    "start.open>snapshot.final/file.unlink/before": (STATE,),
    "start.open>commit.flip/transaction/before": (*STORED, STATE),
}
"""At each failpoint, what a power cut must no longer be able to take."""


def test_a_commit_relies_on_nothing_that_a_power_cut_could_take(grounds: Grounds, tmp_path: Path) -> None:
    _relies_on_what_is_fsynced(grounds.begun.copied(tmp_path / "ground", disk=False), "commit", RELIED_ON)


def test_nor_does_a_restore_over_an_older_disk(grounds: Grounds, tmp_path: Path) -> None:
    _relies_on_what_is_fsynced(grounds.behind.copied(tmp_path / "ground"), "start", RELIED_ON_BY_A_START)


def _relies_on_what_is_fsynced(ground: Ground, story: str, relied_on: dict[str, tuple[str, ...]]) -> None:
    trace = ground.folder / "passed"
    seen = unhurt(ground, story, IMAGEREPO_FAILPOINT_TRACE=str(trace))
    assert "listing" in seen.told[-1]
    platter, passed = Platter(ground.folder, seen.there), set()
    for call, point in _marked(seen, trace):
        if call.name == "rename":
            assert platter.is_whole(call.path), f"renamed before it was fsynced: {call}"
        if point in relied_on:
            passed.add(point)
            assert not (harmed := platter.harmed(*relied_on[point])), f"at {point} a power cut could take {harmed}"
        platter.follow(call)
    assert passed == set(relied_on)
    assert not platter.harmed(*STORED)


def _marked(story: Story, trace: Path) -> Iterator[tuple[Call, str]]:
    """Each call with the failpoint that it writes down, if it does."""
    for call in story.calls:
        marks = call.path == str(trace) and call.name == "write"
        yield call, call.text.partition(" ")[2].removesuffix(r"\n") if marks else ""
