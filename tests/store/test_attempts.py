"""When a request is repeated, and what its failure is called in the end."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagerepo.errors import InDoubt, ObjectNotFound, StoreError, StoreRefused, StoreUnavailable
from imagerepo.store import attempts
from imagerepo.store.attempts import AttemptFailed, Call, repeat

UNSENT = {"passing": True}
LOST = {"passing": True, "lost": True}
REFUSED = {"status": 403}
ABSENT = {"status": 404}
SUCCESS = None


class Script:
    """An attempt that goes as written, one entry a time."""

    def __init__(self, *course: dict[str, object] | None) -> None:
        self.course = course
        self.made = 0

    def __call__(self) -> str:
        step = self.course[self.made]
        self.made += 1
        if step is None:
            return "done"
        raise AttemptFailed("it failed", **step)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "PAUSES_SECONDS", (0.0, 0.0, 0.0))


READ = Call("get", "x")
PUT = Call("put", "x", writes=True)
DELETE = Call("delete", "x", writes=True, repeat_lost=False)


@pytest.mark.parametrize(
    ("call", "course", "outcome", "made"),
    [
        (READ, [SUCCESS], "done", 1),
        (READ, [LOST, UNSENT, SUCCESS], "done", 3),
        (READ, [LOST] * 4, StoreUnavailable, 4),
        (READ, [LOST, ABSENT], ObjectNotFound, 2),
        (READ, [REFUSED], StoreRefused, 1),
        (PUT, [LOST, SUCCESS], "done", 2),
        (PUT, [LOST] * 4, InDoubt, 4),
        (PUT, [UNSENT] * 4, StoreUnavailable, 4),
        (PUT, [REFUSED], StoreRefused, 1),
        (PUT, [UNSENT, REFUSED], StoreRefused, 2),
        (PUT, [LOST, REFUSED], InDoubt, 2),
        (PUT, [LOST, ABSENT], InDoubt, 2),
        (PUT, [LOST, UNSENT, UNSENT, UNSENT], InDoubt, 4),
        (DELETE, [UNSENT, SUCCESS], "done", 2),
        (DELETE, [LOST, SUCCESS], InDoubt, 1),
        (DELETE, [UNSENT, LOST, SUCCESS], InDoubt, 2),
        (DELETE, [ABSENT], ObjectNotFound, 1),
    ],
)
def test_a_call_ends_as_its_attempts_went(
    call: Call, course: list[dict[str, object] | None], outcome: str | type[StoreError], made: int
) -> None:
    script = Script(*course)
    if isinstance(outcome, str):
        assert repeat(call, script, patience=60) == outcome
    else:
        with pytest.raises(outcome) as error:
            repeat(call, script, patience=60)
        assert (error.value.op, error.value.name) == (call.op, call.name)
    assert script.made == made


steps = st.sampled_from([UNSENT, LOST, REFUSED, ABSENT, SUCCESS])


@given(call=st.sampled_from([READ, PUT, DELETE]), course=st.lists(steps, min_size=4, max_size=4))
def test_a_write_that_may_apply_is_never_called_a_failure(call: Call, course: list[dict[str, object] | None]) -> None:
    script = Script(*course)
    try:
        repeat(call, script, patience=60)
        settled = True
    except InDoubt:
        settled = False
    except StoreError:
        settled = True
        assert not call.writes or LOST not in course[: script.made]
    assert settled or (call.writes and LOST in course[: script.made])
    assert call.repeat_lost or LOST not in course[: script.made - 1]


def test_nothing_is_begun_when_patience_is_over() -> None:
    script = Script(LOST, SUCCESS)

    def silent() -> str:
        time.sleep(0.02)
        return script()

    with pytest.raises(StoreUnavailable):
        repeat(READ, silent, patience=0.01)
    assert script.made == 1
