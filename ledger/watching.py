"""Being told of what takes time, without knowing who listens: no library of telemetry is imported here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

Step = Literal["commit", "sign", "catch_up", "ask_model"]
Figures = dict[str, int]
"""Numbers about one step, which whoever takes it fills in: never content, never a name."""

Watch = Callable[[Step], AbstractContextManager[Figures]]
"""Stands around a step, on the thread that takes it. It raises nothing of its own."""


def unwatched(step: Step) -> AbstractContextManager[Figures]:
    """Nobody listens."""
    return nullcontext({})
