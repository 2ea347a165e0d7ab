"""What has to hold on every page, asked of the finished page in the browser (soundness.js)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from .watching import PHONE, WIDE, ZOOMED, Watched

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""The rules of axe that are run, by their tags: WCAG 2.2 AA, and what is good practice."""

RULES_OF_COLOUR = ["color-contrast", "link-in-text-block"]
"""Those that another colour scheme can change."""


@cache
def script() -> str:
    """What is run in a page before it is asked."""
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe is not here: `make test` installs it")
    return f"{axe.AXE_SCRIPT};\n{Path(__file__).with_name('soundness.js').read_text(encoding='utf-8')}"


def unsound(tab: Watched) -> Iterator[str]:
    """All that is wrong with the page that the tab shows, in words; the tab is left as it was."""
    tab.page.evaluate(script())
    yield from tab.ask("soundness.structure()")
    yield from tab.ask("soundness.inert()")
    yield from tab.ask("(only) => soundness.axe(only)", RULES)
    tab.page.emulate_media(color_scheme="dark")
    yield from (f"dark: {found}" for found in tab.ask("(only) => soundness.axe(only)", RULES_OF_COLOUR))
    tab.page.emulate_media(color_scheme="light")
    for words, room in (("360 px wide", PHONE), ("at 200 %", ZOOMED), ("1280 px wide", WIDE)):
        tab.page.set_viewport_size(room)
        yield from (f"{words}: {found}" for found in tab.ask("soundness.sideways()"))


def badge(tab: Watched) -> dict[str, Any] | None:
    """What the page says that it was computed from."""
    found: dict[str, Any] | None = tab.ask("soundness.badge()")
    return found
