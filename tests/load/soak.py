"""Power cuts under load for long: `python -m tests.load.soak [--seconds N] [--seed N]`.

On a folder, then on a real Swift, N seconds each. Prints what was seen; fails where a promise was broken.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from imagerepo.testing.servers import Server
from imagerepo.testing.swift import Swift
from tests.load.given import given
from tests.load.storm import Storm

TOKEN = "the-admin-token-of-the-storm"


def main() -> None:
    told = given(__doc__)
    with tempfile.TemporaryDirectory() as folder, Swift(Path(folder) / "swift") as swift:
        local = Server(Path(folder) / "on-local", f"file://{folder}/store", admin_token=TOKEN, workers=2)
        remote = Server(Path(folder) / "on-swift", "swift://storm", admin_token=TOKEN, workers=2, environ=swift.environ)
        for server in (local, remote):
            tally = Storm(server, random.Random(told.seed)).rage(seconds=told.seconds)
            sys.stdout.write(f"{server.data_dir.name}: {tally}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
