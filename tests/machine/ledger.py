"""What the clients were told, and what must be true because of it: the invariants of the design.

A session's client knows of each commit that it succeeded, that nothing came of it, or neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field

from imagerepo.testing.reference import Reference, Session
from tests.machine.chains import View


@dataclass
class Told:
    """One session as its client knows it, opened under the epoch `epoch`.

    `asked`: a commit was asked for, and since then nobody said that nothing came of it. `revision`: it was told to
    be live. `over`: it was told to be aborted, expired or unknown. `modelled`: the reference knows what is staged.
    `conflicts`: the images that its last commit was refused for. `empty`: it was, as nothing was staged.
    """

    key: str
    epoch: int
    asked: bool = False
    revision: int | None = None
    over: bool = False
    modelled: bool = True
    conflicts: frozenset[str] = frozenset()
    empty: bool = False

    @property
    def in_doubt(self) -> bool:
        return self.asked and self.revision is None and not self.over

    @property
    def given_back(self) -> bool:
        """Whether nothing came of its last commit, though there was something to commit and nobody was first."""
        return not (self.asked or self.over or self.revision or self.conflicts or self.empty)

    @property
    def may_be_live(self) -> bool:
        return (self.asked or self.revision is not None) and not self.over


@dataclass
class Ledger:
    """All sessions by key; what visitors have seen live, revision by revision; and what that must look like."""

    sessions: dict[str, Told] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    reference: Reference = field(default_factory=Reference)
    tokens: set[str] = field(default_factory=set)
    removals: dict[str, frozenset[str]] = field(default_factory=dict)
    """Sessions of the service itself, by key: what each removed."""
    taken_down: set[str] = field(default_factory=set)
    """Images whose purge was asked for."""
    purged: set[str] = field(default_factory=set)
    """Those of them whose purge was answered."""
    lost: dict[str, bytes] = field(default_factory=dict)
    """Bases that the store has lost, and not got back since."""
    once_lost: set[str] = field(default_factory=set)
    mends: bool = False
    """Whether a base was ever missing, or said to be: then a commit may do nothing else than put one back."""

    def opened(self, key: str, epoch: int) -> Told:
        self.sessions[key] = Told(key, epoch)
        self.reference.open(key)
        return self.sessions[key]

    def live_as(self, told: Told, revision: int) -> None:
        """The client was told that its session is live."""
        assert not told.over, f"{told.key} was told to be gone, and then to be live"
        assert told.revision in (None, revision), f"{told.key} was revision {told.revision}, and now is {revision}"
        told.revision = revision

    def nothing_came_of(self, told: Told) -> None:
        self._not_live(told)
        told.asked = False

    def gone(self, told: Told) -> None:
        """The client was told that the session is aborted, expired or unknown."""
        self._not_live(told)
        told.over = True

    def forgotten(self, ident: str) -> None:
        """A purge was answered: no open session has the image staged any more."""
        self.purged.add(ident)
        for session in self.reference.sessions.values():
            if session.state == "open":
                session.changes.pop(ident, None)

    def staged_by(self, ident: str) -> list[Told]:
        """Open sessions that change the image."""
        return [
            told
            for told in self.sessions.values()
            if not (told.over or told.revision) and ident in self.reference.sessions[told.key].changes
        ]

    def seen(self, view: View) -> None:
        """Visitors saw this: it is committed, whole, and for ever."""
        self._extend(self.log, self.reference, view)

    def restorable(self, view: View) -> None:
        """A start would find this: all that was answered or seen is in it, and nothing that can't be."""
        assert view.revision >= len(self.log), (
            f"revisions {view.revision + 1} to {len(self.log)} were seen and are lost"
        )
        for told in self.sessions.values():
            if told.revision is not None:
                at = view.log[told.revision - 1 : told.revision]
                assert at == (told.key,), f"revision {told.revision} was {told.key} and is {at}"
        assert self.tokens <= view.tokens, "a token is lost"
        if view.revision == len(self.log):
            self._extend(self.log, self.reference, view)
        else:
            # What is there in excess may be an orphan yet: it proves nothing, but must make sense.
            self._extend(list(self.log), deepcopy(self.reference), view)

    def restored(self, view: View) -> None:
        """A restore of an older revision."""
        assert list(view.log) == self.log[: view.revision] or view.revision > len(self.log)
        if view.revision <= len(self.log):
            assert view.live == self.reference.live(at=view.revision)

    def conflicts_of(self, told: Told, found: Iterable[str]) -> None:
        """The client was told that these images conflict: others changed them, or may have."""
        doubtful = {
            ident
            for other in self.sessions.values()
            if other.may_be_live and other.key not in self.log and other is not told
            for ident in self.reference.sessions[other.key].changes
        }
        if told.modelled:
            known = set(self.reference.conflicts(told.key)) | self.taken_down | self.once_lost
            assert set(found) <= known | doubtful, f"{found} conflict in {told.key}, but only {known} can"

    def nothing_to_commit(self, told: Told) -> None:
        """The client was told that it has staged nothing."""
        told.empty = True
        staged = self.reference.sessions[told.key].effective()
        assert not (told.modelled and staged), f"{told.key} has lost what was staged in it: {sorted(staged)}"

    def _not_live(self, told: Told) -> None:
        assert told.revision is None, f"{told.key} was live as revision {told.revision}, and now is denied"
        assert told.key not in self.log, f"{told.key} was seen live, and now is denied"

    def _extend(self, log: list[str], reference: Reference, view: View) -> None:
        known = min(len(log), view.revision)
        assert list(view.log[:known]) == log[:known], f"revisions changed: {view.log} after {log}"
        for key in view.log[known:]:
            self._commit(reference, key, view)
            log.append(key)
            assert reference.head == len(log)
        expected = reference.live(at=view.revision)
        assert view.live == expected, f"at revision {view.revision}: {view.live}, and not {expected}"

    def _commit(self, reference: Reference, key: str, view: View) -> None:
        if key in self.removals:
            removed = self.removals[key]
            assert removed <= self.taken_down | self.once_lost, f"{key} removed {removed}, and nobody asked for it"
            _commit_without(reference, removed)
            return
        told = self.sessions[key]
        assert told.may_be_live, f"{key} is live, though its client heard that nothing came of it"
        assert told.modelled, f"{key} is live, though it was changed on a server that had lost its epoch"
        changes = reference.sessions[key]
        if self.mends:
            _bring_back(reference, changes, view)
        if self.mends and changes.state == "open" and changes.changes and not changes.effective():
            _commit_without(reference, frozenset())
            changes.state, changes.changes, changes.revision = "live", {}, reference.head
        else:
            reference.commit(key)


def _bring_back(reference: Reference, session: Session, view: View) -> None:
    """Let bytes that were sent to mend an image add it again where it was removed meanwhile."""
    for ident in (view.live.keys() & session.changes.keys()) - reference.live().keys():
        if session.changes[ident].action == "none":
            session.changes[ident].action = "add"


def _commit_without(reference: Reference, removed: frozenset[str]) -> None:
    before = reference.revisions[reference.head]
    reference.head += 1
    reference.revisions[reference.head] = {ident: version for ident, version in before.items() if ident not in removed}
