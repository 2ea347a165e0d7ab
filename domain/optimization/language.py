"""The language of a data set, and what the reasoning model is told before every question."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from itertools import islice

ENGLISH = "English"
MOST_TEXTS = 20
LONGEST = 2000
"""How many characters of each text count."""
SHARE = 0.15
"""The share of the letters that a script must have to decide."""

_KANA, _HAN = "Japanese", "Chinese"
_KANA_SHARE = 0.1
_BLOCKS: tuple[tuple[int, int, str], ...] = (
    (0x0370, 0x03FF, "Greek"),
    (0x0400, 0x052F, "Russian"),
    (0x0530, 0x058F, "Armenian"),
    (0x0590, 0x05FF, "Hebrew"),
    (0x0600, 0x077F, "Arabic"),
    (0x08A0, 0x08FF, "Arabic"),
    (0x0900, 0x097F, "Hindi"),
    (0x0980, 0x09FF, "Bengali"),
    (0x0A00, 0x0A7F, "Punjabi"),
    (0x0A80, 0x0AFF, "Gujarati"),
    (0x0B00, 0x0B7F, "Odia"),
    (0x0B80, 0x0BFF, "Tamil"),
    (0x0C00, 0x0C7F, "Telugu"),
    (0x0C80, 0x0CFF, "Kannada"),
    (0x0D00, 0x0D7F, "Malayalam"),
    (0x0D80, 0x0DFF, "Sinhala"),
    (0x0E00, 0x0E7F, "Thai"),
    (0x0E80, 0x0EFF, "Lao"),
    (0x1000, 0x109F, "Burmese"),
    (0x10A0, 0x10FF, "Georgian"),
    (0x1100, 0x11FF, "Korean"),
    (0x1200, 0x139F, "Amharic"),
    (0x1780, 0x17FF, "Khmer"),
    (0x3040, 0x30FF, _KANA),
    (0x3130, 0x318F, "Korean"),
    (0x31F0, 0x31FF, _KANA),
    (0x3400, 0x4DBF, _HAN),
    (0x4E00, 0x9FFF, _HAN),
    (0xAC00, 0xD7AF, "Korean"),
    (0xF900, 0xFAFF, _HAN),
    (0xFF66, 0xFF9D, _KANA),
    (0x20000, 0x323AF, _HAN),
)
_STARTS = [first for first, _, _ in _BLOCKS]


def detect_language(texts: Iterable[str]) -> str:
    """The language that most of the first 20 ``texts`` seem to be in, told by their script alone.

    A script other than Latin stands for its most spoken language, from 15 % of all letters on; else ``English``.
    """
    counts: Counter[str] = Counter()
    letters = 0
    for text in islice(texts, MOST_TEXTS):
        for character in text[:LONGEST]:
            if character.isalpha():
                letters += 1
                counts.update(_language_of(character))
    kana, han = counts.pop(_KANA, 0), counts.pop(_HAN, 0)
    counts[_KANA if kana >= _KANA_SHARE * (kana + han) else _HAN] = kana + han  # Japanese is written in both
    language, most = max(sorted(counts.items()), key=lambda item: item[1])
    return language if letters and most >= SHARE * letters else ENGLISH


def preamble(language: str, source_model: str | None) -> str:
    """What to put before every question to the reasoning model; empty where there is nothing to say.

    aevyra-reflex 0.2 names the language for English too, which only costs tokens. ``source_model`` is the model that
    the prompt was first written for.
    """
    told = []
    if source_model is not None:
        told.append(
            f"The prompt was first written for {source_model} and is now used with another model. Keep its intent; "
            "change what suits only the model that it was written for."
        )
    if language != ENGLISH:
        told.append(
            f"The samples seem to be in {language}. Prompts that you write must make the model answer in the language "
            "of the samples. Keep the headers and keys of your own reply as they are asked for, in English."
        )
    return "\n\n".join(told)


def _language_of(character: str) -> tuple[str, ...]:
    code = ord(character)
    place = bisect_right(_STARTS, code) - 1
    if place < 0 or code > _BLOCKS[place][1]:
        return ()
    return (_BLOCKS[place][2],)
