"""A digest of a page as a browser sees it, so that a page can tell whether it was changed after it was made.

It is the SHA-256 of a JSON list of strings, one for each piece of the document tree in order: ``E`` and the name of
an element, ``A<name>=<value>`` for each of its attributes by name, ``T`` and a text that is not all white space,
``C`` and a comment, ``/`` where the element ends. What stands inside the element ``evidence``, which
holds this digest, is left out. ``assets/check.js`` takes the same.

It holds for pages in the form that is made here: every element closed but for the void ones, no element implied.
"""

from __future__ import annotations

import json
from hashlib import sha256
from html.parser import HTMLParser

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})
_LEFT_OUT = "evidence"
_WHITE_SPACE = " \t\n\f\r"


def page_digest(page: str) -> str:
    """The digest of a page, in hex."""
    tokens = _Tokens()
    tokens.feed(page)
    tokens.close()
    tokens.end_text()
    printed = json.dumps(tokens.found, ensure_ascii=False, separators=(",", ":"))
    return sha256(printed.encode()).hexdigest()


class _Tokens(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._text = ""
        self._open: list[str] = []
        self._opened_pre = False
        self._skipped_at: int | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.end_text()
        self._opened_pre = tag == "pre"
        if self._skipped_at is None:
            self.found.append(f"E{tag}")
            self.found += [f"A{name}={value or ''}" for name, value in sorted(attrs)]
        if tag in _VOID:
            self._end()
            return
        self._open.append(tag)
        if self._skipped_at is None and dict(attrs).get("id") == _LEFT_OUT:
            self._skipped_at = len(self._open)

    def handle_endtag(self, tag: str) -> None:
        self.end_text()
        if len(self._open) == self._skipped_at:
            self._skipped_at = None
        self._open.pop()
        self._end()

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_comment(self, data: str) -> None:
        self.end_text()
        if self._skipped_at is None:
            self.found.append(f"C{data}")

    def end_text(self) -> None:
        """Note the text read so far. A browser drops the first line feed inside ``pre``."""
        text, self._text = self._text, ""
        if self._opened_pre:
            text = text.removeprefix("\n")
        self._opened_pre = False
        if self._skipped_at is None and text.strip(_WHITE_SPACE):
            self.found.append(f"T{text}")

    def _end(self) -> None:
        if self._skipped_at is None:
            self.found.append("/")
