"""What is known to be damaged is told to admins, and is delivered to nobody, not even in parts."""

from __future__ import annotations

import io

from imagerepo.reconcile.fixity import Fixity
from imagerepo.store import names
from tests.api.caller import Caller, ident_of, picture, problem
from tests.inprocess import Repository
from tests.waiting import until


def test_a_damaged_base_is_reported_and_not_delivered(
    repository: Repository, ann: Caller, admin: Caller, stranger: Caller
) -> None:
    data = picture()
    session = ann.open()
    ann.add(session, data)
    ann.commit(session)
    ident = ident_of(data)
    rotten = bytes([data[0] ^ 1]) + data[1:]
    repository.store.put(names.base(ident), io.BytesIO(rotten), media_type="image/png")
    checks = Fixity(repository.store, repository.service.writer.disk, days=0.000001)
    until(lambda: checks.look() >= 0 and checks.report.last is not None)
    told = admin("GET", "/api/v1/fixity").json()
    assert [(damage["ident"], damage["kind"]) for damage in told["damaged"]] == [(ident, "corrupt")]
    assert told["last"]["checked"] == 1 and told["days"] == 90
    for headers in ({}, {"Range": "bytes=0-3"}):
        problem(stranger.http.get(f"/images/{ident}", headers=headers), 502, "damaged-base")
    problem(ann("GET", "/api/v1/fixity"), 403, "forbidden")
