"""What settings change: each test has a repository of its own."""

from pathlib import Path

from imagerepo.testing.images import good
from tests.api.caller import Caller, ident_of, picture, problem
from tests.inprocess import running


def test_browsing_needs_a_token_where_it_is_not_public(tmp_path: Path):
    with running(tmp_path, public_browse="false") as repository:
        problem(Caller(None)("GET", "/api/v1/images"), 401, "unauthorized")
        assert Caller(repository.token("rea", "reader"))("GET", "/api/v1/images").is_success


def test_an_image_that_takes_too_long_to_decode_is_refused(tmp_path: Path):
    with running(tmp_path, decode_seconds="0.000001") as repository:
        ann = Caller(repository.token("ann", "contributor"))
        session, data = ann.open(), good("jpeg large, turned, with EXIF").data
        problem(ann("PUT", f"{session}/images/{ident_of(data)}", content=data), 422, "too-costly")
        assert ann.changes(session) == {}
        assert repository.spooled() == set()


def test_a_commit_that_takes_longer_than_one_waits_is_answered_202(tmp_path: Path):
    with running(tmp_path, commit_wait_seconds="0.000001") as repository:
        ann = Caller(repository.token("ann", "contributor"))
        session = ann.open()
        ann.add(session, picture())
        response = ann("POST", f"{session}/commit")
        assert response.status_code == 202
        assert response.headers["Location"] == session
