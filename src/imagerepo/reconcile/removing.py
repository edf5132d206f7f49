"""Rows whose base is missing are removed by a session like any other: durable, in the log, and revertible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from imagerepo.durability.settle import Patience, Stopped
from imagerepo.errors import CommitFailed, Conflicted, NothingToCommit, NotInSession, ObjectNotFound, SessionNotFound
from imagerepo.reconcile.asking import QUESTIONS, ask
from imagerepo.reconcile.deletion import BATCH
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
    """Remove the live images whose bases are still missing, in one revision. Repeatable.

    An image that was changed meanwhile stays, for the next plan to look at; so does one whose base came back, as the
    merge that brings it drops what is staged here (sessions/merge.py).
    """
    found = (finding for _, finding in plans.findings(plan) if finding.action == Action.REMOVE_ROW)
    idents = (finding.ident for finding in found if finding.ident)
    first = next(idents, None)
    if first is None:
        return plan
    session, plan = _session(service, plans, plan)
    if session.state == State.OPEN:
        _stage(service, session, first, idents, threads)
    changed = _commit(service, session)
    removed = int((session.counts or {}).get("remove", 0)) if session.state == State.LIVE else 0
    outcomes = Counter(plan.outcomes) + Counter({CHANGED: changed})
    return plans.save(plan.having(outcomes=outcomes | {REMOVED: removed}))


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
) -> None:
    batch = [first, *islice(others, BATCH - 1)]
    while batch:
        if service.stop.is_set():
            raise Stopped
        # Staged before the look: of a version that is live by then, and a conflict if another one comes after it.
        staging.stage_removals(session, batch)
        lost = threads.map(lambda ident: _is_lost(service, ident), batch)
        for ident in [ident for ident, is_lost in zip(batch, lost, strict=True) if not is_lost]:
            _discard(session, ident)
        batch = list(islice(others, BATCH))


def _is_lost(service: Service, ident: str) -> bool:
    patience = Patience(stop=service.stop, most_questions=QUESTIONS)
    try:
        ask(service.store, lambda: service.store.stat(names.base(ident), newest=True), patience)
    except ObjectNotFound:
        return True
    return False


def _commit(service: Service, session: UploadSession) -> int:
    """Commit what is staged, without what others changed meanwhile, however long that takes. Gives how much that was.

    Raises Fenced.
    """
    changed = 0
    while session.state != State.LIVE:
        if service.stop.is_set():
            raise Stopped
        try:
            service.committer.commit(session, wait=WAIT_SECONDS)
        except Conflicted as error:
            for conflict in error.conflicts:
                _discard(session, conflict["ident"])
                changed += 1
        except NothingToCommit:
            lifecycle.abort(session)
            break
        except CommitFailed:
            service.stop.wait(WAIT_SECONDS)
            session.refresh_from_db()
    return changed


def _discard(session: UploadSession, ident: str) -> None:
    try:
        staging.discard(session, ident)
    except NotInSession:
        return
