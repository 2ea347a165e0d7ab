"""What pages have computed and may be asked for again: one thing for a server, gone with it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

Made = TypeVar("Made")


class Kept:
    """Of each kind the things that were asked for last. Safe from threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kinds: dict[str, tuple[Hashable, OrderedDict[Hashable, Any]]] = {}

    def of(self, kind: str, key: Hashable, make: Callable[[], Made], *, state: Hashable = None, most: int = 32) -> Made:
        """What ``make`` gives for a key; at most ``most`` things of the kind are kept.

        ``state`` is what things of the kind were computed from, such as the size of the ledger: all are dropped as
        soon as one is asked for of another state. Of those who ask for the same at once each may call ``make``, and
        all get what the first one made.
        """
        with self._lock:
            known, things = self._kinds.get(kind, (state, OrderedDict()))
            if known != state:
                things = OrderedDict()
            self._kinds[kind] = state, things
            if key in things:
                things.move_to_end(key)
                found: Made = things[key]
                return found
        made = make()  # without the lock: it may look at the ledger, where others who hold it may be waiting for this
        with self._lock:
            found = things.setdefault(key, made)
            things.move_to_end(key)
            while len(things) > most:
                things.popitem(last=False)
        return found
