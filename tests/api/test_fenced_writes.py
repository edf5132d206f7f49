"""Once another server has taken over, no route of the API writes any more: each says so."""

from __future__ import annotations

from collections.abc import Iterator

from django.urls import get_resolver

from tests.api.caller import Caller, problem
from tests.inprocess import Repository

WRITING = ("post", "put", "patch", "delete")
READS = "/lookup"
"""A POST that changes nothing."""


def writes(session: str, ident: str) -> Iterator[tuple[str, str]]:
    """Method and path of every route that changes anything, from the routes themselves."""
    for route in get_resolver("imagerepo.urls").url_patterns:
        path = f"/{route.pattern}".replace("<str:key>", session.rpartition("/")[2]).replace("<ident:ident>", ident)
        for method in WRITING:
            if hasattr(route.callback.view_class, method) and not path.endswith(READS):
                yield method.upper(), path


def test_every_route_that_writes_is_refused(repository: Repository, ann: Caller, admin: Caller) -> None:
    session, ident = ann.open(), ann.live()
    writer = repository.service.writer
    writer.disk.fence(writer.state.epoch, "another server took over this repository")
    found = list(writes(session, ident))
    for method, path in found:
        problem(admin(method, path), 503, "fenced")
    assert len(found) >= 10
