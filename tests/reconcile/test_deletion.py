"""A base is deleted beside live commits, and each interleaving that would lose an image is shown not to."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from imagerepo.catalogue.models import Condemned
from imagerepo.durability.gate import write
from imagerepo.errors import Fenced, ObjectNotFound
from imagerepo.reconcile.deletion import Deleter, Outcome
from imagerepo.sessions import expiry
from imagerepo.sessions.models import State, UploadSession
from imagerepo.store import names
from imagerepo.testing import failpoints
from imagerepo.testing.faulty import FOR_GOOD, Fault, FaultyStore
from tests.durability.node import Node
from tests.reconcile.drift import Y, ident_of
from tests.reconcile.pausing import Pausing, in_thread
from tests.reconcile.repairing import Clock
from tests.sessions.workers import Worker
from tests.waiting import until

X = b"an orphan"
IDENT = hashlib.sha256(X).hexdigest()
SETTLING = 900.0
NO_GRACE = timedelta(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deleter(worker: Worker, clock: Clock) -> Iterator[Deleter]:
    worker.images.put(names.base(IDENT), io.BytesIO(X), media_type="image/png")
    worker.images.calls.clear()
    deleter = Deleter(worker.images, worker.writer, settling_seconds=SETTLING, clock=clock)
    yield deleter
    deleter.close()


def stored(worker: Worker) -> bytes | None:
    try:
        with worker.images.get(names.base(IDENT), newest=True) as reader:
            return reader.read()
    except ObjectNotFound:
        return None


def marks() -> set[str]:
    return {str(ident) for ident in Condemned.objects.values_list("ident", flat=True)}


def delete_calls(worker: Worker) -> int:
    return [op for op, _ in worker.images.calls].count("delete")


def waits(worker: Worker, session: UploadSession) -> bool:
    """Whether the session's commit goes no further than the claim, while others do."""
    assert worker.commit(session, wait=0).state == State.COMMITTING
    assert worker.commit(worker.stage(b"another")).state == State.LIVE
    session.refresh_from_db()
    return bool(session.state == State.COMMITTING)


def test_an_orphan_is_deleted_and_its_mark_is_gone(worker: Worker, deleter: Deleter) -> None:
    assert deleter.delete([IDENT], grace=NO_GRACE) == {IDENT: Outcome.DELETED}
    assert stored(worker) is None
    assert marks() == set()


def test_what_is_absent_or_young_stays_as_it_is_and_nothing_is_shipped(
    worker: Worker, deleter: Deleter, snapshots: FaultyStore
) -> None:
    absent = "0" * 64
    snapshots.calls.clear()
    outcomes = deleter.delete([IDENT, absent], grace=timedelta(hours=1))
    assert outcomes == {IDENT: Outcome.YOUNG, absent: Outcome.ABSENT}
    assert stored(worker) == X
    assert ("put" not in {op for op, _ in snapshots.calls}) and delete_calls(worker) == 0


@pytest.mark.parametrize("state", ["staged", "live", "removed"])
def test_what_any_row_refers_to_is_protected(worker: Worker, deleter: Deleter, state: str) -> None:
    session = worker.stage(X)
    if state != "staged":
        worker.commit(session)
    if state == "removed":
        worker.node.remove(IDENT)
    assert deleter.delete([IDENT], grace=NO_GRACE) == {IDENT: Outcome.PROTECTED}
    assert stored(worker) == X
    assert marks() == set()


def test_what_was_staged_and_given_up_is_not_protected(worker: Worker, deleter: Deleter) -> None:
    session = worker.stage(X)
    with write():
        expiry.end(session, "abort")
    assert deleter.delete([IDENT], grace=NO_GRACE) == {IDENT: Outcome.DELETED}


def test_nothing_is_deleted_before_the_mark_is_final(worker: Worker, deleter: Deleter, snapshots: FaultyStore) -> None:
    snapshots.fail("put", "unavailable", times=FOR_GOOD)
    snapshots.calls.clear()
    with ThreadPoolExecutor() as threads:
        deleting = threads.submit(in_thread, lambda: deleter.delete([IDENT], grace=NO_GRACE))
        until(lambda: [op for op, _ in snapshots.calls].count("put") > 1)
        assert marks() == {IDENT}
        assert delete_calls(worker) == 0
        snapshots.heal()
        assert deleting.result() == {IDENT: Outcome.DELETED}


def test_a_commit_that_finds_its_object_there_waits_for_the_deletion(worker: Worker, clock: Clock) -> None:
    """Without the mark: the commit sees the object, answers success, and then the object goes."""
    worker.images.put(names.base(IDENT), io.BytesIO(X), media_type="image/png")
    paused = Pausing(worker.images)
    deleter = Deleter(paused, worker.writer, settling_seconds=SETTLING, clock=clock)
    with ThreadPoolExecutor() as threads, paused.before("delete") as pause:
        deleting = threads.submit(in_thread, lambda: deleter.delete([IDENT], grace=NO_GRACE))
        pause.reached()
        session = worker.stage(X)
        assert waits(worker, session)
        pause.end()
        assert deleting.result() == {IDENT: Outcome.DELETED}
    assert worker.commit(session).state == State.LIVE
    assert stored(worker) == X
    deleter.close()


