"""What both seed pages say that their dashboards show, line by line; docs/pages.md names the test of each."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest

from affidavit.api.http.service import Service
from affidavit.api.record import RecordingLedger
from affidavit.projections.evaluation.overview import build_overview
from affidavit.projections.evaluation.windows import OverviewRequest
from affidavit.projections.runs.record import RunRecord
from affidavit.tests.api.pages.world import session_alias
from affidavit.tests.api.pages.world_runs import BETTER, LINEAGE, SIBLING
from affidavit.tests.api.pages.world_sessions import (
    CANDIDATE,
    HOSTILE_SOURCE,
    JUDGED,
    LOSSES,
    OTHER_JUDGED,
    OTHER_VERSION,
    PIN,
    SESSION,
    TIES,
    UNGRADED,
    WINS,
    WITH,
    WITHOUT,
)

from .conftest import Open
from .serving import Site
from .watching import Watched


@pytest.fixture
def better(world: Service) -> RunRecord:
    found = RecordingLedger(world.ledger).read_run(BETTER)
    assert found is not None
    return found


# Explainability and auditability: "The dashboard provides a visual audit trail of any run"


def test_flow_graph(page: Watched, better: RunRecord) -> None:
    """Each iteration is a node with its score, its score's change and its tokens; best, full evaluations, phases and
    branches are marked."""
    page.go(f"/runs/{BETTER}")
    graph = page.page.locator("svg.flow:visible")
    assert graph.count() == 1
    for item in better.iterations:
        card = graph.locator(f'a[href="/runs/{BETTER}/iterations/{item.number}"]').first
        shown = card.text_content() or ""
        assert item.score is not None
        assert f"{item.score:.4f}" in shown
        tokens = item.event.eval_tokens + item.event.reasoning_tokens
        assert f"{tokens:,} tokens" in shown, "in words, for who cannot see the picture"
        assert f"{tokens / 1000:.1f}k" in shown
        if item.rewrite is not None:
            assert re.search(r"[▲▼●] [+−±]0\.\d{4}", shown), shown
        assert ("★" in shown) == (item.number == 7)
        assert ("◈" in shown) == (item.number in (1, 5))
    for phase, axis in enumerate(("structural", "iterative", "fewshot"), 1):
        assert f"{phase} · {axis}" in (graph.text_content() or "")
    for branch in (LINEAGE[1], SIBLING):
        assert graph.locator(f'a[href="/runs/{branch}"]').count() == 1


def test_iteration_detail(page: Watched, better: RunRecord) -> None:
    """A click on a node: the whole prompt, the difference from the one before, the explanation, scores by metric."""
    page.go(f"/runs/{BETTER}")
    page.page.locator("svg.flow:visible").locator(f'a[href="/runs/{BETTER}/iterations/5"]').first.click()
    page.page.wait_for_url("**/iterations/5")
    item = better.iterations[4]
    rewrite = item.rewrite
    assert rewrite is not None
    prompt = better.prompts[rewrite.prompt or 0]
    whole = page.page.locator("details", has_text="The whole prompt of iteration 5")
    whole.locator("summary").click()
    assert whole.locator("pre").inner_text().strip() == str(prompt)
    assert page.page.locator("section[aria-labelledby=diff] .new", has_text="# Task").first.is_visible()
    assert str(rewrite.rationale).splitlines()[0] in page.text()
    metrics = page.page.locator("table", has_text="By metric")
    for name, score in item.train.scores_by_metric.items():
        row = metrics.locator("tr", has=page.page.get_by_role("rowheader", name=name, exact=True))
        assert f"{score:.4f}" in row.inner_text()


def test_phase_breakdown(page: Watched) -> None:
    """Which axis ran in each phase, and what it contributed."""
    page.go(f"/runs/{BETTER}#phases")
    rows = page.page.locator("table", has_text="What each phase worked along").locator("tbody tr").all()
    told = [" ".join(row.inner_text().split()) for row in rows]
    assert [re.sub(r" \(.*", "", text) for text in told] == ["1 structural 2", "2 iterative 3", "3 fewshot 2"]
    assert ["+0.0777" in told[0], "+0.1331" in told[1], "+0.1169" in told[2]] == [True, True, True], told


def test_token_summary(page: Watched, better: RunRecord) -> None:
    """What evaluation and reasoning cost in tokens."""
    page.go(f"/runs/{BETTER}")
    ends = [found.tokens or 0 for found in better.evaluations if found.purpose in ("baseline", "final")]
    evaluation = sum(item.event.eval_tokens for item in better.iterations) + sum(ends)
    reasoning = sum(item.event.reasoning_tokens for item in better.iterations)
    assert f"{evaluation:,}" in _tile(page, "Tokens for evaluation")
    assert f"{reasoning:,}" in _tile(page, "Tokens for reasoning")
    rows = page.page.locator("table", has_text="By iteration")
    assert rows.count() >= 1


def test_duration(page: Watched, better: RunRecord) -> None:
    """Wall time of the run, and of each iteration."""
    page.go(f"/runs/{BETTER}")
    assert "min" in _tile(page, "Duration")
    details = page.page.locator("details", has_text="Tokens and time by iteration")
    details.locator("summary").click()
    rows = details.locator("tbody tr").all()
    assert len(rows) == len(better.iterations)
    assert all("11.5 s" in row.inner_text() for row in rows)


# Measuring impact: the Evaluation page


def test_all_sources_by_default(page: Watched) -> None:
    page.go("/evaluation")
    assert page.page.locator("#source").input_value() == ""
    assert "all sources" in page.text()


def test_source_filter(page: Watched, world: Service) -> None:
    """One first-request source scopes trend, tiles, rules and sessions."""
    page.go("/evaluation")
    before = _graded(page)
    page.page.select_option("#source", WITH)
    page.page.get_by_role("button", name="Show").click()
    page.page.wait_for_url(f"**source={WITH}*")
    assert 0 < _graded(page) < before
    assert _graded(page) == _overview(world, source=WITH)["hero"]["by_session"]["n"]
    names = page.page.locator("section[aria-labelledby=sessions] tbody tr")
    assert names.count() > 0
    page.page.get_by_role("link", name="All sessions").click()
    page.page.wait_for_url("**/evaluation/sessions?source=*")
    assert WITHOUT not in page.page.locator("main table").inner_text()


def test_source_sets(page: Watched, world: Service) -> None:
    """Labelled sets are built from the sources of the window; each has the figures that the seed lists."""
    page.go("/evaluation")
    for source in page.page.locator("#build select").all():
        source.select_option("0", force=True)
    _choose_set(page, 1, "with rules", WITH)
    _choose_set(page, 2, "without", WITHOUT)
    page.page.get_by_role("button", name="Compare").click()
    page.page.wait_for_load_state()
    shown = page.page.locator("section[aria-labelledby=sets]")
    table = shown.locator("table", has_text="Success of the whole window")
    sets = [
        {"label": "with rules", "sources": [WITH]},
        {"label": "without", "sources": [WITHOUT]},
    ]
    found = _overview(world, source_sets=sets)["source_set_comparison"]["sets"]
    for each in found:
        row = table.locator("tr", has_text=each["label"]).first.inner_text()
        assert f"{100 * each['by_session']['rate']:.1f} %" in row
        assert str(each["sessions"]) in row
    head = table.locator("thead").inner_text()
    for column in ("success", "corrections", "turns to the solution", "escalated"):
        assert column in head
    for label in ("with rules", "without"):
        opened = shown.locator("details.set", has=page.page.locator("summary", has_text=f"{label}:"))
        opened.locator("summary").first.click()
        text = opened.inner_text()
        assert f"Success of {label} by day" in text, "its trend in buckets"
        assert f"Corrections per session of {label}" in text, "its distribution of corrections"
    assert "Rules cited with success" in shown.inner_text(), "its rule attribution"


def test_imported_scorers(page: Watched) -> None:
    """Scores of outside scorers that name a session stand as tiles."""
    page.go("/evaluation")
    tile = _tile(page, "acc")
    assert "0.562" in tile or "0.563" in tile
    assert "n = 4" in tile


def test_observational_warning(page: Watched) -> None:
    """A gap between sources that nobody declared to be assigned by chance is called a correlation."""
    sets = (f"candidate:{CANDIDATE}", f"other:{HOSTILE_SOURCE}")
    page.go("/evaluation?" + "&".join(f"set={quote(each)}" for each in sets))
    warning = page.text(".observational")
    assert "a gap here is a correlation, not an effect" in warning
    page.go("/evaluation?" + "&".join(f"set={quote(each)}" for each in (f"a:{WITH}", f"b:{WITHOUT}")))
    assert page.page.locator(".observational").count() == 0
    assert "Assigned by chance, as declared" in page.text()


def test_sampled_n_of_each_point(page: Watched, world: Service) -> None:
    """Each point of the trend says how many sessions back it, in the picture and in the table."""
    page.go("/evaluation")
    buckets = _overview(world)["hero"]["buckets"]
    rows = page.page.locator("table", has_text="By day, UTC").locator("tbody tr")
    assert rows.count() == len(buckets)
    assert f"n = {buckets[0]['session_count']} graded;" in (page.page.locator("main svg").first.text_content() or "")


def test_a_session_outside_the_sample_is_graded_on_a_click(open_page: Open, own_site: Site) -> None:
    """And what a click made counts for a day: the second click is answered from the ledger."""
    tab = open_page(own_site, f"/evaluation/sessions/{session_alias(own_site.service, UNGRADED)}")
    assert "not graded" in tab.text().lower()
    size = own_site.service.head()[0]
    tab.page.get_by_role("button", name="Grade this session").click()
    tab.page.wait_for_load_state()
    assert tab.page.locator(".tile", has_text="grade").first.inner_text().split("\n")[1] in ("✓ success", "✕ failure")
    grown = own_site.service.head()[0]
    assert grown > size
    tab.page.get_by_role("button", name="Grade this session").click()
    tab.page.wait_for_load_state()
    assert own_site.service.head()[0] == grown


def test_per_turn_tile(page: Watched) -> None:
    """The tile in the seed's words, and its daily sparkline."""
    page.go("/evaluation")
    words = f"67% win rate · {WINS} wins · {TIES} ties · {LOSSES} losses · n={JUDGED} sampled"
    assert page.page.get_by_text(words, exact=True).count() == 1
    turns = page.page.locator("section[aria-labelledby=turns]")
    assert turns.locator("figure svg").count() >= 1
    turns.locator("summary", has_text="The same as a table").first.click()
    assert turns.locator("table", has_text="Verdicts by day").locator("tbody tr").count() > 20


