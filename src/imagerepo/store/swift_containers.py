"""The names of Swift's containers: the objects' own, and one for each epoch beside it."""

from __future__ import annotations

import re

from imagerepo.errors import ConfigError
from imagerepo.store.names import MAX_NUMBER

MAX_CONTAINER_NAME = 256

_CONTAINER = re.compile(r"(?!.*--)(?!.*-epoch-[0-9]+$)[A-Za-z0-9._](?:[A-Za-z0-9._-]*[A-Za-z0-9._])?")
_PREFIX = re.compile(r"(?!(?:.*/)?\.{1,2}(?:/|$))[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")


def epoch_containers(container: str, prefix: str) -> str:
    """What the names of a repository's epoch containers begin with; a number follows.

    Two repositories never share one: a container's name has no `--` and does not end as an epoch's does, and
    in the prefix all but letters and digits is written as `_` and two hex digits for each byte. Raises
    ConfigError for names that would be ambiguous, or too long for Swift.
    """
    if not _CONTAINER.fullmatch(container):
        raise ConfigError(
            f"swift container {container!r}: use letters, digits, '.', '_' and single '-' inside, "
            "and no name that ends in -epoch-<number>"
        )
    if prefix and not _PREFIX.fullmatch(prefix):
        raise ConfigError(f"swift prefix {prefix!r}: use letters, digits, '.', '_', '-', and '/' between parts")
    escaped = re.sub(r"[^A-Za-z0-9]", lambda match: f"_{ord(match[0]):02x}", prefix)
    begins = f"{container}--{escaped}-epoch-" if prefix else f"{container}-epoch-"
    if len(begins) + len(str(MAX_NUMBER)) > MAX_CONTAINER_NAME:
        raise ConfigError(f"swift://{container}/{prefix} is too long for Swift's names of containers: shorten it")
    return begins
