"""Browsing where it is not public: a token to read anything, and no shared cache keeps it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.caller import Caller, problem
from tests.inprocess import Repository, running


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    folder = tmp_path_factory.mktemp("private")
    with running(folder, public_browse="false", delivery_max_age="60") as repository:
        yield repository


@pytest.fixture(scope="module")
def paths(ann: Caller) -> list[str]:
    ident = ann.live()
    name = f"/images/{ident}"
    api = ["/api/v1/images", f"/api/v1/images/{ident}", f"/api/v1/images/{ident}/history", "/api/v1/revisions"]
    return [*api, name, f"{name}-2x2.png", f"{name}/fit?width=2"]


def test_nothing_is_read_without_a_token(stranger: Caller, paths: list[str]) -> None:
    for path in paths:
        response = stranger("GET", path)
        problem(response, 401, "unauthorized")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_reader_reads_all_and_no_shared_cache_keeps_it(reader: Caller, paths: list[str]) -> None:
    for path in paths:
        response = reader("GET", path)
        assert response.status_code in (200, 302)
        assert response.headers["Cache-Control"].startswith("private, ")
        assert "Access-Control-Allow-Origin" not in response.headers


def test_images_are_kept_as_long_as_is_set(reader: Caller, paths: list[str]) -> None:
    image, derivative, fit = (reader("GET", path).headers["Cache-Control"] for path in paths[-3:])
    assert image == derivative == "private, max-age=60, immutable"
    assert fit == "private, max-age=60"


def test_health_needs_no_token(stranger: Caller) -> None:
    for path in ("/livez", "/readyz"):
        assert stranger("GET", path).status_code == 200
