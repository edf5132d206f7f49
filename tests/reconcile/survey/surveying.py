"""A survey, and what its findings say."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from imagerepo.durability.settle import Patience
from imagerepo.reconcile.findings import Action, Code, Finding
from imagerepo.reconcile.survey import Survey
from imagerepo.store.objects import ObjectStore

LATER = timedelta(hours=1)


def survey(
    store: ObjectStore, *, grace: timedelta = -LATER, percent: float = 0.0, after: str = "", chunk: int = 3
) -> list[Finding]:
    patience = Patience(most_questions=2)
    made = Survey(store, before=datetime.now(UTC) - grace, patience=patience, percent=percent, chunk=chunk)
    try:
        return [finding for batch in made.images(after) for finding in batch.findings]
    finally:
        made.close()


def wanting(findings: Iterable[Finding]) -> list[Code]:
    return [finding.code for finding in findings if finding.wanting]


def told(findings: Iterable[Finding]) -> list[tuple[Code, str | None, Action]]:
    return [(finding.code, finding.ident, finding.action) for finding in findings]
