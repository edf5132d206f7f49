"""Who asks: a bearer token stands for a name and a role."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from pydantic import SecretStr

from imagerepo.catalogue.models import Token
from imagerepo.config import Config

Role: TypeAlias = Literal["reader", "contributor", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""From the least to the most; each includes those before it."""

ADMIN_NAME = "admin"
"""Owner of what IMAGEREPO_ADMIN_TOKEN does."""
RECONCILE_NAME = "reconcile"
"""Owner of the sessions that remove images whose bases the store has lost."""


@dataclass(frozen=True)
class Actor:
    """The name of a token, which owns sessions, and what it may do."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether this actor's role includes `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)


def token_digest(token: str) -> bytes:
    """What is kept of a token: SHA-256 of its text, 32 bytes."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def identify(token: str, config: Config) -> Actor | None:
    """Whose token it is, or None for nobody's. Reads one row at most and writes nothing."""
    digest = token_digest(token)
    if _is(digest, config.admin_token):
        return Actor(ADMIN_NAME, "admin")
    row = Token.objects.filter(digest=digest).first()
    if row is None or not hmac.compare_digest(bytes(row.digest), digest):
        return None
    return Actor(row.name, _role(row.role))


def may_scrape(token: str, config: Config) -> bool:
    """Whether it is the token that the metrics are guarded by."""
    return _is(token_digest(token), config.metrics_token)


def _is(digest: bytes, secret: SecretStr | None) -> bool:
    return secret is not None and hmac.compare_digest(token_digest(secret.get_secret_value()), digest)


def _role(text: str) -> Role:
    for role in ROLES:
        if role == text:
            return role
    return "reader"
