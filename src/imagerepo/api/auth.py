"""Bearer tokens, and which role a view asks for."""

from __future__ import annotations

from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from imagerepo.api.handlers import CHALLENGE
from imagerepo.sessions.actors import ROLES, Actor, Role, identify, may_scrape
from imagerepo.sessions.service import current

SCHEME = "bearer"


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`. A wrong token is 401 even where none is needed."""

    def authenticate(self, request: Request) -> tuple[Actor, None] | None:
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if not header:
            return None
        scheme, _, token = header.partition(" ")
        if scheme.lower() != SCHEME:
            raise AuthenticationFailed("the Authorization header is not of the form 'Bearer <token>'")
        found = self.identify(token.strip())
        if found is None:
            raise AuthenticationFailed("the bearer token is not one of this repository's")
        return found, None

    def identify(self, token: str) -> Actor | None:
        return identify(token, current().config)

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


def require(role: Role) -> type[BasePermission]:
    """A permission for views: the token's role includes `role`. 401 without a token, 403 for a lesser one."""

    class RoleRequired(BasePermission):
        message = f"this needs a token of the role {role}" + ("" if role == ROLES[-1] else " or higher")

        def has_permission(self, request: Request, view: Any) -> bool:
            return isinstance(request.user, Actor) and request.user.may(role)

    return RoleRequired


SCRAPER = Actor("metrics", "reader")
"""Whoever has IMAGEREPO_METRICS_TOKEN, which is good for the metrics alone."""


class ScraperAuthentication(BearerAuthentication):
    """Takes IMAGEREPO_METRICS_TOKEN too."""

    def identify(self, token: str) -> Actor | None:
        return SCRAPER if may_scrape(token, current().config) else super().identify(token)


class MayScrape(BasePermission):
    """Anybody where no IMAGEREPO_METRICS_TOKEN is set, else who has that one, and admins."""

    message = "the metrics need their own token here, or an admin's"

    def has_permission(self, request: Request, view: Any) -> bool:
        if current().config.metrics_token is None:
            return True
        return isinstance(request.user, Actor) and (request.user is SCRAPER or request.user.may("admin"))


class MayBrowse(BasePermission):
    """Anybody where browsing is public (IMAGEREPO_PUBLIC_BROWSE), else any token."""

    message = "browsing needs a token here"

    def has_permission(self, request: Request, view: Any) -> bool:
        return current().config.public_browse or isinstance(request.user, Actor)


def actor(request: Request) -> Actor:
    """Who asks, in a view that has a `require`."""
    assert isinstance(request.user, Actor)  # noqa: S101  # the view's permission saw to it
    return request.user
