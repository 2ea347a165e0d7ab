"""The run list: lines that say what the runs' records say, found by filter, search and sort, as of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection

from affidavit.domain.event import Event, NewEvent
from affidavit.domain.model_calls import ModelAnswered, ModelRequested
from affidavit.domain.optimization.events import PromptEvaluated, RunCompleted, RunPlanned, Split
from affidavit.ledger.application import Ledger
from affidavit.ledger.store.opening import EventReader
from affidavit.projections.runner import catch_up, open_views
from affidavit.projections.runs.comparisons import Comparisons
from affidavit.projections.runs.record import RunRecord, fold_run
from affidavit.projections.runs.run_list import RunLine, Sort, Wanted, filter_choices, find_runs, list_runs, run_lines
from affidavit.projections.runs.scores import best_score, gain
from affidavit.projections.runs.summary import compare_ends
from affidavit.projections.runs.tokens import counted_tokens
from affidavit.projections.statistics.gain import PairedComparison

Begin = Callable[..., int]


@pytest.fixture
def begin(ledger: Ledger, run_events: list[Event]) -> Begin:
    """Records the first ``count`` events of a run like ``run_events``; gives the size of the log after them."""

    def record(run: str, count: int | None = None, **started: Any) -> int:
        first = run_events[0].model_copy(update={"run": run, "directory": f"{run}_dir", **started})
        events = [first, *run_events[1:count]]
        added = ledger.record(*(NewEvent(f"run/{run}", pos, event, {}) for pos, event in enumerate(events)))
        return added[-1].seq + 1

    return record


@contextmanager
def looking(ledger: Ledger) -> Iterator[tuple[Connection, EventReader, int]]:
    with ledger.recorder.reading() as reader, open_views(ledger.place) as engine:
        events = ledger.event_reader(reader)
        size = catch_up(engine, events)
        with engine.connect() as views:
            yield views, events, size


def found(ledger: Ledger, *, sort: Sort = "recorded", as_of: int | None = None, **wanted: Any) -> list[str]:
    with looking(ledger) as (views, _, size):
        page = find_runs(views, as_of or size, Wanted(**wanted), sort=sort)
        return [line.run for line in page.lines]


def line_of(ledger: Ledger, run: str, as_of: int | None = None) -> RunLine:
    with looking(ledger) as (views, _, size):
        return next(line for line in list_runs(views, as_of or size) if line.run == run)


def record_in(ledger: Ledger, run: str) -> RunRecord:
    with ledger.recorder.reading() as reader:
        record = fold_run(ledger.event_reader(reader).stream(f"run/{run}"))
    assert record is not None
    return record


def test_a_line_says_what_the_record_of_the_run_says(ledger: Ledger, imported: dict[str, RunRecord]) -> None:
    for run, record in imported.items():
        line, best, tokens = line_of(ledger, run), best_score(record), counted_tokens(record)
        assert (line.status, line.iterations) == (record.status, len(record.iterations))
        assert line.improvement == gain(record).delta
        assert line.tokens == tokens["eval_total"] + (tokens["reasoning_total"] or 0)
        assert line.tokens_are_whole == tokens["is_whole"]
        if record.completed is not None:
            assert (line.best_score, line.best_from) == (best or (None, None))


def test_scores_of_other_metrics_are_no_improvement(ledger: Ledger, begin: Begin, run_events: list[Event]) -> None:
    run_events[-2] = run_events[-2].model_copy(update={"scores_by_metric": {"exact": 0.7}})
    begin("apples")
    line = line_of(ledger, "apples")
    assert (line.improvement, line.final_score) == (None, line.best_score)


def test_tokens_are_those_of_the_calls_where_these_are_recorded(ledger: Ledger, begin: Begin) -> None:
    begin("driven", 2)
    asked = ModelRequested(site="eval", occurrence=0, attempt=1, model="m", purpose="train", body="{}")
    told = ModelAnswered(
        site="eval", occurrence=0, attempt=1, outcome="replied", prompt_tokens=30, completion_tokens=4, body="{}"
    )
    ledger.record(NewEvent("run/driven", 2, asked, {}))
    assert (line_of(ledger, "driven").tokens, line_of(ledger, "driven").tokens_are_whole) == (0, False)
    ledger.record(NewEvent("run/driven", 3, told, {}))
    assert (line_of(ledger, "driven").tokens, line_of(ledger, "driven").tokens_are_whole) == (34, True)
    ledger.record(
        NewEvent("run/driven", 4, asked.model_copy(update={"occurrence": 1}), {}),
        NewEvent("run/driven", 5, told.model_copy(update={"occurrence": 1, "prompt_tokens": None}), {}),
    )
    assert (line_of(ledger, "driven").tokens, line_of(ledger, "driven").tokens_are_whole) == (38, False)
    tokens = counted_tokens(record_in(ledger, "driven"))
    assert tokens["eval_total"] + tokens["reasoning_total"] == 38


def test_runs_are_found_by_what_is_asked_of_them(ledger: Ledger, begin: Begin) -> None:
    begin("a.1", strategy="auto", models=("sandbox/target", "50%"))
    begin("b21", 4)
    begin("c_1", reasoning_model="simulated-reasoner")
    assert found(ledger) == ["c_1", "b21", "a.1"]
    assert found(ledger, status="open") == ["b21"]
    assert found(ledger, strategy="auto") == ["a.1"]
    assert found(ledger, model="sandbox/target, 50%") == ["a.1"]
    assert found(ledger, simulated=True) == ["c_1", "a.1"]
    assert found(ledger, simulated=False) == ["b21"]
    assert found(ledger, search="%") == ["a.1"]
    assert found(ledger, search="_1") == ["c_1"]
    assert found(ledger, search="SANDBOX") == ["a.1"]
    assert found(ledger, search="B21_DIR") == ["b21"]
    assert found(ledger, search="'; DROP TABLE runs") == []
    assert found(ledger, status="open", strategy="auto") == []


def test_pages_are_sorted_and_what_has_no_figure_comes_last(ledger: Ledger, begin: Begin) -> None:
    for run, count in (("a", None), ("b", 4), ("c", None), ("d", 1)):
        begin(run, count)
    with looking(ledger) as (views, _, size):
        for descending in (True, False):
            page = find_runs(views, size, Wanted(), sort="improvement", descending=descending)
            assert [line.run for line in page.lines] == ["c", "a", "d", "b"]
        page = find_runs(views, size, Wanted(), sort="run", descending=False, first=1, count=2)
        assert ([line.run for line in page.lines], page.total, page.known) == (["b", "c"], 4, 4)
        page = find_runs(views, size, Wanted(status="completed"), first=2, count=2)
        assert (page.lines, page.total, page.known) == ([], 2, 4)
        assert filter_choices(views, size).statuses == {"completed": 2, "open": 2}


def test_a_line_follows_its_run(ledger: Ledger, begin: Begin, run_events: list[Event]) -> None:
    begin("a", 4)
    assert found(ledger, status="open") == ["a"]
    ledger.record(*(NewEvent("run/a", pos, event, {}) for pos, event in enumerate(run_events[4:], 4)))
    assert found(ledger, status="open") == []
    assert line_of(ledger, "a").final_score == pytest.approx(0.7)


def test_as_of_an_earlier_size_runs_are_as_they_were(ledger: Ledger, begin: Begin, run_events: list[Event]) -> None:
    begin("a")
    then = begin("b", 9)
    before = line_of(ledger, "b")
    ledger.record(*(NewEvent("run/b", pos, event, {}) for pos, event in enumerate(run_events[9:], 9)))
    begin("c")
    assert found(ledger, status="completed") == ["c", "b", "a"]
    assert found(ledger, status="completed", as_of=then) == ["a"]
    assert found(ledger, as_of=then, sort="improvement") == ["a", "b"]
    assert line_of(ledger, "b", then) == before
    with looking(ledger) as (views, _, _):
        assert filter_choices(views, then).statuses == {"completed": 1, "open": 1}
        assert find_runs(views, 1, Wanted()).known == 0


def test_what_is_kept_may_be_lost(ledger: Ledger, begin: Begin) -> None:
    begin("a")
    begin("b", 4)
    assert found(ledger, status="completed") == ["a"]
    with looking(ledger) as (views, _, _):
        views.exec_driver_sql("DROP TABLE run_lines_3")
        views.commit()
    begin("c")
    assert found(ledger) == ["c", "b", "a"]


def test_a_line_that_is_kept_says_what_its_rows_say(ledger: Ledger, begin: Begin) -> None:
    begin("a", models=("simulated-target", "other"), split=Split(test=0))
    begin("b", 4, reasoning_model=None)
    kept = [line_of(ledger, run) for run in ("a", "b")]
    with looking(ledger) as (views, _, size):
        views.exec_driver_sql("UPDATE run_lines_3 SET last = ?", (size,))  # so that they are derived anew
        derived = run_lines(views, size, ["b", "a"])
    assert kept == derived
    assert [type(line.is_simulated) for line in kept] == [bool, bool]
    assert [line.held_out for line in kept] == [False, True]


def test_ancestors_are_told_nearest_first(ledger: Ledger, begin: Begin) -> None:
    begin("leaf", 1, parent_run="middle", parent_iteration=2)
    begin("middle", 1, parent_run="root", parent_iteration=1)
    assert line_of(ledger, "leaf").ancestors == ("middle", "root")
    begin("root", 1)
    assert [line_of(ledger, run).ancestors for run in ("leaf", "root")] == [("middle", "root"), ()]


def of(kept: Comparisons, ledger: Ledger, *runs: str, go_on: bool = True) -> dict[str, PairedComparison | str]:
    with looking(ledger) as (views, events, size):
        return kept.of(views, events, size, runs, lambda: go_on)


def test_a_gain_is_the_one_on_the_runs_own_page(ledger: Ledger, begin: Begin, run_events: list[Event]) -> None:
    final = run_events[-2]
    assert isinstance(final, PromptEvaluated)
    assert isinstance(final.samples, tuple)
    same = [sample.model_copy(update={"id": f"baseline-{n}"}) for n, sample in enumerate(final.samples)]
    run_events[-2] = final.model_copy(update={"samples": tuple(same)})
    begin("a")
    begin("open", 4)
    record = record_in(ledger, "a")
    with ledger.recorder.reading() as reader:
        seed = int.from_bytes(reader.frontier_at(record.last_seq + 1).root()[:8], "big")
    kept = Comparisons()
    assert of(kept, ledger, "a", "open", "unknown") == {"a": compare_ends(record, seed)}
    begin("b")
    assert of(kept, ledger, "b", "a", go_on=False) == {"a": compare_ends(record, seed)}
    with looking(ledger) as (views, events, _):
        assert kept.of(views, events, record.last_seq, ["a"], lambda: True) == {}


def test_of_an_erased_run_no_figure_is_left(ledger: Ledger, begin: Begin) -> None:
    begin("a")
    kept = Comparisons()
    assert isinstance(of(kept, ledger, "a")["a"], PairedComparison)
    ledger.erase("run/a", "retention")
    assert of(kept, ledger, "a") == {"a": "the samples are withheld"}
    assert of(kept, ledger, "a", go_on=False) == {}


def test_no_more_comparisons_are_kept_than_said(ledger: Ledger, begin: Begin) -> None:
    for run in ("a", "b", "c"):
        begin(run)
    kept = Comparisons(most=2)
    of(kept, ledger, "a", "b")
    of(kept, ledger, "a")
    of(kept, ledger, "c")
    assert set(of(kept, ledger, "a", "b", "c", go_on=False)) == {"a", "c"}


@pytest.mark.parametrize(
    ("test_samples", "planned", "told"),
    [(3, None, True), (0, None, False), (None, None, None), (3, False, False), (None, True, True)],
)
def test_held_out_is_what_the_plan_says_else_the_split_else_not_known(
    ledger: Ledger, run_events: list[Event], test_samples: int | None, planned: bool | None, told: bool | None
) -> None:
    started = run_events[0].model_copy(update={"run": "a", "split": Split(test=test_samples)})
    plans = [] if planned is None else [_plan(planned)]
    events = [started, *plans, *run_events[1:]]
    ledger.record(*(NewEvent("run/a", pos, event, {}) for pos, event in enumerate(events)))
    assert line_of(ledger, "a").held_out is told


def test_the_best_of_a_run_that_goes_on_is_a_mean_and_not_a_share_of_duels(
    ledger: Ledger, run_events: list[Event]
) -> None:
    """However high the share."""
    begun = [event for event in run_events if not isinstance(event, RunCompleted)]
    trained = [place for place, event in enumerate(begun) if getattr(event, "purpose", "") == "train"]
    duels = begun[trained[-1]].model_copy(update={"kind": "win_rate", "score": 0.99, "samples": None})
    events = [*begun[: trained[-1]], duels, *begun[trained[-1] + 1 :]]
    ledger.record(
        *(
            NewEvent("run/a", pos, event.model_copy(update={"run": "a"}) if not pos else event, {})
            for pos, event in enumerate(events)
        )
    )
    means = [event.score for place in trained[:-1] if isinstance(event := begun[place], PromptEvaluated)]
    line = line_of(ledger, "a")
    assert line.best_score == line.best_train_score == max(score for score in means if score is not None)
    assert not line.best_is_batch


def _plan(held_out: bool) -> RunPlanned:
    sealed: dict[str, Any] = {"options": {}, "rows": [{"id": "a"}], "split": {}, "sources": {}}
    return RunPlanned(seed=1, rows_count=1, held_out=held_out, versions={}, draws=(), **sealed)
