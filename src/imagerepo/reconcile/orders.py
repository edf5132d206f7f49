"""Orders: what an admin or a command asks for. Carrying them out is runner.py's, in whichever process has its lock."""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import Q

from imagerepo.catalogue.models import FOREVER, ImageVersion
from imagerepo.durability.state import Disk
from imagerepo.errors import ApplyUnderWay, PlanNotReady, StalePlan, TooLargeAShare
from imagerepo.reconcile.plans import Plan, Plans, State
from imagerepo.reconcile.rows import how_many, in_chunks
from imagerepo.sessions import merge
from imagerepo.wording import counted

LARGE_SHARE = 0.05
LARGE_NUMBER = 20
"""A plan that would touch more of the repository than this share, and at least so many things, needs force."""


def plan(disk: Disk, *, percent: float = 0.0) -> Plan:
    """Ask for a plan; `percent` of the bases are to be read and hashed."""
    plans = Plans(disk)
    with plans.changing():
        return plans.add(percent=percent, revision=merge.newest_revision(), images=how_many())


def apply(
    disk: Disk,
    key: str,
    *,
    actor: str,
    force: bool = False,
    forced_by: str = "`force`",
    check: Callable[[Plan], None] = lambda plan: None,
) -> Plan:
    """Ask for a plan to be applied; `check` may refuse the state that it is in. Repeatable.

    It asks no store, so it is answered though the store fails. Whoever carries it out notes first that `actor` asked
    for it. A refusal for want of `force` says that it is given as `forced_by`.

    Raises PlanNotFound, PlanNotReady, ApplyUnderWay, TooLargeAShare, and StalePlan, which the plan is from then on.
    """
    plans = Plans(disk)
    with plans.changing():
        found = plans.find(key)
        check(found)
        if found.state in (State.APPLYING, State.DONE):
            return found
        _check_state(found)
        _check_alone(plans)
        if not force:
            _check_share(found, forced_by)
        if why := _outdated(plans, found):
            plans.save(found.having(state=State.STALE, reason=why))
            raise StalePlan(why)
        return plans.save(found.having(state=State.APPLYING, applied_by=actor, forced=force))


def _check_state(found: Plan) -> None:
    if found.state == State.STALE:
        raise StalePlan(found.reason or "the plan is stale: make a new one")
    if found.state == State.FAILED:
        raise PlanNotReady(f"the plan failed, so there is nothing to apply: {found.reason}")
    if found.state != State.READY:
        raise PlanNotReady("the plan is still being made: wait until it is ready")


def _check_alone(plans: Plans) -> None:
    for other in plans.all():
        if other.state == State.APPLYING:
            raise ApplyUnderWay(f"plan {other.id} is being applied: wait until it is done, then make a new one")


def _check_share(found: Plan, forced_by: str) -> None:
    if found.actionable >= LARGE_NUMBER and found.actionable > LARGE_SHARE * found.images:
        raise TooLargeAShare(
            f"the plan would touch {found.actionable:,} things, in a repository of {counted(found.images, 'image')}: "
            "so much is rather a wrong store or a mistake than drift. Read the findings; if they are right, apply it "
            f"with {forced_by}"
        )


def _outdated(plans: Plans, found: Plan) -> str | None:
    """Why the plan is stale: an image that it would touch was changed by a revision since."""
    newest = merge.newest_revision()
    if newest == found.revision:
        return None
    if newest < found.revision:
        return "the repository was restored to a state before the plan: make a new one"
    since = Q(valid_from__gt=found.revision) | Q(valid_to__gt=found.revision, valid_to__lt=FOREVER)
    idents = (finding.ident for _, finding in plans.findings(found) if finding.actionable and finding.ident)
    for chunk in in_chunks(idents):
        changed = ImageVersion.objects.filter(since, image__ident__in=chunk).select_related("image").first()
        if changed:
            return f"image {changed.image.ident}, which the plan names, was changed since: make a new plan"
    return None
