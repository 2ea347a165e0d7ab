"""JSON of others, read strictly: each key once in an object, and no constant that JSON does not know."""

from __future__ import annotations

import json
from typing import Any


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.80} twice in one object")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name}, which is no JSON")


STRICT_JSON = json.JSONDecoder(object_pairs_hook=_each_key_once, parse_constant=_no_constant)
"""Its ``decode`` raises ``ValueError``, and ``RecursionError`` for what is nested too deep."""
