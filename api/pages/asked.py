"""What a page is asked for in its address, read in one way by all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, TypeVar

from pydantic import Field

from ...domain.errors import Refused
from ..http.errors import Problem

T = TypeVar("T", bound=str)

Whole = Annotated[int, Field(ge=-(2**53), le=2**53)]
"""A whole number in a query or a path: bounded, because SQLite takes none beyond 64 bits."""

_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)
_PAGE = re.compile(r"0*[1-9][0-9]{0,8}", re.ASCII)


def asked_number(name: str, text: str | None, rule: str = "number_readable") -> int | None:
    """A number from 0, None where nothing is asked; ``Refused`` for what is none."""
    given = (text or "").strip()
    if not given:
        return None
    if not _NUMBER.fullmatch(given):
        raise Refused(rule, f"{name} {given[:40]!r}: expected a whole number from 0")
    return int(given)


def asked_page(text: str | None) -> int:
    """The number of a page of a list, counted from 1; ``Problem`` for what is none."""
    given = text or "1"
    if not _PAGE.fullmatch(given):
        raise Problem(422, "page_known", f"page={given[:40]}: expected a number from 1 on")
    return int(given)


def one_of(name: str, text: str, known: Iterable[T]) -> T:
    """The one of the words ``known`` that is asked for; ``Problem`` where it is none of them."""
    words = list(known)
    for word in words:
        if word == text:
            return word
    raise Problem(422, f"{name}_known", f"{name}={text[:40]}: expected one of {', '.join(filter(None, words))}")
