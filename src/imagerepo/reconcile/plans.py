"""Plans: what was found, and how far the finding or the repairing of it has come, as files of the data folder.

<data>/reconcile/<id>/plan.json         Plan, written whole and durably at each checkpoint
<data>/reconcile/<id>/findings.jsonl    a Finding each line; what lies beyond `findings_bytes` does not count

planning ──▶ ready ──▶ applying ──▶ done          planning | applying ──▶ failed          ready ──▶ stale

Orders (orders.py) make a plan, and move it from ready; the one process that carries plans out (runner.py) does the
rest. Whatever dies, the next one goes on from the checkpoint.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from imagerepo.durability.locks import exclusive
from imagerepo.durability.records import Frozen
from imagerepo.durability.state import Disk
from imagerepo.errors import PlanNotFound
from imagerepo.files import sync, write_durably
from imagerepo.reconcile.findings import Code, Finding, read
from imagerepo.testing.failpoints import effect, step

_ID = re.compile(r"[0-9a-f]{16}")


class State(StrEnum):
    PLANNING = "planning"
    READY = "ready"
    APPLYING = "applying"
    DONE = "done"
    STALE = "stale"
    FAILED = "failed"


class Plan(Frozen):
    """One plan at its last checkpoint.

    `percent` of the bases are read. `revision` is the newest that was merged when it was made, `images` how many
    there were rows of. `surveyed`: the ident up to which all were looked at, `rows` of them with a row. Of the
    findings, an apply acts on the `actionable`, and `wanting` count those too that a person should act on. Who asked
    for it, `applied_by`, perhaps `forced`, is `noted` in the audit log first. Those in the first `applied_bytes` are
    dealt with; `outcomes` counts how. `session` removes rows, but those that were `kept`, by outcome.
    `reason`: why it failed, or what it waits for.
    """

    id: str
    state: State
    created_at: datetime
    percent: float
    revision: int
    images: int
    surveyed: str = ""
    rows: int = 0
    findings_bytes: int = 0
    counts: Mapping[str, int] = {}
    actionable: int = 0
    wanting: int = 0
    applied_by: str = ""
    forced: bool = False
    noted: bool = False
    applied: int = 0
    applied_bytes: int = 0
    outcomes: Mapping[str, int] = {}
    session: str | None = None
    kept: Mapping[str, int] = {}
    reason: str | None = None

    @property
    def under_way(self) -> bool:
        return self.state in (State.PLANNING, State.APPLYING)

    @property
    def as_ordered(self) -> Plan:
        """The plan as whoever orders to apply it has looked at it, whatever came of that."""
        if not self.applied_by and self.state != State.STALE:
            return self
        return self.having(state=State.READY, applied=0, outcomes={}, reason=None)

    @property
    def found(self) -> int:
        return sum(self.counts.values())

    @property
    def summary(self) -> dict[str, Any]:
        """What people are told of it."""
        applying = self.state in (State.APPLYING, State.DONE)
        done, total = (self.applied, self.actionable) if applying else (self.rows, max(self.rows, self.images))
        return {
            "id": self.id,
            "state": str(self.state),
            "created_at": self.created_at,
            "counts": {str(code): self.counts.get(code, 0) for code in Code},
            "actionable": self.actionable,
            "wanting": self.wanting,
            "outcomes": dict(self.outcomes),
            "progress": {"stage": str(self.state), "done": done, "total": total},
            "reason": self.reason,
        }

    def having(self, **changes: Any) -> Plan:
        return self.model_copy(update=changes)


_Written: TypeAlias = tuple[int, int]
"""Which file it is that holds a plan, and when it was written."""


class Plans:
    """The plans of one data folder. Safe for several processes, where each keeps to what is its to change."""

    def __init__(self, disk: Disk) -> None:
        self._disk, self._folder = disk, disk.plans
        self._seen: dict[str, tuple[_Written, Plan]] = {}

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold off others who order something, or take plans away."""
        self._folder.mkdir(exist_ok=True, mode=0o700)
        with exclusive(self._folder / "orders.lock"):
            yield

    def add(self, *, percent: float, revision: int, images: int) -> Plan:
        """A new plan, to be carried out by whoever does that."""
        plan = Plan(
            id=secrets.token_hex(8),
            state=State.PLANNING,
            created_at=datetime.now(UTC),
            percent=percent,
            revision=revision,
            images=images,
        )
        with effect("file.mkdir"):
            self._of(plan.id).mkdir(parents=True, mode=0o700)
        self.save(plan)
        sync(self._folder)
        return plan

    def find(self, key: str) -> Plan:
        """The plan. Raises PlanNotFound."""
        try:
            if _ID.fullmatch(key):
                return Plan.model_validate_json((self._of(key) / "plan.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            pass
        raise PlanNotFound(f"there is no plan {key[:100]!r}: plans are kept on the server's own disk, for some days")

    def explained(self, plan: Plan) -> Plan:
        """As people are told of it: one under way without a `reason` has what this disk knows of a store that fails.

        An apply ships records, and whoever does that asks the store without end, and leaves no other word of it.
        """
        if not plan.under_way or plan.reason:
            return plan
        trouble = self._disk.trouble()
        return plan.having(reason=trouble.sentence) if trouble else plan

    def all(self) -> list[Plan]:
        """Every plan, oldest first. Read again are only those that were written since."""
        self._seen = dict(self._look())
        return sorted((plan for _, plan in self._seen.values()), key=lambda plan: plan.created_at)

    def save(self, plan: Plan) -> Plan:
        write_durably(self._of(plan.id) / "plan.json", plan.model_dump_json(indent=1).encode())
        return plan

    def append(self, plan: Plan, findings: Iterable[Finding], **changes: Any) -> Plan:
        """Write findings after those that count, and the checkpoint that makes them count."""
        return self.save(self.write(plan, findings, **changes))

    def write(self, plan: Plan, findings: Iterable[Finding], **changes: Any) -> Plan:
        """Write findings after those that count; they do from the next checkpoint on, of the plan given back."""
        counts, actionable, wanting = Counter(plan.counts), plan.actionable, plan.wanting
        with step("reconcile.plan"), self._of_findings(plan) as file:
            for finding in findings:
                file.write(finding.line)
                counts[finding.code] += 1
                actionable += finding.actionable
                wanting += finding.wanting
            end = file.tell()
        known = {str(code): number for code, number in counts.items()}
        return plan.having(findings_bytes=end, counts=known, actionable=actionable, wanting=wanting, **changes)

    def findings(self, plan: Plan, start: int = 0) -> Iterator[tuple[int, Finding]]:
        """The findings from byte `start` on, each with the byte after it.

        Raises ValueError where none begins at `start`.
        """
        if not 0 <= start <= plan.findings_bytes:
            raise ValueError(f"no finding begins at {start}")
        if not plan.findings_bytes:
            return
        with (self._of(plan.id) / "findings.jsonl").open("rb") as file:
            file.seek(max(0, start - 1))
            if start and file.read(1) != b"\n":
                raise ValueError(f"no finding begins at {start}")
            while (place := file.tell()) < plan.findings_bytes:
                line = file.readline()
                yield place + len(line), read(line)

    def age(self, plan: Plan) -> float:
        """Seconds since its last checkpoint."""
        written = datetime.fromtimestamp((self._of(plan.id) / "plan.json").stat().st_mtime, UTC)
        return (datetime.now(UTC) - written).total_seconds()

    def remove(self, plan: Plan) -> None:
        shutil.rmtree(self._of(plan.id), ignore_errors=True)

    def _look(self) -> Iterator[tuple[str, tuple[_Written, Plan]]]:
        for path in self._folder.iterdir() if self._folder.exists() else ():
            with suppress(FileNotFoundError, NotADirectoryError, PlanNotFound):  # being made or taken away
                status = (path / "plan.json").stat()
                written = status.st_ino, status.st_mtime_ns  # each time it is another file (`write_durably`)
                before = self._seen.get(path.name)
                unchanged = before if before and before[0] == written else None
                yield path.name, unchanged or (written, self.find(path.name))

    @contextmanager
    def _of_findings(self, plan: Plan) -> Iterator[Any]:
        path = self._of(plan.id) / "findings.jsonl"
        with effect("file.append .jsonl"), path.open("ab") as file:
            file.seek(file.truncate(plan.findings_bytes))  # else `tell` would count what was there before
            yield file
            file.flush()
            os.fsync(file.fileno())

    def _of(self, key: str) -> Path:
        return self._folder / key
