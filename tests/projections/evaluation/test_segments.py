"""Columns as of an earlier size: the same whether they are narrowed from what is kept or derived as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from affidavit.projections.evaluation import segments as module
from affidavit.projections.evaluation.segments import DTYPES, TEXT_COLUMNS, HeldDays, Kind, Segments, load_segments
from affidavit.projections.evaluation.stale import SPANS, extend_spans, split_sessions

from .conftest import Filled, Ledgers
from .test_newest import dataset, verdicts


def told(found: Segments, kind: Kind) -> list[dict[str, Any]]:
    """Rows with their texts and rules in place of numbers, by seq; and that they stand in order of time."""
    assert (np.diff(found.rows["at"]) >= 0).all()
    rows = []
    for row in found.rows[np.argsort(found.rows["seq"])]:
        values = {name: row[name].item() for name in DTYPES[kind].names}
        values |= {name: found.texts[values[name]] for name in TEXT_COLUMNS[kind]}
        if kind == "graded":
            first = values.pop("first_cited")
            values["cited"] = sorted(found.rules[n] for n in found.cited[first : first + values["cited"]])
        rows.append(values)
    return rows


def at_every_size(filled: Filled, kind: Kind) -> list[list[dict[str, Any]]]:
    with filled.live.moment() as moment:
        sizes = range(1, moment.size + 1)
        return [told(load_segments(moment.views, kind, 0, 10**5, size), kind) for size in sizes]


@pytest.mark.parametrize("kind", DTYPES)
def test_an_earlier_size_is_narrowed_to_what_would_be_derived(
    ledgers: Ledgers, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dataset()
    results = [
        {
            "result_id": n,
            "session_id": f"s{n}",
            "user_id": "u",
            "agent_version": "v1",
            "is_success": bool(n % 2),
            "created_at": first["requests"][n]["created_at"],
        }
        for n in range(4)
    ]
    again = [{**request, "request_id": f"{n + 50:032x}", "source": "later", "created_at": request["created_at"] - 5}
             for n, request in enumerate(first["requests"][:3])]  # fmt: skip
    with ledgers.filled({**first, "results": results}) as filled:
        filled.add({**first, "requests": again, "results": results[2:], "verdicts": verdicts(100)})
        with filled.live.moment() as moment:
            assert split_sessions(moment.views, moment.size // 2, moment.size)
        narrowed = at_every_size(filled, kind)
        monkeypatch.setattr(module, "DERIVED_AT_MOST", -1)
        assert at_every_size(filled, kind) == narrowed
    assert narrowed[-1]
    assert not narrowed[0]


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("at_most", [0, 10**6])
def test_days_that_are_held_are_those_that_would_be_loaded(
    ledgers: Ledgers, kind: Kind, at_most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HELD_AT_MOST", at_most)
    with ledgers.filled(dataset()) as filled:
        filled.add({**dataset(), "requests": [], "verdicts": verdicts(100)})
        with filled.live.moment() as moment:
            days = [row[0] for row in moment.views.exec_driver_sql("SELECT day FROM requests ORDER BY day")]
            held = HeldDays()
            for first, last in ((days[-2], days[-1]), (days[0], days[1]), (days[-3], days[-3]), (0, 10**9), (3, 2)):
                for size in (moment.size, moment.size // 2):
                    asked = moment.views, kind, first, last, size
                    assert told(held.load(*asked), kind) == told(load_segments(*asked), kind)


def test_spans_are_the_same_however_they_are_carried_on(ledgers: Ledgers) -> None:
    with ledgers.filled(dataset()) as filled, filled.live.moment() as moment:

        def spans(*sizes: int) -> list[tuple[str, int, int]]:
            moment.views.exec_driver_sql("DELETE FROM session_spans")
            moment.views.exec_driver_sql("DELETE FROM session_spans_upto")
            for size in sizes:
                extend_spans(moment.views, size)
            return [tuple(row) for row in moment.views.execute(SPANS.select().order_by(SPANS.c.session))]

        extend_spans(moment.views, moment.size)
        whole = spans(moment.size)
        assert whole
        assert spans(*range(1, moment.size + 1, 3), moment.size) == whole
