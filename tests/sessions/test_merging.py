"""Sessions that are merged together end as if each had been merged alone, one after another."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from imagerepo.catalogue.models import FOREVER, ImageVersion, Revision
from imagerepo.durability.gate import write
from imagerepo.errors import NothingToCommit, NotInSession
from imagerepo.sessions import commit, lifecycle, merge, staging
from imagerepo.sessions.models import UploadSession
from tests.inprocess import Repository
from tests.sessions.uploads import ident, upload

IMAGES = 3
Change: TypeAlias = tuple[Literal["add", "describe", "remove"], int, str]
"""What is done, to which image, and the title given ("" is none)."""

changes = st.tuples(
    st.sampled_from(["add", "describe", "remove"]), st.integers(0, IMAGES - 1), st.sampled_from(["", "T", "U"])
)
sessions = st.lists(st.lists(changes, min_size=1, max_size=3), min_size=1, max_size=5)


@dataclass
class World:
    """Images of its own, so that worlds in one repository know nothing of each other."""

    repository: Repository
    name: str

    def image(self, number: int) -> str:
        return f"{self.name} {number}"

    def stage(self, script: list[Change]) -> UploadSession:
        session = self.repository.open_session()
        for what, number, title in script:
            with suppress(NotInSession):
                self._stage(session, what, self.image(number), title)
        return session

    def _stage(self, session: UploadSession, what: str, image: str, title: str) -> None:
        if what == "add":
            upload(self.repository, session, image, metadata={"title": title} if title else None)
        elif what == "describe":
            staging.stage_metadata(session, ident(image), {"title": title})
        else:
            staging.stage_removal(session, ident(image))

    def make_live(self, script: list[Change]) -> None:
        merge_them(claimed([self.stage(script)]))
        merge.flip(merge.newest_revision())

    def outcome(self, scripted: list[UploadSession], base: int) -> tuple[Any, ...]:
        names = {ident(self.image(number)): number for number in range(IMAGES)}
        return (
            [_session(UploadSession.objects.get(pk=session.pk), names, base) for session in scripted],
            [_versions(image, base) for image in names],
            [
                (row.number - base, row.added, row.updated, row.removed)
                for row in Revision.objects.filter(number__gt=base).order_by("number")
            ],
        )


def _session(row: UploadSession, names: dict[str, int], base: int) -> tuple[Any, ...]:
    conflicts = (row.error or {}).get("conflicts", [])
    return (
        row.state,
        row.revision and row.revision - base,
        row.counts,
        [(names[each["ident"]], each["code"], each["revision"] - base) for each in conflicts],
    )


def _versions(image: str, base: int) -> list[tuple[Any, ...]]:
    versions = list(ImageVersion.objects.filter(image__ident=image).order_by("valid_from"))
    added = [version.added_at for version in versions]
    return [
        (
            version.valid_from - base,
            None if version.valid_to == FOREVER else version.valid_to - base,
            version.title,
            version.taken_at,
            added.index(version.added_at),
        )
        for version in versions
    ]


def claimed(opened: list[UploadSession]) -> list[UploadSession]:
    kept = []
    for session in opened:
        with suppress(NothingToCommit):
            commit.claim(session, "tests")
            kept.append(session)
    with write():
        UploadSession.objects.filter(pk__in=[session.pk for session in kept]).update(uploaded=False)
    return kept


def merge_them(opened: list[UploadSession]) -> None:
    with write():
        UploadSession.objects.filter(pk__in=[session.pk for session in opened]).update(uploaded=True)
    merge.merge_waiting()


def one_by_one(opened: list[UploadSession]) -> None:
    for session in opened:
        merge_them([session])


@contextmanager
def holding_the_lane(repository: Repository) -> Iterator[None]:
    """Nobody else merges meanwhile."""
    with repository.service.writer.lane():
        yield


@settings(max_examples=25, deadline=None)
@given(
    live=st.lists(changes, max_size=4),
    then=st.lists(changes, max_size=2),
    scripts=sessions,
    batch=st.integers(1, 9),
)
def test_merged_together_is_as_merged_one_by_one(
    repository: Repository, live: list[Change], then: list[Change], scripts: list[list[Change]], batch: int
) -> None:
    def run(merge_all: Callable[[list[UploadSession]], None]) -> tuple[Any, ...]:
        world = World(repository, secrets.token_hex(8))
        for script in (live, then):
            world.make_live(script)
        opened = claimed([world.stage(script) for script in scripts])
        base = merge.newest_revision()
        merge_all(opened)
        found = world.outcome(opened, base)
        merge.flip(merge.newest_revision())
        for session in opened:
            session.refresh_from_db()
            if session.state == "open":
                lifecycle.abort(session)
        return found

    with holding_the_lane(repository):
        expected = run(one_by_one)
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(merge, "BATCH", batch)
            assert run(merge_them) == expected


def test_fifty_sessions_cost_hardly_more_queries_than_two(repository: Repository) -> None:
    def queries(count: int) -> int:
        worlds = [World(repository, secrets.token_hex(8)) for _ in range(count)]
        opened = claimed([world.stage([("add", 0, "")]) for world in worlds])
        with CaptureQueriesContext(connection) as asked:
            merge_them(opened)
        merge.flip(merge.newest_revision())
        return len(asked)

    with holding_the_lane(repository):
        few = queries(2)
        assert queries(50) <= few + 48  # each session's own row is moved by itself


@pytest.mark.parametrize("count", [4, 5, 6, 11])
def test_a_session_of_any_size_is_merged_whole(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(merge, "BATCH", 5)
    world = World(repository, secrets.token_hex(8))
    session = repository.open_session()
    for number in range(count):
        upload(repository, session, world.image(number))
    assert repository.commit(session).counts["add"] == count
    assert ImageVersion.objects.filter(valid_from=session.revision).count() == count


def test_an_update_keeps_the_time_when_its_image_was_added(repository: Repository) -> None:
    world = World(repository, secrets.token_hex(8))
    with holding_the_lane(repository):
        world.make_live([("add", 0, "T")])
        world.make_live([("describe", 0, "U")])
    first, second = ImageVersion.objects.filter(image__ident=ident(world.image(0))).order_by("valid_from")
    assert first.added_at == second.added_at == first.updated_at < second.updated_at
    assert (first.valid_to, second.valid_to) == (second.valid_from, FOREVER)
