"""The steps of the code: every `step("…")` in its source."""

from __future__ import annotations

import re
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src/imagerepo"
TAKEN = re.compile(r"\bstep\(\"([a-z]+\.[a-z_]+)\"\)")


def of_the_code() -> set[str]:
    return {name for path in SOURCE.rglob("*.py") for name in TAKEN.findall(path.read_text())}


def of(failpoint: str) -> set[str]:
    """The steps that whoever passes this failpoint is in, the outermost and those inside."""
    return set(failpoint.partition("/")[0].split(">")) - {"-"}
