"""Findings: what stands on one side only, and what will be done about it. Finding changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson


class Code(StrEnum):
    ORPHAN_BASE = "orphan-base"
    """A base that no row refers to: staged, merged, live or retained."""
    ORPHAN_DERIVATIVE = "orphan-derivative"
    """A derivative of such an image."""
    MISSING_BASE = "missing-base"
    """A row whose base the store does not have."""
    CORRUPT_BASE = "corrupt-base"
    """A base that is not what its row and its name say."""
    FOREIGN_OBJECT = "foreign-object"
    """An object whose name the grammar refuses."""
    STALE_CHAIN = "stale-chain"
    """An object of an older epoch that no restore can reach: a fenced writer's, or a base never finished."""
    STALE_SPOOL = "stale-spool"
    """Uploads on this disk of a session that has ended."""


class Action(StrEnum):
    DELETE_OBJECT = "delete-object"
    REMOVE_ROW = "remove-row"
    DELETE_FILE = "delete-file"
    NONE = "none"
    """Nothing: `detail` says what a person can do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. `object` is its name in the store (of a spool folder: its name on this disk).

    `wanting`: an apply repairs it, or a person should, as a live image is damaged. The rest is only told.
    """

    code: Code
    ident: str | None
    object: str | None
    action: Action
    detail: str
    wanting: bool = True

    @property
    def actionable(self) -> bool:
        return self.action != Action.NONE

    @property
    def line(self) -> bytes:
        """As a line of JSON."""
        return orjson.dumps(self) + b"\n"


def read(line: bytes) -> Finding:
    """The finding that `line` is."""
    given: dict[str, Any] = orjson.loads(line)
    return Finding(**{**given, "code": Code(given["code"]), "action": Action(given["action"])})
