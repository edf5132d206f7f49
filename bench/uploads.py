"""How should request bodies come in? Interleaved runs of four servers around one WSGI application.

    python bench/uploads.py [--rounds 5] [--slow 500] [--write]

For each server: upload speed (8 clients, 8 MB bodies, hashed and spooled as intake does), small requests
per second with the server's CPU time per request, and the latency of browsing while slow senders (one
byte per second) hold their connections. gunicorn is installed into a throw-away environment. With
--write the medians go to bench/RESULTS.md. Ends by itself after some minutes; binds to loopback only.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import results

HERE = Path(__file__).resolve()
MB = 1_000_000
BODY = os.urandom(8 * MB)
CLIENTS = 8
SMALL_SECONDS = 3.0
SLOW_SECONDS = 15.0
LISTING = b"x" * 2000
GUNICORN = "gunicorn==23.0.0"


# ---- what is served: the same WSGI application everywhere


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """POST hashes and spools the body; GET answers 2 kB after reading a file, as browsing reads a page."""
    if environ["REQUEST_METHOD"] == "POST":
        answer = _take_in(environ["wsgi.input"], int(environ["CONTENT_LENGTH"]))
    else:
        answer = LISTING
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]


def _take_in(body: Any, length: int) -> bytes:
    digest, left = hashlib.sha256(), length
    with tempfile.TemporaryFile() as spool:
        while left and (chunk := body.read(min(left, 256 * 1024))):
            digest.update(chunk)
            spool.write(chunk)
            left -= len(chunk)
    return digest.hexdigest().encode()


def gateway() -> Any:
    """The same application behind imagerepo's body receiver, without its deadline."""
    from imagerepo.gateway.app import Gateway
    from imagerepo.gateway.bodies import Pace, Receiver
    from imagerepo.gateway.calls import Answer

    receiver = Receiver(Path(tempfile.gettempdir()), pace=Pace(grace=60, rate=1), most=4096)
    return Gateway(
        application,  # type: ignore[arg-type]
        receiver,
        refuse=lambda error, path: Answer(503, [], [str(error).encode()]),
        admits=lambda authorization: True,
        most_bytes=64 * MB,
        reading_threads=16,
        writing_threads=32,
    )


def serve(interface: str, port: int, threads: int) -> None:
    """Run granian in this process until SIGTERM."""
    import multiprocessing

    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    multiprocessing.set_start_method("spawn")
    wsgi = interface == "wsgi"
    Granian(
        f"{HERE}:application" if wsgi else f"{HERE}:gateway",
        port=port,
        interface=Interfaces(interface),
        blocking_threads=threads if wsgi else 1,
        backpressure=8192,
        factory=not wsgi,
        log_level=LogLevels.error,
    ).serve()


# ---- running a server


def _commands(gunicorn: Path) -> dict[str, Callable[[int], list[str]]]:
    def granian(interface: str, threads: int) -> Callable[[int], list[str]]:
        return lambda port: [sys.executable, str(HERE), "--serve", interface, str(port), str(threads)]

    return {
        "granian ASGI, body receiver": granian("asgi", 0),
        "granian WSGI, 64 threads": granian("wsgi", 64),
        "granian WSGI, 1024 threads": granian("wsgi", 1024),
        "gunicorn gthread, 64 threads": lambda port: [
            str(gunicorn), "--chdir", str(HERE.parent), "--bind", f"127.0.0.1:{port}", "--worker-class",
            "gthread", "--threads", "64", "--worker-connections", "8192", "--keep-alive", "30",
            "--log-level", "error", "uploads:application",
        ],
    }  # fmt: skip


@contextmanager
def _running(command: Callable[[int], list[str]]) -> Iterator[tuple[int, int]]:
    """Start the server in a process group of its own; yields its port and its pid."""
    port = _free_port()
    process = subprocess.Popen(command(port), start_new_session=True)
    try:
        _wait_for(port)
        yield port, process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            _get(port)
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"no server on port {port}")


