"""Signing in: v1 and Keystone v3, against a real Swift that takes the tokens."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from imagerepo.errors import ConfigError, StoreRefused, StoreUnavailable
from imagerepo.store import attempts, names
from imagerepo.store.door import Door
from imagerepo.store.swift import SwiftStore
from imagerepo.store.swift_auth import Access, credentials_of
from imagerepo.testing.swift import Swift
from tests.store.stub import Asked, Told, serving

BASE = names.base("12" * 32)
USER = {"name": "painter", "password": "in oil", "domain": {"name": "artists"}}
PROJECT = {"project": {"name": "gallery", "domain": {"id": "default"}}}
APPLICATION = {"id": "app-1", "secret": "between us"}
BY_PASSWORD = {
    "OS_USERNAME": "painter",
    "OS_PASSWORD": "in oil",
    "OS_USER_DOMAIN_NAME": "artists",
    "OS_PROJECT_NAME": "gallery",
}
BY_APPLICATION = {
    "OS_AUTH_TYPE": "v3applicationcredential",
    "OS_APPLICATION_CREDENTIAL_ID": "app-1",
    "OS_APPLICATION_CREDENTIAL_SECRET": "between us",
}


class Identity:
    """The token service of OpenStack's identity API, version 3, whose tokens a real Swift takes."""

    def __init__(self, swift: Swift) -> None:
        self._swift = swift
        self.sign_ins = 0
        self.status = 201

    def answer(self, asked: Asked) -> Told:
        if (asked.method, asked.path) != ("POST", "/v3/auth/tokens"):
            return Told(404)
        if self.status != 201:
            return Told(self.status)
        if not self._knows(json.loads(asked.body)["auth"]):
            return Told(401, body=b'{"error": {"code": 401, "title": "Unauthorized", "message": "no"}}')
        self.sign_ins += 1
        access = credentials_of(self._swift.environ).sign_in(timeout=10)
        return Told(201, {"X-Subject-Token": access.token}, json.dumps(_token(access)).encode())

    def _knows(self, auth: dict[str, Any]) -> bool:
        identity = auth["identity"]
        if identity["methods"] == ["password"]:
            return bool(identity["password"] == {"user": USER} and auth.get("scope") == PROJECT)
        return bool(identity["application_credential"] == APPLICATION)


def _token(access: Access) -> dict[str, Any]:
    endpoints = [
        {"interface": interface, "region": region, "region_id": region, "url": url, "id": f"{interface}-{region}"}
        for interface, region, url in (
            ("public", "north", access.storage_url),
            ("public", "south", "http://127.0.0.1:9/v1/AUTH_elsewhere"),
            ("internal", "north", "http://127.0.0.1:9/v1/AUTH_inside"),
        )
    ]
    catalog = [
        {"type": "image", "name": "glance", "id": "1", "endpoints": endpoints[1:]},
        {"type": "object-store", "name": "swift", "id": "2", "endpoints": endpoints},
    ]
    return {
        "token": {
            "methods": ["password"],
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "expires_at": "2999-01-01T00:00:00.000000Z",
            "user": {"id": "u", "name": "painter", "domain": {"id": "d", "name": "artists"}},
            "project": {"id": "p", "name": "gallery", "domain": {"id": "default", "name": "Default"}},
            "roles": [{"id": "r", "name": "member"}],
            "catalog": catalog,
        }
    }


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "PAUSES_SECONDS", (0.0, 0.0, 0.0))


@pytest.fixture
def identity(swift: Swift) -> Identity:
    return Identity(swift)


@pytest.fixture
def keystone(identity: Identity) -> Iterator[dict[str, str]]:
    """The variables that all ways to sign in share."""
    with serving(identity.answer) as url:
        yield {"OS_AUTH_URL": url, "OS_REGION_NAME": "north"}


@contextmanager
def opened(environ: dict[str, str], container: str) -> Iterator[Door]:
    store = Door(SwiftStore(container, "", credentials_of(environ), timeout=5.0))
    yield store
    store.close()


def use(store: Door) -> bytes:
    store.put(BASE, io.BytesIO(b"content"), media_type="image/png")
    with store.get(BASE) as reader:
        return reader.read()


@pytest.mark.parametrize("who", [BY_PASSWORD, BY_APPLICATION], ids=["password", "application credential"])
@pytest.mark.parametrize("suffix", ["", "/", "/v3", "/v3/"])
def test_keystone_signs_in(
    keystone: dict[str, str], container: str, identity: Identity, who: dict[str, str], suffix: str
) -> None:
    environ = keystone | who | {"OS_AUTH_URL": keystone["OS_AUTH_URL"] + suffix}
    with opened(environ, container) as store:
        assert use(store) == b"content"
        assert store.create_exclusive("epochs/1")
    assert identity.sign_ins == 1


