"""Work that several processes share. Each opens the same state for itself; results come in the order of the tasks."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from .errors import Unreachable

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def processes(count: int, what: str, begin: Callable[..., None], *given: object) -> Iterator[ProcessPoolExecutor]:
    """``count`` processes that each call ``begin(*given)`` first; what was not begun when the block is left is dropped.

    ``Unreachable`` where one that ``what`` ("verifies") does not start, or is ended: the system may have ended one
    that took too much memory, which says nothing of the ledger.
    """
    context = multiprocessing.get_context("spawn")  # a fork would share connections and locks
    with ProcessPoolExecutor(count, mp_context=context, initializer=begin, initargs=given) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise Unreachable(f"a process that {what} did not start, or was ended; try fewer jobs") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def in_order(pool: Executor, work: Callable[[T], R], tasks: Iterable[T], ahead: int) -> Iterator[R]:
    """What ``work`` gives of each task. At most ``ahead`` are given out and not taken, which bounds the memory."""
    waiting: deque[Future[R]] = deque()
    for task in tasks:
        waiting.append(pool.submit(work, task))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
