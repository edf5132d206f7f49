"""What GET /images/{ident}/fit asks for: a box, and a format or none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from django.http import HttpRequest
from rest_framework import serializers
from rest_framework.request import Request

from imagerepo.api.listing import Whole, plain
from imagerepo.api.validation import StrictSerializer, Text, validated
from imagerepo.catalogue.models import Image
from imagerepo.errors import TooCostlyToMake
from imagerepo.store import variants
from imagerepo.store.names import FORMATS, MAX_SIDE, Format, Variant

PREFERRED: tuple[Format, ...] = ("avif", "webp")
"""Formats that a client gets if it names them in `Accept`: a wildcard does not say that it can read them."""


@dataclass(frozen=True)
class Fit:
    """The box in pixels, a side of it left free by None. No format: the client's `Accept` decides."""

    width: int | None
    height: int | None
    format: Format | None

    @classmethod
    def asked(cls, request: Request) -> Self:
        """Raises BadRequest with all that is wrong."""
        given = validated(FitParameters(data=plain(request.query_params)))
        return cls(given.get("width"), given.get("height"), given.get("format"))

    def variant(self, request: Request, image: Image) -> Variant:
        """The derivative of `image` that fits. Raises TooCostlyToMake where its format has no such size."""
        size = variants.fit(image.width, image.height, self.width, self.height)
        variant = Variant(*size, self.format or _acceptable(request._request, image, size))
        variants.check(variant, image.width, image.height)
        return variant


class FitParameters(StrictSerializer):
    """The query of a fit. `at` is read where the image is looked up."""

    width = Whole(low=1, high=MAX_SIDE, required=False)
    height = Whole(low=1, high=MAX_SIDE, required=False)
    format = serializers.ChoiceField(choices=FORMATS, required=False)
    at = Text(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not {"width", "height"} & attrs.keys():
            raise serializers.ValidationError("give width, height or both, in pixels", "required")
        return attrs


def _acceptable(request: HttpRequest, image: Image, size: tuple[int, int]) -> Format:
    """The format that the client wishes for most; among equals the one that makes the smallest file."""
    fallback: Format = "png" if image.has_alpha else "jpg"
    wishes: dict[Format, float] = {
        format: _named_quality(request, format) for format in PREFERRED if _has_size(format, image, size)
    }
    accepted = request.accepted_type(variants.MEDIA_TYPES[fallback])
    wishes[fallback] = accepted.quality if accepted else 0.0
    best = max(wishes, key=lambda format: wishes[format])
    return best if wishes[best] else fallback


def _named_quality(request: HttpRequest, format: Format) -> float:
    main_type, _, sub_type = variants.MEDIA_TYPES[format].partition("/")
    named = (offer for offer in request.accepted_types if (offer.main_type, offer.sub_type) == (main_type, sub_type))
    return max((offer.quality for offer in named), default=0.0)


def _has_size(format: Format, image: Image, size: tuple[int, int]) -> bool:
    try:
        variants.check(Variant(*size, format), image.width, image.height)
    except TooCostlyToMake:
        return False
    return True
