"""Every base is read again within so many days, evenly, and what is damaged is known, also after a restart."""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from imagerepo.durability import damage, settle
from imagerepo.durability.state import Disk
from imagerepo.errors import StoreUnavailable
from imagerepo.files import write_durably
from imagerepo.reconcile import fixity
from imagerepo.reconcile.asking import QUESTIONS
from imagerepo.reconcile.fixity import AGAIN_AT_ONCE, AT_ONCE, Fixity, judge
from imagerepo.store import names
from imagerepo.testing.faults import FOR_GOOD, Fault
from tests.sessions.workers import Worker

DAYS = 30.0
A_WHILE = timedelta(hours=6)


class Calendar:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def idents(worker: Worker) -> list[str]:
    contents = [f"image {number}".encode() for number in range(30)]
    worker.commit(worker.stage(*contents))
    return sorted(hashlib.sha256(content).hexdigest() for content in contents)


@pytest.fixture
def new_fixity(worker: Worker, calendar: Calendar) -> Callable[[], Fixity]:
    return lambda: Fixity(worker.images, worker.writer.disk, days=DAYS, now=calendar)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two questions no time passes."""
    monkeypatch.setattr(settle, "FIRST_PAUSE_SECONDS", 0.0)


@pytest.fixture
def errors_are_told(new_worker: Callable[[], Worker], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """In the log, and that is right: otherwise the end of the workers sees to it that there is none."""
    yield
    assert [record for record in caplog.get_records("call") if record.levelname == "ERROR"]
    caplog.get_records("call").clear()


def overwrite(worker: Worker, ident: str, content: bytes) -> None:
    worker.images.put(names.base(ident), io.BytesIO(content), media_type="image/png")


def a_round(checks: Fixity, calendar: Calendar) -> None:
    for _ in range(int(timedelta(days=DAYS) / A_WHILE) + 1):
        while checks.look():
            pass
        calendar.now += A_WHILE


def test_each_is_read_within_its_days_and_they_are_spread(
    worker: Worker, idents: list[str], new_fixity: Callable[[], Fixity], calendar: Calendar
) -> None:
    checks = new_fixity()
    read = when_read(worker, checks, calendar, days=3 * DAYS)
    assert read.keys() == set(idents)
    for ident, moments in read.items():
        gaps = [later - earlier for earlier, later in pairwise(moments)]
        assert len(moments) >= 2 and max(gaps) <= DAYS + 0.6, ident
    a_day = [sum(day <= moment < day + 1 for moments in read.values() for moment in moments) for day in range(90)]
    assert max(a_day) <= 8
    assert checks.report.last is not None and checks.report.last.checked == 30


def test_what_is_added_while_a_round_goes_on_is_read_within_its_days_too(
    worker: Worker, new_fixity: Callable[[], Fixity], calendar: Calendar
) -> None:
    checks = new_fixity()
    assert when_read(worker, checks, calendar, days=2) == {}
    contents = [f"added {number}".encode() for number in range(50)]
    worker.commit(worker.stage(*contents))
    read = when_read(worker, checks, calendar, days=DAYS + 0.6)
    assert read.keys() == {hashlib.sha256(content).hexdigest() for content in contents}


def when_read(worker: Worker, checks: Fixity, calendar: Calendar, *, days: float) -> dict[str, list[float]]:
    """Let days pass: after how many of them each image was read."""
    read: dict[str, list[float]] = defaultdict(list)
    begun = calendar.now
    while calendar.now - begun < timedelta(days=days):
        worker.images.calls.clear()
        while checks.look():
            pass
        for op, name in worker.images.calls:
            if op == "get":
                read[name.removeprefix(names.IMAGES)].append((calendar.now - begun) / timedelta(days=1))
        calendar.now += A_WHILE
    return read


def test_a_damaged_base_is_known_until_it_is_whole_again(
    worker: Worker,
    idents: list[str],
    new_fixity: Callable[[], Fixity],
    calendar: Calendar,
    caplog: pytest.LogCaptureFixture,
) -> None:
    corrupt, missing = idents[3], idents[20]
    overwrite(worker, corrupt, b"rotten!!")
    worker.images.delete([names.base(missing)])
    checks = new_fixity()
    a_round(checks, calendar)
    assert {ident: found.kind for ident, found in checks.report.damaged.items()} == {
        corrupt: "corrupt",
        missing: "missing",
    }
    assert damage.known(worker.writer.disk).damaged == checks.report.damaged
    assert corrupt in caplog.text
    caplog.clear()
    found_at = checks.report.damaged[corrupt].found_at
    a_round(checks, calendar)
    assert checks.report.damaged[corrupt].found_at == found_at
    number = next(number for number in range(30) if hashlib.sha256(f"image {number}".encode()).hexdigest() == corrupt)
    overwrite(worker, corrupt, f"image {number}".encode())
    calendar.now += A_WHILE
    checks.look()
    assert set(checks.report.damaged) == {missing}


@pytest.mark.usefixtures("errors_are_told")
def test_it_goes_on_where_it_was_after_the_loss_of_the_disk(
    worker: Worker, idents: list[str], new_fixity: Callable[[], Fixity], calendar: Calendar
) -> None:
    overwrite(worker, idents[0], b"rotten")
    checks = new_fixity()
    for _ in range(int(timedelta(days=DAYS) / A_WHILE) // 2):
        checks.look()
        calendar.now += A_WHILE
    worker.writer.disk.fixity.unlink()
    again = new_fixity()
    assert again.report == checks.report
    half = [ident for ident in idents if ident < "8"]
    assert again.report.round is not None and again.report.round.checked == len(half)
    assert set(again.report.damaged) == {idents[0]}


@pytest.mark.usefixtures("errors_are_told")
def test_of_one_byte_no_bytes_are_told(worker: Worker, idents: list[str]) -> None:
    overwrite(worker, idents[0], b"?")
    judge(worker.images, worker.writer.disk, [idents[0]])
    found = damage.of(worker.writer.disk, idents[0])
    assert found is not None and " has 1 byte with the SHA-256 " in found.detail


def test_what_is_staged_and_not_yet_in_the_store_is_not_missed(worker: Worker) -> None:
    """It was purged while a round came to it, say, and is added again."""
    worker.stage(b"it comes")
    ident = hashlib.sha256(b"it comes").hexdigest()
    judge(worker.images, worker.writer.disk, [ident])
    assert damage.of(worker.writer.disk, ident) is None


def test_nothing_is_written_to_the_database(
    worker: Worker, idents: list[str], new_fixity: Callable[[], Fixity], calendar: Calendar
) -> None:
    log = worker.writer.disk.database.with_name("catalogue.sqlite3-wal")
    checks, before = new_fixity(), log.stat().st_size
    a_round(checks, calendar)
    assert log.stat().st_size == before


def test_who_was_away_catches_up_a_little_at_a_time(
    idents: list[str], new_fixity: Callable[[], Fixity], calendar: Calendar
) -> None:
    checks = new_fixity()
    checks.look()
    calendar.now += timedelta(days=100)
    assert checks.look() == AT_ONCE
    assert checks.look() == 30 - AT_ONCE


@pytest.mark.usefixtures("hurried")
def test_a_store_that_fails_damages_nothing(
    worker: Worker, idents: list[str], new_fixity: Callable[[], Fixity], calendar: Calendar
) -> None:
    checks = new_fixity()
    checks.look()
    calendar.now += timedelta(days=DAYS / 2)
    worker.images.fail("get", "unavailable", times=FOR_GOOD)
    with pytest.raises(StoreUnavailable):
        checks.look()
    worker.images.heal()
    a_round(checks, calendar)
    assert checks.report.last is not None and checks.report.last.checked == 30
    assert checks.report.damaged == {}


@pytest.mark.usefixtures("hurried")
def test_a_store_that_fails_until_a_moment_ago_damages_nothing(
    worker: Worker, idents: list[str], new_fixity: Callable[[], Fixity], calendar: Calendar
) -> None:
    """It answers again just when it is asked for something else, which is no fault of the base."""
    checks = new_fixity()
    checks.look()
    calendar.now += timedelta(days=DAYS / 2)
    worker.images.fail("get", "unavailable", name=names.IMAGES, times=QUESTIONS)
    checks.look()
    assert checks.report.damaged == {}


@pytest.mark.usefixtures("hurried", "errors_are_told")
@pytest.mark.parametrize("fault", ["unavailable", "refused", "truncated"])
def test_a_base_that_cannot_be_read_is_noted_and_holds_up_no_other(
    worker: Worker, idents: list[str], new_fixity: Callable[[], Fixity], calendar: Calendar, fault: Fault
) -> None:
    worker.images.fail("get", fault, name=names.base(idents[5]), times=FOR_GOOD)
    checks = new_fixity()
    a_round(checks, calendar)
    assert checks.report.last is not None and checks.report.last.checked == 30
    assert {ident: found.kind for ident, found in checks.report.damaged.items()} == {idents[5]: "unreadable"}
    assert idents[5] in checks.report.damaged[idents[5]].detail
    worker.images.heal()
    calendar.now += A_WHILE
    checks.look()
    assert checks.report.damaged == {}


@pytest.mark.usefixtures("hurried")
def test_where_no_image_can_be_read_the_store_fails_and_not_each_of_them(
    worker: Worker, idents: list[str], new_fixity: Callable[[], Fixity], calendar: Calendar
) -> None:
    """Its other folder, or ring, may still answer."""
    checks = new_fixity()
    checks.look()
    calendar.now += timedelta(days=DAYS / 2)
    worker.images.fail("get", "unavailable", name=names.IMAGES, times=FOR_GOOD)
    with pytest.raises(StoreUnavailable):
        checks.look()
    assert checks.report.damaged == {}


@pytest.mark.usefixtures("hurried", "errors_are_told")
def test_of_an_only_image_what_else_is_there_tells(
    worker: Worker, new_fixity: Callable[[], Fixity], calendar: Calendar
) -> None:
    worker.commit(worker.stage(b"the only one"))
    worker.images.fail("get", "unavailable", name=names.IMAGES, times=FOR_GOOD)
    checks = new_fixity()
    a_round(checks, calendar)
    assert [found.kind for found in checks.report.damaged.values()] == ["unreadable"]


@pytest.mark.usefixtures("hurried", "errors_are_told")
def test_a_report_that_cannot_be_read_now_is_not_overwritten(
    worker: Worker, idents: list[str], new_fixity: Callable[[], Fixity], calendar: Calendar
) -> None:
    overwrite(worker, idents[0], b"rotten")
    a_round(new_fixity(), calendar)
    worker.writer.disk.fixity.unlink()
    worker.images.fail("get", "unavailable", times=FOR_GOOD)
    with pytest.raises(StoreUnavailable):
        new_fixity()
    worker.images.heal()
    worker.images.fail("get", "unavailable", name=names.REPORTS, times=QUESTIONS)
    assert set(new_fixity().report.damaged) == {idents[0]}


@pytest.mark.usefixtures("hurried", "errors_are_told")
def test_a_report_that_alone_cannot_be_read_is_begun_anew(
    worker: Worker,
    idents: list[str],
    new_fixity: Callable[[], Fixity],
    calendar: Calendar,
    caplog: pytest.LogCaptureFixture,
) -> None:
    a_round(new_fixity(), calendar)
    worker.images.fail("get", "refused", name=names.REPORTS, times=FOR_GOOD)
    overwrite(worker, idents[0], b"rotten")
    again = new_fixity()
    assert "reports/fixity can't be read" in caplog.text
    a_round(again, calendar)
    assert set(again.report.damaged) == {idents[0]}
    worker.images.heal()
    worker.writer.disk.fixity.unlink()
    assert set(new_fixity().report.damaged) == {idents[0]}


@pytest.mark.usefixtures("errors_are_told")
def test_of_thousands_that_are_damaged_a_part_is_asked_after_at_once_and_checking_goes_on(
    worker: Worker, idents: list[str], new_fixity: Callable[[], Fixity], calendar: Calendar
) -> None:
    lost = damage.Damage(kind="missing", found_at=calendar.now, detail="of an image that was purged")
    others = [f"{number:064x}" for number in range(AGAIN_AT_ONCE)]
    damage.note(worker.writer.disk, dict.fromkeys([*others, *idents], lost))
    checks = new_fixity()
    checks.look()
    assert set(checks.report.damaged) == set(idents)
    calendar.now += timedelta(days=100)
    worker.images.calls.clear()
    checks.look()
    read = [name for op, name in worker.images.calls if op == "get"]
    assert read == [names.base(ident) for ident in [*idents, *idents[:AT_ONCE]]]
    assert checks.report.damaged == {}


@pytest.mark.usefixtures("errors_are_told")
def test_what_a_look_finds_is_noted_at_once(
    worker: Worker,
    idents: list[str],
    new_fixity: Callable[[], Fixity],
    calendar: Calendar,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole report is written anew: with thousands in it that takes a while."""
    monkeypatch.setattr(fixity, "NOTE_SECONDS", 60.0)
    for ident in idents:
        overwrite(worker, ident, b"rotten")
    checks = new_fixity()
    checks.look()
    calendar.now += timedelta(days=100)
    written = watched(worker.writer.disk, monkeypatch)
    checks.look()
    assert len(checks.report.damaged) == AT_ONCE
    assert len(written) == 2, "once with what was found, and once to be saved"


def watched(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every time from now on that the report is written on this disk."""
    written: list[Path] = []

    def write(path: Path, content: bytes) -> None:
        written.append(path)
        write_durably(path, content)

    monkeypatch.setattr(damage, "write_durably", write)
    return written


@pytest.mark.usefixtures("errors_are_told")
def test_what_this_disk_and_the_store_know_is_put_together(
    worker: Worker, idents: list[str], new_fixity: Callable[[], Fixity], calendar: Calendar
) -> None:
    overwrite(worker, idents[0], b"rotten")
    a_round(new_fixity(), calendar)
    worker.writer.disk.fixity.unlink()
    overwrite(worker, idents[1], b"rotten too")
    judge(worker.images, worker.writer.disk, [idents[1]])
    assert set(new_fixity().report.damaged) == {idents[0], idents[1]}
