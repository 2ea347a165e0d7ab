"""The JSON that an entry may be, decided by this file and not by a JSON library's habits.

A text is accepted when it is one JSON value in UTF-8 with no byte order mark and no white space between
tokens, its object keys unique, its containers at most 32 deep, its only numbers integers within
±(2^53 − 1) without ``-0``, and in its strings only ``"``, ``\\`` and U+0000-001F escaped, each in its
shortest form (``\\n``, else ``\\u001f`` in lower-case hex). Two texts that parse to the same value then
differ only in the order of object keys. docs/format.md gives the same rules in prose.

``load`` tries orjson first: where printing what it parsed gives the same bytes, and the values are of
the few types above, the text is of the grammar. Everything else is decided by ``load_strictly``.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from ..errors import Malformed

MAX_DEPTH = 32
MAX_INTEGER = 2**53 - 1

_STRING = re.compile(r'"((?:[^"\\\x00-\x1f]|\\(?:["\\bfnrt]|u00[01][0-9a-f]))*)"')
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}", re.ASCII)
_ESCAPE = re.compile(r'\\(?:u([0-9a-f]{4})|(["\\bfnrt]))')
_SHORT = {'"': '"', "\\": "\\", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_HAS_SHORT = frozenset("\b\f\n\r\t")
_WORDS = {"t": ("true", True), "f": ("false", False), "n": ("null", None)}
_LEAVES = frozenset({str, int, bool, type(None)})


def dump(value: Any, depth: int = 0) -> bytes:
    """Print ``value`` in the grammar; ``Malformed`` where it holds what the grammar has no form for.

    ``depth`` is how many containers will stand around it. Object keys keep the order of ``value``. Floats
    are refused: they must have become text before.
    """
    _require_types(value, depth)
    try:
        return orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER)
    except TypeError as error:  # a lone surrogate, a key that is no string, an integer past 2^53 - 1
        raise Malformed(f"value does not fit the entry grammar: {error}") from error


def load(text: bytes) -> Any:
    """Parse ``text``; ``Malformed`` names the byte at which it leaves the grammar."""
    try:
        value = orjson.loads(text)
        _require_types(value, 0)
        if orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER) == text:
            return value
    except (ValueError, TypeError, Malformed):
        pass
    return load_strictly(text)


def load_strictly(text: bytes) -> Any:
    """Parse ``text`` by the definition alone: slow, short, and the reference for every other reader."""
    try:
        characters = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"byte {error.start}: expected UTF-8") from error
    value, end = _value(characters, 0, 1)
    if end != len(characters):
        raise _unexpected(characters, end, "end of text")
    return value


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    first = text[at : at + 1]
    if first == '"':
        return _string(text, at)
    if first == "{" or first == "[":
        if depth > MAX_DEPTH:
            raise _unexpected(text, at, f"at most {MAX_DEPTH} levels")
        return _object(text, at, depth) if first == "{" else _array(text, at, depth)
    if first in _WORDS and first:
        word, meaning = _WORDS[first]
        if text.startswith(word, at):
            return meaning, at + len(word)
    number = _INTEGER.match(text, at)
    if number is None or abs(int(number[0])) > MAX_INTEGER:
        raise _unexpected(text, at, "a value (integers only, within 2^53 - 1)")
    return int(number[0]), number.end()


def _string(text: str, at: int) -> tuple[str, int]:
    match = _STRING.match(text, at)
    if match is None:
        raise _unexpected(text, at, "a string with only the shortest escapes")
    return _ESCAPE.sub(lambda escape: _unescape(text, at, escape), match[1]), match.end()


def _unescape(text: str, at: int, escape: re.Match[str]) -> str:
    if escape[2]:
        return _SHORT[escape[2]]
    character = chr(int(escape[1], 16))
    if character in _HAS_SHORT:
        raise _unexpected(text, at, f"the short escape of U+{ord(character):04X}")
    return character


def _object(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    at += 1
    if text.startswith("}", at):
        return found, at + 1
    while True:
        key, end = _string(text, at)
        if key in found:
            raise _unexpected(text, at, f"a key not used before in this object, not {key!r}")
        if not text.startswith(":", end):
            raise _unexpected(text, end, "':'")
        found[key], at = _value(text, end + 1, depth + 1)
        if text.startswith("}", at):
            return found, at + 1
        if not text.startswith(",", at):
            raise _unexpected(text, at, "',' or '}'")
        at += 1


def _array(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    at += 1
    if text.startswith("]", at):
        return found, at + 1
    while True:
        item, at = _value(text, at, depth + 1)
        found.append(item)
        if text.startswith("]", at):
            return found, at + 1
        if not text.startswith(",", at):
            raise _unexpected(text, at, "',' or ']'")
        at += 1


def _unexpected(text: str, at: int, expected: str) -> Malformed:
    place = len(text[:at].encode())
    return Malformed(f"byte {place}: expected {expected}, found {text[at : at + 12]!r}")


def _require_types(value: Any, depth: int) -> None:
    """Refuse floats and depth: the two things that printing and comparing would not notice."""
    kind = type(value)
    if kind is dict:
        inner = value.values()
    elif kind is list or kind is tuple:
        inner = value
    elif kind in _LEAVES:
        return
    else:
        raise Malformed(f"value of type {kind.__name__}: expected text, integer, true, false, null or a container")
    if depth >= MAX_DEPTH:
        raise Malformed(f"value is nested deeper than {MAX_DEPTH} levels")
    for item in inner:
        if type(item) not in _LEAVES:
            _require_types(item, depth + 1)
