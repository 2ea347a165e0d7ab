"""Replay equality: whether a script asks and states again what is recorded, and where it does not.

Compared are type, open data and opened sealed texts, by site and occurrence for calls and in order for facts; never
seqs, and no field that is measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from ...domain.errors import AffidavitError, Refused
from ...domain.event import Event, Recorded, Withheld
from ...domain.model_calls import ModelRequested
from ...domain.optimization.conversation import MEASURED, Question
from ..models.bodies import request_difference

_SHORT = 160
_BEFORE = 40


class Diverged(AffidavitError):
    """The script does not do again what is recorded of its run; nothing was sent and nothing recorded since."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first place where two values differ: a path into them, and both, shortened around where they part."""

    field: str
    recorded: str
    replayed: str

    def __str__(self) -> str:
        return f"{self.field}: recorded {self.recorded}, now {self.replayed}"


def compare_request(question: Question, requested: ModelRequested, seq: int) -> Mismatch | None:
    """Where ``question`` differs from the recorded request at entry ``seq``, None where it asks the same.

    Fields that the server refused, and that were left out therefore, are not missed. ``Refused`` where the request is
    not open here.
    """
    for name in ("purpose", "iteration", "phase"):
        if getattr(question, name) != getattr(requested, name):
            return make_mismatch(name, getattr(requested, name), getattr(question, name))
    body = requested.body
    if isinstance(body, Withheld):
        raise Refused("content_withheld", f"entry {seq}: the request is {body}; without it nothing can be compared")
    found = request_difference(question.ask, body)
    return None if found is None else make_mismatch(*found)


def compare_fact(recorded: Recorded, event: Event) -> Mismatch | None:
    """Where ``event`` differs from a recorded fact, None where they are equal.

    ``Refused`` (``content_withheld``) where a sealed text of the recorded one is not open here.
    """
    then = recorded.event
    if type(then) is not type(event):
        return Mismatch("type", recorded.type_name, event.type_name)
    for name, value in event.__dict__.items():
        if name in MEASURED:
            continue
        kept = getattr(then, name)
        if isinstance(kept, Withheld):
            raise Refused(
                "content_withheld",
                f"entry {recorded.seq} ({recorded.type_name}): {name} is {kept}; without it nothing can be compared",
            )
        if kept == value and type(kept) is type(value):
            continue
        mismatch = _first_mismatch(name, _plain(kept), _plain(value))
        if mismatch is not None:
            return mismatch
    return None


def reason_of(error: BaseException) -> str:
    """The code that stands as the reason of a run that its script's exception ended: the exception's name."""
    name = type(error).__name__.lstrip("_")[:64]
    return name if name.isascii() and name.isidentifier() else "Exception"


def make_mismatch(field: str, recorded: object, replayed: object) -> Mismatch:
    """The first difference below ``field`` of two values that are known to differ."""
    return _first_mismatch(field, _plain(recorded), _plain(replayed)) or Mismatch(field, "as it was", "otherwise")


def _plain(value: Any) -> Any:
    """``value`` as JSON would give it back: models and tuples become objects and lists."""
    if isinstance(value, BaseModel):
        return {name: _plain(item) for name, item in value.__dict__.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return value


def _first_mismatch(path: str, recorded: Any, replayed: Any) -> Mismatch | None:
    if recorded == replayed:
        return None
    if isinstance(recorded, dict) and isinstance(replayed, dict):
        for name in [*recorded, *(name for name in replayed if name not in recorded)]:
            found = _first_mismatch(f"{path}.{name}", recorded.get(name), replayed.get(name))
            if found is not None:
                return found
    if isinstance(recorded, list) and isinstance(replayed, list):
        for index, (then, now) in enumerate(zip(recorded, replayed, strict=False)):
            found = _first_mismatch(f"{path}.{index}", then, now)
            if found is not None:
                return found
        return Mismatch(path, f"{len(recorded)} of them", f"{len(replayed)}")
    return Mismatch(path, *_shortened(recorded, replayed))


def _shortened(recorded: Any, replayed: Any) -> tuple[str, str]:
    """Both values as text, long ones from shortly before where they part."""
    texts = [
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in (recorded, replayed)
    ]
    same = 0
    while same < min(map(len, texts)) and texts[0][same] == texts[1][same]:
        same += 1
    start = max(0, same - _BEFORE) if max(map(len, texts)) > _SHORT else 0
    return _excerpt(texts[0], start), _excerpt(texts[1], start)


def _excerpt(text: str, start: int) -> str:
    end = start + _SHORT
    return repr(("…" if start else "") + text[start:end] + ("…" if len(text) > end else ""))
