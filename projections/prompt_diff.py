"""What changed between two prompts: by line, as ``difflib.unified_diff`` tells it, and by word.

difflib takes cubic time at worst. Above a bound only what lies between the common beginning and the common
end is compared, and if that is still too long it stands as removed and added as a whole; the result says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from ..domain.errors import Refused
from ..domain.event import Withheld
from .run_record import RunRecord, Text

MAX_LINES = 2_000
MAX_WORDS = 4_000
"""How many lines or words on either side are compared with each other."""

WordOp = Literal["equal", "removed", "added"]
_Opcode = tuple[str, int, int, int, int]
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


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


def diff_prompts(old: str, new: str, old_name: str = "before", new_name: str = "after", context: int = 3) -> PromptDiff:
    """The difference between two texts, by line and by word."""
    old_lines, new_lines = old.splitlines(), new.splitlines()
    by_line, lines_whole = _opcodes(old_lines, new_lines, MAX_LINES)
    old_words, new_words = _WORDS.findall(old), _WORDS.findall(new)
    by_word, words_whole = _opcodes(old_words, new_words, MAX_WORDS)
    limits = []
    if lines_whole:
        limits.append(f"lines: more than {MAX_LINES} between the first and the last difference, shown as replaced")
    if old != new and old_lines == new_lines:
        limits.append("lines: the texts differ in line endings only")
    if words_whole:
        limits.append(f"words: more than {MAX_WORDS} between the first and the last difference, shown as replaced")
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


def _opcodes(old: Sequence[str], new: Sequence[str], limit: int) -> tuple[list[_Opcode], bool]:
    """difflib's opcodes, and whether the middle was too long to be compared."""
    if max(len(old), len(new)) <= limit:
        return list(SequenceMatcher(None, old, new).get_opcodes()), False
    start = _common(old, new)
    end = _common(old[: start - 1 if start else None : -1], new[: start - 1 if start else None : -1])
    middle_old, middle_new = old[start : len(old) - end], new[start : len(new) - end]
    whole = max(len(middle_old), len(middle_new)) > limit
    if whole or not (middle_old and middle_new):
        inner: list[_Opcode] = [("replace", 0, len(middle_old), 0, len(middle_new))]
    else:
        inner = list(SequenceMatcher(None, middle_old, middle_new).get_opcodes())
    shifted = [(tag, i1 + start, i2 + start, j1 + start, j2 + start) for tag, i1, i2, j1, j2 in inner]
    opcodes: list[_Opcode] = [("equal", 0, start, 0, start), *shifted]
    opcodes.append(("equal", len(old) - end, len(old), len(new) - end, len(new)))
    return [code for code in opcodes if code[1] < code[2] or code[3] < code[4]], whole


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
