"""Carrying a ledger into another store: the same bytes, hashed again on the way, so that no damage comes along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Self

from ...domain.registry import Registry
from ..audit.audit import Against, audit
from ..entries.chain import Batch, Head, LooseHashes, chain_again
from ..entries.mapper import PendingEntry
from ..errors import Malformed, Unavailable, UnsupportedFormat
from ..signing.keys import KeyFolder
from ..store.place import Place
from ..store.reader import LedgerReader
from ..store.recorder import Box, Note
from ..store.scopes import ScopeKeys

OnProgress = Callable[[int, int], None]
"""Told (entries there, of how many)."""

_BATCH = 4096
"""Entries of one transaction; what is lost where the program is killed."""


class Carrier:
    """A place that a ledger of ``origin`` is carried into; it begins where an earlier one stopped. Use it as a context.

    Nobody else opens the place meanwhile.
    """

    def __init__(self, place: Place, master: bytes, origin: str, random: Callable[[int], bytes]) -> None:
        self.place = place
        with ExitStack() as opened:
            store = place.open()
            opened.callback(store.close)
            with store.reading() as reader:
                found = reader.origin()
            if found != origin:
                raise Unavailable(f"{place}: what was begun there is a copy of {found}, not of {origin}; remove it")
            self.scopes = store.scope_keys(master, origin, random)
            opened.callback(self.scopes.close)
            self._recorder = store.recorder(self.scopes, _no_clock, random, _no_finding)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    @property
    def size(self) -> int:
        """How many entries are there."""
        with self._recorder.reading() as reader:
            return reader.head().size

    def carry(self, source: LedgerReader, on_progress: OnProgress | None = None) -> None:
        """Take over the entries and boxes that ``source`` has and this place lacks.

        ``Malformed`` names the entry that is damaged; all before it are there then.
        """
        head = source.head()
        follow = partial(self._follow, source, head)
        size = self.size
        while size < head.size:
            self._recorder.take_over(follow)
            size = self.size
            if on_progress is not None:
                on_progress(size, head.size)

    def carry_checkpoints(self, source: LedgerReader) -> None:
        """Take over the published checkpoints that ``source`` has and this place lacks."""
        with self._recorder.reading() as reader:
            there = {size for size, _ in reader.checkpoints()}
        for size, note in source.checkpoints():
            if size not in there:
                self._recorder.publish_checkpoint(size, note)

    def carry_tokens(self, source: Place) -> None:
        """Take over the timestamp tokens that lie at ``source``."""
        for size in source.token_sizes():
            token = source.token(size)
            found = self.place.token(size)
            if token is None or token == found:
                continue
            if found is not None:  # since then it was put aside there
                self.place.put_token_aside(size)
            self.place.keep_token(size, token)

    def carry_keys(self, source: ScopeKeys) -> None:
        """Hold the keys and aliases that ``source`` holds, and none that it does not."""
        taken = self.scopes.take_over(source)
        self.scopes.sweep()
        if self.scopes.counts() != taken:
            raise Unavailable(f"{self.place}: its key database does not hold what was written into it")

    def require_same(self, source: LedgerReader) -> None:
        """``Unavailable`` where this is not the whole of what ``source`` is: its root, sealed fields, checkpoints."""
        self.require_same_head(source)
        with self._recorder.reading() as reader:
            if reader.count_boxes() != source.count_boxes():
                raise self._differs("number of sealed fields")
            ours = dict(reader.checkpoints())
        if any(ours.get(size) != note for size, note in source.checkpoints()):
            raise self._differs("published checkpoints")

    def require_same_head(self, source: LedgerReader) -> None:
        """As ``require_same``, in a moment: the head, whose root says every entry."""
        with self._recorder.reading() as reader:
            if reader.head() != source.head():
                raise self._differs("head")

    def _differs(self, what: str) -> Unavailable:
        return Unavailable(f"{self.place}: its {what} differs from the source's; remove it, and copy again")

    def _follow(
        self, source: LedgerReader, goal: Head, head: Head, loose: LooseHashes
    ) -> tuple[Batch, Sequence[Box], Sequence[Note]]:
        rows = list(islice(source.entries(head.size, goal.size), _BATCH))
        if not rows:
            raise Malformed(f"entry {head.size}: expected to find it, found none")
        try:
            batch = chain_again(head, rows, loose)
        except UnsupportedFormat:
            raise
        except Malformed as error:
            raise Malformed(f"the source is damaged, and not copied further; verify tells more: {error}") from error
        if batch.head.size == goal.size:
            batch = Batch(batch.entries, batch.tiles, goal) if _agree(batch.head, goal) else batch
        boxes = [
            (seq, field, box)
            for seq, fields in sorted(source.boxes_of([row.seq for row in rows]).items())
            for field, box in sorted(fields.items())
        ]
        return batch, boxes, source.checkpoints_between(head.size, batch.head.size)


def require_sound(
    place: Place,
    registry: Registry,
    *,
    keys: KeyFolder | None = None,
    scopes: ScopeKeys | None = None,
    jobs: int = 1,
    on_progress: OnProgress | None = None,
) -> None:
    """Verify what lies at ``place``; ``Unavailable`` says what is wrong with it."""
    signed = None if keys is None else keys.signed()
    against = Against(signed=signed, scopes=scopes, tokens=place.token)
    # What only reads leaves files of SQLite behind, unless somebody closes after it who writes.
    with closing(place.open()) as store, store.reading(), place.beside() as reader:
        verdict = audit(reader, registry, against, jobs=jobs, on_progress=on_progress)
    wrong = [found for found in verdict.damage if not found.unmet]
    if wrong:
        first = wrong[0]
        at = "" if first.seq is None else f" at entry {first.seq}"
        raise Unavailable(f"{place}: {first.kind}{at}: {first.detail}; verify tells more")


def _agree(found: Head, goal: Head) -> bool:
    """Whether they are one head, but for whether the clock is held, which no entry says."""
    return (found.size, found.leaf, found.at, found.frontier) == (goal.size, goal.leaf, goal.at, goal.frontier)


def _no_clock() -> int:
    raise RuntimeError("nothing is appended here that has no time yet")


def _no_finding(pos: int, microseconds: int) -> PendingEntry:
    raise RuntimeError(f"nothing is appended here: neither a finding at {pos} nor of {microseconds} microseconds")
