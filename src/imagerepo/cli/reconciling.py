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
from imagerepo.errors import DurabilityError
from imagerepo.wording import counted

if TYPE_CHECKING:
    from imagerepo.reconcile.plans import Plan, Plans

LOOK_SECONDS = 0.2
SILENCE_SECONDS = 10.0
"""A plan that does not get on for so long may have lost its server."""
MOST_SHOWN = 50
DONE = ("deleted", "removed")
UNDONE = ("changed", "failed", "in-doubt")
"""Outcomes after which a finding is still one."""
LEFT = (*UNDONE, "young")
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
    apply: Annotated[bool, typer.Option("--apply", help="Repair what can be; else nothing is changed.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --apply: even if that touches a large share of the repository.")
    ] = False,
    claim: Claim = False,
    as_json: AsJson = False,
) -> None:
    """Compare the store with the database, and tell what stands on one side only. Changes nothing without --apply.

    Exit status 0: no finding wants anybody any more; 1: one does, or it failed.
    Foreign objects, and what no live image needs, are told and want nobody.
    """
    if force and not apply:
        raise typer.BadParameter("--force is of use with --apply only")
    config = boot()
    from imagerepo.catalogue.deeds import OPERATOR
    from imagerepo.reconcile import orders
    from imagerepo.reconcile.plans import Plans, State

    with _carried_out(config, claim=claim) as (hand, goes_on):
        plans = Plans(hand.disk)
        plan = orders.plan(hand.disk, percent=100.0 if deep else sample)
        with _telling(plan, goes_on):
            plan = _awaited(hand, plans, plan, "comparing")
        if apply and plan.state == State.READY and plan.actionable:
            if not as_json:
                _tell(plans, plan)
            ordered = orders.apply(hand.disk, plan.id, actor=OPERATOR, force=force, forced_by="--force")
            with _telling(ordered, goes_on):
                plan = _awaited(hand, plans, ordered, "repairing")
            _show_applied(plans, plan, as_json=as_json)
        else:
            _show_found(plans, plan, as_json=as_json)
    raise typer.Exit(_status(plan))


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


def _awaited(hand: Writer, plans: Plans, plan: Plan, doing: str) -> Plan:
    """Wait for a plan that is under way. Raises Fenced, and DurabilityError where its server has ended."""
    changed = time.monotonic()
    with progress_of(doing) as progress:
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


def _show_found(plans: Plans, plan: Plan, *, as_json: bool) -> None:
    if as_json:
        _show_json(plans, plan)
        return
    if plan.reason:
        note(f"imagerepo: {plan.reason}")
        return
    _tell(plans, plan)
    if told := plan.found - plan.wanting:
        note(f"\n{told:,} of {plan.found:,} want nobody: no live image needs them")
    if plan.actionable:
        note(f"\n{plan.actionable:,} of {plan.found:,} can be repaired: add --apply")


def _show_applied(plans: Plans, plan: Plan, *, as_json: bool) -> None:
    if as_json:
        _show_json(plans, plan)
        return
    if plan.reason:
        note(f"imagerepo: {plan.reason}")
    elif plan.actionable:
        sys.stdout.write(f"\n{_became(plan)}\n")


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
        note(f"nothing found: store and database agree on {counted(plan.rows, 'image')}")
        return
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
    undone = sum(plan.outcomes.get(outcome, 0) for outcome in UNDONE)
    return int(plan.state != State.DONE or plan.wanting > plan.actionable or undone > 0)
