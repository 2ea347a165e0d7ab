"""The closed registry: known names make events, unknown ones opaque events, and nothing is imported."""

from __future__ import annotations

from typing import Any

import pytest

from affidavit.domain.errors import Refused
from affidavit.domain.event import Event, OpaqueEvent, Sealed, Withheld
from affidavit.domain.registry import Registry


class Noted(Event):
    type_name = "test.noted.v3"
    label: str
    text: Sealed[str] | None = None


def _rename(data: dict[str, Any]) -> dict[str, Any]:
    return {**{name: value for name, value in data.items() if name != "name"}, "label": data["name"]}


def _shout(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "label": data["label"].upper()}


REGISTRY = Registry([Noted], {"test.noted.v1": ("test.noted.v2", _rename), "test.noted.v2": ("test.noted.v3", _shout)})


def test_a_known_name_makes_its_event() -> None:
    assert REGISTRY.decode("test.noted.v3", {"label": "a"}, {}, {}) == Noted(label="a")


def test_an_unknown_name_makes_an_opaque_event() -> None:
    found = REGISTRY.decode("os.system.v1", {"label": "a"}, {"text": "digest"}, {"text": "opened"})
    assert found == OpaqueEvent(data={"label": "a"}, sealed={"text": "digest"})


def test_a_later_version_is_unknown_and_not_guessed() -> None:
    assert isinstance(REGISTRY.decode("test.noted.v4", {"label": "a"}, {}, {}), OpaqueEvent)


def test_old_versions_are_brought_up_to_date_one_after_another() -> None:
    assert REGISTRY.decode("test.noted.v1", {"name": "a"}, {}, {}) == Noted(label="A")
    assert REGISTRY.decode("test.noted.v2", {"label": "a"}, {}, {}) == Noted(label="A")


def test_upcasting_leaves_the_stored_data_alone() -> None:
    data = {"name": "a"}
    REGISTRY.decode("test.noted.v1", data, {}, {})
    assert data == {"name": "a"}


def test_upcasts_that_run_in_a_circle_are_a_slip_of_the_developer() -> None:
    looped = Registry([], {"a.b.v1": ("a.b.v2", dict), "a.b.v2": ("a.b.v1", dict)})
    with pytest.raises(RuntimeError, match="circle"):
        looped.decode("a.b.v1", {}, {}, {})


def test_a_sealed_field_is_withheld_unless_it_is_opened() -> None:
    closed = REGISTRY.decode("test.noted.v3", {"label": "a"}, {"text": "digest"}, {})
    opened = REGISTRY.decode("test.noted.v3", {"label": "a"}, {"text": "digest"}, {"text": "b"})
    erased = REGISTRY.decode("test.noted.v3", {"label": "a"}, {"text": "d"}, {"text": Withheld("d", "erased")})
    assert closed == Noted(label="a", text=Withheld("digest"))
    assert opened == Noted(label="a", text="b")
    assert erased == Noted(label="a", text=Withheld("d", "erased"))


@pytest.mark.parametrize(
    ("data", "sealed", "place"),
    [
        ({}, {}, "label"),
        ({"label": 1}, {}, "label"),
        ({"label": "a", "more": 1}, {}, "more"),
        ({"label": "a"}, {"more": "digest"}, "more"),
        ({}, {"label": "digest"}, "label"),
    ],
)
def test_content_that_does_not_fit_is_refused_and_the_place_named(
    data: dict[str, Any], sealed: dict[str, str], place: str
) -> None:
    with pytest.raises(Refused, match=place) as refused:
        REGISTRY.decode("test.noted.v3", data, sealed, {})
    assert refused.value.rule == "event_invalid"


def test_it_says_what_it_knows() -> None:
    assert "test.noted.v3" in REGISTRY
    assert "test.noted.v1" not in REGISTRY
    assert REGISTRY.names() == ["test.noted.v3"]
