"""`imagerepo demo`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Store(StrEnum):
    LOCAL = "local"
    SWIFT = "swift"


def demo(
    photos: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder of images to push.", show_default="draws some"),
    ] = None,
    store: Annotated[Store, typer.Option(help="A folder, or a real Swift that is started for it.")] = Store.LOCAL,
) -> None:
    """Show the main job end to end: stage unseen, commit, lose the disk, come back whole."""
    from imagerepo.demo import run

    run(photos, on_swift=store is Store.SWIFT)
