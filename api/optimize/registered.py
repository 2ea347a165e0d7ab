"""Strategies and metrics that users register, beside the built-in ones.

A package offers them by entry points (https://packaging.python.org/specifications/entry-points/)::

    [project.entry-points."affidavit.strategies"]
    mine = "my_package:mine"        # Callable[[Study], Conversation]

    [project.entry-points."affidavit.metrics"]
    polite = "my_package:polite"    # Callable[[str, str], float]: response and reference to a number from 0 to 1

A metric that needs no reference says so by an attribute ``needs_reference = False``. The built-in names cannot be
taken: what is registered under one is never loaded. Others are imported only when a run names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ...domain.errors import Refused
from ...domain.optimization.metrics import METRICS, CustomMetric, Metric, find_metrics, require_distinct
from ...domain.optimization.strategies import BUILT_IN
from ...domain.optimization.study import Strategies

STRATEGIES_GROUP = "affidavit.strategies"
METRICS_GROUP = "affidavit.metrics"


def find_strategies(names: Iterable[str]) -> Strategies:
    """The strategies of these names; ``Refused`` names those that are known."""
    return {name: BUILT_IN.get(name) or _load("strategy", STRATEGIES_GROUP, name, list(BUILT_IN)) for name in names}


def find_all_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """The metrics of these names in this order, built-in and registered."""
    found = tuple(find_metrics([name])[0] if name in METRICS else _custom(name) for name in names)
    require_distinct(found)
    return found


def _custom(name: str) -> CustomMetric:
    fn = _load("metric", METRICS_GROUP, name, list(METRICS))
    return CustomMetric(name, fn, needs_reference=bool(getattr(fn, "needs_reference", True)))


def _load(what: str, group: str, name: str, built_in: list[str]) -> Any:
    found: list[EntryPoint] = list(entry_points(group=group))
    named = [point for point in found if point.name == name]
    if not named:
        known = ", ".join(sorted({*built_in, *(point.name for point in found)}))
        raise Refused(f"{what}_known", f"{what} {name!r}: expected one of {known}")
    if len(named) > 1:
        packages = ", ".join(sorted(str(point.dist and point.dist.name) for point in named))
        raise Refused(f"{what}_once", f"{what} {name!r}: {packages} each register one of this name")
    try:
        loaded = named[0].load()
    except Exception as error:
        raise Refused(f"{what}_loads", f"{what} {name!r}: {named[0].value}: {type(error).__name__}: {error}") from error
    if not callable(loaded):
        raise Refused(f"{what}_callable", f"{what} {name!r}: expected a callable at {named[0].value}")
    return loaded
