"""Once another server has taken over: what was committed is still read, and marked."""

from __future__ import annotations

import pytest

from tests.api.caller import Caller, problem
from tests.inprocess import Repository


@pytest.fixture(scope="module")
def ident(ann: Caller) -> str:
    return ann.live()


@pytest.fixture(scope="module")
def paths(ident: str) -> list[str]:
    name = f"/images/{ident}"
    unknown = f"/api/v1/images/{'0' * 64}"
    api = ["/api/v1/images", f"/api/v1/images/{ident}", "/api/v1/revisions", unknown]
    return [*api, name, f"{name}-2x2.png", f"{name}/fit?width=2"]


def test_reads_go_on_and_are_marked_stale(
    repository: Repository, stranger: Caller, admin: Caller, paths: list[str]
) -> None:
    before = {path: stranger("GET", path) for path in paths}
    assert not [path for path, response in before.items() if "Imagerepo-Stale" in response.headers]
    writer = repository.service.writer
    writer.disk.fence(writer.state.epoch, "another server took over this repository")
    for path, fresh in before.items():
        response = stranger("GET", path)
        assert response.headers["Imagerepo-Stale"] == "fenced"
        assert (response.status_code, response.content) == (fresh.status_code, fresh.content)
    assert "fenced" in problem(stranger("GET", "/readyz"), 503, "not-ready")["reasons"][0]
    assert stranger("GET", "/livez").status_code == 200
    problem(admin("POST", "/api/v1/snapshots"), 503, "fenced")
    for path in ("/api/v1/snapshots", "/api/v1/sessions"):
        response = admin("GET", path)
        assert (response.status_code, response.headers["Imagerepo-Stale"]) == (200, "fenced")
