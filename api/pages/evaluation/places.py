"""What the pages on judging share: places in lists, sources and versions as a query names them, words for codes."""

from __future__ import annotations

import re

from ....projections.evaluation.newest import Key
from ...http.errors import Problem

NO_SOURCE = "-"
"""How a query names the empty source, which is a source like any other. One that begins so is written with one more."""

_PLACE = re.compile(r"(\d{1,19})\.(-?\d{1,19})")
_MOST = 2**63

REASONS = {
    "empty_reply": "the judge's reply was empty",
    "not_a_completion": "what came back was no completion",
    "model_refused": "the model refused to answer",
    "reply_too_large": "the reply was too large to be read",
    "encoded_reply": "the reply was compressed, which is not unpacked",
    "cut_off": "the reply broke off",
    "not_json": "the reply held no JSON object",
    "several_answers": "the reply held several answers that differ",
    "wrong_shape": "the reply lacked a field, or one was of a wrong kind",
    "contradictory": "fields of the reply exclude each other",
    "request_refused": "the provider would not take the request",
    "unreachable": "the provider could not be reached",
    "timed_out": "the provider did not answer in time",
    "rate_limited": "the provider limits the rate of requests",
    "server_error": "the provider failed",
    "not_allowed": "the provider did not accept the key",
    "model_unknown": "the provider does not know the model",
    "redirected": "the provider sent elsewhere, which is not followed",
    "content_erased": "the texts are erased",
    "no_interactions": "the session has no turns",
    "no_shadow": "the turn has no shadow",
    "overtaken": "another process judged the same at the same time and found nothing",
}
MADE = {
    "live": "by itself, as it was recorded",
    "on_demand": "on demand, by a click",
    "regeneration": "by a job",
    "import": "imported",
}


def place_of(text: str | None) -> Key | None:
    """The place in a list that a link names; ``Problem`` for what is none."""
    if not text:
        return None
    found = _PLACE.fullmatch(text)
    if found is None or max(abs(int(part)) for part in found.groups()) >= _MOST:
        raise Problem(422, "place_readable", f"before={text}: this is no place in the list; begin at its first page")
    return Key(int(found[1]), int(found[2]))


def place(key: Key | None) -> str | None:
    """A place as a link names it."""
    return None if key is None else f"{key.at}.{key.seq}"


def source_of(text: str | None) -> str | None:
    """The source that a query names, None where it names none."""
    if not text:
        return None
    return text.removeprefix(NO_SOURCE) if text.startswith(NO_SOURCE) else text


def source_named(source: str) -> str:
    """A source as a query names it."""
    return NO_SOURCE + source if source == "" or source.startswith(NO_SOURCE) else source
