"""Shipped for tests of the service and of its users (docs/testing.md). `strategies` alone needs hypothesis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagerepo.testing.faulty import FaultyStore

__all__ = ["FaultyStore"]


def __getattr__(name: str) -> Any:
    # When it is asked for: the service itself passes this package's failpoints, and needs nothing else of it.
    if name == "FaultyStore":
        from imagerepo.testing.faulty import FaultyStore

        return FaultyStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
