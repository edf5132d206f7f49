"""History behind the horizon goes; what any kept revision shows stays, at every revision."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagerepo.catalogue import queries
from imagerepo.catalogue.models import Image, ImageVersion, Revision
from imagerepo.durability.gate import write
from imagerepo.reconcile import history
from imagerepo.sessions import lifecycle, staging
from tests.api.caller import Caller, picture, problem
from tests.inprocess import ADMIN_TOKEN, Repository, running

TITLES = ("one", "two", "three")


def shown(at: int) -> set[tuple[str, str]]:
    return {(version.image.ident, version.title) for version in queries.live(at)}


def forget(repository: Repository, horizon: int, actor: str = "tests") -> list[str]:
    batches = history.forget(repository.service.writer, horizon, actor=actor)
    return [ident for batch in batches for ident in batch]


def change(repository: Repository, idents: list[str], number: int, what: str) -> None:
    """Commit one change of one of three images: describe it, remove it, or add it again."""
    session, ident = repository.open_session(), idents[number]
    live = queries.version_at(ident, queries.head()) is not None
    if what == "remove" and live:
        staging.stage_removal(session, ident)
    elif live:
        staging.stage_metadata(session, ident, {"title": what})
    else:
        lifecycle.abort(session)
        return
    repository.commit(session)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with running(tmp_path_factory.mktemp("repository")) as repository:
        yield repository


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([*TITLES, "remove"])), min_size=1, max_size=8),
    st.floats(0, 1),
)
def test_every_kept_revision_shows_what_it_showed(
    repository: Repository, changes: list[tuple[int, str]], share: float
) -> None:
    ann = Caller(ADMIN_TOKEN)
    idents = [ann.live() for _ in range(3)]
    for number, what in changes:
        change(repository, idents, number, what)
    horizon = queries.horizon() + round(share * (queries.head() - queries.horizon()))
    before = {at: shown(at) for at in range(horizon, queries.head() + 1)}
    orphans = forget(repository, horizon)
    assert {at: shown(at) for at in range(horizon, queries.head() + 1)} == before
    assert not ImageVersion.objects.filter(valid_to__lte=horizon).exists()
    kept = {str(ident) for ident in Image.objects.values_list("ident", flat=True)}
    assert kept == {ident for revision in before.values() for ident, _ in revision}
    assert not kept & set(orphans)


def test_what_lies_behind_the_horizon_answers_410(repository: Repository) -> None:
    admin = Caller(ADMIN_TOKEN)
    ident = admin.live(title="kept")
    admin.live()
    first = admin("GET", "/api/v1/images?limit=1").json()
    admin.live()
    forget(repository, first["revision"] + 1, actor="tests")
    horizon = queries.horizon()
    for path in (
        first["next"], f"/api/v1/images?at={horizon - 1}", f"/images/{ident}?at={horizon - 1}",
        f"/api/v1/images/{ident}?at={horizon - 1}",
    ):  # fmt: skip
        assert str(horizon) in problem(admin("GET", path), 410, "gone")["detail"]
    assert admin("GET", f"/api/v1/images/{ident}?at={horizon}").status_code == 200
    assert admin("GET", f"/api/v1/revisions/{horizon - 1}").status_code == 200


def test_the_horizon_is_what_was_live_so_long_ago(repository: Repository) -> None:
    admin = Caller(ADMIN_TOKEN)
    admin.live()
    old = queries.head()
    admin.live()
    with write():
        Revision.objects.filter(number__lte=old).update(committed_at=timezone.now() - timedelta(days=40))
    assert history.horizon_at(timedelta(days=30)) == old
    assert history.horizon_at(timedelta(days=50)) == 0


def test_a_change_to_what_lies_behind_the_horizon_conflicts_with_it(repository: Repository) -> None:
    ann = Caller(ADMIN_TOKEN)
    ident, path = ann.live(), ann.open()
    assert ann("PATCH", f"{path}/images/{ident}", json={"title": "too late"}).status_code == 200
    session = repository.open_session()
    staging.stage_removal(session, ident)
    repository.commit(session)
    horizon = queries.head()
    forget(repository, horizon, actor="an-admin")
    refused = problem(ann("POST", f"{path}/commit"), 409, "conflict")
    assert [(one["code"], one["revision"]) for one in refused["conflicts"]] == [("removed", horizon)]
    (change,) = ann("GET", f"{path}/changes").json()["results"]
    assert (change["image"], change["before"], change["conflict"]["revision"]) == (None, None, horizon)
    problem(ann("GET", f"{path}/images/{ident}"), 404, "not-in-session")


def test_a_change_made_on_a_version_behind_the_horizon_goes_on_where_the_image_is_live(repository: Repository) -> None:
    ann = Caller(ADMIN_TOKEN)
    content = picture()
    ident = ann.live(content)
    path, other = ann.open(), ann.open()
    image = f"{path}/images/{ident}"
    staged = ann("PATCH", image, json={"title": "staged"}).json()
    assert ann("PATCH", f"{other}/images/{ident}", json={"title": "live"}).status_code == 200
    ann.commit(other)
    forget(repository, queries.head(), actor="an-admin")
    (change,) = ann("GET", f"{path}/changes").json()["results"]
    assert (change["image"]["title"], change["before"], change["conflict"]["code"]) == ("staged", None, "changed")
    assert ann("GET", image).json() == staged | {"added_at": None}
    again = ann("PATCH", image, json={"title": "once more"})
    assert (again.status_code, again.json()["title"], again.json()["width"]) == (200, "once more", staged["width"])
    assert ann("PUT", image, content=content).json()["action"] == "update"
    problem(ann("POST", f"{path}/commit"), 409, "conflict")


def test_what_is_deleted_leaves_no_trace_in_the_database(repository: Repository) -> None:
    ann = Caller(ADMIN_TOKEN)
    path = ann.open()
    ident = ann.add(path, picture(), title="a title to be forgotten")["ident"]
    ann.commit(path)
    session = repository.open_session()
    staging.stage_removal(session, ident)
    repository.commit(session)
    assert b"a title to be forgotten" in database(repository)
    forget(repository, queries.head(), actor="an-admin")
    assert b"a title to be forgotten" not in database(repository)


def database(repository: Repository) -> bytes:
    """Its bytes, as a snapshot would take them: the file, with the log's newest pages in it."""
    with closing(sqlite3.connect(repository.service.writer.disk.database)) as connection:
        return connection.serialize()
