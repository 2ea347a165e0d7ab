"""Material: texts of others that a model is shown, set apart from what it is told to do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def make_fence(seed: str, texts: Iterable[str]) -> str:
    """A code of 32 hex digits, derived from ``seed``, that stands in none of ``texts``."""
    held = tuple(texts)
    fence = hashlib.sha256(f"affidavit fence\0{seed}".encode()).hexdigest()[:32]
    while any(fence in text for text in held):
        fence = hashlib.sha256(fence.encode()).hexdigest()[:32]
    return fence


def fenced(fence: str, text: str) -> str:
    """``text`` as it is, between a line that opens and a line that closes material."""
    return f"<<<{fence}\n{text}\n{fence}>>>"
