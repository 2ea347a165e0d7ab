"""Text that can be kept: Unicode that UTF-8 can encode."""

from __future__ import annotations


def without_surrogates(text: str) -> str:
    r"""``text`` with each lone surrogate, which JSON can spell and no event can hold, as its escape (``\ud800``)."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
