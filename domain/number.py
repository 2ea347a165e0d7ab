"""Numbers that are not integers, as text: the shortest decimal that reads back to the same binary64.

An entry holds no JSON fraction or exponent, because parsers disagree about them. ``0.8125`` stands as
``"0.8125"``: digits, no exponent, no leading or trailing zero that could go, no ``-0``, and never NaN
or an infinity (docs/format.md, "Numbers").
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field


def format_number(value: float) -> str:
    """Print a finite number as its shortest decimal; ``ValueError`` for NaN and infinities."""
    if not math.isfinite(value):
        raise ValueError(f"number {value!r}: expected a finite number")
    text = repr(float(value))
    if "e" in text:
        text = format(Decimal(text), "f")
    elif text.endswith(".0"):  # the only zero at an end that ``repr`` prints
        text = text[:-2]
    return "0" if text == "-0" else text


def parse_number(text: str) -> float:
    """Read a shortest decimal; ``ValueError`` where another spelling of the number is the shortest."""
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(f"number {text!r}: expected plain decimal digits") from error
    # Most are a fraction as ``repr`` prints it, which is found out sooner than it is printed anew.
    as_printed = repr(value) == text and "." in text and "e" not in text and text[-1] != "0"
    if not as_printed and format_number(value) != text:
        raise ValueError(f"number {text!r}: not the shortest decimal of its value")
    return value


def _from_wire(value: object) -> object:
    return parse_number(value) if isinstance(value, str) else value


Number = Annotated[float, BeforeValidator(_from_wire), Field(allow_inf_nan=False)]
"""A finite float in Python, a shortest decimal in the entry."""
