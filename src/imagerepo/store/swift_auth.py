"""Signing in to Swift, with the credentials that OpenStack's own clients take from the environment.

v1         ST_AUTH  ST_USER  ST_KEY
Keystone   OS_AUTH_URL  OS_USERNAME (or OS_USER_ID)  OS_PASSWORD  OS_PROJECT_NAME (or OS_PROJECT_ID)
           OS_USER_DOMAIN_NAME|_ID  OS_PROJECT_DOMAIN_NAME|_ID (else the domain `default`)
           or OS_AUTH_TYPE=v3applicationcredential with OS_APPLICATION_CREDENTIAL_ID and _SECRET
           OS_REGION_NAME  OS_INTERFACE (public)  OS_STORAGE_URL (instead of the catalogue's)
both       OS_CACERT (file of certificates to trust)

ST_KEY_FILE, OS_PASSWORD_FILE and OS_APPLICATION_CREDENTIAL_SECRET_FILE name a file that holds the secret.
ST_AUTH goes before OS_AUTH_URL when both are set.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import requests
from keystoneauth1 import exceptions as keystone_errors
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from imagerepo.errors import ConfigError, StoreError, StoreRefused, StoreUnavailable

log = logging.getLogger(__name__)

_PASSING_STATUSES = frozenset({408, 429})


@dataclass(frozen=True)
class Access:
    """A sign-in's fruit: where the objects are, and the token that opens them until it expires."""

    storage_url: str
    token: str = field(repr=False)


class Credentials(Protocol):
    @property
    def cacert(self) -> str | None: ...

    def sign_in(self, *, timeout: float) -> Access:
        """Raises StoreRefused (they are wrong), StoreUnavailable (no answer, or "later")."""
        ...


@dataclass(frozen=True)
class V1:
    """Swift's own sign-in: a user and a key."""

    auth_url: str
    user: str
    key: str = field(repr=False)
    cacert: str | None = None

    def sign_in(self, *, timeout: float) -> Access:
        try:
            answer = requests.get(
                self.auth_url,
                headers={"X-Auth-User": self.user, "X-Auth-Key": self.key},
                auth=lambda request: request,  # or a .netrc of this machine would add its own
                verify=self.cacert or True,
                timeout=timeout,
            )
        except requests.RequestException as error:
            raise _no_answer(self.auth_url, error) from error
        url = answer.headers.get("X-Storage-Url")
        token = answer.headers.get("X-Storage-Token") or answer.headers.get("X-Auth-Token")
        if not answer.ok or not url or not token:
            raise _refusal(self.auth_url, f"user {self.user!r}", answer.status_code, "ST_USER and ST_KEY")
        return Access(url, token)


@dataclass(frozen=True)
class Keystone:
    """OpenStack's identity service, version 3; `plugin` holds the user and the project."""

    auth_url: str
    plugin: Any = field(repr=False)
    who: str
    look_at: str
    region: str | None = None
    interface: str = "public"
    storage_url: str | None = None
    cacert: str | None = None

    def sign_in(self, *, timeout: float) -> Access:
        with requests.Session() as http:
            session = Session(self.plugin, session=http, verify=self.cacert or True, timeout=timeout)
            try:
                self.plugin.invalidate()
                token, url = session.get_token(), self.storage_url or self._endpoint(session)
            except keystone_errors.HttpError as error:
                raise _refusal(self.auth_url, self.who, error.http_status, self.look_at) from error
            except keystone_errors.ClientException as error:
                raise _no_answer(self.auth_url, error) from error
        if not token or not url:
            raise self._no_storage()
        return Access(url, token)

    def _endpoint(self, session: Session) -> str | None:
        try:
            url: str | None = session.get_endpoint(
                service_type="object-store", interface=self.interface, region_name=self.region
            )
        except keystone_errors.CatalogException:
            return None
        return url

    def _no_storage(self) -> StoreRefused:
        where = f"in region {self.region!r}" if self.region else "for this project"
        hint = "look at OS_REGION_NAME and OS_INTERFACE, or set OS_STORAGE_URL"
        return StoreRefused(
            f"{self.auth_url} knows no {self.interface} object store {where}: {hint}", op="sign in", hint=hint
        )


def credentials_of(environ: Mapping[str, str]) -> Credentials:
    """The credentials in `environ`. Raises ConfigError, naming each variable that is missing."""
    if "ST_AUTH" in environ:
        return _v1(environ)
    if "OS_AUTH_URL" in environ:
        return _keystone(environ)
    raise ConfigError(
        "a swift:// store needs credentials: set ST_AUTH, ST_USER and ST_KEY, "
        "or OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and OS_PROJECT_NAME"
    )


