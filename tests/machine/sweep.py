"""A story for one failpoint: what chance has not met in a long run is sought on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TypeAlias

from imagerepo.store import names
from imagerepo.testing.faults import Fault, Op
from tests.machine import repairing
from tests.machine.machine import Machine
from tests.machine.repairs import SMALL
from tests.machine.servers import Server
from tests.machine.story import PICTURES
from tests.machine.troubles import DENIED, PREFIXES

Act = Callable[[], object]

BY_CHANCE = (
    "fenced",
    "start.claim/file.write .json",
    "restore.fetch/store.get db/record",
    "reconcile.sweep/store.delete db",
    "reconcile.sweep/store.stat db",
    "reconcile.plan/store.get db",
    "reconcile.plan/store.stat db",
    "base.build/file.unlink",
    "snapshot.cut/file.unlink",
    "commit.upload/file.write .json",
    "commit.upload/store.get images",
    "reconcile.condemn>snapshot.cut/pages.base",
    "reconcile.condemn>snapshot.cut/file.write part",
    "reconcile.condemn>snapshot.put/store.put db/part",
)
"""Parts of the names of failpoints that only a race, or trouble at one moment, passes: not sought here.

What a plan finds of older epochs is sought with the drifts (tests/reconcile/drifts), whose records come too late. A
base has something to tidy up only after one that died, and in the lane another worker heals the chain at once,
perhaps before it is armed; a commit reads back only what fixity found damaged before. A condemning heals the chain
only where its damage was noted since the record that says who asked for the apply, and the lane, which looks twice a
second, was not first.
"""

OF_REPAIRS = ("reconcile.", "purge.", "fixity.")


Trouble: TypeAlias = tuple[Op, Fault, str, int]
"""What the store does to which call of an operation, on names that begin so."""
DOUBTS: tuple[Trouble, ...] = (
    ("put", "cut-after", names.DB, 1),
    ("put", "cut-after", names.DB, 2),
    ("put", "unavailable", names.DB, 1),
    ("put", "unavailable", names.DB, 2),
    ("stat", "unavailable", names.EPOCHS, 1),
    ("stat", "unavailable", names.DB, 1),
    ("put", "unavailable", names.IMAGES, 1),
    ("list", "unavailable", names.DB, 1),
)
PASSED_IN_DOUBT = (".json", "/store.get ", "/store.stat epochs")
"""Parts of the names of failpoints that whoever is in doubt passes: it reads back, notes the trouble, looks again."""


def troubles(failpoint: str) -> tuple[Trouble | None, ...]:
    """In which, one story each, the failpoint is sought."""
    return (None, *DOUBTS) if any(part in failpoint for part in PASSED_IN_DOUBT) else (None,)


def sweep(machine: Machine, role: str, failpoint: str, trouble: Trouble | None = None) -> None:
    """Let a process of this role pass what it may until it dies at the failpoint; then all must be well again.

    Each act has its `trouble`.
    """
    machine.world.workers = 1
    try:
        acts = _starts(machine, failpoint) if role == "parent" else _acts_of_a_worker(machine, failpoint)
        for act in acts:
            if trouble:
                op, fault, prefix, call = trouble
                machine.world.store.fail(op, fault, name=prefix, call=call)
            act()
            machine.world.look()
            if machine.coverage.ended[failpoint]:
                break
    finally:
        machine.teardown()


def sweep_fault(machine: Machine, op: Op, fault: Fault) -> None:
    """Let the store fail so in one act after the other until an operation has met it."""
    try:
        machine.world.start(machine.world.servers[0])
        for act in _days(machine):
            machine.world.denies |= fault == "absent"
            machine.world.ledger.mends |= fault == "absent"
            machine.world.store.fail(op, fault, name=_prefix(op, fault))
            act()
            machine.world.look()
            if (op, fault) in machine.world.store.failed:
                break
    finally:
        machine.teardown()


def _days(machine: Machine) -> Iterator[Act]:
    """Two of them, and starts in between: what is pruned lies in an older epoch, too."""
    yield from _everyday(machine)
    yield lambda: _restart(machine, keeps=False)
    yield lambda: _restart(machine, keeps=True)
    yield from _everyday(machine)


def _prefix(op: Op, fault: Fault) -> str:
    if fault == "absent":
        return dict(DENIED)[op]
    return PREFIXES[op][0] if op != "stat" else ""


def _restart(machine: Machine, *, keeps: bool) -> None:
    server = machine.world.needed()
    if server is not None:
        server.kill() if keeps else server.lose_disk()
        machine.world.start(server)


def _starts(machine: Machine, failpoint: str) -> Iterator[Act]:
    """Of an empty store, of one with some history, of a disk that is kept, and of one that owes a record."""
    first, second = machine.world.servers[:2]
    yield lambda: machine.world.start(first, failpoint)
    for keeps in (True, False, True):
        yield lambda: machine.two_change_one_picture_and_commit(picture=0, title="A", number=0)
        yield lambda: machine.an_admin_gives_an_order(number=0, task="base")
        yield lambda: first.kill() if keeps else first.lose_disk()  # noqa: B023  # called before the next
        yield lambda: machine.world.start(first, failpoint)
    yield lambda: _owes_a_record(machine, first)
    yield first.kill
    yield machine.world.store.deliver
    yield machine.world.heal
    yield lambda: machine.world.start(first, failpoint)
    yield lambda: machine.world.start(second, failpoint)


def _owes_a_record(machine: Machine, server: Server) -> None:
    if server.serving and machine.with_something_staged(0, server, 0):
        machine.fails_to_ship(0, server, 0, "late", "respond-async")


def _acts_of_a_worker(machine: Machine, failpoint: str) -> Iterator[Act]:
    """A commit, a conflict, an admin's orders, a commit given back, and what a server does that was taken over."""
    for act in _acts_towards(machine, failpoint):
        yield lambda: _arm(machine, failpoint)
        yield act
    yield lambda: _arm(machine, failpoint)
    yield lambda: machine.another_takes_over_in_mid_commit(client=0, failpoint=0, number=0, which=0, wakes=True)
    yield lambda: machine.stages(client=1, changes=[("stage", 1, "B")], number=0, stale=True)
    yield lambda: machine.commits(client=1, number=0, stale=True, wait="wait=9")


