"""More derivatives asked for at once than can be made."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from django.db import connection

from tests.api.caller import Caller, problem
from tests.inprocess import Repository, running

AT_ONCE = 40
"""Derivatives, each of another name."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    with running(tmp_path_factory.mktemp("busy"), derivative_workers="1") as repository:
        yield repository


def test_who_comes_too_many_is_told_when_to_come_again(repository: Repository, ann: Caller, stranger: Caller) -> None:
    ident = ann.live()
    sizes = [(width, height) for width in (1, 2, 3, 4) for height in (1, 2)]
    turns = ("", "-r90", "-r180", "-m0", "-gray")
    names = [f"/images/{ident}-{width}x{height}{turn}.png" for width, height in sizes for turn in turns]
    gate = threading.Barrier(AT_ONCE)

    def ask(name: str) -> httpx.Response:
        gate.wait()
        try:
            return stranger("GET", name)
        finally:
            connection.close()

    repository.store.latency_seconds = 0.1
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(ask, names))
    repository.store.latency_seconds = 0
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < AT_ONCE
    for answer in refused:
        problem(answer, 503, "busy")
        assert int(answer.headers["Retry-After"]) > 0
        assert stranger("GET", answer.request.url.path).status_code == 200
