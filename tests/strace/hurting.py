"""Hurting a victim: strace makes the k-th of one thread's system calls fail, or kills the process there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

from imagerepo.testing.servers import clean_environ
from tests.strace.log import Call, read_log
from tests.strace.victim import TOKEN

SECONDS = 60.0
LASTING_SECONDS = 8.0
"""After which a victim is given up whose calls fail for good: a start asks a store that fails for ever."""
SHORT_WAIT = {"IMAGEREPO_COMMIT_WAIT_SECONDS": "3"}
"""For a commit that can't end well, so that its answer comes before the victim is given up."""
CALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename")
"""By which a process changes files for good. (What SQLite maps into memory is not seen, and not to last.)"""
TRACED = (*CALLS, "openat", "ftruncate", "mkdir", "unlink", "rmdir")


Told: TypeAlias = list[dict[str, Any]]
"""What a victim told, in order."""


@dataclass(frozen=True)
class Place:
    """The `number`th of a thread's calls of one kind, from 1; it changes `path`, relative to the ground.

    Of a thread that the story begins itself (`thread` is empty) those calls are counted that change `path`.
    """

    thread: str
    call: str
    number: int
    path: str

    def __str__(self) -> str:
        return f"{self.thread or 'a new thread'}'s {self.call} no. {self.number}, of {self.path}"


@dataclass(frozen=True)
class Harm:
    """What happens there: an error's name, or KILL; `lasting`: to all such calls of the thread from there on."""

    what: str
    lasting: bool = False

    def __str__(self) -> str:
        return f"{self.what}{' from there on' if self.lasting else ''}"

    def option(self, place: Place) -> str:
        how = "signal=KILL" if self.what == "KILL" else f"error={self.what}"
        return f"inject={place.call}:{how}:when={place.number}{'+' if self.lasting else ''}"


HARMS = (Harm("EIO"), Harm("EIO", lasting=True), Harm("ENOSPC"), Harm("ENOSPC", lasting=True), Harm("KILL"))


@dataclass(frozen=True)
class Ground:
    """Where a victim lives: a data folder and a store, side by side."""

    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "data"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def copied(self, folder: Path, *, disk: bool = True) -> Ground:
        """A copy of it, with an empty disk unless `disk`."""
        copy = Ground(folder)
        shutil.copytree(self.store, copy.store)
        if disk and self.disk.exists():
            shutil.copytree(self.disk, copy.disk)
        copy.disk.mkdir(exist_ok=True)
        return copy


class Victim:
    """One process of victim.py, which waits until it is told to `go`; as a context manager, killed at the end."""

    def __init__(self, ground: Ground, story: str, environ: Mapping[str, str] | None = None) -> None:
        settings = {
            "IMAGEREPO_DATA_DIR": str(ground.disk),
            "IMAGEREPO_STORE_URL": f"file://{ground.store}",
            "IMAGEREPO_ADMIN_TOKEN": TOKEN,
        }
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(SECONDS)
        self._lines = self._socket.makefile("r")
        self.log = ground.folder / "victim.log"
        with theirs, self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.strace.victim", str(theirs.fileno()), story],
                cwd=Path(__file__).parents[2],
                env=clean_environ() | settings | dict(environ or {}),
                pass_fds=[theirs.fileno()],
                stdout=log,
                stderr=log,
            )
        self.threads: dict[str, str] = {}

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self) -> Self:
        """Its threads are known then, by their ids: a name each."""
        ready = next(self._hear(), None)
        assert ready, f"the victim died by itself:\n{self.log.read_text()}"
        self.threads = ready["threads"]
        return self

    def go(self, *, gives_up: bool = False) -> Told:
        """Let it do its part; what it told until it was done, or dead, or was given up."""
        self._socket.settimeout(LASTING_SECONDS if gives_up else SECONDS)
        with suppress(BrokenPipeError):
            self._socket.sendall(b"!")
        heard: Told = []
        with suppress(*([TimeoutError] if gives_up else [])):
            for told in self._hear():
                heard.append(told)
                if "listing" in told or "refused" in told:
                    break
        return heard

    def _hear(self) -> Iterator[dict[str, Any]]:
        with suppress(ConnectionResetError):
            for line in self._lines:
                yield json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._lines.close()
        self._socket.close()


@contextmanager
def _traced(task: int, log: Path, *options: str) -> Iterator[None]:
    """strace holds the task; inside, it is attached. Leave only when the task is dead, or about to die."""
    command = ["strace", "-y", "-s", "300", "-o", str(log), *options, "-p", str(task)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    assert "attached" in line, f"strace can't attach: {line}{tracer.stderr.read() if tracer.poll() else ''}"
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(task, signal.SIGKILL)
        tracer.stderr.close()
        tracer.wait(SECONDS)


@dataclass(frozen=True)
class Story:
    """What a victim told; the calls by which it changed files; and the files that there were before."""

    told: Told
    calls: list[Call]
    there: set[str]


def unhurt(ground: Ground, story: str, **environ: str) -> Story:
    """The story with the calls of all its threads."""
    with Victim(ground, story, environ).wait_until_ready() as victim:
        return _watched(victim, ground, victim.pid, "-f")


def places_of(story: Story, ground: Ground) -> list[Place]:
    """Every call that may be hurt: those that change a file of the ground."""
    counted: Counter[tuple[str, ...]] = Counter()
    places = []
    for call in story.calls:
        path = call.path.removeprefix(f"{ground.folder}/")
        thread = "" if call.thread.isdigit() else call.thread
        key = (thread, call.name) if thread else (thread, call.name, path)
        counted[key] += 1
        if call.name in CALLS and path != call.path:
            places.append(Place(thread, call.name, counted[key], path))
    return places


def hurt(ground: Ground, story: str, place: Place, harm: Harm) -> Story:
    """The story as it goes when one place is hurt, with the calls of the hurt thread."""
    harming = ("-e", harm.option(place))
    with Victim(ground, story, SHORT_WAIT if harm.lasting else {}).wait_until_ready() as victim:
        if not place.thread:
            path = str(ground.folder / place.path)
            return _watched(victim, ground, victim.pid, "-f", "-P", path, *harming, gives_up=harm.lasting)
        (task,) = (int(task) for task, name in victim.threads.items() if name == place.thread)
        return _watched(victim, ground, task, *harming, gives_up=harm.lasting)


def _watched(victim: Victim, ground: Ground, task: int, *options: str, gives_up: bool = False) -> Story:
    log = ground.folder / "strace.log"
    there = {str(path) for path in ground.folder.rglob("*")}
    with _traced(task, log, "-e", f"trace={','.join(TRACED)}", *options):
        told = victim.go(gives_up=gives_up)
    threads = victim.threads if "-f" in options else {str(task): victim.threads[str(task)]}
    return Story(told, read_log(log, threads), there)
