"""Ctrl-C at any moment, also while modules are imported, where Python may swallow the exception that it raises."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit code after ctrl-C, as shells have it."""

_came = False


@contextmanager
def noted_interrupts() -> Iterator[None]:
    """Note each ctrl-C, beside having it raise ``KeyboardInterrupt``; where it is ignored, it stays so."""
    global _came
    _came = False
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def require_uninterrupted() -> None:
    """``KeyboardInterrupt`` where ctrl-C came before, though nobody has heard of it."""
    if _came:
        raise KeyboardInterrupt


def _note(_number: int, _frame: FrameType | None) -> None:
    global _came
    _came = True
    raise KeyboardInterrupt
