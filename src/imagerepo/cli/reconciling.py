"""`imagerepo reconcile`: where store and database disagree, and with `--apply` no longer."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from imagerepo.boot import boot
from imagerepo.cli.folder import Claim, is_served, writer
from imagerepo.cli.output import AsJson, note, progress_of, show, show_with
from imagerepo.config import Config
from imagerepo.durability.state import Disk
from imagerepo.durability.writer import Writer
from imagerepo.errors import DurabilityError, PlanNotReady
from imagerepo.wording import counted

if TYPE_CHECKING:
    from imagerepo.reconcile.plans import Plan, Plans

LOOK_SECONDS = 0.2
SILENCE_SECONDS = 10.0
"""A plan that does not get on for so long may have lost its server."""
MOST_SHOWN = 50
DONE = ("deleted", "removed")
LEFT = ("changed", "failed", "in-doubt", "young")
"""Outcomes that leave a finding to the next plan."""
TOLD = {
    "absent": "gone already",
    "changed": "changed by others meanwhile",
    "deleted": "deleted",
    "failed": "failed",
    "in-doubt": "in doubt, and settled later",
    "protected": "no longer one-sided",
    "removed": "removed",
    "young": "too young",
}
"""What became of a finding, for people."""


def reconcile(
    deep: Annotated[bool, typer.Option("--deep", help="Read every base, and compare its bytes with its name.")] = False,
    sample: Annotated[
        float, typer.Option(min=0, max=100, metavar="PERCENT", help="Read so many percent of the bases.")
    ] = 0.0,
    known: Annotated[
        str | None, typer.Option("--plan", metavar="ID", help="Not a new plan, but this one, which was made before.")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Repair what can be; else nothing is changed.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="With --plan and --apply: even if that touches a large share of the repository."),
    ] = False,
    claim: Claim = False,
    as_json: AsJson = False,
) -> None:
    """Compare the store with the database, and tell what stands on one side only. Changes nothing without --apply.

    Exit status 0: no finding wants anybody any more; 1: one does, or it failed.
    Foreign objects, and what no live image needs, are told and want nobody.
    """
    _check_use(known, reads=deep or sample > 0, apply=apply, force=force)
    config = boot()
    from imagerepo.reconcile import orders
    from imagerepo.reconcile.plans import Plans, State

    with _carried_out(config, claim=claim) as (hand, goes_on):
        plans = Plans(hand.disk)
        plan = plans.find(known) if known is not None else orders.plan(hand.disk, percent=100.0 if deep else sample)
        if not (apply and plan.state == State.APPLYING):
            with _telling(plan, goes_on):
                plan = _awaited(hand, plans, plan)
        if not as_json and plan.state != State.FAILED:
            _tell(plans, plan)
        if apply and _can_be_ordered(plan):
            ordered = _ordered(hand.disk, plan, force=force, claim=claim)
            with _telling(ordered, goes_on):
                plan = _awaited(hand, plans, ordered)
        if as_json:
            _show_json(plans, plan)
        else:
            _conclude(plan, claim=claim)
    raise typer.Exit(_status(plan))


def _check_use(known: str | None, *, reads: bool, apply: bool, force: bool) -> None:
    """Raise BadParameter where options contradict each other: force is for findings that somebody has looked at."""
    if force and not (apply and known is not None):
        raise typer.BadParameter(
            "--force applies a plan that was looked at: look first, with `imagerepo reconcile`, then name the plan it "
            "tells of, with `imagerepo reconcile --plan ID --apply --force`"
        )
    if known is not None and reads:
        raise typer.BadParameter(
            "--plan takes a plan that was made before: leave --deep and --sample away, or --plan to make a new one"
        )


def _can_be_ordered(plan: Plan) -> bool:
    """Whether to ask for it to be applied: not where there is nothing to do, and none where it has failed."""
    from imagerepo.reconcile.plans import State

    return plan.state != State.FAILED and (plan.state != State.READY or plan.actionable > 0)


def _ordered(disk: Disk, plan: Plan, *, force: bool, claim: bool) -> Plan:
    from imagerepo.catalogue.deeds import OPERATOR
    from imagerepo.reconcile import orders

    forced_by = f"`{_command(plan, claim=claim)} --force`"
    return orders.apply(disk, plan.id, actor=OPERATOR, force=force, forced_by=forced_by, check=_check_unapplied)


def _check_unapplied(plan: Plan) -> None:
    """Raise PlanNotReady where it is done: nothing of it is carried out again."""
    from imagerepo.reconcile.plans import State

    if plan.state == State.DONE:
        raise PlanNotReady(f"plan {plan.id} has been applied already: make a new one, with `imagerepo reconcile`")


def _command(plan: Plan, *, claim: bool) -> str:
    """What applies the plan."""
    return f"imagerepo reconcile{' --claim' if claim else ''} --plan {plan.id} --apply"


@contextmanager
def _carried_out(config: Config, *, claim: bool) -> Iterator[tuple[Writer, str]]:
    """The data folder's writer, while somebody carries plans out there: its server, or else this process.

    And where a plan goes on that this command does not wait for any more.
    """
    from imagerepo.worker import at_work

    served = is_served(Disk(config.data_dir.absolute()))
    with writer(config, claim=claim) as hand, nullcontext() if served else at_work(config):
        yield hand, "in the server" if served else f"when a server is started on {hand.disk.data_dir}"


@contextmanager
def _telling(plan: Plan, goes_on: str) -> Iterator[None]:
    """Let whoever interrupts the waiting know that it ends nothing else."""
    try:
        yield
    except KeyboardInterrupt:
        repairs = ", and repairs what it found" if plan.state == "applying" else ""
        note(f"imagerepo: plan {plan.id} goes on {goes_on}{repairs}")
        raise


def _awaited(hand: Writer, plans: Plans, plan: Plan) -> Plan:
    """Wait for a plan that is under way. Raises Fenced, and DurabilityError where its server has ended."""
    changed = time.monotonic()
    with progress_of("repairing" if plan.state == "applying" else "comparing") as progress:
        while plan.under_way:
            time.sleep(LOOK_SECONDS)
            hand.check_writable()
            before, plan = plan, plans.explained(plans.find(plan.id))
            progress(plan.summary["progress"]["done"], plan.summary["progress"]["total"])
            if plan.under_way and plan.reason and plan.reason != before.reason:
                note(f"imagerepo: {plan.reason}")
            if plan != before:
                changed = time.monotonic()
            elif time.monotonic() - changed > SILENCE_SECONDS:
                _check_served(hand.disk, plan)
                changed = time.monotonic()
    return plan


def _check_served(disk: Disk, plan: Plan) -> None:
    if not is_served(disk):
        raise DurabilityError(
            f"the server on {disk.data_dir} has ended; plan {plan.id} goes on when it is started again"
        )


def _conclude(plan: Plan, *, claim: bool) -> None:
    """Tell what became of its findings, or may be done about them."""
    from imagerepo.reconcile.plans import State

    if plan.reason:
        note(f"imagerepo: {plan.reason}")
    elif plan.state == State.DONE:
        if plan.actionable:
            sys.stdout.write(f"\n{_became(plan)}\n")
    else:
        if told := plan.found - plan.wanting:
            note(f"\n{told:,} of {plan.found:,} want nobody: no live image needs them")
        if plan.actionable:
            note(f"\n{plan.actionable:,} of {plan.found:,} can be repaired: {_command(plan, claim=claim)}")


def _became(plan: Plan) -> str:
    """What became of the findings, in a line."""

    def told(outcomes: Iterable[str]) -> str:
        numbers = [(plan.outcomes.get(outcome, 0), TOLD[outcome]) for outcome in sorted(outcomes)]
        return ", ".join(f"{number:,} {became}" for number, became in numbers if number)

    done, left, rest = told(DONE), told(LEFT), told(TOLD.keys() - {*DONE, *LEFT})
    parts = [f"repaired: {done}"] if done else []
    parts += [f"not repaired: {left}"] if left else []
    parts = parts or ["nothing was left to repair"]
    parts += [rest] if rest else []
    alone = plan.found - plan.actionable
    return "; ".join([*parts, f"{alone:,} left alone"] if alone else parts)


def _show_json(plans: Plans, plan: Plan) -> None:
    show_with(plan.summary, "findings", (finding for _, finding in plans.findings(plan)))


def _tell(plans: Plans, plan: Plan) -> None:
    """What was found: how many of each kind, and the first of them one by one."""
    if not plan.found:
        note(f"plan {plan.id}: nothing found: store and database agree on {counted(plan.rows, 'image')}")
        return
    sys.stdout.write(f"plan {plan.id}\n\n")
    counts = [{"finding": code, "number": number} for code, number in plan.counts.items()]
    show(counts, as_json=False, empty="")
    for _, finding in islice(plans.findings(plan), MOST_SHOWN):
        action = "" if finding.actionable else " (left alone)"
        sys.stdout.write(f"\n{finding.code}{action}  {finding.object}\n    {finding.detail}\n")
    if plan.found > MOST_SHOWN:
        sys.stdout.write(f"\n… and {plan.found - MOST_SHOWN:,} more; --json shows all\n")


def _status(plan: Plan) -> int:
    """Only what wants somebody is a fault: what nothing can be done about would be one for ever."""
    from imagerepo.reconcile.plans import State

    if plan.state == State.READY:
        return int(plan.wanting > 0)
    left = sum(plan.outcomes.get(outcome, 0) for outcome in LEFT)
    return int(plan.state != State.DONE or plan.wanting > plan.actionable or left > 0)
