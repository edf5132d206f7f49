"""The reference model: what a repository must say and show, as dicts, for a test to compare the real one with.

    reference = Reference()
    reference.open("a")
    reference.stage("a", picture, metadata={"title": "A"})
    reference.commit("a")          # 1
    reference.live()               # {ident: {"title": "A", …}}
    reference.live(at=0)           # {}

It shares no code with the service. Sessions have the names that the test gives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TypeAlias

from imagerepo.testing.images import Picture

Action: TypeAlias = Literal["add", "update", "remove", "none"]
Code: TypeAlias = Literal["added", "changed", "removed"]
Description: TypeAlias = dict[str, Any]
"""All that is said of an image, by member, as the HTTP interface spells it."""
Live: TypeAlias = dict[str, Description]
"""What a visitor sees, by ident."""

NOTHING_SAID: Mapping[str, Any] = {
    "filename": "",
    "title": "",
    "description": "",
    "alt_text": "",
    "creator": "",
    "rights": "",
    "taken_at": None,
    "tags": [],
    "attributes": {},
}


class Refused(Exception):
    """`problem` is the last part of the type of the service's answer; `conflicts` are codes by ident."""

    def __init__(self, problem: str, conflicts: Mapping[str, Code] | None = None) -> None:
        super().__init__(problem)
        self.problem, self.conflicts = problem, dict(conflicts or {})


class Repository(Protocol):
    """What a script asks of a repository: of this model, or of a real one (`remote.Remote`). Raises Refused."""

    def open(self, session: str) -> None:
        """Begin a session. An earlier one of the same name can't be named any more."""
        ...

    def stage(self, session: str, picture: Picture, *, filename: str = "", metadata: Mapping[str, Any]) -> Action:
        """Upload the picture's bytes. Gives what the commit will do with them. With metadata: a plain filename."""
        ...

    def describe(self, session: str, ident: str, patch: Mapping[str, Any]) -> Action: ...
    def remove(self, session: str, ident: str) -> None: ...
    def discard(self, session: str, ident: str) -> None: ...

    def commit(self, session: str) -> int:
        """Gives the revision."""
        ...

    def abort(self, session: str) -> None: ...

    def staged(self, session: str) -> dict[str, Action]:
        """Changes by ident: `none` is no change."""
        ...

    def live(self, at: int | None = None) -> Live:
        """What a visitor sees at a revision, else at the newest."""
        ...


@dataclass(frozen=True)
class Version:
    """An image's description since revision `since`."""

    since: int
    description: Description


@dataclass
class Change:
    """What is staged for one image. `base`: the `since` of the version that it was made on; None: none was live."""

    action: Action
    base: int | None
    description: Description
    with_metadata: bool = False


@dataclass
class Session:
    state: Literal["open", "live", "aborted", "expired"] = "open"
    changes: dict[str, Change] = field(default_factory=dict)
    revision: int | None = None

    def effective(self) -> dict[str, Change]:
        return {ident: change for ident, change in self.changes.items() if change.action != "none"}


