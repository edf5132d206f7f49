"""Each kind of change, and how one replaces another."""

import pytest

from imagerepo.errors import InvalidMetadata, NotInSession, WrongState
from imagerepo.sessions import staging
from imagerepo.sessions.counting import counts
from imagerepo.sessions.metadata import MAX_ATTRIBUTES_BYTES
from imagerepo.sessions.models import StagedImage, UploadSession
from tests.inprocess import Repository
from tests.sessions.syncing import all_synced
from tests.sessions.uploads import TAKEN_AT, changes, commit, content, ident, upload


def test_new_bytes_are_added_with_the_parts_filename_and_the_cameras_time(repository: Repository):
    session = repository.open_session()
    row, created = upload(repository, session, "new", filename="new.png")
    assert created
    assert (row.action, row.filename, row.taken_at) == ("add", "new.png", TAKEN_AT)
    assert not row.with_metadata
    assert repository.service.spool.path(session.key, ident("new")).read_bytes() == content("new")


def test_what_the_client_says_goes_before_what_the_bytes_say(repository: Repository):
    session = repository.open_session()
    said = {"filename": "said.png", "taken_at": None, "title": "T"}
    row, _ = upload(repository, session, "said", filename="part.png", metadata=said)
    assert (row.filename, row.taken_at, row.title) == ("said.png", None, "T")
    assert row.with_metadata


def test_the_same_bytes_again_are_one_change_and_their_metadata_are_merged(repository: Repository):
    session = repository.open_session()
    upload(repository, session, "same", metadata={"title": "T", "creator": "C"})
    row, created = upload(repository, session, "same", metadata={"title": None, "rights": "R"})
    assert not created
    assert (row.title, row.creator, row.rights) == ("", "C", "R")
    assert changes(session) == {ident("same"): "add"}
    assert ident("same") in repository.spooled()


def test_live_bytes_without_metadata_change_nothing(repository: Repository):
    commit(repository, "live", title="T")
    session = repository.open_session()
    row, created = upload(repository, session, "live", filename="other.png")
    assert not created
    assert (row.action, row.title, row.filename) == ("none", "T", "")
    assert counts(session) == {"add": 0, "update": 0, "remove": 0, "bytes": 0}
    assert not repository.service.spool.path(session.key, row.ident).exists()


def test_live_bytes_with_metadata_update_the_live_image(repository: Repository):
    commit(repository, "live too", title="T", creator="C")
    session = repository.open_session()
    row, created = upload(repository, session, "live too", metadata={"title": "U"})
    assert not created
    assert (row.action, row.title, row.creator) == ("update", "U", "C")
    assert row.base_version == staging.live_version(row.ident).pk
    assert not repository.service.spool.path(session.key, row.ident).exists()


def test_a_change_of_nothing_becomes_an_update_once_something_is_said(repository: Repository):
    commit(repository, "unsaid")
    session = repository.open_session()
    upload(repository, session, "unsaid")
    row = staging.stage_metadata(session, ident("unsaid"), {"title": "T"})
    assert (row.action, row.title) == ("update", "T")
    assert changes(session) == {row.ident: "update"}


def test_an_update_edits_the_update_before_it(repository: Repository):
    commit(repository, "twice", title="T", creator="C")
    session = repository.open_session()
    first = staging.stage_metadata(session, ident("twice"), {"title": "U"})
    row = staging.stage_metadata(session, ident("twice"), {"creator": None})
    assert (row.title, row.creator, row.base_version) == ("U", "", first.base_version)


