"""Every refusal is problem+json, and every type of problem has a page."""

from __future__ import annotations

import errno
import html
import json
import sqlite3

import pytest
from django.db import OperationalError
from django.test import RequestFactory

from imagerepo import errors
from imagerepo.api import handlers
from imagerepo.api.problems import INTERNAL_ERROR, KINDS, kind_of, recorded
from imagerepo.api.requests import RequestError
from tests.api.caller import Caller, problem

NEVER_ANSWERED = {errors.ConfigError}
"""Errors of commands and of the start."""


def leaves(root: type[Exception]) -> list[type[Exception]]:
    below = [leaf for child in root.__subclasses__() for leaf in leaves(child)]
    return below or [root]


@pytest.mark.parametrize("error", leaves(errors.ImagerepoError), ids=lambda error: error.__name__)
def test_every_error_of_the_tree_has_a_status(error: type[Exception]):
    kind = kind_of(error.__new__(error))
    assert (kind is None) == (error in NEVER_ANSWERED)


@pytest.mark.parametrize("error", leaves(RequestError), ids=lambda error: error.__name__)
def test_everything_that_is_wrong_with_a_request_has_a_status(error: type[Exception]):
    assert kind_of(error.__new__(error)) is not None


@pytest.mark.parametrize("slug", KINDS)
def test_every_type_of_problem_has_a_page_that_explains_it(stranger: Caller, slug: str):
    kind = KINDS[slug]
    page = stranger("GET", kind.type)
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    assert str(kind.status) in page.text
    assert kind.meaning in html.unescape(page.text)


def test_there_is_no_page_of_another_problem(stranger: Caller):
    problem(stranger("GET", "/problems/none"), 404, "not-found")


@pytest.mark.parametrize("path", ["/nowhere", "/api", "/api/v1", "/api/v2/sessions", "/a%00b", "//", "/\u00e4"])
def test_a_path_that_leads_nowhere(stranger: Caller, path: str):
    response = stranger("GET", path)
    assert (response.status_code, response.headers["Content-Type"]) == (404, "application/problem+json")
    assert response.json()["type"] == "/problems/not-found"


def test_a_defect_is_answered_without_its_details():
    answer = handlers.server_error(RequestFactory().get("/somewhere"))
    assert answer.status_code == 500
    assert json.loads(answer.content) == {
        "type": "/problems/internal-error",
        "title": INTERNAL_ERROR.title,
        "status": 500,
        "detail": "the service failed; its log says how",
        "instance": "/somewhere",
    }


def of_sqlite(name: str) -> OperationalError:
    """As Django passes it on."""
    cause, error = sqlite3.OperationalError("in its words"), OperationalError("in its words")
    cause.sqlite_errorname, error.__cause__ = name, cause
    return error


def test_a_full_disk_is_answered_507_wherever_it_is_noticed():
    context = {"request": RequestFactory().get("/somewhere")}
    for error in (of_sqlite("SQLITE_FULL"), OSError(errno.ENOSPC, "No space left on device")):
        answer = handlers.handle(error, context)
        assert answer is not None and answer.status_code == 507
    assert handlers.handle(OperationalError("no such table"), context) is None


def test_a_failing_disk_is_answered_503_wherever_it_is_noticed():
    context = {"request": RequestFactory().get("/somewhere")}
    for error in (of_sqlite("SQLITE_IOERR_WRITE"), OSError(errno.EIO, "Input/output error")):
        answer = handlers.handle(error, context)
        assert answer is not None and answer.status_code == 503
        assert json.loads(answer.content)["type"] == "/problems/disk-failing"
    assert handlers.handle(OSError(errno.ENOENT, "No such file"), context) is None


def test_a_problem_that_a_session_keeps_is_one():
    told = recorded({"code": "conflict", "detail": "two of them", "conflicts": [1, 2]})
    assert told is not None
    assert (told["type"], told["status"], told["conflicts"]) == ("/problems/conflict", 409, [1, 2])
    assert recorded(None) is None


def test_a_problems_page_is_read_only_and_knows_a_wrong_token(stranger: Caller):
    for method in ("POST", "PUT", "DELETE"):
        refused = stranger(method, "/problems/gone")
        problem(refused, 405, "method-not-allowed")
        assert "GET" in refused.headers["Allow"]
    problem(Caller("not a token of this repository")("GET", "/problems/gone"), 401, "unauthorized")
