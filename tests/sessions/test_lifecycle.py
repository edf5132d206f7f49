"""Opening, finding, keeping alive and giving up."""

import pytest
from django.utils import timezone

from imagerepo.durability import writer
from imagerepo.errors import SessionNotFound, SpoolFull, WrongState
from imagerepo.sessions import lifecycle
from imagerepo.sessions.actors import Actor
from imagerepo.sessions.counting import counts
from imagerepo.sessions.models import State, UploadSession
from tests.inprocess import Repository
from tests.sessions.syncing import all_synced
from tests.sessions.uploads import changes, commit, content, upload
from tests.waiting import until

ANN, BOB, ROOT = Actor("ann", "contributor"), Actor("bob", "contributor"), Actor("root", "admin")


def make_due(session: UploadSession) -> None:
    UploadSession.objects.filter(pk=session.pk).update(expires_at=timezone.now())


def test_a_new_session_is_open_and_begins_at_the_head(repository: Repository):
    revision = commit(repository, "before")
    session = repository.open_session("ann", title="T")
    assert (session.state, session.title, session.base_revision) == ("open", "T", revision)
    life = (session.expires_at - session.created_at).total_seconds()
    assert life == pytest.approx(repository.service.config.session_seconds, abs=1)


def test_a_session_is_found_by_its_owner_and_by_admins_alone(repository: Repository):
    session = repository.open_session("ann")
    assert lifecycle.find(session.key, ANN) == lifecycle.find(session.key, ROOT) == session
    with pytest.raises(SessionNotFound):
        lifecycle.find(session.key, BOB)


def test_a_listing_has_ones_own_sessions_newest_first_and_for_admins_all(repository: Repository):
    ours = [repository.open_session("carol").key for _ in range(3)]
    theirs = repository.open_session("dave").key
    carol = lifecycle.listing(Actor("carol", "contributor"), limit=10)
    assert [session.key for session in carol] == ours[::-1]
    everyones = [session.key for session in lifecycle.listing(ROOT, limit=2)]
    assert everyones == [theirs, ours[2]]


def test_a_listing_goes_on_where_a_page_ended(repository: Repository):
    keys = [repository.open_session("erin").key for _ in range(5)]
    erin = Actor("erin", "contributor")
    first = lifecycle.listing(erin, limit=2)
    second = lifecycle.listing(erin, limit=10, before=first[-1].pk)
    assert [session.key for session in first + second] == keys[::-1]


def test_a_listing_may_be_of_one_state(repository: Repository):
    frank = Actor("frank", "contributor")
    kept, given_up = repository.open_session("frank"), repository.open_session("frank")
    lifecycle.abort(given_up)
    assert lifecycle.listing(frank, state="open", limit=10) == [kept]
    assert lifecycle.listing(frank, state="aborted", limit=10) == [given_up]


def test_a_session_expires_after_its_time_without_a_write(repository: Repository):
    session = repository.open_session("ann", expires_in=0.05)
    upload(repository, session, "too late")
    until(lambda: timezone.now() > session.expires_at)
    found = lifecycle.find(session.key, ANN)
    assert found.state == "expired"
    assert changes(session) == {}
    assert not (repository.folder / "spool" / session.key).exists()
    assert counts(found) == {"add": 1, "update": 0, "remove": 0, "bytes": len(content("too late"))}


def test_a_listing_shows_no_session_as_open_that_is_due(repository: Repository):
    grace = Actor("grace", "contributor")
    make_due(repository.open_session("grace"))
    assert lifecycle.listing(grace, state="open", limit=10) == []
    assert [session.state for session in lifecycle.listing(grace, limit=10)] == ["expired"]


def test_a_fenced_server_decides_nothing(repository: Repository):
    session = repository.open_session("ann")
    make_due(session)
    fence = repository.folder / f"fenced-{repository.service.writer.state.epoch}"
    fence.touch()
    try:
        assert lifecycle.find(session.key, ANN).state == "open"
    finally:
        fence.unlink()
    assert lifecycle.find(session.key, ANN).state == "expired"


def test_refreshing_gives_a_session_its_full_time_again(repository: Repository):
    session = repository.open_session("ann", expires_in=1000)
    make_due(session)
    lifecycle.refresh(session)
    assert (lifecycle.find(session.key, ANN).expires_at - timezone.now()).total_seconds() > 990


def test_an_ended_session_is_not_refreshed(repository: Repository):
    session = repository.open_session("ann")
    lifecycle.abort(session)
    with pytest.raises(WrongState, match="aborted"):
        lifecycle.refresh(session)


def test_giving_up_twice_is_giving_up_once(repository: Repository):
    session = repository.open_session("ann")
    upload(repository, session, "given up")
    for _ in range(2):
        lifecycle.abort(lifecycle.find(session.key, ANN))
        assert lifecycle.find(session.key, ANN).state == "aborted"
    assert changes(session) == {}
    assert not (repository.folder / "spool" / session.key).exists()


def test_giving_up_an_expired_session_leaves_it_expired(repository: Repository):
    session = repository.open_session("ann")
    make_due(session)
    lifecycle.abort(lifecycle.find(session.key, ANN))
    assert lifecycle.find(session.key, ANN).state == "expired"


def test_a_live_session_can_not_be_given_up(repository: Repository):
    session = repository.open_session("ann")
    upload(repository, session, "live for ever")
    repository.commit(session)
    with pytest.raises(WrongState, match="live"):
        lifecycle.abort(session)


def test_an_abort_is_synced_before_it_is_told(repository: Repository) -> None:
    """Else a power cut could leave the session open, and a commit of it make live what was told to be given up."""
    session = repository.open_session()
    with all_synced():
        lifecycle.abort(session)


def test_with_a_log_that_the_store_does_not_take_sessions_are_only_given_up(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = repository.open_session()
    monkeypatch.setattr(writer, "LOG_LIMIT_BYTES", 1)
    with pytest.raises(SpoolFull, match="can't be shipped"):
        repository.open_session()
    with pytest.raises(SpoolFull, match="can't be shipped"):
        lifecycle.refresh(session)
    lifecycle.abort(session)
    assert session.state == State.ABORTED