def _v1(environ: Mapping[str, str]) -> V1:
    return V1(
        auth_url=_url(environ, "ST_AUTH"),
        user=_required(environ, "ST_USER"),
        key=_secret(environ, "ST_KEY"),
        cacert=environ.get("OS_CACERT"),
    )


def _keystone(environ: Mapping[str, str]) -> Keystone:
    auth_url = _url(environ, "OS_AUTH_URL").rstrip("/")
    if not auth_url.endswith("/v3"):
        auth_url += "/v3"
    by_application = environ.get("OS_AUTH_TYPE") == "v3applicationcredential"
    return Keystone(
        auth_url=auth_url,
        plugin=(_application_credential if by_application else _password)(environ, auth_url),
        who="this application credential" if by_application else f"user {_user(environ)!r}",
        look_at="OS_APPLICATION_CREDENTIAL_*" if by_application else "OS_USERNAME, OS_PASSWORD, OS_PROJECT_*",
        region=environ.get("OS_REGION_NAME"),
        interface=environ.get("OS_INTERFACE") or environ.get("OS_ENDPOINT_TYPE") or "public",
        storage_url=environ.get("OS_STORAGE_URL"),
        cacert=environ.get("OS_CACERT"),
    )


def _application_credential(environ: Mapping[str, str], auth_url: str) -> v3.ApplicationCredential:
    return v3.ApplicationCredential(
        auth_url,
        application_credential_id=_required(environ, "OS_APPLICATION_CREDENTIAL_ID"),
        application_credential_secret=_secret(environ, "OS_APPLICATION_CREDENTIAL_SECRET"),
    )


def _password(environ: Mapping[str, str], auth_url: str) -> v3.Password:
    _user(environ)
    project = environ.get("OS_PROJECT_NAME") or environ.get("OS_TENANT_NAME")
    project_id = environ.get("OS_PROJECT_ID") or environ.get("OS_TENANT_ID")
    if not project and not project_id:
        raise ConfigError("OS_PROJECT_NAME (or OS_PROJECT_ID) is not set")
    return v3.Password(
        auth_url,
        username=environ.get("OS_USERNAME"),
        user_id=environ.get("OS_USER_ID"),
        password=_secret(environ, "OS_PASSWORD"),
        project_name=project,
        project_id=project_id,
        **_domain(environ, "user"),
        **_domain(environ, "project"),
    )


def _domain(environ: Mapping[str, str], of: str) -> dict[str, Any]:
    for kind in ("id", "name"):
        if value := environ.get(f"OS_{of}_DOMAIN_{kind}".upper()):
            return {f"{of}_domain_{kind}": value}
    return {f"{of}_domain_id": "default"}


def _user(environ: Mapping[str, str]) -> str:
    return environ.get("OS_USER_ID") or _required(environ, "OS_USERNAME")


def _required(environ: Mapping[str, str], variable: str) -> str:
    if value := environ.get(variable):
        return value
    raise ConfigError(f"{variable} is not set")


def _url(environ: Mapping[str, str], variable: str) -> str:
    url = _required(environ, variable)
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{variable}: {url!r} is not an http:// or https:// address")
    return url


def _secret(environ: Mapping[str, str], variable: str) -> str:
    if value := environ.get(variable):
        return value
    path = environ.get(f"{variable}_FILE")
    if not path:
        raise ConfigError(f"neither {variable} nor {variable}_FILE is set")
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise ConfigError(f"{variable}_FILE: can't be read: {error}") from None


def _refusal(auth_url: str, who: str, status: int, look_at: str) -> StoreError:
    if status >= 500 or status in _PASSING_STATUSES:
        return StoreUnavailable(f"{auth_url} answered {status} to the sign-in", op="sign in")
    return StoreRefused(
        f"{auth_url} refused {who} ({status}): look at {look_at}", op="sign in", hint=f"look at {look_at}"
    )


def _no_answer(auth_url: str, error: Exception) -> StoreError:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        hint = "name its certificate authority in OS_CACERT"
        return StoreRefused(f"{auth_url} shows a certificate that is not trusted: {hint}", op="sign in", hint=hint)
    log.info("no answer to the sign-in at %s: %s", auth_url, error)  # nobody's business
    return StoreUnavailable("Swift's sign-in does not answer", op="sign in")
