"""What a power cut would leave: only what was fsynced, its name too. Followed from the system calls alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.strace.log import Call


class Platter:
    """Which files under `folder` a power cut could harm, as far as the calls that it was shown say.

    A failed fsync is never made good by a later one: the kernel takes what it could not write for written.
    Only other bytes, or the name made anew, are.
    """

    def __init__(self, folder: Path, there: Iterable[str]) -> None:
        self._folder, self._there = str(folder), set(there)
        self._unwritten: set[str] = set()
        self._unnamed: set[str] = set()
        self._lost: set[str] = set()

    def harmed(self, *below: str) -> set[str]:
        """Those of these paths, and of what is `below` them, whose content or whose name a power cut could take."""
        paths = {path.removeprefix(f"{self._folder}/") for path in self._unwritten | self._unnamed | self._lost}
        return {path for path in paths if any(path == top or path.startswith(f"{top}/") for top in below)}

    def is_whole(self, path: str) -> bool:
        """Whether what was written to `path` stays there, if its name does."""
        return path not in self._unwritten | self._lost

    def follow(self, call: Call) -> None:
        if not call.path.startswith(self._folder):
            return
        if call.name in ("fsync", "fdatasync"):
            self._synced(call)
        elif call.failed:
            return
        elif call.name in ("write", "pwrite64", "ftruncate"):
            self._unwritten.add(call.path)
        elif call.name == "rename":
            self._renamed(call)
        elif call.name in ("mkdir", "unlink", "rmdir"):
            self._named(call.path, there=call.name == "mkdir")
        elif "O_CREAT" in call.flags and call.path not in self._there:
            self._named(call.path, there=True)

    def _synced(self, call: Call) -> None:
        names = {path for path in self._unnamed if str(Path(path).parent) == call.path}
        content = self._unwritten & {call.path}
        if call.failed:
            self._lost |= names | content
        self._unnamed -= names
        self._unwritten -= content

    def _renamed(self, call: Call) -> None:
        for paths in (self._unwritten, self._lost):
            paths.discard(call.to)
            if call.path in paths:
                paths.add(call.to)
        self._named(call.path, there=False)
        self._there.add(call.to)
        self._unnamed.add(call.to)

    def _named(self, path: str, *, there: bool) -> None:
        self._unnamed.add(path)
        self._unwritten.discard(path)
        self._lost.discard(path)
        (self._there.add if there else self._there.discard)(path)
