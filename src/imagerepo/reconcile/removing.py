"""Rows whose base is missing are removed by a session like any other: durable, in the log, and revertible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from imagerepo.durability.settle import Patience, Stopped
from imagerepo.errors import CommitFailed, Conflicted, NothingToCommit, NotInSession, ObjectNotFound, SessionNotFound
from imagerepo.reconcile.asking import QUESTIONS, Failing, ask
from imagerepo.reconcile.deletion import BATCH, Outcome
from imagerepo.reconcile.findings import Action
from imagerepo.reconcile.plans import Plan, Plans
from imagerepo.sessions import lifecycle, staging
from imagerepo.sessions.actors import RECONCILE_NAME, Actor
from imagerepo.sessions.models import State, UploadSession
from imagerepo.sessions.service import Service
from imagerepo.store import names

WAIT_SECONDS = 5.0
REMOVED, CHANGED = "removed", "changed"
"""The outcomes of rows that went, and of those that somebody changed meanwhile: they are left to the next plan."""


def remove_rows(service: Service, plans: Plans, plan: Plan, threads: ThreadPoolExecutor) -> Plan:
    """Remove the live images whose bases are still missing, in one revision. Repeatable until what it gives is saved.

    The plan that it gives has an outcome for each of them. An image that was changed meanwhile stays, for the next plan
    to look at; so does one whose base came back, as the merge that brings it drops what is staged here
    (sessions/merge.py).
    """
    found = (finding for _, finding in plans.findings(plan) if finding.action == Action.REMOVE_ROW)
    idents = (finding.ident for finding in found if finding.ident)
    first = next(idents, None)
    if first is None:
        return plan
    session, plan = _session(service, plans, plan)
    if session.state == State.OPEN:
        kept = _stage(service, session, first, idents, threads)
        plan = plans.save(plan.having(kept={str(why): number for why, number in kept.items()}))
    _commit(service, session, threads)
    removed = int((session.counts or {}).get("remove", 0)) if session.state == State.LIVE else 0
    changed = plan.actionable - plan.applied - sum(plan.kept.values()) - removed
    rows = Counter(plan.kept) + Counter({REMOVED: removed, CHANGED: changed})
    return plan.having(outcomes=dict(Counter(plan.outcomes) + rows))


def _session(service: Service, plans: Plans, plan: Plan) -> tuple[UploadSession, Plan]:
    """This plan's session; a new one if there is none, or it was given up."""
    if plan.session:
        try:
            session = lifecycle.find(plan.session, Actor(RECONCILE_NAME, "admin"))
        except SessionNotFound:
            pass
        else:
            if session.state not in (State.ABORTED, State.EXPIRED):
                return session, plan
    title = f"reconcile {plan.id}: images that the store has lost"
    session = lifecycle.open_session(RECONCILE_NAME, title=title)
    return session, plans.save(plan.having(session=session.key))


def _stage(
    service: Service, session: UploadSession, first: str, others: Iterator[str], threads: ThreadPoolExecutor
) -> Counter[Outcome]:
    """Stage the removal of those whose base is lost; how many others are kept, by outcome."""
    kept: Counter[Outcome] = Counter()
    batch = [first, *islice(others, BATCH - 1)]
    while batch:
        if service.stop.is_set():
            raise Stopped
        # Staged before the look: of a version that is live by then, and a conflict if another one comes after it.
        staging.stage_removals(session, batch)
        kept += _look(service, session, batch, threads)
        batch = list(islice(others, BATCH))
    return kept


def _look(service: Service, session: UploadSession, batch: list[str], threads: ThreadPoolExecutor) -> Counter[Outcome]:
    """Drop those whose base is not lost; how many, by outcome."""
    looks = threads.map(lambda ident: _why_kept(service, ident), batch)
    found = [(ident, why) for ident, why in zip(batch, looks, strict=True) if why]
    for ident, _ in found:
        _discard(session, ident)
    return Counter(why for _, why in found)


def _look_again(service: Service, session: UploadSession, threads: ThreadPoolExecutor) -> None:
    """Drop what came back since it was looked for: the commit may have been held up for hours."""
    last = 0
    while batch := staging.changes(session, limit=BATCH, after=last):
        if service.stop.is_set():
            raise Stopped
        _look(service, session, [str(row.ident) for row in batch], threads)
        last = batch[-1].pk


def _why_kept(service: Service, ident: str) -> Outcome | None:
    """None where its base is lost."""
    patience = Patience(stop=service.stop, most_questions=QUESTIONS)
    name = names.base(ident)
    try:
        answer = ask(service.store, name, lambda: service.store.stat(name, newest=True), patience)
    except ObjectNotFound:
        return None
    return Outcome.FAILED if isinstance(answer, Failing) else Outcome.PROTECTED


def _commit(service: Service, session: UploadSession, threads: ThreadPoolExecutor) -> None:
    """Commit what is staged, without what others changed meanwhile, however long that takes. Raises Fenced."""
    while session.state != State.LIVE:
        if service.stop.is_set():
            raise Stopped
        try:
            service.committer.commit(session, wait=WAIT_SECONDS)
        except Conflicted as error:
            for conflict in error.conflicts:
                _discard(session, conflict["ident"])
        except NothingToCommit:
            lifecycle.abort(session)
            break
        except CommitFailed:
            service.stop.wait(WAIT_SECONDS)
            session.refresh_from_db()
            if session.state == State.OPEN:
                _look_again(service, session, threads)


def _discard(session: UploadSession, ident: str) -> None:
    try:
        staging.discard(session, ident)
    except NotInSession:
        return
