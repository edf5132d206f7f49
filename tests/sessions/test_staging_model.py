"""Any sequence of changes, beside a dict that says what must be staged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from imagerepo.errors import NotInSession
from imagerepo.sessions import lifecycle, staging
from imagerepo.sessions.counting import counts
from imagerepo.sessions.models import StagedImage
from tests.inprocess import Repository
from tests.sessions.uploads import changes, commit, content, ident, upload

LIVE = ("live-1", "live-2")
NEW = ("new-1", "new-2")
LIVE_TITLE = "as committed"

names = st.sampled_from(LIVE + NEW)
patches = st.fixed_dictionaries({}, optional={"title": st.sampled_from([None, "A", "B"])})


class Changeset(RuleBasedStateMachine):
    """`model` has, by name, the action and title of what is staged."""

    repository: Repository

    def __init__(self) -> None:
        super().__init__()
        self.session = self.repository.open_session()
        self.model: dict[str, tuple[str, str]] = {}

    @rule(name=names, patch=patches)
    def uploads(self, name: str, patch: dict[str, Any]) -> None:
        _, created = upload(self.repository, self.session, name, metadata=patch)
        action, title = self.model.get(name, ("", ""))
        assert created == (name in NEW and action != "add")
        if action not in ("add", "update"):
            action, title = ("add", "") if name in NEW else ("none", LIVE_TITLE)
        self.describes(name, action, title, patch)

    @rule(name=names, patch=patches)
    def patches(self, name: str, patch: dict[str, Any]) -> None:
        action, title = self.model.get(name, ("none", LIVE_TITLE) if name in LIVE else ("", ""))
        with suppress(NotInSession):
            staging.stage_metadata(self.session, ident(name), patch)
            assert action in ("add", "update", "none")
            self.describes(name, "update" if action == "none" else action, title, patch)
            return
        assert action in ("", "remove")

    @rule(name=names)
    def removes(self, name: str) -> None:
        known = name in LIVE or name in self.model
        with suppress(NotInSession):
            staging.stage_removal(self.session, ident(name))
            assert known
            self.model.pop(name, None)
            if name in LIVE:
                self.model[name] = ("remove", LIVE_TITLE)
            return
        assert not known

    @rule(name=names)
    def discards(self, name: str) -> None:
        known = name in self.model
        with suppress(NotInSession):
            staging.discard(self.session, ident(name))
            assert known
            del self.model[name]
            return
        assert not known

    @rule()
    def gives_up_and_begins_again(self) -> None:
        lifecycle.abort(self.session)
        assert changes(self.session) == {}
        assert not self.spool_folder().exists()
        self.session, self.model = self.repository.open_session(), {}

    def describes(self, name: str, action: str, title: str, patch: dict[str, Any]) -> None:
        if patch and action == "none":
            action = "update"
        self.model[name] = (action, (patch["title"] or "") if "title" in patch else title)

    def spool_folder(self):
        return self.repository.folder / "spool" / self.session.key

    @invariant()
    def what_is_staged_is_what_the_model_says(self) -> None:
        rows = StagedImage.objects.filter(session=self.session)
        expected = {ident(name): said for name, said in self.model.items()}
        assert {row.ident: (row.action, row.title) for row in rows} == expected

    @invariant()
    def the_spool_has_the_added_images_and_nothing_else(self) -> None:
        added = {ident(name) for name, (action, _) in self.model.items() if action == "add"}
        folder = self.spool_folder()
        assert {path.name for path in folder.iterdir()} == added if folder.exists() else not added
        assert not list((self.repository.folder / "spool" / ".incoming").iterdir())

    @invariant()
    def the_counts_are_those_of_the_model(self) -> None:
        actions = [action for action, _ in self.model.values()]
        size = sum(len(content(name)) for name, (action, _) in self.model.items() if action == "add")
        expected = {action: actions.count(action) for action in ("add", "update", "remove")}
        assert counts(self.session) == expected | {"bytes": size}

    @invariant()
    def lookup_knows_every_byte_that_is_here(self) -> None:
        found = staging.lookup(self.session, [ident(name) for name in LIVE + NEW])
        added = [ident(name) for name in NEW if name in self.model]
        assert (found.live, found.staged) == ([ident(name) for name in LIVE], added)


@pytest.fixture(scope="module")
def with_live_images(repository: Repository) -> Iterator[Repository]:
    commit(repository, *LIVE, title=LIVE_TITLE)
    yield repository


def test_any_sequence_of_changes_leaves_what_the_model_says(with_live_images: Repository):
    machine = type("Changesets", (Changeset,), {"repository": with_live_images})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=25, deadline=None))
