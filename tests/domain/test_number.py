"""Numbers as shortest decimals; the accept/reject corpus is run in tests/ledger/test_vectors.py."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from affidavit.domain.number import Number, format_number, parse_number


class Measured(BaseModel):
    score: Number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_reads_back_to_the_same_bits(value: float) -> None:
    again = parse_number(format_number(value))
    assert struct.pack(">d", again) == struct.pack(">d", value + 0.0)  # + 0.0 turns -0 into 0


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_two_numbers_have_one_text_only_if_they_are_equal(one: float, other: float) -> None:
    assert (format_number(one) == format_number(other)) == (one == other)


@given(st.text(alphabet="-+.0123456789eE", max_size=24))
def test_whatever_is_accepted_is_printed_back_as_it_was(text: str) -> None:
    try:
        value = parse_number(text)
    except ValueError:
        return
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (-0.0, "0"), (0.1 + 0.2, "0.30000000000000004"), (1e16, "10000000000000000"), (1e-7, "0.0000001")],
)
def test_a_number_is_printed_without_exponent_or_idle_zeros(value: float, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_has_no_text(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        format_number(value)


def test_a_number_field_reads_text_and_takes_floats() -> None:
    assert Measured.model_validate({"score": "0.8125"}) == Measured(score=0.8125)


@pytest.mark.parametrize("value", ["1.0", "1e3", "nan", "", math.nan, math.inf, None, []])
def test_a_number_field_refuses_what_is_no_number(value: object) -> None:
    with pytest.raises(ValidationError):
        Measured.model_validate({"score": value})
