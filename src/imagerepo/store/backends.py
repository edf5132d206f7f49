"""Opening the store that a setting names."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from imagerepo.config import Config
from imagerepo.errors import ConfigError
from imagerepo.store.door import Door
from imagerepo.store.local import LocalStore
from imagerepo.store.memory import MemoryStore
from imagerepo.store.objects import ObjectStore


def open_store(url: str, *, config: Config, reading: bool = False) -> ObjectStore:
    """The store at `file:///path` or `swift://container[/prefix]`; close it after use.

    Swift's credentials are read from the environment (see store/swift_auth.py); nothing is sent yet. For `reading`
    no folder is made: an absent one is an empty store. Raises ConfigError for a URL or credentials that can't be right,
    StoreRefused for a folder that can't be made.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return Door(LocalStore(Path(unquote(parts.path)), reading=reading))
    if parts.scheme == "swift" and not (parts.query or parts.fragment):
        return _open_swift(parts.netloc, unquote(parts.path).strip("/"), timeout=config.store_timeout_seconds)
    raise ConfigError(f"{url!r} is no store: write file:///path or swift://container[/prefix]")


def open_memory() -> ObjectStore:
    """A new, empty store in this process's memory, for tests."""
    return Door(MemoryStore())


def _open_swift(container: str, prefix: str, *, timeout: float) -> ObjectStore:
    # Imported here: the HTTP libraries behind it would slow every start that needs no Swift.
    from imagerepo.store.swift import SwiftStore
    from imagerepo.store.swift_auth import credentials_of

    return Door(SwiftStore(container, prefix, credentials_of(os.environ), timeout=timeout))
