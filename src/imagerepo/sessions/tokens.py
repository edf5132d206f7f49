"""Bearer tokens: made here, kept hashed, durable before they are shown."""

from __future__ import annotations

import re
import secrets

from django.utils import timezone

from imagerepo.catalogue.deeds import OPERATOR, RESERVED, Deed, entry
from imagerepo.catalogue.models import Token
from imagerepo.durability.writer import Writer
from imagerepo.errors import ConfigError
from imagerepo.sessions import lane
from imagerepo.sessions.actors import ADMIN_NAME, RECONCILE_NAME, ROLES, token_digest

_TAKEN = {
    ADMIN_NAME: "owns what IMAGEREPO_ADMIN_TOKEN makes",
    RECONCILE_NAME: "owns the sessions that reconcile commits",
} | dict.fromkeys(RESERVED, "stands for the service itself in the audit log")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")


def create(writer: Writer, name: str, role: str) -> str:
    """Make a token, and return it once its row is durable: it can't be shown again.

    Raises ConfigError where the name is taken or either is not of its form.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no token name: 1 to 100 letters, digits and ._@- , a letter or digit first")
    if why := _TAKEN.get(name):
        raise ConfigError(f"{name!r} {why}: choose another name")
    if role not in ROLES:
        raise ConfigError(f"{role!r} is no role: take one of {', '.join(ROLES)}")
    token = secrets.token_urlsafe(32)

    def insert() -> None:
        if Token.objects.filter(name=name).exists():
            raise ConfigError(f"there is a token named {name!r} already: choose another name")
        Token.objects.create(name=name, role=role, digest=token_digest(token), created_at=timezone.now())
        entry(OPERATOR, Deed.TOKEN, name, role=role).save()

    lane.publish(writer, insert)
    return token
