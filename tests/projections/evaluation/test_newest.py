"""Lists from the newest on: every row once, in order, whatever the page; and verdicts counted as they come."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from affidavit.projections.evaluation import newest as module
from affidavit.projections.evaluation.judge_versions import versions_through_time
from affidavit.projections.evaluation.newest import Key, newest
from affidavit.projections.evaluation.segments import Segments

from .conftest import Filled, Ledgers

DAY = 86_400
END = 1_704_067_200
DAYS = (0, 0, 0, 1, 1, 5, 40, 400)
"""How many days before ``END`` each session began; three at one moment."""


def verdicts(first: int = 0) -> list[dict[str, Any]]:
    """A verdict on each session, with numbers from ``first`` on, each given as many days later."""
    return [
        {
            "verdict_id": first + n,
            "session_id": f"s{n}",
            "interaction_id": str(n),
            "agent_version": "v1",
            "reflexio_is_request_1": True,
            "better_request": "1",
            "judge_prompt_version": "v1" if n % 2 else "v2",
            "created_at": datetime.fromtimestamp(END - ago * DAY + first * DAY, UTC).isoformat(),
        }
        for n, ago in enumerate(DAYS)
    ]


def dataset() -> dict[str, Any]:
    requests = [
        {"request_id": f"{n:032x}", "user_id": "u", "session_id": f"s{n}", "created_at": END - ago * DAY}
        for n, ago in enumerate(DAYS)
    ]
    return {
        "requests": requests,
        "interactions": [],
        "results": [],
        "verdicts": verdicts(),
        "imported_scores": [],
    }


def walked(filled: Filled, limit: int) -> tuple[list[Key], int]:
    """All rows, followed from page to page, and how many pages that took."""

    def every(segments: Segments) -> Any:
        return np.ones(len(segments.rows), dtype=np.bool_)

    found: list[Key] = []
    before, pages = None, 0
    with filled.live.moment() as moment:
        while True:
            page = newest(moment.views, "begun", moment.size, chosen=every, before=before, limit=limit)
            found += [Key(int(row["at"]), int(row["seq"])) for row, _ in page.rows]
            pages += 1
            if page.older is None:
                return found, pages
            before = page.older


@pytest.mark.parametrize("limit", [1, 2, 3, 8, 100])
def test_every_row_stands_once_from_the_newest_to_the_oldest(ledgers: Ledgers, limit: int) -> None:
    with ledgers.filled(dataset()) as filled:
        found, _ = walked(filled, limit)
    assert len(found) == len(DAYS)
    assert found == sorted(found, reverse=True)


def test_a_page_stops_looking_and_the_next_one_goes_on(ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKED_AT_MOST", 1)
    with ledgers.filled(dataset()) as filled:
        found, pages = walked(filled, 100)
    assert len(found) == len(DAYS)
    assert pages > 2


def test_verdicts_counted_as_they_come_are_those_counted_at_once_also_of_the_past(ledgers: Ledgers) -> None:
    with ledgers.filled(dataset()) as filled:
        sizes = []
        for turn in range(3):
            if turn:
                filled.add({**dataset(), "verdicts": verdicts(100 * turn)})
            with filled.live.moment() as moment:
                versions_through_time(moment.views, moment.events, moment.size, END)
                sizes.append(moment.size)
        totals = []
        for size in (*sizes, sizes[1] - 3):
            with filled.live.moment(str(size - 1)) as moment:
                times = versions_through_time(moment.views, moment.events, size, END)
                query = "SELECT version, count(*) FROM verdicts WHERE seq < ? GROUP BY version"
                plain = {row[0]: row[1] for row in moment.views.exec_driver_sql(query, (size,))}
            assert {found.version: found.total for found in times.versions} == plain
            assert all(sum(found.steps) == found.total for found in times.versions)
            totals.append(sum(plain.values()))
    assert totals[:3] == [len(DAYS), 2 * len(DAYS), 3 * len(DAYS)]