@pytest.mark.parametrize("who", [BY_PASSWORD, BY_APPLICATION], ids=["password", "application credential"])
def test_keystone_signs_in_again_when_the_token_has_expired(
    keystone: dict[str, str], container: str, identity: Identity, who: dict[str, str]
) -> None:
    credentials = credentials_of(keystone | who)

    class Expired:
        cacert = None

        def sign_in(self, *, timeout: float) -> Access:
            access = credentials.sign_in(timeout=timeout)
            return Access(access.storage_url, "AUTH_tkexpired") if identity.sign_ins == 1 else access

    store = Door(SwiftStore(container, "", Expired(), timeout=5.0))
    assert use(store) == b"content"
    store.close()
    assert identity.sign_ins == 2


@pytest.mark.parametrize(
    ("wrong", "look_at"),
    [
        (BY_PASSWORD | {"OS_PASSWORD": "in chalk"}, "OS_PASSWORD"),
        (BY_PASSWORD | {"OS_USERNAME": "nobody"}, "OS_USERNAME"),
        (BY_PASSWORD | {"OS_PROJECT_NAME": "another"}, "OS_PROJECT"),
        (BY_PASSWORD | {"OS_USER_DOMAIN_NAME": "another"}, "OS_USERNAME"),
        (BY_APPLICATION | {"OS_APPLICATION_CREDENTIAL_SECRET": "in chalk"}, "OS_APPLICATION_CREDENTIAL"),
        (BY_PASSWORD | {"OS_REGION_NAME": "west"}, "OS_REGION_NAME"),
        (BY_PASSWORD | {"OS_INTERFACE": "admin"}, "OS_INTERFACE"),
    ],
)
def test_what_keystone_does_not_know_is_a_refusal_that_says_where_to_look(
    keystone: dict[str, str], container: str, wrong: dict[str, str], look_at: str
) -> None:
    with opened(keystone | wrong, container) as store, pytest.raises(StoreRefused, match=look_at) as error:
        store.stat(BASE)
    assert "chalk" not in str(error.value)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_keystone_that_fails_for_now_is_unavailable(
    keystone: dict[str, str], container: str, identity: Identity, status: int
) -> None:
    identity.status = status
    with opened(keystone | BY_PASSWORD, container) as store, pytest.raises(StoreUnavailable):
        store.stat(BASE)


def test_a_keystone_that_is_not_there_is_unavailable(container: str) -> None:
    environ = BY_PASSWORD | {"OS_AUTH_URL": "http://127.0.0.1:9"}
    with opened(environ, container) as store, pytest.raises(StoreUnavailable):
        store.stat(BASE)


def test_the_storage_url_may_be_told_instead_of_looked_up(
    keystone: dict[str, str], container: str, swift: Swift
) -> None:
    storage_url = credentials_of(swift.environ).sign_in(timeout=10).storage_url
    told = {"OS_REGION_NAME": "west", "OS_STORAGE_URL": storage_url}
    with opened(keystone | BY_PASSWORD | told, container) as store:
        assert use(store) == b"content"


def test_secrets_may_lie_in_files(keystone: dict[str, str], swift: Swift, container: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("testing\n")
    (tmp_path / "password").write_text("in oil\n")
    v1 = swift.environ | {"ST_KEY_FILE": str(tmp_path / "key")}
    del v1["ST_KEY"]
    v3 = keystone | BY_PASSWORD | {"OS_PASSWORD_FILE": str(tmp_path / "password")}
    del v3["OS_PASSWORD"]
    for environ in (v1, v3):
        with opened(environ, container) as store:
            assert use(store) == b"content"


@pytest.mark.parametrize(
    ("environ", "names_it"),
    [
        ({}, "ST_AUTH.*OS_AUTH_URL"),
        ({"ST_AUTH": "http://swift"}, "ST_USER"),
        ({"ST_AUTH": "http://swift", "ST_USER": "me"}, "ST_KEY.*ST_KEY_FILE"),
        ({"ST_AUTH": "http://swift", "ST_USER": "me", "ST_KEY_FILE": "/absent"}, "ST_KEY_FILE.*absent"),
        ({"ST_AUTH": "swift", "ST_USER": "me", "ST_KEY": "x"}, "ST_AUTH.*http"),
        ({"OS_AUTH_URL": "http://keystone"}, "OS_USERNAME"),
        ({"OS_AUTH_URL": "keystone"} | BY_PASSWORD, "OS_AUTH_URL.*http"),
        ({"OS_AUTH_URL": "http://keystone", "OS_USERNAME": "me", "OS_PASSWORD": "x"}, "OS_PROJECT_NAME"),
        ({"OS_AUTH_URL": "http://keystone", "OS_AUTH_TYPE": "v3applicationcredential"}, "CREDENTIAL_ID"),
    ],
)
def test_credentials_that_are_incomplete_are_a_wrong_setting(environ: dict[str, str], names_it: str) -> None:
    with pytest.raises(ConfigError, match=names_it):
        credentials_of(environ)


@pytest.mark.parametrize("show", [repr, str])
def test_secrets_do_not_show(show: Callable[[object], str]) -> None:
    v1 = credentials_of({"ST_AUTH": "http://swift", "ST_USER": "me", "ST_KEY": "hush"})
    v3 = credentials_of(BY_PASSWORD | {"OS_AUTH_URL": "http://keystone", "OS_PASSWORD": "hush"})
    assert "hush" not in show(v1) + show(v3) + show(Access("http://swift", "hush"))
