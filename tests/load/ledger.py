"""What writers asked for and were told, and what readers must therefore see at each revision.

Images come in families: every session adds a whole one, gives all its images one title, or removes it. So a
session seen by half shows in a single listing, and a revision has one state that follows from the sessions.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

State: TypeAlias = dict[int, str]
"""The title of each family that is there, by the family's number."""


@dataclass(frozen=True, eq=False)
class Family:
    number: int
    images: dict[str, bytes]


@dataclass(eq=False)
class Change:
    """One session: the family's images get the title `mark`, which no other session gives; None: they go.

    In doubt until it has a `revision` or `failed`.
    """

    family: Family
    mark: str | None
    key: str = ""
    revision: int | None = None
    failed: bool = False


class Ledger:
    """Shared by all clients."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._changes: list[Change] = []
        self._families: dict[str, Family] = {}
        self._seen: dict[int, State] = {}
        self._newest = 0
        self.readings = 0

    @property
    def floor(self) -> int:
        """The newest revision that anybody was shown: whoever asks from now on sees no older one."""
        return self._newest

    def begin(self, change: Change) -> None:
        """A session is about to be committed."""
        with self._moved:
            self._changes.append(change)
            self._families |= dict.fromkeys(change.family.images, change.family)

    def succeeded(self, change: Change, revision: int) -> None:
        with self._moved:
            change.revision = revision
            self._newest = max(self._newest, revision)
            self._moved.notify_all()

    def failed(self, change: Change) -> None:
        with self._moved:
            change.failed = True

    def in_doubt(self) -> list[Change]:
        return [change for change in self._changes if change.revision is None and not change.failed]

    def live(self) -> list[Change]:
        """In the order of their revisions."""
        with self._moved:
            return sorted((change for change in self._changes if change.revision), key=lambda made: made.revision or 0)

    def title(self, family: Family) -> str | None:
        """What the family's images are called by what is known; None: they are not there."""
        made = [change for change in self.live() if change.family is family]
        return made[-1].mark if made else None

    def saw(self, listing: dict[str, Any], *, floor: int) -> None:
        """A reader was shown this whole listing, having asked when `floor` had been shown already."""
        revision = listing["revision"]
        assert revision >= floor, f"the listing went back from revision {floor} to {revision}"
        with self._moved:
            state = self._state(listing["results"])
            shown = self._seen.setdefault(revision, state)
            assert state == shown, f"revision {revision} was shown as {shown}, then as {state}"
            self._newest = max(self._newest, revision)
            self.readings += 1
            self._moved.notify_all()

    def _state(self, images: list[dict[str, Any]]) -> State:
        titles: dict[Family, list[str]] = defaultdict(list)
        for image in images:
            titles[self._families[image["ident"]]].append(image["title"])
        for family, given in titles.items():
            whole = len(given) == len(family.images) and len(set(given)) == 1
            assert whole, f"half a session is seen: family {family.number} has the titles {given}"
        return {family.number: given[0] for family, given in titles.items()}

    def check(self) -> None:
        """Every revision that was shown follows from the sessions that are live. Call it with none in doubt."""
        live, state, states = self.live(), State(), {0: State()}
        assert [change.revision for change in live] == list(range(1, len(live) + 1)), "revisions are missing"
        for change in live:
            state = {number: title for number, title in state.items() if number != change.family.number}
            if change.mark is not None:
                state[change.family.number] = change.mark
            states[change.revision or 0] = state
        for revision, shown in self._seen.items():
            assert shown == states.get(revision), f"revision {revision} was shown as {shown}, not as {states}"

    def wait(self, until: Callable[[], bool], *, seconds: float) -> bool:
        """Whether `until` came true; it is asked whenever something was told or shown, and on `wake`."""
        with self._moved:
            return self._moved.wait_for(until, seconds)

    def wake(self) -> None:
        with self._moved:
            self._moved.notify_all()