def test_of_two_threads_that_delete_one_base_neither_clears_the_others_mark(
    worker: Worker, deleter: Deleter, clock: Clock
) -> None:
    paused = Pausing(worker.images)
    deleter = Deleter(paused, worker.writer, settling_seconds=SETTLING, clock=clock)
    with ThreadPoolExecutor() as threads, paused.before("delete") as pause:
        deleting = threads.submit(in_thread, lambda: deleter.delete([IDENT], grace=NO_GRACE))
        pause.reached()
        again = threads.submit(in_thread, lambda: deleter.delete([IDENT], grace=NO_GRACE))
        settling = threads.submit(in_thread, deleter.clear_settled)
        wait([again, settling], timeout=1, return_when="FIRST_COMPLETED")
        assert marks() == {IDENT}
        assert waits(worker, session := worker.stage(X))
        pause.end()
        assert deleting.result() == {IDENT: Outcome.DELETED}
        assert again.result().keys() == {IDENT}
    assert worker.commit(session).state == State.LIVE
    assert stored(worker) == X
    deleter.close()


def test_a_deletion_in_doubt_is_settled_by_time_alone(worker: Worker, deleter: Deleter, clock: Clock) -> None:
    """Not by a second answer either: the first DELETE may still be under way, and land on what was put since."""
    worker.images.fail("delete", "late")
    assert deleter.delete([IDENT], grace=NO_GRACE) == {IDENT: Outcome.IN_DOUBT}
    assert deleter.delete([IDENT], grace=NO_GRACE) == {IDENT: Outcome.IN_DOUBT}
    assert delete_calls(worker) == 1
    session = worker.stage(X)
    clock.now += SETTLING
    assert deleter.clear_settled() == 1
    assert waits(worker, session)
    worker.images.deliver()
    clock.now += 1
    assert deleter.clear_settled() == 0
    assert worker.commit(session).state == State.LIVE
    assert stored(worker) == X


def test_to_ask_again_for_what_is_in_doubt_ships_nothing(
    worker: Worker, deleter: Deleter, snapshots: FaultyStore
) -> None:
    """Purged images are asked for every few seconds, for as long as it takes to settle."""
    worker.images.fail("delete", "late")
    assert deleter.delete([IDENT], grace=NO_GRACE) == {IDENT: Outcome.IN_DOUBT}
    snapshots.calls.clear()
    assert deleter.delete([IDENT], grace=NO_GRACE) == {IDENT: Outcome.IN_DOUBT}
    assert "put" not in {op for op, _ in snapshots.calls}


def test_marks_of_a_process_that_died_are_held_as_long(worker: Worker, deleter: Deleter, clock: Clock) -> None:
    worker.images.fail("delete", "late")
    deleter.delete([IDENT], grace=NO_GRACE)
    clock.now += SETTLING / 2
    following = Deleter(worker.images, worker.writer, settling_seconds=SETTLING, clock=clock)
    clock.now += SETTLING
    assert following.clear_settled() == 1
    assert following.delete([IDENT], grace=NO_GRACE) == {IDENT: Outcome.IN_DOUBT}
    clock.now += 1
    assert following.clear_settled() == 0
    assert following.delete([IDENT], grace=NO_GRACE) == {IDENT: Outcome.DELETED}
    following.close()


def test_a_fenced_writer_deletes_nothing_and_its_successor_knows_the_mark(
    new_worker: Callable[[], Worker], node: Node, clock: Clock, tmp_path: Path
) -> None:
    """Without the look: the successor re-adds the image, finds the object, answers success; then it goes."""
    worker = new_worker()
    worker.images.put(names.base(IDENT), io.BytesIO(X), media_type="image/png")
    paused = Pausing(worker.images)
    deleter = Deleter(paused, worker.writer, settling_seconds=SETTLING, clock=clock)
    with ThreadPoolExecutor() as threads, paused.before("stat", call=2) as pause:
        deleting = threads.submit(in_thread, lambda: deleter.delete([IDENT], grace=NO_GRACE))
        pause.reached()
        successor = Node(tmp_path / "successor", node.store).start()
        assert marks() == {IDENT}
        successor.die()
        node.activate()
        pause.end()
        with pytest.raises(Fenced):
            deleting.result()
    assert stored(worker) == X
    assert delete_calls(worker) == 0
    deleter.close()


