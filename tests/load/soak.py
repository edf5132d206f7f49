"""Power cuts under load for long: `python -m tests.load.soak [--seconds N] [--seed N]`.

On a folder, then on a real Swift, N seconds each. Prints what was seen; fails where a promise was broken.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from imagerepo.testing.servers import Server
from imagerepo.testing.swift import Swift
from tests.load.storm import Storm

SECONDS = 600.0
TOKEN = "the-admin-token-of-the-storm"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = parser.parse_args()
    sys.stdout.write(f"seed {given.seed}\n")
    with tempfile.TemporaryDirectory() as folder, Swift(Path(folder) / "swift") as swift:
        local = Server(Path(folder) / "on-local", f"file://{folder}/store", admin_token=TOKEN, workers=2)
        remote = Server(Path(folder) / "on-swift", "swift://storm", admin_token=TOKEN, workers=2, environ=swift.environ)
        for server in (local, remote):
            tally = Storm(server, random.Random(given.seed)).rage(seconds=given.seconds)
            sys.stdout.write(f"{server.data_dir.name}: {tally}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
