"""What does it take to add many photographs in one session, beside `swift upload` of the same files?

    python bench/ingest.py [--images 500] [--rounds 3] [--write]

A real server on a real Swift, both on this machine (Swift's virtual environment: IMAGEREPO_SWIFT_VENV), and
python-swiftclient's command into the same Swift with as many threads. The third number is the bare decode: the
server's own decoder called with each file, in as many processes as the server has. Interleaved rounds, each with
files that no store has seen. Some minutes.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import local

import httpx
from PIL import Image

import results
from imagerepo.config import Config
from imagerepo.store.intake import Decoder
from imagerepo.testing.images import draw
from imagerepo.testing.servers import Server
from imagerepo.testing.swift import Swift

MB = 1_000_000
SIZE = (2400, 1600)
MOTIFS = 8
TOKEN = "the-admin-token-of-benchmarks"  # of a server that lives for a minute
COMMIT_SECONDS = 600.0
COMMIT_TARGET = 1.3
INGEST_TARGET = 1.3
CONFIG = Config()


@dataclass(frozen=True)
class Round:
    """Seconds each."""

    upload: float
    decode: float
    stage: float
    commit: float


def motifs() -> list[bytes]:
    """Photographs of about 1 MB: film grain over smooth colours."""
    return [_photograph(seed) for seed in range(MOTIFS)]


def _photograph(seed: int) -> bytes:
    grain = Image.effect_noise(SIZE, 40).convert("RGB")
    target = io.BytesIO()
    Image.blend(draw(*SIZE, seed=seed), grain, 0.5).save(target, "JPEG", quality=70)
    return target.getvalue()


def write_files(folder: Path, photographs: list[bytes], count: int) -> list[Path]:
    """Files that differ in a comment of their own, so that each is an image of its own."""
    folder.mkdir()
    paths = []
    for number in range(count):
        comment = os.urandom(16)
        content = photographs[number % len(photographs)]
        path = folder / f"DSC_{number:05}.jpg"
        path.write_bytes(content[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + content[2:])
        paths.append(path)
    return paths


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def swift_upload(swift: Swift, container: str, folder: Path) -> None:
    command = [Path(sys.executable).with_name("swift"), "upload", "--object-threads", str(CONFIG.store_threads)]
    environ = {"PATH": os.environ["PATH"], **swift.environ}
    subprocess.run([*command, container, "."], cwd=folder, env=environ, check=True, stdout=subprocess.DEVNULL)


def decode(paths: Iterable[Path], decoder: Decoder) -> None:
    with ThreadPoolExecutor(CONFIG.decode_workers) as threads:
        list(threads.map(decoder.inspect, paths))


class Client:
    """Sends files to one session, with a connection for each of its threads."""

    def __init__(self, server: Server) -> None:
        self._server, self._of_thread = server, local()
        self.session = self._http.post("/api/v1/sessions", json={}).raise_for_status().json()["id"]

    @property
    def _http(self) -> httpx.Client:
        if not hasattr(self._of_thread, "http"):
            self._of_thread.http = self._server.admin
        http: httpx.Client = self._of_thread.http
        return http

    def stage(self, paths: Iterable[Path]) -> None:
        with ThreadPoolExecutor(CONFIG.store_threads) as threads:
            list(threads.map(self._send, paths))

    def _send(self, path: Path) -> None:
        files = {"file": (path.name, path.read_bytes())}
        self._http.post(f"/api/v1/sessions/{self.session}/images", files=files).raise_for_status()

    def commit(self) -> None:
        answer = self._http.post(f"/api/v1/sessions/{self.session}/commit", timeout=COMMIT_SECONDS)
        assert answer.status_code == httpx.codes.OK, answer.text


def measure(folder: Path, count: int, rounds: int) -> list[Round]:
    photographs, found = motifs(), []
    decoder = Decoder(CONFIG)
    with Swift(folder / "swift") as swift, _server(folder, swift) as server:
        warm = write_files(folder / "warm", photographs, MOTIFS)
        decode(warm, decoder)
        _ingest(server, warm)
        for number in range(rounds):
            paths = write_files(folder / f"round{number}", photographs, count)
            upload = seconds(lambda number=number, paths=paths: swift_upload(swift, f"cli{number}", paths[0].parent))  # type: ignore[misc]
            bare = seconds(lambda paths=paths: decode(paths, decoder))  # type: ignore[misc]
            found.append(Round(upload, bare, *_ingest(server, paths)))
            print(found[-1], file=sys.stderr, flush=True)
    decoder.close()
    return found


def _server(folder: Path, swift: Swift) -> Server:
    waiting = str(COMMIT_SECONDS)
    return Server(
        folder / "data", "swift://bench", admin_token=TOKEN, environ=swift.environ, commit_wait_seconds=waiting
    )


def _ingest(server: Server, paths: list[Path]) -> tuple[float, float]:
    """Seconds of staging and of the commit."""
    client = Client(server)
    return seconds(lambda: client.stage(paths)), seconds(client.commit)


# ---- the report


def report(found: list[Round], count: int, size: int) -> str:
    commit = statistics.median(each.commit / each.upload for each in found)
    whole = statistics.median((each.stage + each.commit) / (each.upload + each.decode) for each in found)
    columns = ["swift upload", "bare decode", "staging", "commit", "commit / upload", "all / (upload + decode)"]
    medians = [statistics.median(getattr(each, name) for each in found) for name in Round.__dataclass_fields__]
    return results.section(
        "What adding photographs takes",
        f"python bench/ingest.py --images {count} --rounds {len(found)}",
        f"{count} photographs of {size / MB:.1f} MB in one session, {CONFIG.store_threads} threads, "
        f"{CONFIG.decode_workers} decoders; seconds, medians of {len(found)} interleaved rounds. "
        f"{results.machine('python-swiftclient', 'pillow')}",
        results.table(columns, [[*(f"{each:.2f}" for each in medians), f"{commit:.2f}", f"{whole:.2f}"]]),
        results.targets(
            [("commit / upload", commit, "≤", COMMIT_TARGET), ("all / (upload + decode)", whole, "≤", INGEST_TARGET)]
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imagerepo-bench-") as name:
        found = measure(Path(name), options.images, options.rounds)
    results.publish(report(found, options.images, len(_photograph(0))), write=options.write)


if __name__ == "__main__":
    main()
