"""A start and nothing more, in a process that may die of it: `python -m tests.crash.recovering`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from imagerepo.boot import boot
from imagerepo.testing.servers import clean_environ

SECONDS = 60.0


def recover(data_dir: Path, store: Path, **variables: str) -> int:
    """Start a repository on this disk in a process of its own, which then ends. Gives its exit status."""
    settings = {"DATA_DIR": str(data_dir), "STORE_URL": f"file://{store}", **variables}
    ended = subprocess.run(
        [sys.executable, "-m", __name__],
        cwd=Path(__file__).parents[2],
        env=clean_environ() | {f"IMAGEREPO_{name}": value for name, value in settings.items()},
        timeout=SECONDS,
        check=False,
    )
    return ended.returncode


def main() -> None:
    config = boot()
    from imagerepo.sessions import recovery

    recovery.start(config)
    os._exit(0)  # as a server ends: closing the last connection would end the log


if __name__ == "__main__":
    main()