def _acts_towards(machine: Machine, failpoint: str) -> Iterator[Act]:
    """Those by which a worker may come to it, the likeliest first."""
    if failpoint.startswith(OF_REPAIRS):
        return chain(_repairs(machine), _everyday(machine))
    return _days(machine) if failpoint.startswith("prune.") else _everyday(machine)


def _everyday(machine: Machine) -> Iterator[Act]:
    yield from _commits_and_orders(machine)
    yield from _repairs(machine)


def _repairs(machine: Machine) -> Iterator[Act]:
    """A plan that finds orphans, one that finds a base lost, a deletion in doubt, a purge, and the end of history."""
    yield lambda: machine.two_change_one_picture_and_commit(picture=0, title="A", number=0)
    yield lambda: machine.stages(client=2, changes=[("stage", 1, "A"), ("stage", 2, "B")], number=0, stale=False)
    yield lambda: machine.commits(client=2, number=0, stale=False, wait="wait=9")
    yield lambda: machine.the_store_has_what_nobody_wants(picture=3, kind="derivative")
    yield lambda: machine.an_admin_reconciles(number=0, deep=True, together=False)
    yield lambda: machine.a_deletion_is_in_doubt(
        client=3, picture=3, number=0, which=0, fault="late", times=1, ending="nothing", passes=True
    )
    yield lambda: _sends_again_what_is_lost(machine)
    yield lambda: machine.the_store_loses_a_base(which=0)
    yield lambda: machine.an_admin_reconciles(number=0, deep=False, together=False)
    yield lambda: _takes_down_with_a_derivative(machine)
    yield machine.time_passes
    yield lambda: machine.history_ends(number=0, kept=0)


def _sends_again_what_is_lost(machine: Machine) -> None:
    """Once it is known, a commit that brings the same bytes mends it."""
    machine.the_store_loses_a_base(which=0)
    server, lost = machine.world.needed(), machine.world.ledger.lost
    if server is not None and lost:
        repairing.look(machine.world, server)
        (picture,) = (number for number, each in enumerate(PICTURES) if each.ident == min(lost))
        machine.stages(client=1, changes=[("stage", picture, "A")], number=0, stale=False)
        machine.commits(client=1, number=0, stale=False, wait="wait=9")


def _takes_down_with_a_derivative(machine: Machine) -> None:
    for ident in sorted(machine.world.found.live)[:1]:
        machine.put(names.derivative(ident, SMALL), b"smaller")
    machine.an_admin_takes_an_image_down(which=0, picture=0, number=0)


def _commits_and_orders(machine: Machine) -> Iterator[Act]:
    yield lambda: machine.two_change_one_picture_and_commit(picture=0, title="A", number=0)
    yield lambda: machine.the_chain_is_damaged_and_healed(behind=1, lost=False, number=0)
    yield lambda: _dies_in_a_cut(machine)
    yield machine.a_kept_disk_heals_what_was_damaged
    yield lambda: machine.stages(client=2, changes=[("stage", 1, "A"), ("describe", 1, "B")], number=0, stale=False)
    yield lambda: machine.aborts(client=2, number=0)
    yield lambda: machine.lets_a_session_expire(client=2, picture=0, number=0)
    for task in ("token", "base", "prune"):
        yield lambda: machine.an_admin_gives_an_order(number=0, task=task)  # noqa: B023  # called before the next
    yield lambda: machine.an_admin_has_a_drill(number=0)
    for kind in ("delta", "base"):
        yield lambda: machine.an_admin_asks_for_a_snapshot(number=0, kind=kind)  # noqa: B023
    for prefix in ("images/", "db/"):
        yield lambda: machine.a_store_recovers_from_a_doubt(client=3, number=0, fault="cut-before", prefix=prefix)  # noqa: B023
    yield lambda: machine.a_worker_dies_in_doubt(client=3, number=0, fault="late", recovers=True, wait="wait=9")


def _dies_in_a_cut(machine: Machine) -> None:
    """The next one has something to tidy up."""
    _arm(machine, "snapshot.cut/file.write part/after")
    machine.the_chain_is_damaged_and_healed(behind=0, lost=False, number=0)


def _arm(machine: Machine, failpoint: str) -> None:
    server = machine.world.needed()
    if server is not None:
        server.worker(0).arm(failpoint, "kill-self")
