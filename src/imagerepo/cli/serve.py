"""`imagerepo serve`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

MOST_WORKERS = 4
"""By default; more only pay where there are cores for the images' decoders too."""


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes.", show_default="one a core, at most 4")
    ] = None,
    to_last_good: Annotated[
        bool,
        typer.Option(
            "--to-last-good",
            help="Where the newest snapshot is damaged, go on from the newest that is whole; what came after is lost.",
        ),
    ] = False,
) -> None:
    """Restore the repository if need be, then serve it until SIGTERM.

    Settings are read from the environment: see `imagerepo config`. A server that starts on the same store
    fences the one before it.
    """
    from imagerepo.server import serve as run

    run(host, port, workers or min(os.cpu_count() or 1, MOST_WORKERS), to_last_good=to_last_good)
