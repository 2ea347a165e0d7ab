"""The import of evaluation data: everything once, as it was; bad files leave nothing."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.adapters.evaluation import import_evaluation
from affidavit.api.moment import LiveLedger
from affidavit.domain.errors import Refused
from affidavit.domain.event import Recorded
from affidavit.ledger.application import Ledger
from affidavit.projections.evaluation.overview import build_overview
from affidavit.projections.evaluation.windows import OverviewRequest

AT = 1_704_067_200
DATASET: dict[str, Any] = {
    "config": {"shadow_comparison_judge_prompt_version": "v1.0.0"},
    "requests": [
        {
            "request_id": "r2",
            "user_id": "u1",
            "session_id": "s1",
            "created_at": AT,
            "source": "b",
            "agent_version": "v1",
        },
        {
            "request_id": "r1",
            "user_id": "u1",
            "session_id": "s1",
            "created_at": AT,
            "source": "a",
            "agent_version": "v1",
        },
    ],
    "interactions": [
        {"interaction_id": 7, "request_id": "r1", "created_at": AT, "role": "User", "content": "hi"},
        {
            "interaction_id": 8,
            "request_id": "r1",
            "created_at": AT + 1,
            "role": "Agent",
            "content": "served",
            "shadow_content": "shadow",
            "citations": [{"kind": "profile", "real_id": "3", "title": "Rule", "tag": "t"}],
        },
    ],
    "results": [
        {
            "result_id": 4,
            "user_id": "u1",
            "session_id": "s1",
            "agent_version": "v1",
            "is_success": False,
            "failure_type": " System_Error ",
            "failure_reason": "timed out",
            "created_at": AT,
            "tags": ["billing"],
            "odd": {"kept": True},
        }
    ],
    "verdicts": [
        {
            "verdict_id": 5,
            "interaction_id": "8",
            "session_id": "s1",
            "agent_version": "v1",
            "reflexio_is_request_1": True,
            "better_request": "2",
            "is_significantly_better": True,
            "comparison_reason": "because",
            "judge_prompt_version": "v1.0.0",
            "created_at": "2024-01-01T00:00:01.5+09:00",
        }
    ],
    "imported_scores": [
        {"source": "s", "source_run_id": "nightly", "session_id": "s1", "scorer_name": "acc", "value": 0.25, "ts": AT}
    ],
}
SECTIONS = {
    "requests": "request",
    "interactions": "interaction",
    "results": "result",
    "verdicts": "verdict",
    "imported_scores": "imported_score",
}


def write(folder: Path, dataset: Any, name: str = "rows.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(dataset))
    return path


def events(ledger: Ledger) -> list[Recorded]:
    with ledger.recorder.reading() as reader:
        source = ledger.event_reader(reader)
        return [found for seq in range(reader.head().size) if (found := source.event(seq)) is not None]


def overview(ledger: Ledger) -> dict[str, Any]:
    live = LiveLedger(ledger)
    request = OverviewRequest(from_ts=0, to_ts=AT + 10, source_sets=())
    try:
        with live.moment() as moment:
            found = build_overview(
                moment.views, moment.events, moment.size, request, moment.names_of, moment.sessions_named
            )
    finally:
        live.close()
    return found


def test_rows_keep_their_ids_times_and_words(ledger: Ledger, tmp_path: Path) -> None:
    report = import_evaluation(ledger, write(tmp_path, DATASET))
    kinds = [recorded.type_name for recorded in events(ledger)][1:]
    assert kinds == [
        "config.changed.v1",
        "request.published.v1",
        "interaction.published.v1",
        "interaction.published.v1",
        "request.published.v1",
        "session.graded.v1",
        "shadow.judged.v1",
        "score.imported.v1",
        "evaluation.imported.v1",
    ]
    assert report.events == len(kinds)
    graded = events(ledger)[6].event
    assert (graded.result_id, graded.failure_type) == (4, " System_Error ")  # type: ignore[union-attr]
    assert graded.detail == {  # type: ignore[union-attr]
        "failure_reason": "timed out",
        "tags": ["billing"],
        "odd": {"kept": True},
    }


def test_requests_of_one_second_stand_in_order_of_their_ids(ledger: Ledger, tmp_path: Path) -> None:
    """The peer breaks that tie by id, and so the session's source is that of r1."""
    import_evaluation(ledger, write(tmp_path, DATASET))
    assert overview(ledger)["source_set_comparison"]["available_sources"] == ["a"]


