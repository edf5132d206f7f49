"""The documents say what the code does: routes, problems, names in the store, the record, the tests that are named.

What has a name and must be mentioned somewhere (settings, commands) is in test_architecture.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.urls import URLPattern, get_resolver

from imagerepo.api import problems
from imagerepo.durability import records
from imagerepo.store import names

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/imagerepo"
VERBS = ("get", "post", "put", "patch", "delete")
"""HEAD and OPTIONS go without saying."""
ROW = re.compile(r"^\| `(GET|POST|PUT|PATCH|DELETE) (/[^`?]*)", re.MULTILINE)
PROBLEM_ROW = re.compile(r"^\| `([a-z-]+)` \| (\d{3}) \|", re.MULTILINE)
SOURCES = sorted((ROOT / "tests").rglob("*.py"))
SOME_IDENT = "9f86d0" + "0" * 58


def document(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def test_the_tables_of_routes_list_what_is_served_and_nothing_else() -> None:
    documented = {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in ROW.findall(document("api.md"))}
    assert documented == set(_served())


def test_the_table_of_problems_lists_each_with_its_status_and_nothing_else() -> None:
    kinds = {kind.slug: str(kind.status) for kind in problems.KINDS.values()}
    assert dict(PROBLEM_ROW.findall(document("api.md"))) == kinds


def test_every_type_of_problem_has_its_page() -> None:
    declared = {kind.slug for kind in vars(problems).values() if isinstance(kind, problems.Kind)}
    assert declared <= problems.KINDS.keys()


@pytest.mark.parametrize("form", re.findall(r"^((?:images|epochs|db)/\S+)", names.__doc__ or "", re.MULTILINE))
def test_the_format_has_every_form_of_a_name(form: str) -> None:
    assert re.search(rf"^{re.escape(form)}  ", document("format.md"), re.MULTILINE)


def test_the_formats_examples_of_derivatives_are_names() -> None:
    examples = re.findall(r"^images/[0-9a-f]+…[0-9a-f]+(-\S+)$", document("format.md"), re.MULTILINE)
    assert examples
    for variant in examples:
        assert isinstance(names.parse(f"images/{SOME_IDENT}{variant}"), names.Derivative)


def test_the_interfaces_examples_of_derivatives_are_names() -> None:
    examples = re.findall(r"^<ident>(-\S+)", document("api.md"), re.MULTILINE)
    assert examples
    for variant in examples:
        assert isinstance(names.parse(f"images/{SOME_IDENT}{variant}"), names.Derivative)


def test_the_formats_example_of_a_header_is_one() -> None:
    header = records.Header.model_validate_json(_example_header())
    content = records.encode(header)
    assert records.decode(content, name=header.name) == (header, b"")
    assert [names.parse(part.name) for part in header.parts] == [
        names.Part(header.epoch, header.writer, part.digest) for part in header.parts
    ]


def test_the_format_explains_every_field_of_a_header() -> None:
    rows = re.findall(r"^\| ((?:`\w+` ?)+)\|", document("format.md"), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"\w+", row)} >= records.Header.model_fields.keys()


def test_every_test_that_the_durability_page_names_is_there() -> None:
    tests = {name for source in SOURCES for name in re.findall(r"^def (test_\w+)", source.read_text(), re.MULTILINE)}
    for named in re.findall(r"`((?:test_|…)\w+…?)`", document("durability.md")):
        assert any(_is_meant(named, test) for test in tests), f"durability.md names {named}, which is no test"


def test_every_file_that_the_documents_name_is_there() -> None:
    for page in (ROOT / "docs").glob("*.md"):
        for path in re.findall(r"`((?:tests|src|docs|scripts|bench)/[\w./-]*|\w+/\w+\.py)`", page.read_text()):
            assert any((root / path).exists() for root in (ROOT, PACKAGE)), f"{page.name} names {path}"


def _served() -> Iterator[tuple[str, str]]:
    for pattern in get_resolver().url_patterns:
        assert isinstance(pattern, URLPattern)
        path = "/" + re.sub(r"<[^>]+>", "{}", str(pattern.pattern))
        for method in _methods(pattern):
            yield method, path


def _methods(pattern: URLPattern) -> list[str]:
    view = getattr(pattern.callback, "cls", None)
    return ["GET"] if view is None else [verb.upper() for verb in VERBS if hasattr(view, verb)]


def _example_header() -> str:
    found = re.search(r"^```json\n(.*?)^```", document("format.md"), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def _is_meant(named: str, test: str) -> bool:
    """Names are shortened at one end or the other."""
    shortened = named.strip("…")
    if named.startswith("…"):
        return test.endswith(shortened)
    return test.startswith(shortened) if named.endswith("…") else test == shortened
