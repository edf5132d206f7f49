"""The design's invariants 1 to 5, as properties of each single state."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.model.facts import Rows, World, live

if TYPE_CHECKING:
    from tests.model.chain import Chain


def broken(chain: Chain, world: World) -> str | None:
    """What is wrong with this world, if anything: as its browsers see it, and as a restore would show it now."""
    end = chain.end(world.store)
    rows = chain.restored(world.store, end)
    if rows is None:
        return "2: the chain can't be restored: a record is not the one that was linked"
    restored = chain.recovered(rows, chain.record(world.store, end).head_after, kept=False)
    servers = [(str(writer), writer.disk.rows) for writer in world.writers if writer.serving and writer.disk]
    for where, each in [("a restore", restored), *servers]:
        if wrong := _torn(chain, each) or _resurrected(world, each):
            return f"{wrong}: in {where}"
    return _lost(world, restored) or _two_histories(world) or _gone_back(world, end.epoch)


def _torn(chain: Chain, rows: Rows) -> str | None:
    """1 and 4: what is visible is one revision: all sessions up to it, and no two that exclude each other."""
    revisions = sorted(revision for revision, _ in live(rows))
    if revisions != list(range(1, len(revisions) + 1)):
        return f"4: the live revisions are {revisions}"
    images = Counter(image for _, session in live(rows) for image in chain.images[session])
    if any(count > 1 for count in images.values()):
        return "1: sessions that conflict are both live"
    return None


def _resurrected(world: World, rows: Rows) -> str | None:
    for session, told in enumerate(world.told):
        if told == "failed" and rows[session].state == "live":
            return f"3: s{session} was told to have failed, and is live"
    return None


def _lost(world: World, restored: Rows) -> str | None:
    for session, told in enumerate(world.told):
        if told == "success" and restored[session].state != "live":
            return f"2: success was answered for s{session}, and a restore shows it {restored[session].state}"
    unseen = world.shown - live(restored)
    if unseen:
        revision, session = min(unseen)
        return f"2: browsers saw s{session} at revision {revision}, and a restore does not show it"
    return None


def _two_histories(world: World) -> str | None:
    if len({revision for revision, _ in world.shown}) < len(world.shown):
        return f"5: browsers saw two histories: {sorted(world.shown)}"
    return None


def _gone_back(world: World, epoch: int) -> str | None:
    """The server of the newest opened epoch shows at least what any browser ever saw; older ones may lag."""
    for writer in world.writers:
        if writer.serving and writer.epoch == epoch and writer.disk and world.shown - live(writer.disk.rows):
            return f"4: {writer} shows less than browsers saw before"
    return None
