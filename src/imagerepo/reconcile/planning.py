"""Making a plan: the survey, batch by batch into the plan's files, and what else may be stale."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from imagerepo.durability import ancestry, damage
from imagerepo.durability.settle import Patience, Stopped
from imagerepo.reconcile import fixity, spooled
from imagerepo.reconcile.asking import QUESTIONS
from imagerepo.reconcile.findings import Action, Code, Finding
from imagerepo.reconcile.plans import Plan, Plans, State
from imagerepo.reconcile.rows import CHUNK
from imagerepo.reconcile.survey import Survey, strangers
from imagerepo.sessions.service import Service
from imagerepo.testing.failpoints import step
from imagerepo.wording import counted

READ_AT_ONCE = 200
"""About as many bases are read between two checkpoints: some minutes' work, where they are large."""


def carry_out(service: Service, plans: Plans, plan: Plan) -> Plan:
    """Bring a plan from wherever it stands to ready, or to failed where the store is another one.

    Raises StoreError, Damaged (the chain can't be read), and Stopped; then it can be gone on with.
    """
    patience = Patience(stop=service.stop, most_questions=QUESTIONS)
    before = datetime.now(UTC) - timedelta(seconds=service.config.grace_seconds)
    survey = Survey(
        service.store,
        before=before,
        patience=patience,
        percent=plan.percent,
        chunk=_chunk(plan.percent),
        suspects=damage.known(service.writer.disk).damaged.keys(),
        stop=service.stop,
    )
    try:
        with step("reconcile.survey"):
            if survey.finds_nothing():
                return plans.save(plan.having(state=State.FAILED, reason=_another_store(plan)))
            for batch in survey.images(plan.surveyed):
                if service.stop.is_set():
                    raise Stopped
                _judge_corrupt(service, batch.findings)
                keep = plans.append if batch.whole else plans.write
                plan = keep(plan, batch.findings, surveyed=batch.upto, rows=plan.rows + batch.rows)
            return plans.append(plan, _beside_images(service, patience), state=State.READY)
    finally:
        survey.close()


def _chunk(percent: float) -> int:
    """Images between two checkpoints."""
    return max(1, min(CHUNK, int(READ_AT_ONCE * 100 / percent))) if percent else CHUNK


def _judge_corrupt(service: Service, findings: Iterable[Finding]) -> None:
    """Let them be known as damaged: not delivered, and taken when they are sent again.

    Each is read once more: it may be mended by now. Raises StoreError.
    """
    corrupt = (finding.ident for finding in findings if finding.code == Code.CORRUPT_BASE and finding.ident)
    fixity.judge(service.store, service.writer.disk, corrupt)


def _another_store(plan: Plan) -> str:
    return (
        f"the store has none of the bases asked for, and there are rows of {plan.images:,} images. When everything is "
        "missing, that is no drift: is IMAGEREPO_STORE_URL right, and is all of the store there?"
    )


def _beside_images(service: Service, patience: Patience) -> Iterator[Finding]:
    config, snapshots = service.config, service.writer.store
    yield from strangers(service.store)
    if config.resolved_snapshot_url != config.resolved_store_url:
        yield from strangers(snapshots)
    before = datetime.now(UTC) - timedelta(seconds=config.abandoned_seconds)
    for info in ancestry.unreachable(snapshots, service.writer.state, before, patience):
        written = f"{counted(info.size, 'byte')}, written {info.modified:%Y-%m-%d %H:%M} UTC"
        detail = f"no snapshot of today's chain leads to it; {written}"
        yield Finding(Code.STALE_CHAIN, None, info.name, Action.DELETE_OBJECT, detail)
    yield from spooled.findings(service.spool, service.stop)
