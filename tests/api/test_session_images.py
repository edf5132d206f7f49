"""/api/v1/sessions/{id}/images and …/changes: each kind of change."""

import json

import pytest

from imagerepo.sessions.models import UploadSession
from imagerepo.testing.images import TAKEN_AT, good
from tests.api.caller import Caller, as_json, digest_of, ident_of, multipart, part, picture, problem
from tests.inprocess import Repository

IMAGE_MEMBERS = {
    *("ident", "format", "media_type", "width", "height", "frames", "byte_size", "filename", "title"),
    *("description", "alt_text", "creator", "rights", "taken_at", "tags", "attributes", "revision"),
    *("added_at", "updated_at", "links", "action"),
}
EVERYTHING = {
    "filename": "said.jpg",
    "title": "Ti\u0142le",
    "description": "D" * 20_000,
    "alt_text": "A" * 20_000,
    "creator": "C" * 1_000,
    "rights": "https://creativecommons.org/publicdomain/zero/1.0/",
    "taken_at": "2020-02-29T23:59:59.5+02:00",
    "tags": ["t" * 100, "two words", "ünï"],
    "attributes": {"camera": {"iso": 100, "lens": None}, "list": [1, None, "x"], "": "empty name"},
}


def test_a_form_adds_an_image(ann: Caller, repository: Repository):
    session, taken = ann.open(), good("jpeg large, turned, with EXIF")
    response = ann("POST", f"{session}/images", files={"file": ("IMG 1.jpg", taken.data)})
    image = response.json()
    assert response.status_code == 201
    assert set(image) == IMAGE_MEMBERS
    assert image["ident"] == ident_of(taken.data)
    assert response.headers["Location"] == image["links"]["self"] == f"{session}/images/{image['ident']}"
    assert (image["action"], image["format"], image["media_type"]) == ("add", "jpeg", "image/jpeg")
    assert (image["width"], image["height"], image["frames"]) == (taken.width, taken.height, 1)
    assert (image["byte_size"], image["filename"]) == (len(taken.data), "IMG 1.jpg")
    assert TAKEN_AT == "2021:07:14 18:30:00" and image["taken_at"] == "2021-07-14T16:30:00Z"
    assert image["revision"] is None
    assert ann("GET", f"{session}/images/{image['ident']}").json() == image
    assert repository.spooled() >= {image["ident"]}


def test_a_raw_body_of_any_type_adds_an_image(ann: Caller):
    session = ann.open()
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "multipart/form-data; boundary=x"}):
        data = picture()
        path = f"{session}/images/{ident_of(data)}"
        response = ann("PUT", path, content=data, headers=headers, params={"filename": "Ä b&c.png"})
        assert (response.status_code, response.json()["filename"]) == (201, "Ä b&c.png")
        assert ann("PUT", path, content=data, headers=headers).status_code == 200
    assert ann("GET", session).json()["counts"]["add"] == 3


def test_metadata_come_as_json_in_a_form(ann: Caller):
    image = ann.add(ann.open(), picture(), metadata=json.dumps(EVERYTHING))
    merged = {"camera": {"iso": 100}, "list": [1, None, "x"], "": "empty name"}
    expected = EVERYTHING | {"taken_at": "2020-02-29T21:59:59.500000Z", "attributes": merged}
    assert {name: image[name] for name in EVERYTHING} == expected


def test_metadata_come_as_a_file_of_json_too(ann: Caller):
    files = {"file": ("a.png", picture()), "metadata": ("m.json", b'{"title": "T"}', "application/json")}
    response = ann("POST", f"{ann.open()}/images", files=files)
    assert (response.status_code, response.json()["title"]) == (201, "T")


def test_metadata_come_as_single_fields(ann: Caller):
    fields = {"title": "T", "tags": ["a", "b, c"], "attributes": '{"x": 1}', "taken_at": "2020-01-02T03:04:05"}
    image = ann.add(ann.open(), picture(), **fields)
    assert (image["title"], image["tags"], image["attributes"]) == ("T", ["a", "b, c"], {"x": 1})
    assert image["taken_at"] == "2020-01-02T03:04:05Z"


def test_a_single_field_goes_before_the_same_member_of_the_json(ann: Caller):
    image = ann.add(ann.open(), picture(), metadata='{"title": "J", "creator": "C"}', title="F", tags='["x", "y"]')
    assert (image["title"], image["creator"], image["tags"]) == ("F", "C", ["x", "y"])


def test_the_parts_of_a_form_come_in_any_order(ann: Caller):
    data = picture()
    form = multipart((part("file", "z.png"), data), (part("title"), b"after it"))
    image = ann("POST", f"{ann.open()}/images", **form).json()
    assert (image["ident"], image["title"]) == (ident_of(data), "after it")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("a&amp;b.png", "a&amp;b.png"),
        ("C:/photos/x.png", "x.png"),
        ("d\\e\\f.png", "f.png"),
        ("..png", "..png"),
        ("Ä ö.png", "Ä ö.png"),
    ],
)
def test_the_filename_is_kept_as_it_is_without_its_folder(ann: Caller, sent, kept):
    form = multipart((part("file", sent.replace("\\", "\\\\")), picture()))
    assert ann("POST", f"{ann.open()}/images", **form).json()["filename"] == kept


