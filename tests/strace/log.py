"""What strace wrote, read back: one Call a line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"^(?:(?P<task>\d+) +)?(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)(?P<rest>.*)$")
_RESUMED = re.compile(r"^(?P<task>\d+) +<\.\.\. \w+ resumed>(?P<rest>.*)$")
_UNFINISHED = " <unfinished ...>"
_FD = re.compile(r"^(?:\d+|AT_FDCWD)<(?P<path>[^>]*)>")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Call:
    """One finished system call: `path` is the file that it changed, `to` the new name that it gave it."""

    thread: str
    name: str
    path: str
    to: str = ""
    text: str = ""
    flags: str = ""
    failed: bool = False
    injected: bool = False


def read_log(log: Path, threads: Mapping[str, str]) -> list[Call]:
    """The calls in the order in which they ended; threads of no known name have their number."""
    only = next(iter(threads.values()))  # strace names no task where it holds one only
    calls = []
    for line in _whole_lines(log.read_text(errors="replace")):
        if found := _LINE.match(line):
            task = found["task"]
            calls.append(_call(threads.get(task, task) if task else only, found))
    return calls


def _whole_lines(text: str) -> list[str]:
    begun: dict[str, str] = {}
    whole = []
    for line in text.splitlines():
        if line.endswith(_UNFINISHED):
            begun[line.split()[0]] = line.removesuffix(_UNFINISHED)
        elif resumed := _RESUMED.match(line):
            whole.append(begun.pop(resumed["task"]) + resumed["rest"])
        else:
            whole.append(line)
    return whole


def _call(thread: str, found: re.Match[str]) -> Call:
    name, arguments = found["name"], found["arguments"]
    quoted = _QUOTED.findall(arguments)
    fd = _FD.match(arguments)
    path, to, text = fd["path"] if fd else "", "", ""
    if name in ("rename", "mkdir", "unlink", "rmdir", "openat"):
        path = quoted[0]
        to = quoted[1] if name == "rename" else ""
    elif quoted:
        text = quoted[0]
    return Call(
        thread,
        name,
        path,
        to=to,
        text=text,
        flags=arguments.rpartition('"')[2] if name == "openat" else "",
        failed=found["result"].startswith("-"),
        injected="(INJECTED)" in found["rest"],
    )
