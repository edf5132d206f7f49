"""Scripts of sessions: typed operations, to be carried out on the reference model and on a real repository.

    script = (Open("a"), Stage("a", picture), Commit("a"))
    assert play(script, Reference()) == play(script, Remote(client))

`strategies.scripts` draws them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from imagerepo.testing.images import Picture
from imagerepo.testing.reference import Refused, Repository

Outcome: TypeAlias = object
"""What an operation gave; of a refusal the problem, and the codes of conflicts by ident."""


@dataclass(frozen=True)
class Open:
    session: str

    def on(self, repository: Repository) -> None:
        repository.open(self.session)


@dataclass(frozen=True)
class Stage:
    session: str
    picture: Picture
    filename: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def on(self, repository: Repository) -> str:
        return repository.stage(self.session, self.picture, filename=self.filename, metadata=self.metadata)


@dataclass(frozen=True)
class Describe:
    session: str
    ident: str
    patch: Mapping[str, Any]

    def on(self, repository: Repository) -> str:
        return repository.describe(self.session, self.ident, self.patch)


@dataclass(frozen=True)
class Remove:
    session: str
    ident: str

    def on(self, repository: Repository) -> None:
        repository.remove(self.session, self.ident)


@dataclass(frozen=True)
class Discard:
    session: str
    ident: str

    def on(self, repository: Repository) -> None:
        repository.discard(self.session, self.ident)


@dataclass(frozen=True)
class Commit:
    session: str

    def on(self, repository: Repository) -> int:
        return repository.commit(self.session)


@dataclass(frozen=True)
class Abort:
    session: str

    def on(self, repository: Repository) -> None:
        repository.abort(self.session)


Operation: TypeAlias = Open | Stage | Describe | Remove | Discard | Commit | Abort
Script: TypeAlias = tuple[Operation, ...]


def carry_out(operation: Operation, repository: Repository) -> Outcome:
    try:
        return operation.on(repository)
    except Refused as refused:
        return refused.problem, refused.conflicts


def play(script: Iterable[Operation], repository: Repository) -> list[Outcome]:
    """Carry out the whole script; a refused operation does not end it."""
    return [carry_out(operation, repository) for operation in script]
