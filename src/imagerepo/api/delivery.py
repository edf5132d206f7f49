"""Delivery: images under the very names that they have in the store, and the way to a name that fits a box."""

from __future__ import annotations

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils.cache import patch_vary_headers
from rest_framework.request import Request
from rest_framework.response import Response

from imagerepo.api import bases, converters, derivatives  # noqa: F401  # converters: <ident:…>
from imagerepo.api.answers import empty
from imagerepo.api.fitting import Fit
from imagerepo.api.lookups import live_version, revision_asked
from imagerepo.api.public import PublicView, cache_control
from imagerepo.api.requests import NoSuchResource, NotCanonical, RangeNotSatisfiable
from imagerepo.errors import InvalidName
from imagerepo.sessions.service import current
from imagerepo.store import names
from imagerepo.store.names import Base, Derivative

REDIRECT_MAX_AGE_SECONDS = 3600
"""How long a redirection to a canonical name is kept: what it says may change with the formats on offer."""

CONTENT_SECURITY_POLICY = "default-src 'none'; sandbox"
"""An image opened as a page of its own runs nothing and loads nothing."""


class DeliveryView(PublicView):
    """GET /images/{name}: a base or a derivative. `at` asks for an image of another revision."""

    def get(self, request: Request, name: str) -> HttpResponseBase:
        thing = _parse(name)
        version = live_version(thing.ident, revision_asked(request))
        headers = {
            "Cache-Control": cache_control(f"max-age={current().config.delivery_max_age}, immutable"),
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        }
        if isinstance(thing, Base):
            return bases.deliver(request, version.image, headers)
        return derivatives.deliver(request, version.image, thing.variant, headers)

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        if isinstance(exc, RangeNotSatisfiable):
            response["Content-Range"] = f"bytes */{exc.size}"
        return response


class FitView(PublicView):
    """GET /images/{ident}/fit: the canonical name of the image at the largest size that a box holds."""

    def get(self, request: Request, ident: str) -> HttpResponse:
        fit = Fit.asked(request)
        image = live_version(ident, revision_asked(request)).image
        at = request.query_params.get("at")
        location = f"/{names.derivative(ident, fit.variant(request, image))}" + (f"?at={at}" if at else "")
        rule = cache_control(f"max-age={min(REDIRECT_MAX_AGE_SECONDS, current().config.delivery_max_age)}")
        response = empty(302, headers={"Location": location, "Cache-Control": rule})
        if fit.format is None:
            patch_vary_headers(response, ["Accept"])
        return response


def _parse(name: str) -> Base | Derivative:
    """Raises NotCanonical, and NoSuchResource for what does not begin as the name of an image."""
    if not names.is_ident(name.lower()[:64]):
        raise NoSuchResource("no image has this name: names begin with 64 hex digits")
    full = f"{names.IMAGES}{name}"
    try:
        thing = names.parse(full)
    except InvalidName as error:
        meant = names.suggest(full)
        raise NotCanonical(str(error), canonical=meant and f"/{meant}") from None
    assert isinstance(thing, Base | Derivative)  # noqa: S101  # the prefix has no others
    return thing


urlpatterns = [
    path("images/<str:name>", DeliveryView.as_view()),
    path("images/<ident:ident>/fit", FitView.as_view()),
]
