"""The kinds of drift: what may befall the store, the rows or the disk, while everybody goes on."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

from imagerepo.durability.state import Disk
from imagerepo.store import names
from imagerepo.testing.images import Picture
from tests.machine import repairing
from tests.reconcile.drift import put, put_derivative
from tests.reconcile.drifts.scene import DEAD_EPOCH, DEAD_WRITER, Scene

Kind = Callable[[Scene, Picture], None]


def a_base_is_lost(scene: Scene, picture: Picture) -> None:
    scene.objects.lose(names.base(picture.ident))
    scene.ledger.strike(picture.ident)


def a_base_is_damaged(scene: Scene, picture: Picture) -> None:
    put(scene.world.objects, b"damaged", names.base(picture.ident))
    scene.ledger.strike(picture.ident)


def a_base_is_left(scene: Scene, picture: Picture) -> None:
    """As by a server that dies between an upload and its merge."""
    put(scene.world.objects, picture.data)


def a_derivative_is_left(scene: Scene, picture: Picture) -> None:
    put_derivative(scene.world.objects, picture.data)


def rows_are_forgotten(scene: Scene, picture: Picture) -> None:
    repairing.gives_order(scene.world, scene.server, 0, "forget_rows", ident=picture.ident)
    scene.ledger.strike(picture.ident)


def a_row_is_added(scene: Scene, picture: Picture) -> None:
    """Whether or not the store has the base."""
    md5 = hashlib.md5(picture.data, usedforsecurity=False).digest()
    given = {"ident": picture.ident, "byte_size": len(picture.data), "md5": md5}
    repairing.gives_order(scene.world, scene.server, 0, "add_row", **given)
    scene.ledger.strike(picture.ident)


def history_ends(scene: Scene, picture: Picture) -> None:
    """What was removed by now is no revision's any more: its base becomes an orphan."""
    repairing.gives_order(scene.world, scene.server, 0, "history", kept=0)


def uploads_are_left(scene: Scene, picture: Picture) -> None:
    folder = Disk(scene.server.data_dir).spool / secrets.token_hex(16)
    folder.mkdir(parents=True)
    (folder / picture.ident).write_bytes(picture.data)


def a_fenced_writer_has_written(scene: Scene, picture: Picture) -> None:
    """A record that landed too late, and a part of a base that was never finished."""
    source = scene.world.folder_of(scene.server) + "0"
    with scene.world.objects.get(source) as reader:
        put(scene.world.objects, reader.read(), names.record(DEAD_EPOCH, DEAD_WRITER, 0))
    put(scene.world.objects, picture.data, names.part(DEAD_EPOCH, DEAD_WRITER, picture.ident))


def somebody_elses_object_comes(scene: Scene, picture: Picture) -> None:
    for name in (f"images/{picture.ident[:9]}", f"elsewhere/{picture.ident[:9]}"):
        scene.foreign.add(put(scene.world.objects, b"not ours", name))


KINDS: tuple[Kind, ...] = (
    a_base_is_lost,
    a_base_is_damaged,
    a_base_is_left,
    a_derivative_is_left,
    rows_are_forgotten,
    a_row_is_added,
    history_ends,
    uploads_are_left,
    a_fenced_writer_has_written,
    somebody_elses_object_comes,
)
