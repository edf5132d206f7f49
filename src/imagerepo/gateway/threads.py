"""Threads that an event loop hands blocking calls to, at two thirds of ThreadPoolExecutor's cost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class Threads:
    """Up to `count` threads, and only as many as had to work at once; `stop` lets them finish what is queued.

    Each thread that works has a connection to the database, with a cache of its own.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count, self._name = count, name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._started: list[threading.Thread] = []
        self._under_way = 0

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Call `work` in one of the threads. Call this on the running loop's thread only."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._under_way += 1
        done.add_done_callback(self._ended)
        if len(self._started) < min(self._under_way, self._count):
            self._start_one()
        self._jobs.put((loop, done, work))
        return done

    def stop(self) -> None:
        for _ in self._started:
            self._jobs.put(None)
        for thread in self._started:
            thread.join()

    def _start_one(self) -> None:
        thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._started)}", daemon=True)
        self._started.append(thread)
        thread.start()

    def _ended(self, _: asyncio.Future[Any]) -> None:
        self._under_way -= 1

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, done, work = job
            try:
                result = work()
            except BaseException as error:
                loop.call_soon_threadsafe(_fail, done, error)
            else:
                loop.call_soon_threadsafe(_finish, done, result)


def _finish(done: asyncio.Future[Any], result: Any) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[Any], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