class Reference:
    """A whole repository, empty or with what is `live` already, at `revision`.

    `revisions` has what is live at each revision since.
    """

    def __init__(self, live: Live | None = None, *, revision: int = 0) -> None:
        self.sessions: dict[str, Session] = {}
        versions = {ident: Version(revision, said) for ident, said in (live or {}).items()}
        self.revisions: dict[int, dict[str, Version]] = {revision: versions}
        self.head = revision

    def live(self, at: int | None = None) -> Live:
        versions = self.revisions[self.head if at is None else at]
        return {ident: deepcopy(version.description) for ident, version in versions.items()}

    def staged(self, session: str) -> dict[str, Action]:
        return {ident: change.action for ident, change in self._session(session).effective().items()}

    def open(self, session: str) -> None:
        self.sessions[session] = Session()

    def stage(
        self, session: str, picture: Picture, *, filename: str = "", metadata: Mapping[str, Any] | None = None
    ) -> Action:
        changes = self._open(session).changes
        change = self._uploaded(changes.get(picture.ident), picture)
        if change.action == "add":
            change.description["filename"] = change.description["filename"] or filename
        if metadata:
            change = _described(change, metadata)
        changes[picture.ident] = change
        return change.action

    def describe(self, session: str, ident: str, patch: Mapping[str, Any]) -> Action:
        changes = self._open(session).changes
        change = changes.get(ident)
        if change is None or change.action == "none":
            change = self._on_live(ident, "update")
        elif change.action == "remove":
            raise Refused("not-in-session")
        changes[ident] = _described(change, patch)
        return changes[ident].action

    def remove(self, session: str, ident: str) -> None:
        changes = self._open(session).changes
        change, is_live = changes.get(ident), ident in self._current
        if change is None and not is_live:
            raise Refused("not-in-session")
        if change is not None and (change.action == "add" or not is_live):
            del changes[ident]
        elif change is None or change.action != "remove":
            changes[ident] = self._on_live(ident, "remove")

    def discard(self, session: str, ident: str) -> None:
        if self._open(session).changes.pop(ident, None) is None:
            raise Refused("not-in-session")

    def abort(self, session: str) -> None:
        """Repeatable."""
        if self._session(session).state == "live":
            raise Refused("wrong-state")
        self._end(session, "aborted")

    def expire(self, session: str) -> None:
        """Let time have ended an open session."""
        self._end(session, "expired")

    def lose_disk(self) -> None:
        """A server lost its disk: what is committed stays, and every open session is aborted."""
        for session in self.sessions:
            self._end(session, "aborted")

    def commit(self, session: str) -> int:
        known = self._session(session)
        if known.revision is not None:
            return known.revision
        if not self._open(session).effective():
            raise Refused("nothing-to-commit")
        if found := self.conflicts(session):
            raise Refused("conflict", found)
        known.revision = self.head + 1
        self.revisions[known.revision] = self._with(known.effective(), known.revision)
        self.head, known.state, known.changes = known.revision, "live", {}
        return known.revision

    def conflicts(self, session: str) -> dict[str, Code]:
        """What a commit would be refused for, now."""
        changes = self._session(session).effective()
        found = {ident: _conflict(change, self._current.get(ident)) for ident, change in changes.items()}
        return {ident: code for ident, code in found.items() if code is not None}

    @property
    def _current(self) -> dict[str, Version]:
        return self.revisions[self.head]

    def _session(self, session: str) -> Session:
        if session not in self.sessions:
            raise Refused("session-not-found")
        return self.sessions[session]

    def _open(self, session: str) -> Session:
        known = self._session(session)
        if known.state != "open":
            raise Refused("wrong-state")
        return known

    def _end(self, session: str, state: Literal["aborted", "expired"]) -> None:
        known = self._session(session)
        if known.state == "open":
            known.state, known.changes = state, {}

    def _uploaded(self, before: Change | None, picture: Picture) -> Change:
        """What an upload of these bytes makes of what was staged before."""
        if before is not None and before.action == "add":
            return deepcopy(before)
        updates = before is not None and before.action == "update"
        if picture.ident in self._current:
            return deepcopy(before) if before is not None and updates else self._on_live(picture.ident, "none")
        if before is not None and updates:  # others removed it meanwhile
            return replace(deepcopy(before), action="add", base=None)
        return Change("add", None, {**deepcopy(dict(NOTHING_SAID)), "taken_at": _utc(picture.taken_at)})

    def _on_live(self, ident: str, action: Action) -> Change:
        version = self._current.get(ident)
        if version is None:
            raise Refused("not-in-session")
        return Change(action, version.since, deepcopy(version.description))

    def _with(self, changes: Mapping[str, Change], revision: int) -> dict[str, Version]:
        live = dict(self._current)
        for ident, change in changes.items():
            if change.action == "remove":
                live.pop(ident, None)
            elif change.action == "update" or ident not in live:
                live[ident] = Version(revision, deepcopy(change.description))
        return live


def _conflict(change: Change, current: Version | None) -> Code | None:
    if current is None:
        return "removed" if change.action == "update" else None
    if change.action == "add":
        return "added" if change.with_metadata and change.description != current.description else None
    return "changed" if change.base != current.since else None


def _described(change: Change, patch: Mapping[str, Any]) -> Change:
    said = {name: _said(change.description[name], name, value) for name, value in patch.items()}
    action: Action = "update" if change.action == "none" else change.action
    return Change(action, change.base, {**change.description, **deepcopy(said)}, with_metadata=True)


def _said(before: Any, name: str, value: Any) -> Any:
    if value is None:
        return NOTHING_SAID[name]
    if name == "tags":
        return list(dict.fromkeys(value))
    if name == "taken_at":
        return _utc(value)
    return merged(before, value) if name == "attributes" else value


def merged(before: Any, patch: Any) -> Any:
    """`before` after a JSON Merge Patch."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(before) if isinstance(before, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _utc(text: str | None) -> str | None:
    """The time as the service shows it."""
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    shown = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    return shown.isoformat().replace("+00:00", "Z")
