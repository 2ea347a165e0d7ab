"""The page of a run."""

from __future__ import annotations

import re
from html import unescape

import pytest
from starlette.testclient import TestClient

from affidavit.api.erasing import erase_scopes, plan_run
from affidavit.api.http.service import Service
from affidavit.api.pages.runs import run as run_module
from affidavit.api.reading import open_for_reading
from affidavit.projections.runs.explanation import explain
from affidavit.tests.folders import folder_of

from ..hostile import HOSTILE
from ..world_runs import (
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
    LONG_ITERATIONS,
    OPEN,
    SIBLING,
)


def _page(visitor: TestClient, run: str, **query: str) -> str:
    answered = visitor.get(f"/runs/{run}", params=query)
    assert answered.status_code == 200, answered.text
    return answered.text


def _words(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


@pytest.mark.parametrize(
    "run",
    [
        *IMPORTED,
        DRIVEN,
        BRANCH,
        *DRIVEN_BY_STRATEGY.values(),
        *LINEAGE,
        SIBLING,
        EVEN,
        FAILED,
        OPEN,
        EMPTY,
        LONG,
        HOSTILE_RUN,
        ERASED_RUN,
    ],
)
def test_every_run_has_a_page(visitor: TestClient, run: str) -> None:
    page = _page(visitor, run)
    assert f"<h1>Run {run}</h1>" in page
    assert page.count("<h1") == 1
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_an_unknown_run_is_told_as_a_page(visitor: TestClient) -> None:
    answered = visitor.get("/runs/no-such-run")
    assert answered.status_code == 404
    assert "no-such-run" in answered.text


def test_the_figures_are_those_of_the_other_answers(visitor: TestClient, world: Service) -> None:
    with open_for_reading(world.ledger.place, folder_of(world.ledger).parent / "keys") as opened:
        record = opened.run(BETTER)
        paired = explain(record, opened.run_seed(record)).document["outcome"]["paired"]
    low, high = (f"{bound:+.4f}".replace("-", "−") for bound in paired["interval"])
    words = _words(_page(visitor, BETTER))
    assert f"95 % interval {low} to {high}, n = {paired['n']} paired; significant gain" in words
    assert "A significant gain (Wilcoxon signed-rank test, p below 0.05)" in words
    assert re.search(r"mean \+[\d.]+, 95 % interval [^:]*: ▲ significant gain", words)


def test_a_run_that_gained_nothing_says_so(visitor: TestClient) -> None:
    assert "not significant" in _words(_page(visitor, EVEN))


@pytest.mark.parametrize("run", [BETTER, EVEN, LONG])
def test_changes_are_told_by_their_direction_and_coloured_by_their_test(
    visitor: TestClient, world: Service, run: str
) -> None:
    with open_for_reading(world.ledger.place, folder_of(world.ledger).parent / "keys") as opened:
        record = opened.run(run)
        changes = explain(record, opened.run_seed(record)).document["changes"]
    beyond = [row for row in changes if row["adjusted_p"] is not None and row["adjusted_p"] < 0.05]
    page = _page(visitor, run)
    table = page[page.index('id="changes"') :].partition("</table>")[0]
    assert len(re.findall(r'class="(?:good|bad)">[▲▼●] (?:higher|lower|within)', table)) == len(
        [row for row in beyond if row["paired"]["is_significant"]]
    )
    assert re.search("[▲▼●] (?:higher|lower|within)", table)
    assert not re.search("helped|hurt|no effect", table)


def test_where_no_split_is_recorded_nothing_is_called_held_out(visitor: TestClient) -> None:
    words = _words(_page(visitor, HOSTILE_RUN))
    assert "the split is not recorded" in words
    assert "test samples" not in words


def test_the_flow_graph_links_every_iteration_and_the_branches(visitor: TestClient) -> None:
    page = _page(visitor, BETTER)
    for path in (f"/runs/{BETTER}/iterations/0", f"/runs/{BETTER}/iterations/1", f"/runs/{LINEAGE[1]}"):
        assert f'<a href="{path}">' in page
    assert "★ best" in page
    assert f"⎇ {LINEAGE[1]}" in page
    assert f"⎇ {SIBLING}" in page
    assert "Phase 1 · " in page


def test_a_branch_leads_back_to_where_it_left(visitor: TestClient) -> None:
    page = _page(visitor, LINEAGE[1])
    assert f'<a href="/runs/{BETTER}/iterations/4">' in page
    assert f"↰ of {BETTER}/4" in page


def test_what_a_branch_was_fed_is_marked(visitor: TestClient) -> None:
    words = _words(_page(visitor, BRANCH))
    assert "shared with the run that this one left" in words
    assert f"Replies up to iteration 1 were fed from run {DRIVEN}" in words


def test_a_long_run_has_every_iteration(visitor: TestClient) -> None:
    page = _page(visitor, LONG)
    for number in (1, LONG_ITERATIONS):
        assert page.count(f'<a href="/runs/{LONG}/iterations/{number}">') >= 3  # two layouts and the table


def test_an_open_run_keeps_up_by_itself_and_an_ended_one_does_not(visitor: TestClient) -> None:
    assert 'hx-trigger="every 3s"' in _page(visitor, OPEN)
    assert "hx-trigger" not in _page(visitor, BETTER)
    assert "hx-trigger" not in _page(visitor, OPEN, as_of="2100-01-01")


def test_nothing_yet_is_designed(visitor: TestClient) -> None:
    words = _words(_page(visitor, EMPTY))
    assert "No iteration yet" in words
    assert "Nothing was scored yet" in words


def test_what_failed_says_why(visitor: TestClient) -> None:
    words = _words(_page(visitor, FAILED))
    assert "The error that ended it" in words
    assert "✕ failed" in words


def test_simulated_models_are_labelled(visitor: TestClient) -> None:
    assert "Simulated: sandbox/reasoner, sandbox/target" in _words(_page(visitor, DRIVEN))


def test_settings_are_compared_with_those_of_another_run(visitor: TestClient) -> None:
    words = _words(_page(visitor, DRIVEN, against=BRANCH))
    assert re.search(rf"\d+ of \d+ settings differ from run {BRANCH}", words)
    assert "There is no run nowhere on this ledger" in _words(_page(visitor, DRIVEN, against="nowhere"))


def test_the_cost_is_by_the_prices_that_are_given(visitor: TestClient) -> None:
    prices = {
        f"price:{kind}:sandbox/{model}": "1" for kind in ("prompt", "completion") for model in ("target", "reasoner")
    }
    words = _words(_page(visitor, DRIVEN, **prices))
    total = re.search(r"([\d,]+) prompt and ([\d,]+) completion tokens", words)
    assert total is not None
    tokens = sum(int(count.replace(",", "")) for count in total.groups())
    assert f"In all {tokens / 1e6:.6f}".rstrip("0") in words
    assert "⚠" in _words(_page(visitor, DRIVEN, **{"price:prompt:sandbox/target": "much"}))


def test_hostile_texts_are_inert(visitor: TestClient) -> None:
    page = _page(visitor, HOSTILE_RUN)
    assert "data-hostile" in page
    assert not [text for text in HOSTILE if "<" in text and text in page]


def test_reviews_and_findings_are_there(visitor: TestClient) -> None:
    assert "ada@example.org" in _words(_page(visitor, BETTER))
    assert "✓ verifies" in _words(_page(visitor, BETTER))
    assert "What the import found" in _words(_page(visitor, IMPORTED[0]))


def test_of_many_reviews_the_newest_are_verified(visitor: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "_REVIEWS", 1)
    page = _page(visitor, BETTER)
    assert page.count("✓ verifies") == 1
    assert "Which samples became worse?" in page
    assert "These are the newest of 2: all reviews of this run" in _words(page)


def test_an_erased_run_shows_its_figures_and_says_so(visitor: TestClient) -> None:
    words = _words(_page(visitor, ERASED_RUN))
    assert "The texts of this run were erased" in words
    assert "erased: the key of this text was destroyed" in words


def test_what_was_kept_in_memory_goes_when_it_is_erased(own_visitor: TestClient, own_world: Service) -> None:
    before = _page(own_visitor, BETTER)
    assert "Summarise the incident report" in before
    plan = plan_run(own_world.ledger, BETTER)
    assert list(erase_scopes(own_world.ledger, plan.scopes, "user_request"))
    after = _page(own_visitor, BETTER)
    assert "Summarise the incident report" not in after
    assert "The texts of this run were erased" in _words(after)


def test_an_earlier_moment_is_compared_with_now(visitor: TestClient, world: Service) -> None:
    with open_for_reading(world.ledger.place, folder_of(world.ledger).parent / "keys") as opened:
        record = opened.run(BETTER)
    earlier = str(record.iterations[1].seq)
    page = _page(visitor, BETTER, as_of=earlier)
    words = _words(page)
    assert "You see the past." in words
    assert re.search(rf"iterations 2 {len(record.iterations)} ", words)
    assert f'href="/runs/{BETTER}/iterations/1?as_of={earlier}"' in page
    assert "It has no end on record" in words
