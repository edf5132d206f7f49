"""Parts of paths that have a form; a path that has another one is nobody's: 404."""

from __future__ import annotations

from django.urls import register_converter


class IdentConverter:
    """64 lower-case hex digits."""

    regex = "[0-9a-f]{64}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(IdentConverter, "ident")