def test_recent_comparisons(page: Watched) -> None:
    """The drawer: newest turns side by side, each with the judge's rationale and which answer was shown first."""
    page.go("/evaluation")
    page.page.get_by_role("link", name="View recent comparisons").click()
    page.page.wait_for_url("**/evaluation/comparisons*")
    first = page.page.locator("details.verdict").first
    assert first.get_attribute("open") is not None
    sides = first.locator(".side").all()
    assert len(sides) == 2
    boxes = [side.bounding_box() for side in sides]
    assert boxes[0]["y"] == boxes[1]["y"], "side by side"
    assert boxes[0]["x"] < boxes[1]["x"]
    text = first.inner_text()
    assert "It answers what was asked." in text
    assert "shown first, as Request 1" in text
    assert "shown second, as Request 2" in text


def test_top_disagreements(page: Watched) -> None:
    """Turns whose shadow was significantly better, and none other."""
    page.go("/evaluation")
    assert page.page.locator("#disagreements").count() == 1
    page.page.get_by_role("link", name=re.compile("top disagreements")).click()
    page.page.wait_for_url("**/evaluation/disagreements*")
    told = [chip.inner_text() for chip in page.page.locator("details.verdict summary .chip").all()]
    assert told
    assert set(told) == {"✕ loss, significant to the judge"}
    assert "I have cancelled parcel 17." in page.page.locator("details.verdict").first.inner_text()


