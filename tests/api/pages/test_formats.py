"""Figures and times in words."""

from __future__ import annotations

import pytest

from affidavit.api.pages import formats


@pytest.mark.parametrize(
    ("value", "printed"), [(None, "—"), (0, "0"), (1234567, "1,234,567"), (-3, "−3"), (1.5, "1.5"), (2.0, "2")]
)
def test_numbers_have_thousands_apart(value: float | None, printed: str) -> None:
    assert formats.num(value) == printed


@pytest.mark.parametrize(("value", "printed"), [(0.1, "+0.1000"), (-0.25, "−0.2500"), (0.0, "±0.0000"), (None, "—")])
def test_a_difference_shows_its_sign(value: float | None, printed: str) -> None:
    assert formats.signed(value) == printed


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (None, "—"),
        (0.25, "250 ms"),
        (4, "4 s"),
        (4.25, "4.2 s"),
        (59.99, "60 s"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (90_061, "1 d 1 h"),
    ],
)
def test_durations_are_told_in_their_largest_units(value: float | None, printed: str) -> None:
    assert formats.seconds(value) == printed


@pytest.mark.parametrize(
    "value", ["2026-11-22T10:00:05Z", "2026-11-22T11:00:05+01:00", "2026-11-22T10:00:05", 1_795_341_605]
)
def test_times_are_utc(value: str | float) -> None:
    assert formats.at(value) == "2026-11-22 10:00:05 UTC"


def test_what_is_no_time_stands_as_it_is() -> None:
    assert formats.at("soon") == "soon"
    assert formats.at(10**18) == str(10**18)
    assert formats.iso("soon") == ""


def test_intervals_shares_and_p_values() -> None:
    assert formats.interval((0.1, 0.25)) == "0.1000 to 0.2500"
    assert formats.interval(None) == "—"
    assert formats.share(0.667) == "67 %"
    assert formats.pp(-3.21) == "−3.2 pp"
    assert formats.p_value(0.0001) == "p < 0.001"
    assert formats.p_value(0.0421) == "p = 0.042"