def _get(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        assert len(connection.getresponse().read()) == len(LISTING)
    except http.client.HTTPException as error:
        raise OSError(repr(error)) from error
    finally:
        connection.close()


def _cpu_seconds(pid: int) -> float:
    """CPU time used by a process and its children so far."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pid:  # its process group
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


# ---- the measurements


def _parallel(work: Callable[[], None], count: int) -> float:
    threads = [threading.Thread(target=work) for _ in range(count)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def uploads(port: int, pid: int) -> dict[str, float]:
    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for _ in range(4):
            connection.request("POST", "/", BODY)
            assert connection.getresponse().read() == expected
        connection.close()

    expected = hashlib.sha256(BODY).hexdigest().encode()
    seconds = _parallel(work, CLIENTS)
    return {"upload MB/s": CLIENTS * 4 * len(BODY) / MB / seconds}


def small(port: int, pid: int) -> dict[str, float]:
    done: list[int] = []

    def work() -> None:
        connection, count, end = (
            http.client.HTTPConnection("127.0.0.1", port),
            0,
            time.monotonic() + SMALL_SECONDS,
        )
        while time.monotonic() < end:
            connection.request("GET", "/")
            connection.getresponse().read()
            count += 1
        connection.close()
        done.append(count)

    before = _cpu_seconds(pid)
    seconds = _parallel(work, CLIENTS)
    return {
        "small requests/s": sum(done) / seconds,
        "CPU µs/request": (_cpu_seconds(pid) - before) / sum(done) * 1e6,
    }


def browsing_beside_slow_senders(port: int, count: int) -> dict[str, float]:
    senders = [_begin_upload(port) for _ in range(count)]
    latencies, failed, end, last = [], 0, time.monotonic() + SLOW_SECONDS, 0.0
    while time.monotonic() < end:
        if time.monotonic() - last >= 1:
            last = time.monotonic()
            _drip(senders)
        start = time.perf_counter()
        try:
            _get(port)
        except OSError:
            failed += 1
        latencies.append((time.perf_counter() - start) * 1e3)
        time.sleep(0.01)
    for sender in senders:
        sender.close()
    latencies.sort()
    return {
        "browse p50 ms": statistics.median(latencies),
        "browse p99 ms": latencies[int(len(latencies) * 0.99)],
        "browse failed": failed,
    }


def _begin_upload(port: int) -> socket.socket:
    sender = socket.create_connection(("127.0.0.1", port), timeout=10)
    sender.sendall(b"POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 100000\r\n\r\n")
    return sender


def _drip(senders: list[socket.socket]) -> None:
    for sender in senders:
        with suppress(OSError):
            sender.send(b"x")


# ---- the report


def measure(command: Callable[[int], list[str]], slow: int) -> dict[str, float]:
    with _running(command) as (port, pid):
        result = uploads(port, pid) | small(port, pid)
    with _running(command) as (port, pid):
        return result | browsing_beside_slow_senders(port, slow)


def table(runs: dict[str, list[dict[str, float]]]) -> str:
    columns = list(next(iter(runs.values()))[0])
    lines = ["| server | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, rounds in runs.items():
        medians = [statistics.median(result[column] for result in rounds) for column in columns]
        lines.append(f"| {name} | " + " | ".join(f"{median:,.1f}" for median in medians) + " |")
    return "\n".join(lines)


def report(runs: dict[str, list[dict[str, float]]], rounds: int, slow: int) -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return (
        f"## How bodies come in: `python bench/uploads.py --rounds {rounds} --slow {slow}`\n\n"
        f"Medians of {rounds} interleaved runs; {os.cpu_count()} cores ({model}), shared with the clients; "
        f"Python {platform.python_version()}, granian {version('granian')}, {GUNICORN.replace('==', ' ')}; "
        f"one worker process each. {slow} slow senders of one byte per second. "
        f"Load average at the end: {os.getloadavg()[1]:.1f}.\n\n{table(runs)}\n"
    )


@contextmanager
def _peers() -> Iterator[Path]:
    """An environment with the peers, deleted at the end."""
    folder = Path(tempfile.mkdtemp(prefix="imagerepo-bench-"))
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", GUNICORN], check=True)
        yield folder / "bin/gunicorn"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow", type=int, default=500)
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    parser.add_argument("--serve", nargs=3, metavar=("INTERFACE", "PORT", "THREADS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[0], int(options.serve[1]), int(options.serve[2]))
        return
    with _peers() as gunicorn:
        commands = _commands(gunicorn)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
        for round_ in range(options.rounds):
            for name, command in commands.items():
                runs[name].append(measure(command, options.slow))
                print(f"round {round_ + 1}: {name}: {runs[name][-1]}", flush=True)
    text = report(runs, options.rounds, options.slow)
    results.publish(text, write=options.write)


if __name__ == "__main__":
    main()
