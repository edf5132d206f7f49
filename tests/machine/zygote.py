"""Where the machine's servers come from: a process that has imported everything, and forks them when told to.

It has no thread and no SQLite connection, so a fork of it is as good as a process of its own, in 5 ms
instead of a second.

    python -m tests.machine.zygote ADDRESS
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Client
from pathlib import Path

ADMIN_TOKEN = "the-admin-token-of-the-machine"
SETTLING_SECONDS = 0.8
"""Of deletions, by the story's own clock."""


@dataclass(frozen=True)
class Birth:
    """What a new process is. `group`: the process group that it joins; None: it leads one of its own."""

    role: str
    address: str
    store: str
    data_dir: Path
    log: Path
    group: int | None


def main(address: str) -> None:
    with tempfile.TemporaryDirectory(prefix="imagerepo-zygote-") as folder:
        os.environ |= {"DJANGO_SETTINGS_MODULE": "imagerepo.settings", "IMAGEREPO_DATA_DIR": folder}
        from imagerepo.boot import boot

        boot()
        from tests.machine import birth

        birth.warm_up()
        gc.freeze()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries them
        with Client(address, family="AF_UNIX") as orders:
            while True:
                try:
                    order = orders.recv()
                except EOFError:
                    shutil.rmtree(Path(address).parent, ignore_errors=True)
                    return
                parent, pid = os.getpid(), os.fork()
                if not pid:
                    birth.live(order, parent)
                orders.send(pid)


if __name__ == "__main__":
    main(sys.argv[1])
