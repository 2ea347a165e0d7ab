"""Processes that share the work of verifying, each over a reader of the same state of the log.

A task is a range of entries; what is found in each is joined in order, so the verdict is that of one process. Where
there is one process only, it does the same itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from ...domain.registry import Registry
from ..folds.erasures import Erasures
from ..processes import in_order, processes
from ..store.folding import read_erasures
from ..store.reader import LedgerReader
from ..store.scopes import ScopeKeys
from .sealed import SealedCheck
from .stretches import Damage, Stretch, check_stretch

STRETCH = 8192
_AHEAD = 4
"""Stretches for each process that may wait to be joined."""

OpenScopes = Callable[[], ScopeKeys | None]


@dataclass(frozen=True, slots=True)
class SealedFound:
    """What checking the sealed content of some entries found; ``boxes`` is how many boxes were looked at."""

    damage: list[Damage]
    erased: int
    returned: set[str]
    boxes: int


@dataclass
class _Opened:
    """What a process has open to check ranges with. ``open_scopes`` is asked for ``scopes`` once they are needed."""

    reader: LedgerReader
    registry: Registry
    open_scopes: OpenScopes | None = None
    scopes: ScopeKeys | None = None
    erasures: Erasures | None = None

    def check_stretch(self, start: int, stop: int) -> Stretch:
        return check_stretch(self.reader.entries(start, stop), start)

    def check_sealed(self, start: int, stop: int, size: int, *, stray: bool = False) -> SealedFound:
        """Check the entries ``start <= seq < stop`` against their boxes; ``stray`` against all boxes that there are."""
        if self.erasures is None:
            self.erasures = read_erasures(self.reader, size)
        if self.scopes is None and self.open_scopes is not None:
            self.scopes = self.open_scopes()
        check = SealedCheck(self.registry, self.scopes, self.reader.origin().encode(), self.erasures)
        seen = 0

        def counted() -> Iterator[tuple[int, str, bytes]]:
            nonlocal seen
            for box in self.reader.boxes() if stray else self.reader.boxes(start, stop):
                seen += 1
                yield box

        damage = [*check.check(self.reader.entries(start, stop), counted())]
        return SealedFound(damage, check.erased, check.returned, seen)


class Workers:
    """Does the work that is shared; ``pool`` is None where this process does all of it."""

    def __init__(
        self, reader: LedgerReader, registry: Registry, pool: ProcessPoolExecutor | None = None, jobs: int = 1
    ) -> None:
        self._own = _Opened(reader, registry)
        self._pool = pool
        self._ahead = _AHEAD * jobs
        self._sealing: list[tuple[int, int]] = []
        """The stretches in which something is sealed."""

    def problems(self) -> Callable[[], list[str]]:
        """Begin to look for what is wrong with the storage; the answer waits for the end of that."""
        return self._own.reader.problems if self._pool is None else self._pool.submit(_problems).result

    def stretches(self, size: int) -> Iterator[Stretch]:
        """The stretches of the log, checked, in order."""
        spans = [(start, min(start + STRETCH, size)) for start in range(0, size, STRETCH)]
        pool = self._pool
        checked: Iterator[Stretch]
        if pool is None:
            checked = (self._own.check_stretch(*span) for span in spans)
        else:
            checked = in_order(pool, _stretch, spans, self._ahead)
        for stretch, span in zip(checked, spans, strict=True):
            if stretch.seals:
                self._sealing.append(span)
            yield stretch

    def sealed(self, size: int, scopes: ScopeKeys | None, erasures: Erasures, *, shared: bool) -> SealedFound:
        """Check the sealed content of the first ``size`` entries, once all stretches were found to be undamaged.

        ``shared`` where the other processes have the same keys.
        """
        own, pool = self._own, self._pool if shared else None
        own.scopes, own.erasures = scopes, erasures
        tasks = [(start, stop, size) for start, stop in self._sealing]
        parts = (
            [own.check_sealed(*task) for task in tasks]
            if pool is None
            else [*in_order(pool, _sealed, tasks, self._ahead)]
        )
        boxes = sum(part.boxes for part in parts)
        if boxes != own.reader.count_boxes():  # the others belong to entries that seal nothing, or to none
            return own.check_sealed(0, size, size, stray=True)
        damage = [damage for part in parts for damage in part.damage]
        returned = {scope for part in parts for scope in part.returned}
        return SealedFound(damage, sum(part.erased for part in parts), returned, boxes)


@contextmanager
def working(reader: LedgerReader, registry: Registry, jobs: int, open_scopes: OpenScopes | None) -> Iterator[Workers]:
    """Workers in ``jobs`` processes; this one alone for 1, or where the same state cannot be opened again.

    ``open_scopes`` opens the keys of the sealed content in another process: keys are not sent there. ``Unreachable``
    where one of the processes does not start, or is ended.
    """
    if jobs <= 1 or reader.again is None:
        yield Workers(reader, registry)
        return
    with processes(jobs, "verifies", _open, reader.again, registry, open_scopes) as pool:
        yield Workers(reader, registry, pool, jobs)


_opened: _Opened | None = None


def _open(again: Callable[[], LedgerReader], registry: Registry, open_scopes: OpenScopes | None) -> None:
    global _opened
    _opened = _Opened(again(), registry, open_scopes)


def _stretch(span: tuple[int, int]) -> Stretch:
    assert _opened is not None
    return _opened.check_stretch(*span)


def _sealed(task: tuple[int, int, int]) -> SealedFound:
    assert _opened is not None
    return _opened.check_sealed(*task)


def _problems() -> list[str]:
    assert _opened is not None
    return _opened.reader.problems()
