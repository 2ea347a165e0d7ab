"""Figures and times as the pages print them. What is not there is an em dash."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

NONE = "—"
MINUS = "−"


def num(value: float | None, digits: int = 2) -> str:
    """A number with thousands apart; a fraction with at most ``digits`` decimals."""
    if value is None:
        return NONE
    if isinstance(value, float) and not value.is_integer():
        return _minus(f"{value:,.{digits}f}".rstrip("0").rstrip("."))
    return _minus(f"{int(value):,}")


def score(value: float | None) -> str:
    """A score with four decimals, as the peer prints it."""
    return NONE if value is None else _minus(f"{value:.4f}")


def signed(value: float | None, digits: int = 4) -> str:
    """A difference with its sign."""
    if value is None:
        return NONE
    printed = f"{value:+.{digits}f}"
    return "±" + printed[1:] if not printed.strip("+-0.") else _minus(printed)


def share(value: float | None, digits: int = 0) -> str:
    """A share of one in per cent."""
    return NONE if value is None else _minus(f"{100 * value:.{digits}f} %")


def pp(value: float | None, digits: int = 1) -> str:
    """A difference in percentage points, with its sign."""
    return NONE if value is None else f"{signed(value, digits)} pp"


def interval(bounds: Any, how: Callable[[float], str] = score) -> str:
    """The bounds of an interval, each printed by ``how``."""
    if bounds is None:
        return NONE
    low, high = bounds
    return f"{how(low)} to {how(high)}"


def p_value(value: float | None) -> str:
    """A p-value with three decimals; below a thousandth it says so."""
    if value is None:
        return NONE
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def seconds(value: float | None) -> str:
    """A duration in its two largest units."""
    if value is None:
        return NONE
    if value < 1:
        return f"{1000 * value:.0f} ms"
    if value < 60:
        return f"{value:.1f} s".replace(".0 ", " ")
    whole = round(value)
    for unit, name, smaller, least in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit:,} {name}" + (f" {rest} {least}" if rest else "")
    return f"{whole} s"


def at(value: str | float | None) -> str:
    """A moment, given in ISO 8601 or in seconds since 1970, in UTC to the second."""
    if value is None or value == "":
        return NONE
    try:
        moment = datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else _moment(value)
    except (ValueError, OverflowError, OSError):
        return str(value)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def iso(value: str | float) -> str:
    """The same for machines."""
    try:
        moment = datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else _moment(value)
    except (ValueError, OverflowError, OSError):
        return ""
    return moment.isoformat().replace("+00:00", "Z")


def base64(value: bytes) -> str:
    """A root as signed notes have it."""
    return b64encode(value).decode()


def eve(value: str) -> str:
    """The day before a date, whose end is where that date begins; empty for what is no date alone."""
    try:
        return str(date.fromisoformat(value) - timedelta(days=1))
    except (ValueError, OverflowError):
        return ""


def short(value: str | None) -> str:
    """The beginning of a hash."""
    return NONE if value is None else value[:10]


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _minus(printed: str) -> str:
    return printed.replace("-", MINUS)


FILTERS: dict[str, Callable[..., str]] = {
    "num": num,
    "tokens": num,
    "score": score,
    "signed": signed,
    "share": share,
    "pp": pp,
    "interval": interval,
    "p_value": p_value,
    "seconds": seconds,
    "at": at,
    "iso": iso,
    "short": short,
    "base64": base64,
    "eve": eve,
}
