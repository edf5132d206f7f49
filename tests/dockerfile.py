"""The Dockerfile as data: its instructions, in order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

DOCKERFILE = Path(__file__).parents[1] / "Dockerfile"


@dataclass(frozen=True)
class Instruction:
    name: str
    argument: str

    @property
    def words(self) -> list[str]:
        """Of an instruction in exec form."""
        words: list[str] = json.loads(self.argument)
        return words


def instructions() -> list[Instruction]:
    """Comments left out, continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    parts = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [Instruction(name, argument) for name, argument in parts]


def last_stage() -> list[Instruction]:
    """What ends up in the image."""
    found = instructions()
    begin = max(index for index, instruction in enumerate(found) if instruction.name == "FROM")
    return found[begin:]


def environment() -> dict[str, str]:
    """ENV of the last stage, but for PATH, which is the image's own."""
    pairs = [word for each in last_stage() if each.name == "ENV" for word in each.argument.split()]
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs) if name != "PATH"}