def test_a_time_in_another_zone_is_the_moment_it_names(ledger: Ledger, tmp_path: Path) -> None:
    import_evaluation(ledger, write(tmp_path, DATASET))
    assert overview(ledger)["shadow_win_rate_trend"]["daily"][0]["date"] == "2023-12-31"


def test_no_name_and_no_text_stands_in_the_open(ledger: Ledger, tmp_path: Path) -> None:
    import_evaluation(ledger, write(tmp_path, DATASET))
    with ledger.recorder.reading() as reader:
        log = b"\n".join(row.raw for row in reader.entries())
    for secret in (b'"u1"', b'"s1"', b'"r1"', b"served", b"because", b"timed out", b"billing", b"nightly"):
        assert secret not in log


def test_importing_again_adds_nothing(ledger: Ledger, tmp_path: Path) -> None:
    path = write(tmp_path, DATASET)
    import_evaluation(ledger, path)
    size = ledger.recorder.max_notification_id()
    report = import_evaluation(ledger, path)
    assert (ledger.recorder.max_notification_id(), report.events, report.stream) == (size, 0, None)


@pytest.mark.parametrize("failing", range(1, 8))
def test_an_import_that_is_killed_goes_on_where_it_stopped(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    path = write(tmp_path, DATASET)
    record, calls = ledger.record, 0

    def killed(*new: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise KeyboardInterrupt
        return record(*new)

    monkeypatch.setattr(ledger, "record", killed)
    try:
        import_evaluation(ledger, path)
    except KeyboardInterrupt:
        monkeypatch.setattr(ledger, "record", record)
        import_evaluation(ledger, path)
    kinds = [recorded.type_name for recorded in events(ledger)]
    assert len(kinds) == 10
    assert len(overview(ledger)["recent_results"]) == 1


def test_lines_in_any_order_give_the_same_overview(ledger: Ledger, tmp_path: Path) -> None:
    lines = [{"kind": "config", **DATASET["config"]}]
    lines += [{"kind": kind, **row} for section, kind in SECTIONS.items() for row in DATASET[section]]
    random.Random(2).shuffle(lines)
    path = tmp_path / "rows.ndjson"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = import_evaluation(ledger, path)
    assert report.rows == {**{section: len(DATASET[section]) for section in SECTIONS}, "config": 1}
    found = overview(ledger)
    assert found["source_set_comparison"]["available_sources"] == ["a"]
    assert found["shadow_win_rate_trend"]["window_total"]["losses"] == 1
    assert [rule["title"] for rule in found["rule_attribution"]] == ["Rule"]


def _without(section: str, field: str) -> dict[str, Any]:
    first, *rest = DATASET[section]
    return {**DATASET, section: [{name: value for name, value in first.items() if name != field}, *rest]}


def _with(section: str, field: str, value: Any) -> dict[str, Any]:
    first, *rest = DATASET[section]
    return {**DATASET, section: [{**first, field: value}, *rest]}


@pytest.mark.parametrize(
    ("dataset", "named"),
    [
        ([], "expected an object"),
        ({}, "expected an object"),
        ({"requests": {"a": 1}}, "requests: expected a list"),
        ({"requests": "many"}, "requests: expected a list"),
        ({**DATASET, "verdicts": [5]}, "verdicts[0]"),
        (_without("requests", "user_id"), "requests[0].user_id"),
        (_with("requests", "created_at", 10**30), "requests[0].created_at"),
        (_with("requests", "created_at", 1.5), "requests[0].created_at"),
        (_with("results", "is_success", "perhaps"), "results[0].is_success"),
        (_with("verdicts", "better_request", "3"), "verdicts[0].better_request"),
        (_with("verdicts", "created_at", "yesterday"), "verdicts[0].created_at"),
        (_with("imported_scores", "value", "NaN"), "imported_scores[0].value"),
        ({**DATASET, "config": {"eval_concurrency_limit": 0}}, "config.eval_concurrency_limit"),
        (_with("requests", "source", "s" * 1001), "requests[0].source"),
        (
            _with("interactions", "citations", [{"kind": "profile", "real_id": "r" * 900}] * 20),
            "interactions[0].citations",
        ),
        ({**DATASET, "requests": DATASET["requests"] * 2}, "request_id r1: more than one request has it"),
        ({**DATASET, "results": DATASET["results"] * 2}, "result_id 4: more than one result has it"),
        (_with("interactions", "citations", [{"kind": "odd", "real_id": "1"}]), "interactions[0].citations.0.kind"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_recorded(ledger: Ledger, tmp_path: Path, dataset: Any, named: str) -> None:
    size = ledger.recorder.max_notification_id()
    with pytest.raises(Refused, match=re.escape(named)):
        import_evaluation(ledger, write(tmp_path, dataset))
    assert ledger.recorder.max_notification_id() == size


@pytest.mark.parametrize("line", [b"{", b"[1]", b'{"kind":"odd"}', b'{"kind":"request"}', b"\xff"])
def test_a_bad_line_is_named(ledger: Ledger, tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_bytes(json.dumps({"kind": "request", **DATASET["requests"][0]}).encode() + b"\n\n" + line + b"\n")
    with pytest.raises(Refused, match="line 3"):
        import_evaluation(ledger, path)
    assert ledger.recorder.max_notification_id() == 1


def test_what_does_not_fit_together_is_a_finding(ledger: Ledger, tmp_path: Path) -> None:
    dataset = {
        **DATASET,
        "interactions": [*DATASET["interactions"], {"interaction_id": 9, "request_id": "gone", "created_at": AT}],
        "verdicts": [
            {**DATASET["verdicts"][0], "session_id": "other"},
            {**DATASET["verdicts"][0], "verdict_id": 6, "interaction_id": "99"},
        ],
    }
    report = import_evaluation(ledger, write(tmp_path, dataset))
    assert report.findings == {
        "interaction_without_request": 1,
        "verdict_of_other_session": 1,
        "verdict_without_turn": 1,
    }
    assert overview(ledger)["shadow_win_rate_trend"]["window_total"]["n"] == 2


@pytest.mark.parametrize(
    ("section", "field", "value", "finding"),
    [
        ("requests", "source", "changed", "request_differs"),
        ("interactions", "content", "changed", "request_differs"),
        ("results", "is_success", True, "result_differs"),
        ("results", "failure_reason", "changed", "result_differs"),
        ("verdicts", "better_request", "1", "verdict_differs"),
    ],
)
def test_a_row_that_says_otherwise_now_stays_as_it_was(
    ledger: Ledger, tmp_path: Path, section: str, field: str, value: Any, finding: str
) -> None:
    import_evaluation(ledger, write(tmp_path, DATASET))
    before = overview(ledger)
    report = import_evaluation(ledger, write(tmp_path, _with(section, field, value)))
    assert report.findings == {finding: 1}
    assert overview(ledger) == before


def test_a_score_that_changed_replaces_the_old_one(ledger: Ledger, tmp_path: Path) -> None:
    import_evaluation(ledger, write(tmp_path, DATASET))
    import_evaluation(ledger, write(tmp_path, _with("imported_scores", "value", 0.75)))
    assert [tile["current"] for tile in overview(ledger)["braintrust_tiles"]] == [0.75]


def test_a_verdict_that_came_before_its_turn_counts_once(ledger: Ledger, tmp_path: Path) -> None:
    import_evaluation(ledger, write(tmp_path, {**DATASET, "requests": [], "interactions": []}))
    import_evaluation(ledger, write(tmp_path, DATASET))
    assert overview(ledger)["shadow_win_rate_trend"]["window_total"]["n"] == 1


def test_a_file_does_not_bring_back_whom_the_ledger_has_erased(ledger: Ledger, tmp_path: Path) -> None:
    path = write(tmp_path, DATASET)
    import_evaluation(ledger, path)
    ((_, scope),) = ledger.find_aliases("session", "s1")
    ledger.erase(scope, "user_request")
    size = ledger.recorder.max_notification_id()
    with pytest.raises(Refused, match="erased somebody"):
        import_evaluation(ledger, path)
    assert ledger.recorder.max_notification_id() == size
