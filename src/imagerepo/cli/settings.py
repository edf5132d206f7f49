"""`imagerepo config` and `imagerepo manage`."""

from __future__ import annotations

import textwrap
import typing
from pathlib import Path
from typing import Any

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from imagerepo.boot import boot
from imagerepo.cli.output import AsJson, show_lines
from imagerepo.config import PREFIX, Config, load_config

HIDDEN = "(hidden)"
LINE_CHARACTERS = 80
TYPES = {str: "text", SecretStr: "text", Path: "path", bool: "true or false", int: "number", float: "number"}


def config(as_json: AsJson = False) -> None:
    """Print every setting with its meaning, as a file of environment variables. Secrets are not shown."""
    settings = load_config()
    rows = [_row(settings, name, field) for name, field in Config.model_fields.items()]
    show_lines(rows, as_json=as_json, line=_lines)


def manage(context: typer.Context) -> None:
    """Run a command of Django's own (`imagerepo manage help`), for developers. It goes past the lane."""
    boot()
    from django.core.management import execute_from_command_line

    execute_from_command_line(["imagerepo manage", *context.args])


def _row(settings: Config, name: str, field: FieldInfo) -> dict[str, Any]:
    return {
        "variable": f"{PREFIX}{name.upper()}",
        "value": _shown(getattr(settings, name)),
        "default": _shown(field.default),
        "type": _type(field.annotation),
        "meaning": field.description,
    }


def _lines(row: dict[str, Any]) -> str:
    default = "none" if row["default"] in (None, "") else row["default"]
    comment = textwrap.fill(
        f"{row['meaning']} ({row['type']}, default {default})",
        LINE_CHARACTERS,
        initial_indent="# ",
        subsequent_indent="# ",
    )
    return f"{comment}\n{row['variable']}={_plain(row['value'])}\n"


def _plain(value: Any) -> str:
    """As the environment has it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return HIDDEN
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _type(annotation: Any) -> str:
    """As a user would call it: the first member of `X | None`."""
    plain = next(iter(typing.get_args(annotation)), annotation)
    return TYPES[plain]
