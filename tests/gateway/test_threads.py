"""The threads that requests are answered in."""

from __future__ import annotations

import asyncio
import threading

from imagerepo.gateway.threads import Threads


async def _names(threads: Threads, calls: int, together: int) -> set[str]:
    """The threads that `calls` calls ran in, of which `together` were under way at once."""
    found: set[str] = set()
    for _ in range(calls):
        meeting = threading.Barrier(together)

        def work(meeting: threading.Barrier = meeting) -> str:
            meeting.wait()
            return threading.current_thread().name

        found |= set(await asyncio.gather(*(threads.run(work) for _ in range(together))))
    return found


def test_calls_one_after_another_share_a_thread() -> None:
    threads = Threads(8, "reading")
    assert len(asyncio.run(_names(threads, calls=20, together=1))) == 1
    threads.stop()


def test_calls_at_once_have_a_thread_each() -> None:
    threads = Threads(8, "reading")
    assert len(asyncio.run(_names(threads, calls=5, together=8))) == 8
    threads.stop()


def test_more_calls_than_threads_wait_for_one() -> None:
    threads = Threads(2, "reading")

    async def all_of() -> list[int]:
        return await asyncio.gather(*(threads.run(lambda n=n: n) for n in range(50)))  # type: ignore[misc]

    assert asyncio.run(all_of()) == list(range(50))
    threads.stop()
