"""The last day that was judged."""

from __future__ import annotations

from typing import Any

from affidavit.projections.evaluation.latest import last_day

DAY = 86_400
NOW = 20_000 * DAY


def _rows(*days: int) -> dict[str, Any]:
    at = [day * DAY + 60 for day in days]
    named = [
        {"user_id": "u", "session_id": f"s{n}", "created_at": when, "agent_version": "v"} for n, when in enumerate(at)
    ]
    return {
        "requests": [{**who, "request_id": f"r{n}", "source": "a"} for n, who in enumerate(named)],
        "results": [{**who, "result_id": n, "is_success": True} for n, who in enumerate(named)],
    }


def test_it_is_that_of_the_newest_result_up_to_now(ledgers: Any) -> None:
    with ledgers.filled(_rows(19_990, 19_995, 30_000)) as filled, filled.live.moment() as moment:
        assert last_day(moment.views, moment.size, NOW) == 19_995
        assert last_day(moment.views, moment.size, 40_000 * DAY) == 30_000
        assert last_day(moment.views, 0, NOW) is None
