"""The runner behind `make corpus`, on a real server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagerepo.testing import corpus, images
from imagerepo.testing.servers import Server

TOKEN = secrets.token_hex(16)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("corpus-server")
    with Server(folder / "data", f"file://{folder}/store", admin_token=TOKEN) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for category, name, data in (
        ("good", "photograph.jpg", images.photograph(300, 200).data),
        ("bad", "half.png", images.truncated("png")),
        ("bad", "text.jpg", b"no image"),
        ("edge", "either.gif", images.good("gif").data),
    ):
        path = tmp_path / category / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return tmp_path


def run(server: Server, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = corpus.main([str(folder), "--server", server.url, "--token", TOKEN])
    return status, capsys.readouterr().out


def test_a_corpus_that_is_judged_as_labelled_passes(
    server: Server, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = run(server, folder, capsys)
    assert status == 0
    assert "4 of 4 are as they must be" in said
    assert "1 x 415, 1 x 422" in said


def test_one_wrong_answer_fails_and_is_named(server: Server, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad" / "whole.png").write_bytes(images.good("png").data)
    status, said = run(server, folder, capsys)
    assert status == 1
    assert "WRONG: bad/whole.png: 201" in said


def test_an_answer_other_than_the_manifest_expects_is_listed_and_right(
    server: Server, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "manifest.csv").write_text("file,expected_status\nbad/half.png,415\nbad/text.jpg,413|415\n")
    status, said = run(server, folder, capsys)
    assert status == 0
    assert "right, though 415 was expected: bad/half.png" in said
    assert "text.jpg" not in said


def test_nothing_stays_behind_on_the_server(server: Server, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(server, folder, capsys)
    assert server.admin.get("/api/v1/sessions?state=open").json()["results"] == []
    assert server.admin.get("/api/v1/images").json()["results"] == []
