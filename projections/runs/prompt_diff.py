"""What changed between two prompts: by line, as ``difflib.unified_diff`` tells it, and by word.

difflib takes cubic time at worst. Above a bound of length or of work only what lies between the common beginning and
the common end is compared, and if that is still too much it stands as removed and added as a whole; the result says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import Match, SequenceMatcher
from itertools import accumulate
from typing import Literal

from ...domain.errors import Refused
from ...domain.event import Withheld
from .record import RunRecord, Text

MAX_LINES = 2_000
MAX_WORDS = 4_000
"""How many lines or words on either side are compared with each other."""
MOST_WORK = 2_000_000
"""How many pairs of equal lines or words one comparison looks at, in some tenths of a second."""

_TOO_MUCH = "too many between the first and the last difference to be compared, shown as replaced"

WordOp = Literal["equal", "removed", "added"]
_Opcode = tuple[str, int, int, int, int]
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(slots=True)
class Work:
    """What is left of ``MOST_WORK``, and whether more than that was asked for."""

    left: int = MOST_WORK
    is_exceeded: bool = False

    def allows(self, steps: int) -> bool:
        """Take so many steps, or none where they are more than there are left."""
        if steps > self.left:
            self.is_exceeded = True
            return False
        self.left -= steps
        return True


@dataclass(frozen=True, slots=True)
class PromptDiff:
    """``lines`` are a unified diff with its two header lines, none where the texts' lines are the same.

    ``words`` concatenated without the added pieces are the old text, without the removed ones the new.
    ``limits`` says what was too long to be compared in detail.
    """

    lines: tuple[str, ...]
    words: tuple[tuple[WordOp, str], ...]
    limits: tuple[str, ...] = ()


def diff_iterations(record: RunRecord, before: int, after: int, context: int = 3) -> PromptDiff:
    """The difference between the prompts of two iterations; 0 is the initial prompt.

    ``Refused`` where the run has no such iteration. A prompt that is withheld is not compared.
    """
    old, new = _prompt(record, before), _prompt(record, after)
    if isinstance(old, Withheld) or isinstance(new, Withheld):
        hidden = [_label(number) for number, text in ((before, old), (after, new)) if isinstance(text, Withheld)]
        return PromptDiff((), (), tuple(f"{label}: the prompt is withheld" for label in hidden))
    return diff_prompts(old, new, _label(before), _label(after), context)


def diff_prompts(
    old: str,
    new: str,
    old_name: str = "before",
    new_name: str = "after",
    context: int = 3,
    work: Work | None = None,
) -> PromptDiff:
    """The difference between two texts, by line and by word. What is asked with the same ``work`` shares its bound."""
    work = work or Work()
    old_lines, new_lines = old.splitlines(), new.splitlines()
    by_line, lines_whole = _opcodes(old_lines, new_lines, MAX_LINES, work)
    old_words, new_words = _WORDS.findall(old), _WORDS.findall(new)
    by_word, words_whole = _opcodes(old_words, new_words, MAX_WORDS, work)
    limits = []
    if lines_whole:
        limits.append(f"lines: {_TOO_MUCH}")
    if old != new and old_lines == new_lines:
        limits.append("lines: the texts differ in line endings only")
    if words_whole:
        limits.append(f"words: {_TOO_MUCH}")
    return PromptDiff(
        tuple(_unified(old_lines, new_lines, by_line, old_name, new_name, context)),
        tuple(_pieces(old_words, new_words, by_word)),
        tuple(limits),
    )


def render_words(words: Sequence[tuple[WordOp, str]]) -> str:
    """The word diff in one text, ``[-removed-]`` and ``{+added+}``."""
    marks = {"equal": "{}", "removed": "[-{}-]", "added": "{{+{}+}}"}
    return "".join(marks[op].format(text) for op, text in words)


def _prompt(record: RunRecord, number: int) -> Text:
    if number == 0:
        return record.started.system_prompt
    prompts = {iteration.number: iteration.prompt for iteration in record.iterations}
    if number not in prompts:
        raise Refused(
            "iteration_known", f"run {record.run} has no iteration {number}; the last is {max(prompts, default=0)}"
        )
    return prompts[number]


def _label(number: int) -> str:
    return "initial prompt" if number == 0 else f"iteration {number}"


def _opcodes(old: Sequence[str], new: Sequence[str], limit: int, work: Work) -> tuple[list[_Opcode], bool]:
    """difflib's opcodes, and whether the middle was too much to be compared."""
    found = _matched(old, new, limit, work)
    if found is not None:
        return found, False
    start = _common(old, new)
    end = _common(old[: start - 1 if start else None : -1], new[: start - 1 if start else None : -1])
    middle_old, middle_new = old[start : len(old) - end], new[start : len(new) - end]
    replaced: list[_Opcode] = [("replace", 0, len(middle_old), 0, len(middle_new))]
    inner = _matched(middle_old, middle_new, limit, work) if middle_old and middle_new else replaced
    whole = inner is None
    shifted = [(tag, i1 + start, i2 + start, j1 + start, j2 + start) for tag, i1, i2, j1, j2 in inner or replaced]
    opcodes: list[_Opcode] = [("equal", 0, start, 0, start), *shifted]
    opcodes.append(("equal", len(old) - end, len(old), len(new) - end, len(new)))
    return [code for code in opcodes if code[1] < code[2] or code[3] < code[4]], whole


