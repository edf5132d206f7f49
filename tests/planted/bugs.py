"""The bugs: patches of src/ with a header that says what each breaks, whom it harms, and which suites may see it.

Bug: what it breaks
Harm: what somebody loses by it
Suites: names of `suites.SUITES`, in the order in which they are tried
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.planted.suites import SUITES, Suite

PATCHES = Path(__file__).with_name("patches")


@dataclass(frozen=True)
class Bug:
    name: str
    patch: Path
    breaks: str
    harm: str
    suites: tuple[Suite, ...]


def every() -> list[Bug]:
    return [read(patch) for patch in sorted(PATCHES.glob("*.patch"))]


def read(patch: Path) -> Bug:
    """The bug in a patch. Raises ValueError where its header lacks something, or names a suite that isn't one."""
    header = patch.read_text().partition("\n--- ")[0]
    said = dict(line.split(": ", 1) for line in header.splitlines() if line)
    if set(said) != {"Bug", "Harm", "Suites"}:
        raise ValueError(f"{patch.name}: its header has {sorted(said)}, not Bug, Harm and Suites")
    unknown = set(said["Suites"].split()) - set(SUITES)
    if unknown:
        raise ValueError(f"{patch.name}: there is no suite {', '.join(unknown)}")
    suites = tuple(SUITES[name] for name in said["Suites"].split())
    return Bug(patch.stem, patch, said["Bug"], said["Harm"], suites)
