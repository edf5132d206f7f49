"""What writers were told and readers shown, and whether both agree with the log of revisions.

An image is live from a revision that added it on, until one that removed it. Whoever adds an image that somebody
else has added meanwhile is told so much too: it is live at that revision.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

PURGE = "purge of "


@dataclass(eq=False)
class Session:
    """What one session does; its `revision` once it was acknowledged."""

    key: str
    adds: set[str] = field(default_factory=set)
    removes: set[str] = field(default_factory=set)
    revision: int | None = None


@dataclass(frozen=True)
class Reading:
    """An image was asked for while `since` to `upto` were the newest revision; `whole`: it came, every byte."""

    ident: str
    since: int
    upto: int
    whole: bool
    told: str


class Ledger:
    """Shared by all clients."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._committing: set[Session] = set()
        self._acknowledged: dict[str, Session] = {}
        self._readings: list[Reading] = []

    @property
    def sessions(self) -> int:
        return len(self._acknowledged)

    @property
    def readings(self) -> int:
        return len(self._readings)

    def began(self, session: Session) -> None:
        """Its commit is about to be asked for."""
        with self._lock:
            self._committing.add(session)

    def failed(self, session: Session) -> None:
        with self._lock:
            self._committing.remove(session)

    def adding(self, ident: str) -> int:
        """How many commits that are under way add the image."""
        with self._lock:
            return sum(ident in session.adds for session in self._committing)

    def acknowledged(self, session: Session, revision: int) -> None:
        with self._lock:
            session.revision = revision
            self._committing.remove(session)
            self._acknowledged[session.key] = session

    def adders(self, ident: str, before: int) -> list[Session]:
        """The sessions that were acknowledged after so many, and add the image."""
        with self._lock:
            since = islice(self._acknowledged.values(), before, None)
            return [session for session in since if ident in session.adds]

    def deleted(self, ident: str, added: Session) -> None:
        """The base goes, though somebody was told meanwhile that the image was added."""
        with self._lock:
            revisions = [session.revision or 0 for session in self._acknowledged.values()]
        self.read(Reading(ident, added.revision or 0, max(revisions), False, "its base was being deleted"))

    def read(self, reading: Reading) -> None:
        self._readings.append(reading)

    def check(self, log: Iterable[dict[str, Any]]) -> set[str]:
        """Judge what readers were shown by the whole log of revisions; gives what is live in the end.

        Call it when nobody commits any more. Fails where a revision is in doubt, or somebody else's: reconcile's,
        say, which removed an image that was lost.
        """
        lives = self._lives(sorted(log, key=lambda entry: int(entry["revision"])))
        for reading in self._readings:
            life = lives.get(reading.ident)
            if life and life.throughout(reading.since, reading.upto):
                assert reading.whole, f"a live image was not delivered: {reading}; {life}"
        return {ident for ident, life in lives.items() if life.now}

    def _lives(self, log: list[dict[str, Any]]) -> dict[str, _Life]:
        lives: dict[str, _Life] = defaultdict(_Life)
        assert [entry["revision"] for entry in log] == list(range(1, len(log) + 1)), "revisions are missing"
        for entry in log:
            session = self._session_of(entry)
            for ident in session.adds:
                lives[ident].add(entry["revision"], True)
            for ident in session.removes:
                lives[ident].add(entry["revision"], False)
        told = {session.revision for session in self._acknowledged.values()}
        assert told <= {entry["revision"] for entry in log}, "acknowledged revisions are missing"
        return lives

    def _session_of(self, entry: dict[str, Any]) -> Session:
        if entry["title"].startswith(PURGE):
            return Session(entry["session"], removes={entry["title"].removeprefix(PURGE)})
        session = self._acknowledged.get(entry["session"])
        assert session, f"this revision was never acknowledged to anybody: {entry}"
        assert session.revision == entry["revision"], f"it was acknowledged as revision {session.revision}: {entry}"
        return session


class _Life:
    """At which revisions an image was added or removed, in their order."""

    def __init__(self) -> None:
        self._revisions: list[int] = []
        self._live: list[bool] = []

    def __repr__(self) -> str:
        last = list(zip(self._revisions, self._live, strict=True))[-10:]
        return f"live from revision, or no longer: {last}"

    @property
    def now(self) -> bool:
        return self._live[-1]

    def add(self, revision: int, live: bool) -> None:
        self._revisions.append(revision)
        self._live.append(live)

    def throughout(self, since: int, upto: int) -> bool:
        """Whether the image was live at each of these revisions."""
        first, last = bisect_right(self._revisions, since), bisect_right(self._revisions, upto)
        return first > 0 and all(self._live[first - 1 : last])
