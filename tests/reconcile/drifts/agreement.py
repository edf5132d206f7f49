"""What must be true when all is repaired: store, rows, disk and writers agree."""

from __future__ import annotations

from typing import Any

from imagerepo.durability.state import Disk
from imagerepo.reconcile.findings import Code
from imagerepo.store import names
from imagerepo.store.spool import Spool
from tests.machine import chains, repairing
from tests.reconcile import over_http
from tests.reconcile.drifts.scene import KEPT, LAST, PICTURES, Scene


def explained(scene: Scene, left: list[dict[str, Any]]) -> set[str]:
    """The images that a person has to add again, after everything was done that reconcile may do.

    Fails where anything else is left, or a drift had no part in it.
    """
    damaged = {finding["ident"] for finding in left if finding["code"] == Code.CORRUPT_BASE}
    lost = {finding["ident"] for finding in left if finding["code"] == Code.MISSING_BASE}
    others = {finding["object"] for finding in left if finding["ident"] not in damaged | lost}
    assert others == scene.foreign, left
    assert damaged | lost <= scene.ledger.struck, left
    assert not lost & _shown(scene), f"the store has lost what is still live: {left}"
    return damaged | lost


def check(scene: Scene, left: list[dict[str, Any]]) -> None:
    """Nothing is left but what is somebody else's; all that is live is whole, and is what the writers were told."""
    assert {finding["object"] for finding in left} == scene.foreign, left
    assert not scene.losses, scene.losses
    _check_the_store(scene)
    _check_the_disk(scene)
    with scene.client() as client:
        log = over_http.every(client, "/api/v1/revisions?limit=200")
    scene.ledger.judge(log, _shown(scene), {picture.ident for picture in (KEPT, LAST, *PICTURES)})


def _check_the_store(scene: Scene) -> None:
    """Judged by what a restore would find: it needs no word of reconcile's."""
    objects = scene.world.objects
    end = chains.end(objects)
    assert end is not None
    found = chains.view(objects, end)
    assert found.live.keys() == _shown(scene)
    lost = chains.without_base(objects, found.referred)
    assert not lost, f"the bases of {lost} are lost"
    stored = {names.image_of(info.name) for info in objects.list(names.IMAGES)} - {None}
    assert stored <= found.referred, f"nobody refers to {stored - found.referred}"
    there = {info.name for info in objects.list("", foreign=True)}
    assert scene.foreign <= there, "what was somebody else's is gone"


def _check_the_disk(scene: Scene) -> None:
    kept = Spool(Disk(scene.server.data_dir).spool).sessions()
    assert not kept, f"uploads are left of {kept}"
    marks = repairing.gives_order(scene.world, scene.server, 0, "marks")
    assert marks == [], f"marks are left: {marks}"


def _shown(scene: Scene) -> set[str]:
    """What visitors see."""
    with scene.client() as client:
        return {image["ident"] for image in over_http.every(client, "/api/v1/images?limit=200")}