def test_the_look_for_a_newer_epoch_is_no_older_than_a_quarter_of_the_settling_time(
    worker: Worker, deleter: Deleter, clock: Clock, snapshots: FaultyStore
) -> None:
    def looks_while_deleting(content: bytes) -> int:
        ident = hashlib.sha256(content).hexdigest()
        worker.images.put(names.base(ident), io.BytesIO(content), media_type="image/png")
        with write():
            Condemned.objects.create(ident=ident, condemned_at=timezone.now())
        snapshots.calls.clear()
        assert deleter.delete([ident], grace=NO_GRACE) == {ident: Outcome.DELETED}
        return [name.partition("/")[0] for op, name in snapshots.calls if op == "stat"].count("epochs")

    of_a_record = looks_while_deleting(b"first") - 1
    clock.now += SETTLING / 4
    assert looks_while_deleting(b"second") == of_a_record
    clock.now += 1
    assert looks_while_deleting(b"third") == of_a_record + 1


def test_an_object_that_was_put_again_meanwhile_stays(worker: Worker, clock: Clock) -> None:
    worker.images.put(names.base(IDENT), io.BytesIO(X), media_type="image/png")
    paused = Pausing(worker.images)
    deleter = Deleter(paused, worker.writer, settling_seconds=SETTLING, clock=clock)
    with ThreadPoolExecutor() as threads, paused.before("stat", call=2) as pause:
        deleting = threads.submit(in_thread, lambda: deleter.delete([IDENT], grace=NO_GRACE))
        pause.reached()
        worker.images.put(names.base(IDENT), io.BytesIO(X), media_type="image/png")
        pause.end()
        assert deleting.result() == {IDENT: Outcome.YOUNG}
    assert (stored(worker), marks()) == (X, set())
    deleter.close()


@pytest.mark.parametrize("fault", ["unavailable", "refused"])
def test_a_store_that_says_no_leaves_no_mark(worker: Worker, deleter: Deleter, fault: Fault) -> None:
    worker.images.fail("delete", fault)
    assert deleter.delete([IDENT], grace=NO_GRACE) == {IDENT: Outcome.FAILED}
    assert (stored(worker), marks()) == (X, set())


def test_what_cannot_be_asked_for_stays(worker: Worker, deleter: Deleter) -> None:
    worker.images.fail("stat", "hang")
    assert deleter.delete([IDENT], grace=NO_GRACE) == {IDENT: Outcome.FAILED}
    assert stored(worker) == X


@contextmanager
def breaking_off(place: str) -> Iterator[None]:
    """Let whoever comes to a place of the protocol fail there, as on a full disk."""
    failpoints.arm(place, action="raise")
    try:
        with pytest.raises(failpoints.FailpointReached):
            yield
    finally:
        failpoints.arm("")


@pytest.mark.parametrize(
    "place", ["reconcile.condemn>snapshot.cut/pages.delta/before", "reconcile.clear/transaction/before"]
)
def test_whatever_breaks_off_its_mark_is_cleared_in_time(
    worker: Worker, deleter: Deleter, clock: Clock, place: str
) -> None:
    with breaking_off(place):
        deleter.delete([IDENT], grace=NO_GRACE)
    assert marks() == {IDENT}
    session = worker.stage(X)
    assert worker.commit(session, wait=0).state == State.COMMITTING
    clock.now += SETTLING
    assert deleter.clear_settled() == 1
    clock.now += 1
    assert deleter.clear_settled() == 0
    assert marks() == set()
    assert worker.commit(session).state == State.LIVE
    assert stored(worker) == X


def test_a_clearing_that_breaks_off_is_tried_again(worker: Worker, deleter: Deleter, clock: Clock) -> None:
    worker.images.fail("delete", "late")
    deleter.delete([IDENT], grace=NO_GRACE)
    clock.now += SETTLING + 1
    with breaking_off("reconcile.clear/transaction/before"):
        deleter.clear_settled()
    assert marks() == {IDENT}
    assert deleter.clear_settled() == 0
    assert marks() == set()


def test_when_one_breaks_off_the_marks_of_a_batch_are_held_from_its_last_request_on(
    worker: Worker, clock: Clock
) -> None:
    """Else one that is sent later would land after its mark has gone."""
    other = worker.images.put(names.base(ident_of(Y)), io.BytesIO(Y), media_type="image/png").name
    worker.images.put(names.base(IDENT), io.BytesIO(X), media_type="image/png")
    slow = Pausing(OneBreaks(worker.images, other))
    deleter = Deleter(slow, worker.writer, settling_seconds=SETTLING, clock=clock)
    with ThreadPoolExecutor() as threads, slow.before("stat", call=4) as pause:
        deleting = threads.submit(in_thread, lambda: deleter.delete([ident_of(Y), IDENT], grace=NO_GRACE))
        pause.reached()
        clock.now += SETTLING
        pause.end()
        with pytest.raises(ZeroDivisionError):
            deleting.result()
    clock.now += 1
    assert deleter.clear_settled() == 2
    deleter.close()


class OneBreaks:
    """A store whose DELETE of one name fails as nobody expects."""

    def __init__(self, store: FaultyStore, name: str) -> None:
        self._store, self._name = store, name

    def __getattr__(self, op: str) -> Any:
        return self._delete if op == "delete" else getattr(self._store, op)

    def _delete(self, wanted: Sequence[str]) -> None:
        if self._name in wanted:
            raise ZeroDivisionError
        self._store.delete(wanted)