def test_tags_are_kept_once_each_in_their_order(ann: Caller):
    image = ann.add(ann.open(), picture(), metadata='{"tags": ["b", "a", "b", "A"]}')
    assert image["tags"] == ["b", "a", "A"]


def test_the_same_bytes_again_are_answered_200_and_their_metadata_merged(ann: Caller, repository: Repository):
    session, data = ann.open(), picture()
    ann.add(session, data, title="T", creator="C")
    again = ann("POST", f"{session}/images", files={"file": ("b.png", data)}, data={"title": "U"})
    assert again.status_code == 200
    image = again.json()
    assert (image["action"], image["title"], image["creator"], image["filename"]) == ("add", "U", "C", "a.png")
    assert ann("GET", session).json()["counts"] == {"add": 1, "update": 0, "remove": 0, "bytes": len(data)}
    folder = repository.folder / "spool" / session.rpartition("/")[2]
    assert [path.name for path in folder.iterdir()] == [ident_of(data)]


def test_live_bytes_are_no_change_without_metadata_and_an_update_with(ann: Caller, repository: Repository):
    session, data = ann.open(), picture()
    ann.add(session, data, title="T")
    ann.commit(session)
    session = ann.open()
    silent = ann("PUT", f"{session}/images/{ident_of(data)}", content=data)
    assert (silent.status_code, silent.json()["action"], silent.json()["title"]) == (200, "none", "T")
    assert silent.json()["revision"] is not None
    assert ann.changes(session) == {}
    said = ann("POST", f"{session}/images", files={"file": data}, data={"title": "U"})
    assert (said.status_code, said.json()["action"], said.json()["title"]) == (200, "update", "U")
    assert ann.changes(session) == {ident_of(data): "update"}
    assert ident_of(data) not in repository.spooled()


def test_a_body_may_name_its_digest(ann: Caller):
    session, data = ann.open(), picture()
    named = digest_of(data)
    assert ann("PUT", f"{session}/images/{ident_of(data)}", content=data, headers=named).status_code == 201
    form = ann("POST", f"{session}/images", files={"file": data}, headers=named)
    assert form.status_code == 200


def test_the_digest_of_a_form_may_be_that_of_all_its_bytes(ann: Caller):
    form = multipart((part("file", "a.png"), picture()))
    form["headers"] |= digest_of(form["content"])
    assert ann("POST", f"{ann.open()}/images", **form).status_code == 201


def test_digests_of_other_algorithms_are_let_be(ann: Caller):
    session, data = ann.open(), picture()
    named = {"Content-Digest": f"sha-512=:AAAA:, {digest_of(data)['Content-Digest']}"}
    assert ann("PUT", f"{session}/images/{ident_of(data)}", content=data, headers=named).status_code == 201


def test_a_patch_edits_a_staged_image(ann: Caller):
    session = ann.open()
    image = ann.add(session, picture(), title="T", creator="C", attributes='{"a": 1, "b": 2}')
    patch = {"title": None, "rights": "R", "attributes": {"a": None, "c": 3}, "taken_at": "2020-01-01T00:00:00Z"}
    response = ann("PATCH", image["links"]["self"], **as_json(patch))
    assert response.status_code == 200
    patched = response.json()
    assert (patched["title"], patched["creator"], patched["rights"]) == ("", "C", "R")
    assert patched["attributes"] == {"b": 2, "c": 3}
    assert (patched["action"], patched["taken_at"]) == ("add", "2020-01-01T00:00:00Z")


@pytest.mark.parametrize("media_type", ["application/json", "application/merge-patch+json; charset=utf-8"])
def test_a_patch_of_a_live_image_stages_an_update(ann: Caller, media_type):
    ident, session = ann.live(title="T", creator="C"), ann.open()
    given = {"content": b'{"title": "U"}', "headers": {"Content-Type": media_type}}
    response = ann("PATCH", f"{session}/images/{ident}", **given)
    assert response.status_code == 200
    image = response.json()
    assert (image["action"], image["title"], image["creator"]) == ("update", "U", "C")
    assert image["added_at"] is not None
    assert ann.changes(session) == {ident: "update"}


def test_a_removal_is_staged_in_place_of_an_update(ann: Caller):
    ident, session = ann.live(), ann.open()
    ann("PATCH", f"{session}/images/{ident}", **as_json({"title": "U"}))
    for _ in range(2):
        assert ann("DELETE", f"{session}/images/{ident}").status_code == 204
    assert ann.changes(session) == {ident: "remove"}
    problem(ann("GET", f"{session}/images/{ident}"), 404, "not-in-session")
    problem(ann("PATCH", f"{session}/images/{ident}", **as_json({})), 404, "not-in-session")


