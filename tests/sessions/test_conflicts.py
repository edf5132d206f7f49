"""First committer wins, image by image; the later one hears of it and stays open."""

import pytest

from imagerepo.errors import Conflicted
from imagerepo.sessions import conflicts, staging
from imagerepo.sessions.models import UploadSession
from tests.inprocess import Repository
from tests.sessions.uploads import changes, commit, ident, upload


def update(repository: Repository, name: str, title: str) -> int:
    """Somebody else's update, live."""
    session = repository.open_session("bob")
    staging.stage_metadata(session, ident(name), {"title": title})
    return repository.commit(session).revision


def remove(repository: Repository, name: str) -> int:
    """Somebody else's removal, live."""
    session = repository.open_session("bob")
    staging.stage_removal(session, ident(name))
    return repository.commit(session).revision


def found(session: UploadSession) -> list[tuple[str, str, int]]:
    return [(conflict["ident"], conflict["code"], conflict["revision"]) for conflict in conflicts.of(session)]


def test_a_change_of_what_nobody_else_changed_does_not_conflict(repository: Repository):
    commit(repository, "calm")
    session = repository.open_session()
    staging.stage_metadata(session, ident("calm"), {"title": "T"})
    upload(repository, session, "calm new", metadata={"title": "T"})
    assert found(session) == []


def test_updating_what_was_updated_meanwhile_conflicts(repository: Repository):
    commit(repository, "contested")
    session = repository.open_session()
    staging.stage_metadata(session, ident("contested"), {"title": "mine"})
    revision = update(repository, "contested", "theirs")
    assert found(session) == [(ident("contested"), "changed", revision)]


def test_removing_what_was_updated_meanwhile_conflicts(repository: Repository):
    commit(repository, "revised")
    session = repository.open_session()
    staging.stage_removal(session, ident("revised"))
    revision = update(repository, "revised", "theirs")
    assert found(session) == [(ident("revised"), "changed", revision)]


def test_updating_what_was_removed_meanwhile_conflicts(repository: Repository):
    commit(repository, "lost")
    session = repository.open_session()
    staging.stage_metadata(session, ident("lost"), {"title": "mine"})
    revision = remove(repository, "lost")
    assert found(session) == [(ident("lost"), "removed", revision)]


def test_updating_what_was_removed_and_added_again_meanwhile_conflicts(repository: Repository):
    commit(repository, "back")
    session = repository.open_session()
    staging.stage_metadata(session, ident("back"), {"title": "mine"})
    remove(repository, "back")
    revision = commit(repository, "back")
    assert found(session) == [(ident("back"), "changed", revision)]


def test_removing_what_was_removed_meanwhile_does_not_conflict(repository: Repository):
    commit(repository, "gone")
    session = repository.open_session()
    staging.stage_removal(session, ident("gone"))
    remove(repository, "gone")
    assert found(session) == []


def test_adding_what_was_added_meanwhile_conflicts_only_with_other_metadata(repository: Repository):
    silent, same, other = (repository.open_session() for _ in range(3))
    upload(repository, silent, "popular")
    upload(repository, same, "popular", metadata={"title": "T"})
    upload(repository, other, "popular", metadata={"title": "U"})
    revision = commit(repository, "popular", title="T")
    assert found(silent) == found(same) == []
    assert found(other) == [(ident("popular"), "added", revision)]


def test_an_upload_that_changes_nothing_never_conflicts(repository: Repository):
    commit(repository, "seen")
    session = repository.open_session()
    upload(repository, session, "seen")
    update(repository, "seen", "theirs")
    assert found(session) == []


def test_some_staged_changes_are_asked_for_alone(repository: Repository):
    commit(repository, "first", "second")
    session = repository.open_session()
    changed = staging.stage_metadata(session, ident("first"), {"title": "mine"})
    calm = staging.stage_metadata(session, ident("second"), {"title": "mine"})
    update(repository, "first", "theirs")
    assert list(conflicts.of_changes([changed, calm])) == [changed.ident]
    assert conflicts.of_changes([calm]) == {}


def test_the_later_commit_is_refused_and_its_session_stays_open(repository: Repository):
    commit(repository, "fought over")
    session = repository.open_session()
    staging.stage_metadata(session, ident("fought over"), {"title": "mine"})
    upload(repository, session, "beside it")
    update(repository, "fought over", "theirs")
    with pytest.raises(Conflicted) as refused:
        repository.commit(session)
    assert [conflict["code"] for conflict in refused.value.conflicts] == ["changed"]
    session.refresh_from_db()
    assert session.state == "open"
    assert changes(session) == {ident("fought over"): "update", ident("beside it"): "add"}
    assert staging.live_version(ident("beside it")) is None


def test_discarding_the_conflicting_change_lets_the_rest_be_committed(repository: Repository):
    commit(repository, "given up")
    session = repository.open_session()
    staging.stage_metadata(session, ident("given up"), {"title": "mine"})
    upload(repository, session, "gets through")
    update(repository, "given up", "theirs")
    with pytest.raises(Conflicted):
        repository.commit(session)
    staging.discard(session, ident("given up"))
    assert repository.commit(session).state == "live"
    assert staging.live_version(ident("gets through")) is not None
    assert staging.live_version(ident("given up")).title == "theirs"
