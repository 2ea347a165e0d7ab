"""What a reasoning model's reply says, read by the peer's own rules.

The first heading wins, as it does there: a prompt that quotes the heading is cut at the same place.
"""

from __future__ import annotations

import re

_REVISED = re.compile(r"## revised prompt", re.IGNORECASE)
_SUMMARY = re.compile(r"## summary of change", re.IGNORECASE)
_HEADING = re.compile(r"^#.*$", re.MULTILINE)
_WINNER = re.compile(r"^Winner: (\S{1,64})\s*$", re.MULTILINE)


def proposed_prompt(reply: str) -> str:
    """The prompt that a reply proposes: what follows its heading, or its last heading, or all of it."""
    heading = _REVISED.search(reply)
    if heading is None:
        *_, heading = (None, *_HEADING.finditer(reply))
    return (reply if heading is None else reply[heading.end() :]).strip()


def summary_of(reply: str) -> str | None:
    """The one line that a reply gives as the summary of its change, without brackets around it."""
    heading = _SUMMARY.search(reply)
    if heading is None:
        return None
    for line in reply[heading.end() :].splitlines():
        text = line.strip()
        if text and not text.startswith("#"):
            return text.removeprefix("[").removesuffix("]").strip() or None
    return None


def winner_of(reply: str) -> str | None:
    """The transform that won a structural round, ``current`` where none did better."""
    winners: list[str] = _WINNER.findall(reply)
    return winners[-1] if winners else None