def test_deleting_an_added_image_unstages_it(ann: Caller, repository: Repository):
    session = ann.open()
    image = ann.add(session, picture())
    assert ann("DELETE", image["links"]["self"]).status_code == 204
    assert ann.changes(session) == {}
    assert image["ident"] not in repository.spooled()
    problem(ann("DELETE", image["links"]["self"]), 404, "not-in-session")


def test_discarding_a_change_leaves_the_live_image_as_it_is(ann: Caller):
    ident, session = ann.live(title="T"), ann.open()
    ann("PATCH", f"{session}/images/{ident}", **as_json({"title": "U"}))
    assert ann("DELETE", f"{session}/changes/{ident}").status_code == 204
    shown = ann("GET", f"{session}/images/{ident}").json()
    assert (shown["action"], shown["title"]) == ("none", "T")
    problem(ann("DELETE", f"{session}/changes/{ident}"), 404, "not-in-session")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "images"), ("PATCH", "images"), ("DELETE", "images"), ("DELETE", "changes")]
)
def test_an_image_that_is_neither_live_nor_staged_is_not_there(ann: Caller, method, path):
    given = as_json({}) if method == "PATCH" else {}
    problem(ann(method, f"{ann.open()}/{path}/{ident_of(picture())}", **given), 404, "not-in-session")


def test_the_changes_show_each_image_as_it_was_and_as_it_would_be(ann: Caller, bob: Caller):
    updated, removed, session = ann.live(title="T"), ann.live(), ann.open()
    added = ann.add(session, picture())
    ann("PATCH", f"{session}/images/{updated}", **as_json({"title": "U"}))
    ann("DELETE", f"{session}/images/{removed}")
    other = bob.open()
    bob("PATCH", f"{other}/images/{updated}", **as_json({"title": "V"}))
    revision = bob.commit(other)["revision"]
    response = ann("GET", f"{session}/changes")
    assert response.headers["Cache-Control"] == "no-store"
    add, update, remove = response.json()["results"]
    assert add == {"ident": added["ident"], "action": "add", "image": added, "before": None, "conflict": None}
    assert (update["before"]["title"], update["image"]["title"]) == ("T", "U")
    assert (update["conflict"]["code"], update["conflict"]["revision"]) == ("changed", revision)
    assert (remove["image"], remove["before"]["ident"], remove["conflict"]) == (None, removed, None)


def test_the_changes_come_page_by_page(ann: Caller):
    session = ann.open()
    added = [ann.add(session, picture())["ident"] for _ in range(5)]
    seen, path = [], f"{session}/changes?limit=2"
    while path:
        page = ann("GET", path).json()
        seen += [change["ident"] for change in page["results"]]
        path = page["next"]
    assert seen == added


@pytest.mark.parametrize("state", ["committing", "merged", "live", "aborted", "expired"])
def test_only_an_open_session_takes_changes(ann: Caller, repository: Repository, state):
    ident, session, data = ann.live(), ann.open(), picture()
    staged = ann.add(session, picture())["ident"]
    row = UploadSession.objects.filter(key=session.rpartition("/")[2])
    row.update(state=state, committer=repository.service.committer.name)
    before = repository.spooled()
    try:
        for method, path, given in [
            ("POST", "images", {"files": {"file": data}}),
            ("PUT", f"images/{ident_of(data)}", {"content": data}),
            ("PATCH", f"images/{ident}", as_json({"title": "T"})),
            ("DELETE", f"images/{ident}", {}),
            ("DELETE", f"changes/{staged}", {}),
        ]:
            refused = problem(ann(method, f"{session}/{path}", **given), 409, "wrong-state")
            assert (refused["state"], refused["session"]) == (state, session.rpartition("/")[2])
        assert ann.changes(session) == {staged: "add"}
        assert repository.spooled() == before
    finally:
        row.update(state="aborted")


def test_an_image_removed_meanwhile_is_added_again_by_sending_it_again(ann: Caller, bob: Caller):
    data = picture()
    first = ann.open()
    ann.add(first, data, title="old")
    ann.commit(first)
    session, removing = ann.open(), bob.open()
    ann("PATCH", f"{session}/images/{ident_of(data)}", **as_json({"title": "new"}))
    bob("DELETE", f"{removing}/images/{ident_of(data)}")
    bob.commit(removing)
    problem(ann("POST", f"{session}/commit"), 409, "conflict")
    sent = ann("PUT", f"{session}/images/{ident_of(data)}", content=data)
    assert (sent.status_code, sent.json()["action"], sent.json()["title"]) == (201, "add", "new")
    ann.commit(session)
    assert ann("GET", f"/api/v1/images/{ident_of(data)}").json()["title"] == "new"
