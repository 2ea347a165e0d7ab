"""The world holds what its modules say that it does."""

from __future__ import annotations

import pytest

from affidavit.api.http.service import Service
from affidavit.ledger.audit.audit import Against, audit
from affidavit.projections.evaluation.overview import build_overview
from affidavit.projections.evaluation.windows import OverviewRequest
from affidavit.projections.registry import REGISTRY
from affidavit.projections.runs.record import fold_run
from affidavit.projections.runs.run_list import list_runs

from .world_runs import (
    BETTER,
    BRANCH,
    DRIVEN,
    DRIVEN_BY_STRATEGY,
    EMPTY,
    ERASED_RUN,
    EVEN,
    FAILED,
    HOSTILE_RUN,
    IMPORTED,
    LINEAGE,
    LONG,
    OPEN,
    SIBLING,
)
from .world_sessions import JUDGED, LOSSES, OTHER_JUDGED, OTHER_VERSION, PIN, TIES, WINS


def test_every_run_is_there_with_its_status_and_lineage(world: Service) -> None:
    with world.moment() as moment:
        runs = {line.run: line for line in list_runs(moment.views, moment.size)}
    named = {*IMPORTED, DRIVEN, BRANCH, *DRIVEN_BY_STRATEGY.values(), *LINEAGE, SIBLING}
    assert runs.keys() == named | {EVEN, LONG, HOSTILE_RUN, FAILED, ERASED_RUN, OPEN, EMPTY}
    assert {line.status for line in runs.values()} == {"completed", "open", "failed", "interrupted"}
    assert runs[LINEAGE[-1]].ancestors == LINEAGE[-2::-1]
    assert {runs[run].strategy for run in DRIVEN_BY_STRATEGY.values()} == set(DRIVEN_BY_STRATEGY)


def test_the_last_thirty_days_have_the_verdicts_of_the_seeds_tile(world: Service) -> None:
    now = world.now()
    asked = OverviewRequest(from_ts=now - 30 * 86_400, to_ts=now, session_lists=False)
    with world.moment() as moment:
        found = build_overview(moment.views, moment.events, moment.size, asked, moment.names_of, moment.sessions_named)[
            "shadow_win_rate_trend"
        ]
        counted = moment.views.exec_driver_sql("SELECT version, count(*) FROM verdicts GROUP BY version")
        by_version = {row[0]: row[1] for row in counted}
    days = found["daily"]
    assert found["judge_prompt_version"] == PIN
    assert [sum(day[name] for day in days) for name in ("n", "wins", "ties", "losses")] == [JUDGED, WINS, TIES, LOSSES]
    assert by_version[OTHER_VERSION] == OTHER_JUDGED


def test_its_numbers_are_those_of_the_recorded_scores(world: Service) -> None:
    with world.moment() as moment:
        record = fold_run(moment.events.stream(f"run/{BETTER}"))
        asked = OverviewRequest(from_ts=0, to_ts=world.now(), session_lists=False)
        found = build_overview(moment.views, moment.events, moment.size, asked, moment.names_of, moment.sessions_named)
    assert record is not None
    trained = [iteration.train.score or 0.0 for iteration in record.iterations]
    ends = [sum(phase.iterations for phase in record.phases[: n + 1]) for n in range(3)]
    assert [phase.score_after for phase in record.phases] == pytest.approx([trained[end - 1] for end in ends], abs=1e-6)
    assert all(each.val is not None and each.val.score != each.train.score for each in record.iterations)
    assert any(rule["net_sessions"] < 0 for rule in found["harmful_rules"])


def test_nothing_in_it_is_damaged(world: Service) -> None:
    ledger = world.ledger
    with ledger.recorder.reading() as reader:
        verdict = audit(reader, REGISTRY, Against(signed=ledger.keys.signed(), scopes=ledger.scopes))
    assert not verdict.damage
