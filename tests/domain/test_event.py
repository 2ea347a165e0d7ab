"""Events know their stored name and which of their fields are sealed."""

from __future__ import annotations

import math
from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from affidavit.domain.event import Event, Meta, NewEvent, OpaqueEvent, Recorded, Sealed, Withheld
from affidavit.projections.registry import REGISTRY


class Noted(Event):
    type_name = "test.noted.v1"
    label: str
    score: float | None = None
    text: Sealed[str]
    reason: Sealed[str] | None = None
    tags: Annotated[Sealed[list[str]] | None, Field(description="annotated from outside")] = None


def test_sealed_fields_are_found_also_where_they_are_optional_or_annotated() -> None:
    assert Noted.sealed_fields == ("text", "reason", "tags")


def test_an_event_without_sealed_fields_has_none() -> None:
    class Plain(Event):
        type_name = "test.plain.v1"
        label: str

    assert Plain.sealed_fields == ()


def test_a_subclass_keeps_the_sealed_fields_of_its_parent() -> None:
    class More(Noted):
        type_name = "test.more.v1"
        extra: Sealed[str] = ""

    assert More.sealed_fields == ("text", "reason", "tags", "extra")


def test_a_sealed_field_holds_its_value_or_withheld() -> None:
    assert Noted(label="a", text="open").text == "open"
    assert Noted(label="a", text=Withheld("digest")).text == Withheld("digest", "closed")


def test_withheld_does_not_pass_for_an_open_field() -> None:
    with pytest.raises(ValidationError):
        Noted.model_validate({"label": Withheld("digest"), "text": "open"})


@pytest.mark.parametrize(("why", "shown"), [("closed", "[closed]"), ("erased", "[erased]")])
def test_withheld_is_shown_by_its_reason(why: str, shown: str) -> None:
    assert str(Withheld("digest", "erased" if why == "erased" else "closed")) == shown


def test_an_event_does_not_change() -> None:
    event = Noted(label="a", text="b")
    with pytest.raises(ValidationError):
        event.label = "c"  # type: ignore[misc]


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="extra"):
        Noted.model_validate({"label": "a", "text": "b", "more": 1})


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_refused(score: float) -> None:
    with pytest.raises(ValidationError):
        Noted(label="a", text="b", score=score)


def test_an_event_without_summaries_never_disagrees() -> None:
    assert Noted(label="a", text="b").disagreement() is None
    assert OpaqueEvent(data={}, sealed={}).disagreement() is None


def test_stream_and_position_are_what_the_library_calls_originator() -> None:
    event = Noted(label="a", text="b")
    new = NewEvent("run/1", 3, event, Meta())
    read = Recorded(9, "2026-11-22T10:00:00.000000Z", "run/1", 3, Noted.type_name, Meta(), event)
    assert (new.originator_id, new.originator_version) == ("run/1", 3)
    assert (read.originator_id, read.originator_version) == ("run/1", 3)


def test_every_stored_name_says_what_happened_and_its_version() -> None:
    assert all(name.rpartition(".v")[2].isdigit() for name in REGISTRY.names())
