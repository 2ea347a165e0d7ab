"""Between events and entries: nothing is imported, guessed or let through unchecked."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from typing import Any

import pytest
from eventsourcing.persistence import StoredEvent
from pydantic import BaseModel

from affidavit.domain.errors import Refused
from affidavit.domain.event import Event, Meta, NewEvent, OpaqueEvent, Sealed, Withheld
from affidavit.domain.number import Number
from affidavit.domain.registry import Registry
from affidavit.ledger.entries.entry import NO_ENTRY, print_entry
from affidavit.ledger.entries.mapper import EventMapper, PendingEntry, split
from affidavit.ledger.entries.seal import read_disclosure
from affidavit.ledger.errors import Malformed


class Part(BaseModel):
    score: float
    note: str | None = None


class Noted(Event):
    type_name = "test.noted.v1"
    label: str = "a"
    score: Number | None = None
    parts: tuple[Part, ...] = ()
    scores: dict[str, Number] | None = None
    anything: Any = None
    text: Sealed[str] | None = None
    detail: Sealed[tuple[Part, ...]] | None = None


class Badly(Event):
    type_name = "Badly named"


MAPPER = EventMapper(Registry([Noted]), random.Random(1).randbytes)


def pending(event: Event, stream: str = "test/1", meta: Meta | None = None) -> PendingEntry:
    return MAPPER.to_stored_event(NewEvent(stream, 0, event, meta or Meta()))


def stored(pending: PendingEntry, type_name: str = "test.noted.v1") -> StoredEvent:
    raw = print_entry(3, NO_ENTRY, "2026-11-22T10:00:00.000000Z", "test/1", 0, type_name, pending.state)
    return StoredEvent("test/1", 0, type_name, raw)


def content(pending: PendingEntry) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(b"{" + pending.state)
    return found


def test_an_event_goes_in_and_comes_back() -> None:
    event = Noted(score=0.8125, scores={"exact": 1.0}, anything=[1, {"a": None}])
    found = MAPPER.to_domain_event(stored(pending(event)))
    assert found.event == event
    assert (found.seq, found.stream, found.pos, found.type_name) == (3, "test/1", 0, "test.noted.v1")


def test_floats_in_the_open_become_shortest_decimals_at_every_depth() -> None:
    event = Noted(score=1e-7, scores={"a": 1.0}, parts=(Part(score=0.1 + 0.2),), anything=[{"x": 0.5}])
    data = content(pending(event))["data"]
    assert data["score"] == "0.0000001"
    assert data["scores"] == {"a": "1"}
    assert data["parts"] == [{"score": "0.30000000000000004"}]
    assert data["anything"] == [{"x": "0.5"}]


def test_a_field_that_is_none_stands_nowhere() -> None:
    found = content(pending(Noted()))
    assert found["data"] == {"label": "a", "parts": []}
    assert found["sealed"] == {}


def test_sealed_fields_stand_in_the_entry_by_digest_only() -> None:
    waiting = pending(Noted(text="cites clause 4", detail=(Part(score=0.5),)))
    assert b"clause" not in waiting.state
    assert content(waiting)["sealed"] == {disclosure.name: disclosure.digest for disclosure in waiting.disclosures}
    opened = {
        disclosure.name: read_disclosure(disclosure.content, disclosure.name) for disclosure in waiting.disclosures
    }
    assert opened == {"text": "cites clause 4", "detail": [{"score": 0.5}]}


def test_each_sealed_field_has_a_salt_of_its_own() -> None:
    _, first = split(Noted(text="same"), random.Random(2).randbytes)
    _, second = split(Noted(text="same"), random.Random(3).randbytes)
    assert first[0].digest != second[0].digest


def test_read_without_a_key_sealed_fields_are_withheld() -> None:
    waiting = pending(Noted(text="cites clause 4"))
    assert MAPPER.to_domain_event(stored(waiting)).event == Noted(text=Withheld(waiting.disclosures[0].digest))


def test_an_event_read_without_its_text_is_not_recorded_again_as_if_it_had_it() -> None:
    with pytest.raises(Malformed, match="Withheld"):
        pending(Noted(text=Withheld("digest")))


def test_sealed_content_lies_under_its_stream_unless_meta_names_a_scope() -> None:
    assert pending(Noted(text="x")).scope == "test/1"
    assert pending(Noted(text="x"), meta=Meta(scope="subject/s-1")).scope == "subject/s-1"


@pytest.mark.parametrize("name", ["antigravity.fly.v1", "this.module.v1"])
def test_a_type_that_names_a_python_module_is_not_imported(name: str) -> None:
    module = name.partition(".")[0]
    before = sys.modules.pop(module, None)
    found = MAPPER.to_domain_event(stored(pending(Noted()), name))
    assert isinstance(found.event, OpaqueEvent)
    assert module not in sys.modules
    if before is not None:
        sys.modules[module] = before


@pytest.mark.parametrize("topic", ["os:system", "antigravity:fly", "eventsourcing.domain:Aggregate.Created"])
def test_a_topic_of_the_library_is_no_type_at_all(topic: str) -> None:
    with pytest.raises(Malformed, match="stored name"):
        MAPPER.to_domain_event(stored(pending(Noted()), topic))


def test_the_type_is_read_from_the_entry_and_not_from_the_row_beside_it() -> None:
    row = replace(stored(pending(Noted())), topic="os:system", originator_id="other/1")
    assert MAPPER.to_domain_event(row).type_name == "test.noted.v1"


def test_an_unknown_type_is_opaque() -> None:
    found = MAPPER.to_domain_event(stored(pending(Noted()), "test.unknown.v1"))
    assert found.event == OpaqueEvent(data={"label": "a", "parts": []}, sealed={})


@pytest.mark.parametrize(("old", "new"), [(b'"label":"a"', b'"label":1'), (b'"label":"a"', b'"unheard_of":"a"')])
def test_content_that_does_not_fit_its_type_is_refused(old: bytes, new: bytes) -> None:
    waiting = pending(Noted())
    with pytest.raises(Refused) as refused:
        MAPPER.to_domain_event(stored(replace(waiting, state=waiting.state.replace(old, new))))
    assert refused.value.rule == "event_invalid"


@pytest.mark.parametrize("value", [0.5j, b"x", {1: 2}, {1, 2}, 2**53, "\ud800", object()])
def test_open_content_without_a_form_in_the_grammar_is_refused(value: object) -> None:
    with pytest.raises(Malformed):
        pending(Noted(anything=value))


@pytest.mark.parametrize("value", [float("nan"), [float("inf")]])
def test_open_numbers_are_finite(value: object) -> None:
    with pytest.raises(ValueError, match="finite"):
        pending(Noted(anything=value))


@pytest.mark.parametrize("stream", ["", "test/../x", "Test/1", "test/.x", "test/" + "x" * 129])
def test_a_stream_name_that_breaks_the_rules_is_refused(stream: str) -> None:
    with pytest.raises(Malformed, match="stream"):
        pending(Noted(), stream=stream)


def test_a_stored_name_that_breaks_the_rules_is_refused() -> None:
    with pytest.raises(Malformed, match="type"):
        pending(Badly())


def test_an_entry_without_room_is_refused() -> None:
    with pytest.raises(Malformed, match="sealed field"):
        pending(Noted(label="x" * 65_535))
