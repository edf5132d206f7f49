"""Fixtures for every room, and the rule that nothing is skipped."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import sampling

# A suite that a shell has put in the background ignores it, and so would every command that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Django is set up once, before any module of tests imports a model.
_FOLDER = tempfile.mkdtemp(prefix="imagerepo-tests-")
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
_KEPT = {"IMAGEREPO_SWIFT_VENV", *sampling.VARIABLES}
for _name in [name for name in os.environ if name.startswith("IMAGEREPO_") and name not in _KEPT]:
    del os.environ[_name]
os.environ |= {"DJANGO_SETTINGS_MODULE": "imagerepo.settings", "IMAGEREPO_DATA_DIR": _FOLDER}

from imagerepo.boot import boot  # noqa: E402

boot()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402

from imagerepo.testing.servers import Server  # noqa: E402

ADMIN_TOKEN = "the-admin-token-of-the-tests"
NewServer = Callable[..., Server]

_skipped: list[str] = []


def pytest_report_header() -> str:
    return f"samples: {'all of it' if sampling.SOAK else f'IMAGEREPO_SEED={sampling.SEED} draws these again'}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for test in _skipped:
        terminalreporter.write_line(f"SKIPPED IS FAILED: {test}", red=True)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    """Django's connection on a fresh, migrated file."""
    path = tmp_path / "catalogue.sqlite3"
    connection.close()
    before, connection.settings_dict["NAME"] = connection.settings_dict["NAME"], str(path)
    call_command("migrate", verbosity=0)
    yield path
    connection.close()
    connection.settings_dict["NAME"] = before


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[NewServer]:
    """Makes servers, not yet started, with a data folder and a store of their own unless they are given.

    `new_server(name="a", workers=1, store_url=None, environ=None, **settings)`; whatever still runs at the
    end is killed. Two names and one `store_url` are two servers on one repository.
    """
    made: list[Server] = []

    def make(name: str = "server", *, store_url: str | None = None, **options: Any) -> Server:
        url = store_url or f"file://{tmp_path / 'store'}"
        made.append(Server(tmp_path / name, url, **({"admin_token": ADMIN_TOKEN} | options)))
        return made[-1]

    yield make
    for server in made:
        server.kill()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with two workers, shared by the tests of one test process: use sessions of your own."""
    folder = tmp_path_factory.mktemp("shared-server")
    with Server(folder / "data", f"file://{folder / 'store'}", admin_token=ADMIN_TOKEN, workers=2) as running:
        yield running
