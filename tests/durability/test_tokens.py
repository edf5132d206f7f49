"""Tokens: durable before they are shown."""

from __future__ import annotations

import pytest

from imagerepo.config import get_config
from imagerepo.errors import ConfigError, Fenced
from imagerepo.sessions import tokens
from imagerepo.sessions.actors import identify
from tests.durability.node import NewNode, Node


def test_a_token_is_durable_before_it_is_shown(node: Node) -> None:
    token = tokens.create(node.writer, "press", "contributor")
    node.lose_disk()
    node.start()
    actor = identify(token, get_config())
    assert actor is not None
    assert (actor.name, actor.role) == ("press", "contributor")


@pytest.mark.parametrize(
    ("name", "role"), [("admin", "reader"), ("", "reader"), ("a b", "reader"), ("x" * 101, "reader"), ("ann", "king")]
)
def test_a_name_or_role_that_cannot_be_is_refused(node: Node, name: str, role: str) -> None:
    with pytest.raises(ConfigError):
        tokens.create(node.writer, name, role)


def test_a_name_is_given_once(node: Node) -> None:
    tokens.create(node.writer, "ann", "reader")
    with pytest.raises(ConfigError, match="already"):
        tokens.create(node.writer, "ann", "admin")


def test_a_token_that_could_not_be_made_durable_is_not_told(new_node: NewNode) -> None:
    first, second = new_node().start(), new_node()
    second.start()
    first.activate()
    with pytest.raises(Fenced):
        tokens.create(first.writer, "press", "reader")
