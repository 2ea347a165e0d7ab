"""Entries are printed as they are parsed; the accept/reject corpus is run in test_vectors.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.domain.event import Meta
from affidavit.ledger.entries.entry import (
    MAX_ENTRY_BYTES,
    NO_ENTRY,
    format_at,
    parse_entry,
    print_content,
    print_entry,
    require_room,
)
from affidavit.ledger.entries.grammar import MAX_DEPTH, MAX_INTEGER
from affidavit.ledger.errors import Malformed, UnsupportedFormat

AT = "2026-11-22T10:00:00.123456Z"
DIGEST = "t3d-2iZVPwBQDeQZb14EtiymbiAGaFwKXmud5cyF0_0"


def printed(data: dict[str, Any], *, meta: Meta | None = None, sealed: dict[str, str] | None = None) -> bytes:
    return print_entry(41, bytes(range(32)), AT, "run/043", 7, "a.b.v1", print_content(meta or {}, data, sealed or {}))


def nested(depth: int) -> dict[str, Any]:
    value: Any = []
    for _ in range(depth - 2):
        value = [value]
    return {"x": value}


def test_what_is_printed_is_parsed() -> None:
    meta = Meta(actor="actor-1", cause=3)
    assert parse_entry(printed({"score": "0.5"}, meta=meta, sealed={"text": DIGEST})) == {
        "v": 1,
        "seq": 41,
        "prev": bytes(range(32)).hex(),
        "at": AT,
        "stream": "run/043",
        "pos": 7,
        "type": "a.b.v1",
        "meta": {"actor": "actor-1", "cause": 3},
        "data": {"score": "0.5"},
        "sealed": {"text": DIGEST},
    }


def test_data_as_deep_as_an_entry_holds_is_printed_and_parsed() -> None:
    assert parse_entry(printed(nested(MAX_DEPTH - 1)))["data"] == nested(MAX_DEPTH - 1)


def test_data_one_level_deeper_is_refused_before_it_is_recorded() -> None:
    """The entry is itself one of the levels: what was printed and could not be parsed would end the log."""
    with pytest.raises(Malformed, match="32 levels"):
        print_content({}, nested(MAX_DEPTH), {})


@pytest.mark.parametrize("value", [0.5, float("nan"), 2**53, -(2**53), "\ud800", b"x", {1: 2}, {"a": {1, 2}}, object()])
def test_what_the_grammar_has_no_form_for_is_refused(value: object) -> None:
    with pytest.raises(Malformed):
        print_content({}, {"x": value}, {})


@pytest.mark.parametrize("meta", [{"scope": 5}, {"actor": None}, {"cause": -1}, {"cause": True}, {"recorder": []}])
def test_meta_of_the_wrong_kind_is_refused_before_it_is_recorded(meta: dict[str, Any]) -> None:
    with pytest.raises(Malformed, match="meta"):
        print_content(cast(Meta, meta), {}, {})


def test_an_entry_has_room_exactly_up_to_the_limit_at_its_longest_place() -> None:
    def content(size: int) -> bytes:
        return print_content({}, {"x": "y" * size}, {})

    empty = len(print_entry(MAX_INTEGER, NO_ENTRY, AT, "run/043", 7, "a.b.v1", content(0)))
    require_room("run/043", 7, "a.b.v1", content(MAX_ENTRY_BYTES - empty))
    with pytest.raises(Malformed, match="65536 bytes, at most 65535"):
        require_room("run/043", 7, "a.b.v1", content(MAX_ENTRY_BYTES - empty + 1))


@pytest.mark.parametrize("version", [0, 2, "1"])
def test_another_format_is_not_damage_but_unsupported(version: object) -> None:
    shown = f'"{version}"' if isinstance(version, str) else str(version)
    with pytest.raises(UnsupportedFormat, match="reads format 1"):
        parse_entry(printed({}).replace(b'"v":1', f'"v":{shown}'.encode()))


@given(st.integers(0, 253_402_300_799_999_999))
def test_a_time_is_printed_with_six_fraction_digits(microseconds: int) -> None:
    at = format_at(microseconds)
    assert datetime.fromisoformat(at) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    assert len(at) == len(AT)
    parse_entry(printed({}).replace(AT.encode(), at.encode()))


@given(st.binary(max_size=80))
def test_any_bytes_are_parsed_or_refused_and_nothing_else(raw: bytes) -> None:
    with pytest.raises((Malformed, UnsupportedFormat)):
        parse_entry(raw)


@given(st.data())
def test_an_entry_with_one_byte_changed_is_another_entry_or_none(data: st.DataObject) -> None:
    raw = printed({"score": "0.5", "n": [1, None]}, sealed={"text": DIGEST})
    changed = bytearray(raw)
    changed[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        entry = parse_entry(bytes(changed))
    except (Malformed, UnsupportedFormat):
        return
    assert entry != parse_entry(raw)