def _matched(old: Sequence[str], new: Sequence[str], limit: int, work: Work) -> list[_Opcode] | None:
    """difflib's opcodes; None where there is too much to compare."""
    if max(len(old), len(new)) > limit:
        return None
    try:
        return list(_Counted(old, new, work).get_opcodes())
    except _TooMuchError:
        return None


class _TooMuchError(Exception):
    """The work of a comparison is spent."""


class _Counted(SequenceMatcher[str]):
    """difflib's matcher, which counts what it looks at: its length alone says little of how long a search takes."""

    def __init__(self, old: Sequence[str], new: Sequence[str], work: Work) -> None:
        self._work = work
        super().__init__(None, old, new)
        places: dict[str, list[int]] = self.b2j  # type: ignore[attr-defined]  # typeshed leaves it out
        self._looked = [0, *accumulate(1 + len(places.get(token, ())) for token in old)]

    def find_longest_match(self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None) -> Match:
        end = len(self._looked) - 1 if ahi is None else ahi
        if not self._work.allows(self._looked[end] - self._looked[alo]):
            raise _TooMuchError
        return super().find_longest_match(alo, ahi, blo, bhi)


def _common(old: Sequence[str], new: Sequence[str]) -> int:
    for index, (left, right) in enumerate(zip(old, new, strict=False)):
        if left != right:
            return index
    return min(len(old), len(new))


def _unified(
    old: Sequence[str],
    new: Sequence[str],
    opcodes: list[_Opcode],
    old_name: str,
    new_name: str,
    context: int,
) -> Iterator[str]:
    """``difflib.unified_diff`` without line ends, over opcodes that are already known."""
    if all(tag == "equal" for tag, *_ in opcodes):
        return
    yield f"--- {old_name}"
    yield f"+++ {new_name}"
    matcher: SequenceMatcher[str] = SequenceMatcher(None, "", "")
    matcher.opcodes = opcodes  # type: ignore[attr-defined]  # where get_grouped_opcodes looks first
    for group in matcher.get_grouped_opcodes(context):
        first, last = group[0], group[-1]
        yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@"
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (" " + line for line in old[i1:i2])
            else:
                yield from ("-" + line for line in old[i1:i2])
                yield from ("+" + line for line in new[j1:j2])


def _range(start: int, stop: int) -> str:
    length = stop - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"


def _pieces(old: Sequence[str], new: Sequence[str], opcodes: list[_Opcode]) -> Iterator[tuple[WordOp, str]]:
    for tag, i1, i2, j1, j2 in opcodes:
        if tag == "equal":
            yield "equal", "".join(old[i1:i2])
            continue
        if i1 < i2:
            yield "removed", "".join(old[i1:i2])
        if j1 < j2:
            yield "added", "".join(new[j1:j2])
