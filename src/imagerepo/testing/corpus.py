"""Send a folder of good, bad and edge images to a real server and hold each answer against what it must be.

python -m imagerepo.testing.corpus FOLDER [--server URL --token TOKEN]

FOLDER holds the folders `good` (each must be taken), `bad` (each refused for what it is) and `edge` (either,
but never a failure of the server); each within SLOWEST_SECONDS. Where FOLDER has a `manifest.csv` with the
columns `file` and `expected_status`, answers that are right and yet not the expected ones are listed. Without
--server it starts one on a store of its own. Nothing is committed. Exits with 0 if all holds, else with 1.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from imagerepo.testing.servers import Server

SLOWEST_SECONDS = 10.0
REFUSALS = frozenset({413, 415, 422})
RIGHT: Mapping[str, frozenset[int]] = {
    "good": frozenset({201}),
    "bad": REFUSALS,
    "edge": frozenset({201, *range(400, 500)}),
}


@dataclass(frozen=True)
class Verdict:
    """What the server said to one file; `problem` is the detail of its refusal."""

    file: str
    category: str
    status: int
    seconds: float
    problem: str

    @property
    def is_right(self) -> bool:
        return self.status in RIGHT[self.category] and self.seconds < SLOWEST_SECONDS


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    with _client(options.server, options.token) as client:
        verdicts = list(push(client, options.folder))
    for line in report(verdicts, _expected(options.folder)):
        sys.stdout.write(f"{line}\n")
    return 0 if verdicts and all(verdict.is_right for verdict in verdicts) else 1


def push(client: httpx.Client, folder: Path) -> Iterator[Verdict]:
    """Stage every file of the folder in one session, which is aborted in the end."""
    opened = client.post("/api/v1/sessions", json={"title": f"corpus {folder.name}"}).raise_for_status()
    session = f"/api/v1/sessions/{opened.json()['id']}"
    try:
        for category in RIGHT:
            for path in sorted((folder / category).iterdir()):
                yield _stage(client, session, category, path)
    finally:
        client.delete(session).raise_for_status()


def report(verdicts: Sequence[Verdict], expected: Mapping[str, str]) -> Iterator[str]:
    """Lines for a person: a table, the slowest file, and all that is not as it must be."""
    for category in RIGHT:
        of_category = [verdict for verdict in verdicts if verdict.category == category]
        statuses = sorted(Counter(verdict.status for verdict in of_category).items())
        counts = ", ".join(f"{count} x {status}" for status, count in statuses)
        yield f"{category:5}{len(of_category):5} files: {counts}"
    if verdicts:
        slowest = max(verdicts, key=lambda verdict: verdict.seconds)
        yield f"slowest: {slowest.file} in {slowest.seconds:.2f} s"
    for verdict in verdicts:
        wanted = expected.get(verdict.file, "")
        if verdict.category == "bad" and verdict.is_right and wanted and str(verdict.status) not in wanted:
            yield f"right, though {wanted} was expected: {_say(verdict)}"
    wrong = [verdict for verdict in verdicts if not verdict.is_right]
    yield from (f"WRONG: {_say(verdict)}" for verdict in wrong)
    yield f"{len(verdicts) - len(wrong)} of {len(verdicts)} are as they must be"


def _stage(client: httpx.Client, session: str, category: str, path: Path) -> Verdict:
    content = path.read_bytes()
    ident = hashlib.sha256(content).hexdigest()
    begun = time.monotonic()
    answer = client.put(f"{session}/images/{ident}", content=content, params={"filename": path.name})
    seconds = time.monotonic() - begun
    problem = "" if answer.is_success else answer.json().get("detail", "")
    return Verdict(f"{category}/{path.name}", category, answer.status_code, seconds, problem)


def _say(verdict: Verdict) -> str:
    return f"{verdict.file}: {verdict.status} in {verdict.seconds:.2f} s. {verdict.problem}"


def _expected(folder: Path) -> dict[str, str]:
    """The status that the manifest expects, by file."""
    manifest = folder / "manifest.csv"
    if not manifest.exists():
        return {}
    with manifest.open(newline="") as rows:
        return {row["file"]: row["expected_status"] for row in csv.DictReader(rows)}


@contextmanager
def _client(url: str | None, token: str | None) -> Iterator[httpx.Client]:
    """A client of the server at `url`, or of one that runs meanwhile."""
    if url is not None:
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, headers=headers, timeout=6 * SLOWEST_SECONDS) as client:
            yield client
        return
    with tempfile.TemporaryDirectory(prefix="imagerepo-corpus-") as folder:
        store = f"file://{folder}/store"
        with Server(Path(folder) / "data", store, admin_token=secrets.token_hex(16)) as server:
            yield server.admin


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m imagerepo.testing.corpus", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--server", metavar="URL", help="a server that runs already (else one is started)")
    parser.add_argument("--token", help="a contributor's token on that server")
    return parser


if __name__ == "__main__":
    sys.exit(main())
