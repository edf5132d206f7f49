"""Every IMAGEREPO_* setting: its type, its default, one line of help. `imagerepo config` prints them."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from imagerepo.errors import ConfigError

PREFIX = "IMAGEREPO_"
SECRETS = ("admin_token", "metrics_token")
"""Settings that a file may hold: IMAGEREPO_ADMIN_TOKEN_FILE names one for the first."""
STORE_SCHEMES = ("file", "swift")
MIB = 1 << 20
GIB = 1 << 30

SETTLE_TIMEOUTS = 8
"""A DELETE may take a quarter of the time to settle, which is as long as two silences of the store."""
LONGEST_SECONDS = 10 * 365 * 86400.0
Seconds = Annotated[float, Field(gt=0, le=LONGEST_SECONDS, allow_inf_nan=False)]
Interval = Annotated[float, Field(ge=0, le=LONGEST_SECONDS, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Config(BaseSettings):
    """The settings of one process, checked once at its start. Fields are documented by their help."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    data_dir: Path = Field(
        Path("imagerepo-data"),
        description="Folder of the SQLite file and the spool. Ephemeral: it may be lost at any time.",
    )
    require_store_url: bool = Field(
        False,
        description="Refuse to start without IMAGEREPO_STORE_URL. Set in the container: its disk is no place "
        "for what must last.",
    )
    store_url: str = Field(
        "",
        description="Where objects are kept: file:///path or swift://container[/prefix].",
    )
    snapshot_url: str = Field("", description="Where snapshots are kept, if elsewhere than the objects.")
    admin_token: SecretStr | None = Field(None, description="The first admin token, 16 characters or more.")
    metrics_token: SecretStr | None = Field(
        None,
        description="Who asks for /metrics must send it as a bearer token, 16 characters or more; none: anybody may.",
    )
    public_browse: bool = Field(True, description="Whether browsing needs no token.")
    max_upload_bytes: Count = Field(64 * MIB, description="Largest image, in bytes.")
    max_pixels: Count = Field(
        100_000_000, description="Pixels per frame; all frames together may have 4 times as many."
    )
    max_frames: Count = Field(1000, description="Frames per image.")
    decode_seconds: Seconds = Field(10.0, description="Time to decode one image, in seconds.")
    decode_memory_bytes: Count = Field(GIB, description="Memory to decode one image, in bytes.")
    decode_workers: Count = Field(2, description="Images decoded at once, each in a process of its own.")
    cache_max_bytes: Count = Field(10 * GIB, description="Derivatives kept in the store, in bytes. Not in force yet.")
    session_seconds: Seconds = Field(86400.0, description="An open session's life without a write, in seconds.")
    grace_seconds: Seconds = Field(
        172800.0,
        description="Age below which reconcile deletes no object, and pruning no part that nothing names, in seconds.",
    )
    delete_settle_seconds: Seconds = Field(
        900.0,
        description="Longest time, in seconds, that a request to the store can be under way, or a process can rest "
        "before it sends one. A deletion in doubt is settled after it: until then a commit that adds that image "
        "waits. At least 8 times IMAGEREPO_STORE_TIMEOUT_SECONDS.",
    )
    history_seconds: Annotated[float, Field(ge=0, le=LONGEST_SECONDS, allow_inf_nan=False)] = Field(
        0.0,
        description="How long what revisions showed can be asked for, in seconds; older versions of images are "
        "deleted. 0: for ever.",
    )
    fixity_days: Annotated[float, Field(ge=0, le=3650, allow_inf_nan=False)] = Field(
        90.0, description="Within how many days every base is read and compared with its digest again. 0: never."
    )
    retention_seconds: Seconds = Field(
        2592000.0, description="How far back `imagerepo restore --at` reaches after a prune, in seconds."
    )
    snapshot_seconds: Interval = Field(
        300.0,
        description="How soon what is only staged is shipped too, in seconds; 0: with the next commit. It is no "
        "commit: after the loss of the disk these sessions are still there to say that they were aborted, and what "
        "the next commit ships stays small.",
    )
    drill_seconds: Interval = Field(
        86400.0,
        description="How often the newest snapshot is restored beside and looked at, in seconds; 0: only by "
        "`imagerepo drill`.",
    )
    commit_wait_seconds: Seconds = Field(60.0, description="How long a commit's request waits before it answers 202.")
    delivery_max_age: Annotated[int, Field(ge=0)] = Field(
        31536000, description="max-age of delivered images, in seconds."
    )
    store_timeout_seconds: Seconds = Field(
        45.0,
        description="Longest silence of the store in one request, in seconds. "
        "Keep it above Swift's node_timeout times its replicas.",
    )
    store_threads: Count = Field(8, description="Objects uploaded at once by one worker.")
    epoch_check_seconds: Seconds = Field(
        15.0, description="How often an idle writer looks whether it was fenced, in seconds."
    )
    derivative_workers: Count = Field(2, description="Derivatives made at once by one worker.")

    body_grace_seconds: Seconds = Field(
        10.0, description="How long a request's body may take, whatever its pace, in seconds."
    )
    body_bytes_per_second: Count = Field(
        4096, description="The least pace of a body after that, on average, in bytes per second; below it: 408."
    )
    bodies_at_once: Count = Field(1024, description="Bodies being received by one worker; one more is answered 429.")
    reading_threads: Count = Field(32, description="Requests that read, answered at once by one worker.")
    writing_threads: Count = Field(
        32, description="Requests that write, carried out at once by one worker; a commit waits in one."
    )

    @field_validator("store_url", "snapshot_url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        if not url:
            return url
        parts = urlsplit(url)
        if parts.scheme not in STORE_SCHEMES:
            raise ValueError(f"{url!r} is not file:///path or swift://container[/prefix]")
        if parts.scheme == "swift" and not parts.netloc:
            raise ValueError(f"{url!r} names no container: swift://container[/prefix]")
        if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
            raise ValueError(f"{url!r} is not an absolute path: file:///path")
        return url

    @field_validator(*SECRETS)
    @classmethod
    def _long_enough(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and len(token.get_secret_value()) < 16:
            raise ValueError("takes 16 characters or more")
        return token

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in SECRETS:
            variable = f"{PREFIX}{name.upper()}_FILE"
            path = os.environ.get(variable)
            if path and values.get(name) is None:
                try:
                    values[name] = Path(path).read_text().strip()
                except (OSError, UnicodeDecodeError) as error:
                    raise ValueError(f"{variable}: can't be read: {error}") from None
        return values

    @model_validator(mode="after")
    def _has_a_store(self) -> Config:
        if self.require_store_url and not self.store_url:
            raise ValueError(
                f"{PREFIX}STORE_URL: must be given here: swift://container[/prefix], or file:///path of a "
                "folder that outlives this container"
            )
        return self

    @model_validator(mode="after")
    def _settles_after_the_longest_request(self) -> Config:
        least = SETTLE_TIMEOUTS * self.store_timeout_seconds
        if self.delete_settle_seconds < least:
            raise ValueError(
                f"{PREFIX}DELETE_SETTLE_SECONDS: {self.delete_settle_seconds:g} is less than {SETTLE_TIMEOUTS} times "
                f"{PREFIX}STORE_TIMEOUT_SECONDS ({self.store_timeout_seconds:g}): set it to {least:g} or more"
            )
        return self

    @property
    def abandoned_seconds(self) -> float:
        """Age at which what a writer of an older epoch left unfinished stays so: no request of its is under way."""
        return max(self.grace_seconds, self.delete_settle_seconds)

    @property
    def resolved_store_url(self) -> str:
        return self.store_url or f"file://{Path('imagerepo-store').resolve()}"

    @property
    def resolved_snapshot_url(self) -> str:
        return self.snapshot_url or self.resolved_store_url

    @property
    def snapshot_place(self) -> str:
        """The store of the snapshots, for a person: its URL, without what may be secret in it, and its setting."""
        parts = urlsplit(self.resolved_snapshot_url)
        said = f"{PREFIX}SNAPSHOT_URL" if self.snapshot_url else f"{PREFIX}STORE_URL"
        how = f"by {said}" if self.snapshot_url or self.store_url else f"{said} is not set"
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path} ({how})"


def load_config() -> Config:
    """The settings of the environment. Raises ConfigError, naming each variable and what it takes."""
    try:
        return Config()  # type: ignore[call-arg]  # every field has a default
    except ValidationError as error:
        lines = [_explain(item["loc"], item["msg"]) for item in error.errors()]
        raise ConfigError("bad settings:\n  " + "\n  ".join(lines)) from None


def _explain(location: tuple[int | str, ...], message: str) -> str:
    """One line: the variable, and what it takes."""
    name = "_".join(str(part) for part in location).upper()
    return (f"{PREFIX}{name}: " if name else "") + message.removeprefix("Value error, ")


@lru_cache(maxsize=1)
def get_config() -> Config:
    """The settings of this process, read once."""
    return load_config()
