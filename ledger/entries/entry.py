"""The entry, format 1: the exact bytes that are stored, hashed, proven and exported.

::

    {"v":1,"seq":41,"prev":"<hex leaf hash of entry 40>","at":"2026-11-22T10:00:00.123456Z",
     "stream":"run/043","pos":7,"type":"iteration.completed.v1",
     "meta":{…},"data":{…},"sealed":{"system_prompt":"<digest>"}}

(one line, no white space.) ``ledger/entries/grammar.py`` says which JSON is allowed, this file which object.
Verifying never prints an entry again: it hashes the bytes that are there. docs/format.md is the prose.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypedDict, cast

import orjson

from ...domain.event import Meta
from ..errors import Malformed, UnsupportedFormat
from . import grammar

FORMAT = 1
MAX_ENTRY_BYTES = 65_535
"""The two-byte length of a tlog-tiles entry bundle holds no more."""

NO_ENTRY = bytes(32)
"""What stands as the previous leaf hash of entry 0."""

_KEYS = ("v", "seq", "prev", "at", "stream", "pos", "type", "meta", "data", "sealed")
_CONTENT = ("meta", "data", "sealed")
_TYPES = (int, int, str, str, str, int, str, dict, dict, dict)
_is_hash = re.compile(r"[0-9a-f]{64}", re.ASCII).fullmatch
_is_digest = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", re.ASCII).fullmatch
_STREAM = re.compile(r"[a-z][a-z_]{0,63}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?", re.ASCII)
_TYPE = re.compile(r"[a-z][a-z_]{0,63}(\.[a-z][a-z_]{0,63}){1,3}\.v[1-9][0-9]{0,3}", re.ASCII)
_AT = re.compile(r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):\d\d:\d\d\.\d{6}Z", re.ASCII)
_META = {
    "actor": str,
    "cause": int,
    "correlation": str,
    "recorder": str,
    "judge_prompt_version": str,
    "scope": str,
}


class StoredEntry(NamedTuple):
    """A row of the log as a store keeps it; nothing about it has been checked."""

    seq: int
    stream: str
    pos: int
    type_name: str
    raw: bytes
    leaf: bytes


class Entry(TypedDict):
    """A parsed entry. ``prev`` is hex, ``at`` UTC with six fraction digits, ``sealed`` field to digest."""

    v: int
    seq: int
    prev: str
    at: str
    stream: str
    pos: int
    type: str
    meta: Meta
    data: dict[str, Any]
    sealed: dict[str, str]


def print_entry(seq: int, prev: bytes, at: str, stream: str, pos: int, type_name: str, content: bytes) -> bytes:
    """Print an entry around ``content``, for which ``require_room`` found room."""
    head = (
        f'{{"v":1,"seq":{seq},"prev":"{prev.hex()}","at":"{at}","stream":"{stream}","pos":{pos},"type":"{type_name}",'
    )
    return head.encode() + content


def require_room(stream: str, pos: int, type_name: str, content: bytes) -> None:
    """Refuse, before it has a place, an entry that could be longer than 65,535 bytes at any place."""
    if len(content) + len(stream) + len(type_name) < MAX_ENTRY_BYTES - 512:
        return  # far from the limit, as nearly all are
    longest = len(print_entry(grammar.MAX_INTEGER, NO_ENTRY, format_at(0), stream, pos, type_name, content))
    if longest > MAX_ENTRY_BYTES:
        raise Malformed(
            f"stream {stream} position {pos}: entry of {longest} bytes, at most {MAX_ENTRY_BYTES} fit; "
            "what grows with the data belongs in a sealed field"
        )


def print_content(meta: Meta, data: dict[str, Any], sealed: dict[str, str]) -> bytes:
    """Print the part of an entry that is known before its place is: from ``"meta"`` to the last brace."""
    require_meta(meta)
    return grammar.dump({"meta": meta, "data": data, "sealed": sealed})[1:]


def parse_entry(raw: bytes) -> Entry:
    """Parse an entry strictly; ``Malformed`` or ``UnsupportedFormat`` says where it goes wrong."""
    if len(raw) > MAX_ENTRY_BYTES:
        raise Malformed(f"entry of {len(raw)} bytes: expected at most {MAX_ENTRY_BYTES}")
    value = grammar.load(raw)
    if type(value) is not dict:
        raise Malformed("entry: expected an object")
    if value.get("v") != FORMAT or type(value["v"]) is not int:
        raise UnsupportedFormat(f"entry format {value.get('v')!r}: this version reads format {FORMAT}")
    if tuple(value) != _KEYS:
        raise Malformed(f"entry keys {list(value)}: expected {list(_KEYS)} in this order")
    # Every verifier's hottest lines: one pass over the values, nothing asked twice.
    _, seq, prev, at, stream, pos, type_name, meta, data, sealed = value.values()
    if tuple(map(type, value.values())) != _TYPES or seq < 0 or pos < 0:
        raise Malformed(f"entry {seq!r}: expected integers from 0 as seq and pos, text and objects in the other keys")
    if not _is_hash(prev):
        raise Malformed(f"entry {seq} prev {prev!r}: expected 64 lower-case hex digits")
    require_at(at)
    require_stream(stream)
    require_type(type_name)
    _require_content(seq, meta, data, sealed)
    return cast(Entry, value)


def read_entry(raw: bytes) -> Entry:
    """Read a stored entry without asking whether it keeps to the grammar; ``Malformed`` where it cannot be read.

    A third of what ``parse_entry`` costs, and nothing that anybody may rely on to verify.
    """
    try:
        value = orjson.loads(raw)
    except ValueError as error:
        raise Malformed(f"entry: expected JSON: {error}") from error
    if type(value) is not dict or tuple(value) != _KEYS or tuple(map(type, value.values())) != _TYPES:
        raise Malformed(f"entry: expected an object of {', '.join(_KEYS)}")
    return cast(Entry, value)


def parse_expected(raw: bytes, seq: int, prev: str, stream: object, pos: object, type_name: object) -> Entry | None:
    """The entry, if it is valid and is the very one that belongs in this place; None says: ask ``parse_entry``.

    Nearly every entry is what its place says, so how it begins is compared and not parsed.
    """
    if type(stream) is not str or type(type_name) is not str or type(pos) is not int:
        return None
    if not 0 <= pos <= grammar.MAX_INTEGER:
        return None
    try:
        require_stream(stream)
        require_type(type_name)
        before = f'{{"v":1,"seq":{seq},"prev":"{prev}","at":"'.encode()
        after = f'","stream":"{stream}","pos":{pos},"type":"{type_name}",'.encode()
        middle = len(before) + len("2026-11-22T10:00:00.123456Z")
        if not (raw.startswith(before) and raw.startswith(after, middle) and len(raw) <= MAX_ENTRY_BYTES):
            return None
        at = raw[len(before) : middle].decode("ascii")
        require_at(at)
        content = grammar.load(b"{" + raw[middle + len(after) :])
        if tuple(content) != _CONTENT:
            return None
        _require_content(seq, **content)
    except (Malformed, UnicodeDecodeError):
        return None
    found = {"v": FORMAT, "seq": seq, "prev": prev, "at": at, "stream": stream, "pos": pos, "type": type_name}
    return cast(Entry, found | content)


def _require_content(seq: int, meta: Any, data: Any, sealed: Any) -> None:
    if not type(meta) is type(data) is type(sealed) is dict:
        raise Malformed(f"entry {seq}: expected objects as meta, data and sealed")
    require_meta(cast(Meta, meta))
    for field, digest in sealed.items():
        if type(digest) is not str or not _is_digest(digest):
            raise Malformed(f"entry {seq} sealed field {field!r}: expected a base64url SHA-256 digest")
        if field in data:
            raise Malformed(f"entry {seq} field {field!r}: stands both in data and in sealed")


def require_meta(meta: Meta) -> None:
    """Refuse a known key of ``meta`` that holds the wrong kind of value; unknown keys may hold anything."""
    for name, value in meta.items():
        kind = _META.get(name)
        if kind is not None and type(value) is not kind:
            raise Malformed(f"meta {name} {value!r}: expected {'text' if kind is str else 'an integer from 0'}")
    if meta.get("cause", 0) < 0:
        raise Malformed(f"meta cause {meta['cause']!r}: expected an integer from 0")


# Streams, types and times repeat from entry to entry, so each spelling is checked once.


@lru_cache(maxsize=4096)
def require_stream(stream: str) -> None:
    """Refuse a stream name that is not ``category`` or ``category/name``."""
    if not _STREAM.fullmatch(stream):
        raise Malformed(f"stream {stream!r}: expected category/name of [A-Za-z0-9._-], no leading dot")


@lru_cache(maxsize=4096)
def require_type(type_name: str) -> None:
    """Refuse a stored name that is not like ``iteration.completed.v1``."""
    if not _TYPE.fullmatch(type_name):
        raise Malformed(f"type {type_name!r}: expected a stored name like iteration.completed.v1")


@lru_cache(maxsize=4096)
def require_at(at: str) -> None:
    """Refuse a time that is not a real UTC time with six fraction digits."""
    try:
        if _AT.fullmatch(at):
            datetime.fromisoformat(at)
            return
    except ValueError:
        pass
    raise Malformed(f"at {at!r}: expected a UTC time like 2026-11-22T10:00:00.123456Z")


def format_at(microseconds: int) -> str:
    """Print microseconds since 1970 (UTC) in the form of ``at``."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{_second(seconds)}.{fraction:06d}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
