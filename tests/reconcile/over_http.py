"""Plans asked for, looked at and applied over HTTP, of a real server."""

from __future__ import annotations

from typing import Any

import httpx

from tests.waiting import until

PLANS = "/api/v1/reconcile"
LONGEST_SECONDS = 60.0
LOOK_SECONDS = 0.05


def planned(client: httpx.Client, **asked: Any) -> httpx.Response:
    """A plan that is made, as GET answers it."""
    accepted = client.post(PLANS, json=asked)
    assert accepted.status_code == 202, accepted.text
    return settled(client, accepted.headers["Location"])


def settled(client: httpx.Client, path: str) -> httpx.Response:
    """The plan once it is no longer under way."""

    def look() -> httpx.Response | None:
        answer = client.get(path)
        return None if answer.json()["state"] in ("planning", "applying") else answer

    found = until(look, seconds=LONGEST_SECONDS, every=LOOK_SECONDS)
    assert found
    return found


def apply(client: httpx.Client, plan: httpx.Response) -> httpx.Response:
    """What is answered to the order to apply it as it was looked at, however much it touches."""
    headers = {"If-Match": plan.headers["ETag"]}
    return client.post(f"{PLANS}/{plan.json()['id']}/apply", json={"force": True}, headers=headers)


def applied(client: httpx.Client, plan: httpx.Response) -> Any:
    """The plan after it was applied."""
    accepted = apply(client, plan)
    assert accepted.status_code == 202, accepted.text
    done = settled(client, accepted.headers["Location"]).json()
    assert done["state"] == "done", done
    return done


def findings(client: httpx.Client, plan: httpx.Response) -> list[dict[str, Any]]:
    return every(client, f"{PLANS}/{plan.json()['id']}/findings")


def every(client: httpx.Client, path: str | None) -> list[dict[str, Any]]:
    """What a list has, on all of its pages."""
    found: list[dict[str, Any]] = []
    while path:
        page = client.get(path).json()
        found += page["results"]
        path = page["next"]
    return found