def test_versions_never_mix(page: Watched) -> None:
    """The headline counts the pinned version; another one is another page, with its own n."""
    page.go("/evaluation")
    choice = page.page.locator("section[aria-labelledby=turns] a.choice", has_text=OTHER_VERSION)
    assert f"n = {OTHER_JUDGED}" in choice.inner_text()
    choice.click()
    page.page.wait_for_url("**version=*")
    turns = page.text("section[aria-labelledby=turns]")
    assert f"n={OTHER_JUDGED} sampled" in turns
    assert f"n={JUDGED} sampled" not in turns
    assert f"the configuration pins {PIN}" in turns


def test_the_session_behind_a_verdict(page: Watched, world: Service) -> None:
    """One session whole: turns with their shadows, cited rules, grades through time, outcomes and scores."""
    page.go(f"/evaluation/sessions/{session_alias(world, SESSION)}")
    text = page.text()
    for words in (
        "Parcel 17 is in Bern.",
        "I do not know.",
        "About a refund",
        "on demand",
        "delivered",
        "helpfulness",
        "Where is my parcel number 17?",
    ):
        assert words in text, words
    assert page.page.locator("table", has_text="judge").locator("tbody tr").count() >= 2


def _tile(page: Watched, label: str) -> str:
    found: str = page.page.locator(".tile", has=page.page.get_by_text(label, exact=True)).first.inner_text()
    return found


def _graded(page: Watched) -> int:
    found = re.search(r"of ([\d,]+) graded sessions succeeded", page.text())
    assert found
    return int(found[1].replace(",", ""))


def _overview(service: Service, **asked: Any) -> dict[str, Any]:
    """The overview of the thirty days that the page shows by default, as the API gives it."""
    with service.moment() as moment:
        last = moment.views.exec_driver_sql(
            "SELECT max(at) FROM (SELECT max(judged_at / 1000000) AS at FROM verdicts "
            "UNION ALL SELECT max(started_at) FROM results)"
        ).scalar_one()
        day = last // 86_400 * 86_400
        request = OverviewRequest(from_ts=day - 29 * 86_400, to_ts=day + 86_399, bucket="day", **asked)
        found: dict[str, Any] = build_overview(
            moment.views, moment.events, moment.size, request, moment.names_of, moment.sessions_named
        )
    return found


def _choose_set(page: Watched, number: int, label: str, source: str) -> None:
    """Fill the form that builds sets."""
    build = page.page.locator("#build")
    if build.get_attribute("open") is None:
        build.locator("summary").click()
    build.get_by_label(f"label of set {number}").fill(label)
    build.locator(f'select[name="in:{source}"]').select_option(str(number))
