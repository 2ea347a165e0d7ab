"""A prompt beside another one, line by line: which lines belong together, and which words differ within them.

The lines are those of ``prompt_diff``. Where a stretch of lines was replaced, a removed line is set beside the added
one that it resembles, in order; a line that resembles none stands alone. Long stretches without a change are folded.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .prompt_diff import WordOp, Work, diff_prompts

CONTEXT = 3
MOST_ROWS = 2_000
"""How many rows are given; what is behind them is counted."""
MOST_FOLDED = 200
"""How many rows of one folded stretch are given."""
_ALIKE = 0.35
_MOST_PAIRS = 10_000
_TOO_MUCH = "within lines: too much to be compared, some lines are shown as replaced"
_COMMON = frozenset("\t\n\r\u200c\u200d")
_WORD = re.compile(r"\w+|[^\w\s]")

RowKind = Literal["same", "changed", "removed", "added"]
Words = tuple[tuple[WordOp, str], ...]


@dataclass(frozen=True, slots=True)
class DiffRow:
    """A line before and after; numbers count from 1. ``removed`` has no line after, ``added`` none before."""

    kind: RowKind
    old_line: int | None
    new_line: int | None
    old: Words
    new: Words


@dataclass(frozen=True, slots=True)
class DiffStretch:
    """Rows one after another. ``folded``: nothing changes in them nor close to them. ``left_out`` rows more belong to
    it than it has."""

    folded: bool
    rows: tuple[DiffRow, ...]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Two texts beside each other. ``removed`` and ``added`` count lines, a changed one in both."""

    stretches: tuple[DiffStretch, ...]
    removed: int
    added: int
    left_out: int
    limits: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        return not self.removed and not self.added


def side_by_side(old: str, new: str) -> SideBySide:
    """The rows of two texts, in order."""
    whole = max(old.count("\n"), new.count("\n")) + 2
    work = Work()
    found = diff_prompts(old, new, context=whole, work=work)
    # the two lines of the header and the one of the only hunk
    lines = found.lines[3:] if found.lines else [" " + line for line in new.splitlines()]
    rows = list(_rows(lines, work))
    return SideBySide(
        tuple(_folded(rows[:MOST_ROWS])),
        sum(line[0] == "-" for line in lines),
        sum(line[0] == "+" for line in lines),
        max(0, len(rows) - MOST_ROWS),
        found.limits or (_TOO_MUCH,) * work.is_exceeded,
    )


def unseen_characters(text: str) -> list[tuple[str, int]]:
    """Characters that a reader does not see, and that may turn what is read around: ``U+202E`` and how often, most
    frequent first. Line breaks and tabs are none; nor is what joins emoji and scripts that need it."""
    counts = Counter(sign for sign in text if unicodedata.category(sign) in ("Cc", "Cf") and sign not in _COMMON)
    return [(f"U+{ord(sign):04X}", count) for sign, count in counts.most_common()]


def _rows(lines: Sequence[str], work: Work) -> Iterator[DiffRow]:
    old_line = new_line = 0
    removed: list[str] = []
    added: list[str] = []
    for line in [*lines, None]:
        if line is not None and line[0] != " ":
            (removed if line[0] == "-" else added).append(line[1:])
            continue
        for old, new in _paired(removed, added, work):
            old_line, new_line = old_line + (old is not None), new_line + (new is not None)
            yield _row(old, new, old_line, new_line, work)
        removed, added = [], []
        if line is not None:
            old_line, new_line = old_line + 1, new_line + 1
            words: Words = (("equal", line[1:]),)
            yield DiffRow("same", old_line, new_line, words, words)


def _row(old: str | None, new: str | None, old_line: int, new_line: int, work: Work) -> DiffRow:
    if old is None:
        return DiffRow("added", None, new_line, (), (("equal", new or ""),))
    if new is None:
        return DiffRow("removed", old_line, None, (("equal", old),), ())
    words = diff_prompts(old, new, work=work).words
    before = tuple((op, text) for op, text in words if op != "added")
    after = tuple((op, text) for op, text in words if op != "removed")
    return DiffRow("changed", old_line, new_line, before, after)


def _paired(removed: Sequence[str], added: Sequence[str], work: Work) -> Iterator[tuple[str | None, str | None]]:
    """Each removed line with the added one that stands for it, so that the pairs are as alike as they can be in all."""
    old, new = [Counter(_WORD.findall(line)) for line in removed], [Counter(_WORD.findall(line)) for line in added]
    if len(old) * len(new) > _MOST_PAIRS or not (old and new) or not work.allows(len(new) * sum(map(len, old))):
        yield from ((line, None) for line in removed)
        yield from ((None, line) for line in added)
        return
    alike = [[_likeness(one, other) for other in new] for one in old]
    best = [[0.0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i in reversed(range(len(old))):
        for j in reversed(range(len(new))):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], alike[i][j] + best[i + 1][j + 1] if alike[i][j] else 0.0)
    i = j = 0
    while i < len(old) and j < len(new):
        if alike[i][j] and best[i][j] == alike[i][j] + best[i + 1][j + 1]:
            yield removed[i], added[j]
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            yield removed[i], None
            i += 1
        else:
            yield None, added[j]
            j += 1
    yield from ((line, None) for line in removed[i:])
    yield from ((None, line) for line in added[j:])


def _likeness(one: Counter[str], other: Counter[str]) -> float:
    """The share of words that two lines have in common; 0 where it is small."""
    words = max(one.total(), other.total())
    shared = (one & other).total() / words if words else 0.0
    return shared if shared >= _ALIKE else 0.0


def _folded(rows: Sequence[DiffRow]) -> Iterator[DiffStretch]:
    changed = [place for place, row in enumerate(rows) if row.kind != "same"]
    near = {place + step for place in changed for step in range(-CONTEXT, CONTEXT + 1)}
    start = 0
    while start < len(rows):
        folded = start not in near
        end = start
        while end < len(rows) and (end not in near) == folded:
            end += 1
        is_short = end - start <= 2  # to unfold them would take as much room
        taken = rows[start:end]
        left_out = max(0, len(taken) - MOST_FOLDED) if folded else 0
        yield DiffStretch(folded and not is_short, tuple(taken[: len(taken) - left_out]), left_out)
        start = end
