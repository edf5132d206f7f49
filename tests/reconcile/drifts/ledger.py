"""What the writers were told, what drifts did meanwhile, and what must be live because of both."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Session:
    """What one session of a writer does to which images; `began` says when, as the ledger counts.

    `repeats`: images that it sent, and that were live already. `asked`: its commit was. `revision`: it was told to be
    live. `over`: it was told that nothing came of it.
    """

    began: int
    key: str = ""
    adds: set[str] = field(default_factory=set)
    removes: set[str] = field(default_factory=set)
    repeats: set[str] = field(default_factory=set)
    asked: bool = False
    revision: int | None = None
    over: bool = False

    def settles(self, ident: str) -> bool | None:
        """Whether the image is live once this session is; None: it does not say.

        Of a session that sends a live image and nothing else nothing would come, did it not put its base back.
        """
        if ident in self.adds or (self.repeats == {ident} and not self.adds | self.removes):
            return True
        return False if ident in self.removes else None


class Ledger:
    """Shared by the writers and by whoever makes drifts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0
        self.sessions: list[Session] = []
        self._struck: dict[str, int] = {}
        """When a drift last took something of an image, or gave it a row."""

    def begin(self) -> Session:
        """A session about to be opened."""
        with self._lock:
            self._now += 1
            self.sessions.append(Session(self._now))
            return self.sessions[-1]

    def strike(self, ident: str) -> None:
        """A drift has hit the image by now."""
        with self._lock:
            self._now += 1
            self._struck[ident] = self._now

    @property
    def acknowledged(self) -> int:
        return sum(session.revision is not None for session in self.sessions)

    @property
    def now(self) -> int:
        with self._lock:
            return self._now

    def added(self, ident: str, since: int) -> list[Session]:
        """Sessions begun since then that were acknowledged and add the image, unless a drift has hit it meanwhile."""
        if self._struck.get(ident, 0) > since:
            return []
        young = [session for session in self.sessions.copy() if session.began > since]
        return [session for session in young if session.revision is not None and session.settles(ident)]

    @property
    def struck(self) -> set[str]:
        """Images that a drift has hit."""
        return set(self._struck)

    def judge(self, log: Iterable[dict[str, Any]], live: set[str], idents: Iterable[str]) -> None:
        """Fail where a session became anything else than its writer was told, or left an image otherwise.

        `live` are the images live in the end. Call it when every session is answered.
        """
        revisions = {entry["session"]: int(entry["revision"]) for entry in log}
        for session in self.sessions:
            became = revisions.get(session.key)
            assert session.revision in (None, became), f"{session} was acknowledged, and became {became}"
            assert became is None or (session.asked and not session.over), f"{session} became {became}"
        merged = sorted((s for s in self.sessions if s.key in revisions), key=lambda s: revisions[s.key])
        for ident in idents:
            self._judge_image(ident, [s for s in merged if ident in s.adds | s.removes | s.repeats], ident in live)

    def _judge_image(self, ident: str, sessions: list[Session], is_live: bool) -> None:
        """Its last session says what it is, unless a drift hit it after that had begun."""
        saying = [session for session in sessions if session.settles(ident) is not None]
        if not saying:
            assert not is_live or ident in self._struck, f"{ident} is live, and nobody added it"
            return
        last = saying[-1]
        if self._struck.get(ident, 0) > last.began:
            return
        if last.settles(ident):
            assert is_live, f"{ident} is not live, though it was added by {last}"
        elif last is sessions[-1]:  # what was sent after that may have added it again
            assert not is_live, f"{ident} is live, though it was removed by {last}"