def test_metadata_that_are_refused_leave_the_change_as_it_was(repository: Repository):
    session = repository.open_session()
    half = "x" * (MAX_ATTRIBUTES_BYTES // 2)
    upload(repository, session, "kept", metadata={"attributes": {"a": half}})
    with pytest.raises(InvalidMetadata):
        staging.stage_metadata(session, ident("kept"), {"attributes": {"b": half}, "title": "T"})
    row = StagedImage.objects.get(session=session)
    assert (row.title, list(row.attributes)) == ("", ["a"])


def test_an_upload_whose_metadata_are_refused_leaves_nothing(repository: Repository):
    session, before = repository.open_session(), repository.spooled()
    too_large = {"attributes": {"a": "x" * MAX_ATTRIBUTES_BYTES}}
    with pytest.raises(InvalidMetadata):
        upload(repository, session, "too much", metadata=too_large)
    assert changes(session) == {}
    assert repository.spooled() == before


def test_a_removal_takes_the_place_of_an_update(repository: Repository):
    commit(repository, "doomed")
    session = repository.open_session()
    staging.stage_metadata(session, ident("doomed"), {"title": "T"})
    staging.stage_removal(session, ident("doomed"))
    staging.stage_removal(session, ident("doomed"))
    assert changes(session) == {ident("doomed"): "remove"}
    assert counts(session) == {"add": 0, "update": 0, "remove": 1, "bytes": 0}


def test_an_upload_takes_the_place_of_a_removal(repository: Repository):
    commit(repository, "spared", title="T")
    session = repository.open_session()
    staging.stage_removal(session, ident("spared"))
    row, created = upload(repository, session, "spared", metadata={"title": "U"})
    assert (created, row.action, row.title) == (False, "update", "U")
    assert changes(session) == {row.ident: "update"}


def test_an_image_staged_for_removal_can_not_be_described(repository: Repository):
    commit(repository, "going")
    session = repository.open_session()
    staging.stage_removal(session, ident("going"))
    with pytest.raises(NotInSession, match="removal"):
        staging.stage_metadata(session, ident("going"), {"title": "T"})


def test_removing_an_added_image_unstages_it_and_its_bytes(repository: Repository):
    session = repository.open_session()
    upload(repository, session, "added")
    staging.stage_removal(session, ident("added"))
    assert changes(session) == {}
    assert not repository.service.spool.path(session.key, ident("added")).exists()


@pytest.mark.parametrize("act", [staging.stage_removal, staging.discard, lambda s, i: staging.stage_metadata(s, i, {})])
def test_an_image_that_is_neither_staged_nor_live_is_refused(repository: Repository, act):
    session = repository.open_session()
    with pytest.raises(NotInSession, match=ident("nowhere")):
        act(session, ident("nowhere"))


def test_counts_say_how_many_images_and_bytes_are_added(repository: Repository):
    commit(repository, "live three")
    session = repository.open_session()
    for name in ("one", "two"):
        upload(repository, session, name)
    staging.stage_metadata(session, ident("live three"), {"title": "T"})
    size = len(content("one")) + len(content("two"))
    assert counts(session) == {"add": 2, "update": 1, "remove": 0, "bytes": size}


def test_lookup_tells_what_need_not_be_sent(repository: Repository):
    commit(repository, "there")
    session = repository.open_session()
    upload(repository, session, "here")
    found = staging.lookup(session, [ident(name) for name in ("nowhere", "here", "there", "here")])
    assert found == staging.Lookup(live=[ident("there")], staged=[ident("here")], unknown=[ident("nowhere")])


def test_every_write_lets_the_session_live_on(repository: Repository):
    commit(repository, "alive")
    session = repository.open_session()
    acts = [
        lambda: upload(repository, session, "added"),
        lambda: staging.stage_metadata(session, ident("alive"), {"title": "T"}),
        lambda: staging.stage_removal(session, ident("alive")),
        lambda: staging.discard(session, ident("alive")),
    ]
    for act in acts:
        before = session.expires_at
        act()
        session.refresh_from_db()
        assert session.expires_at > before


@pytest.mark.parametrize("state", ["committing", "merged", "live", "aborted", "expired"])
def test_only_an_open_session_takes_changes(repository: Repository, state):
    commit(repository, f"live for {state}")
    session, before = repository.open_session(), repository.spooled()
    own = repository.service.committer.name  # or it would be taken over from a dead worker
    UploadSession.objects.filter(pk=session.pk).update(state=state, committer=own)
    known = ident(f"live for {state}")
    try:
        for act in (
            lambda: upload(repository, session, "late"),
            lambda: staging.stage_metadata(session, known, {}),
            lambda: staging.stage_removal(session, known),
            lambda: staging.discard(session, known),
        ):
            with pytest.raises(WrongState) as refused:
                act()
            assert refused.value.state == state
        assert changes(session) == {}
        assert repository.spooled() == before
    finally:
        UploadSession.objects.filter(pk=session.pk).delete()


def test_whatever_is_staged_is_synced_before_it_is_told(repository: Repository):
    """Else a power cut could take it back, and a later commit make live what the client never meant."""
    commit(repository, "to be removed")
    session = repository.open_session()
    with all_synced():
        upload(repository, session, "synced")
    with all_synced():
        staging.stage_metadata(session, ident("synced"), {"title": "T"})
    with all_synced():
        staging.stage_removal(session, ident("to be removed"))
    with all_synced():
        staging.discard(session, ident("synced"))
