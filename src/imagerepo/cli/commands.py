"""What all commands share: how their `--help` looks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

F = TypeVar("F", bound=Callable[..., Any])


class Command(TyperCommand):
    """Typer's, but that a flag, which takes no value, shows no type of one, and that paragraphs fill the terminal."""

    def __init__(self, *args: Any, help: str | None = None, **given: Any) -> None:
        super().__init__(*args, help=help and _refilled(help), **given)

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types_of_flags(super().get_params(ctx))


class Group(TyperGroup):
    """Likewise."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types_of_flags(super().get_params(ctx))


class Commands(typer.Typer):
    """Typer's, of such commands."""

    def __init__(self, **given: Any) -> None:
        super().__init__(cls=Group, **given)

    def command(self, name: str | None = None, **given: Any) -> Callable[[F], F]:
        return super().command(name, **({"cls": Command} | given))


def _refilled(text: str) -> str:
    """Without the ends of lines within paragraphs, which are those of a docstring."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text).split("\n\n"))


def _without_types_of_flags(params: Sequence[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_bool_flag", False):
            param.metavar = ""
    return list(params)
