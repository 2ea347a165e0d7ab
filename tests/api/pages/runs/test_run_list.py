"""The run list and the family of a run, read as a visitor without JavaScript reads them."""

from __future__ import annotations

import re
from html import unescape

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.api.pages.runs import run_list as runs
from affidavit.domain.event import NewEvent
from affidavit.domain.optimization.events import RunStarted

from ..conftest import visiting
from ..world_runs import BETTER, EMPTY, ERASED_RUN, EVEN, FAILED, HOSTILE_RUN, IMPORTED, LINEAGE, OPEN, SIBLING


def page(visitor: TestClient, address: str) -> str:
    """A page all of whose intervals are worked out."""
    for _ in range(60):
        answered = visitor.get(address)
        assert answered.status_code == 200, answered.text
        if "being worked out" not in answered.text:
            return answered.text
    raise AssertionError("the intervals are never worked out")


def parents_in(family: str) -> dict[str, str | None]:
    """Each run of the nested list with the run whose item it stands in."""
    found: dict[str, str | None] = {}
    items: list[str] = []
    for run, _end in re.findall(r'<li id="run-([^"]*)">|(</li>)', family[family.index('<ul class="family">') :]):
        if run:
            found[run] = items[-1] if items else None
            items.append(run)
        elif items:
            items.pop()
    return found


def row_of(text: str, run: str) -> str:
    """What a row says, without markup."""
    found = re.search(rf'<tr id="run-{re.escape(run)}">(.*?)</tr>', text, re.S)
    assert found is not None
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", found[1])).split())


def test_a_page_that_is_asked_for_from_itself_takes_its_time(world: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the intervals that nobody has asked for before; who comes from elsewhere does not wait for them."""
    monkeypatch.setattr(runs, "_SECONDS", 0)
    monkeypatch.setattr(runs, "_SECONDS_AGAIN", 60)
    visitor, shown = visiting(world), "http://127.0.0.1:8128/runs?sort=best"
    for referer, is_whole in (("", False), (f"{shown}&page=2", False), (shown, True)):
        text = visitor.get("/runs?sort=best", headers={"referer": referer} if referer else {}).text
        assert ("being worked out" not in text) is is_whole


def listed(text: str) -> list[str]:
    return [unescape(run) for run in re.findall(r'<tr id="run-([^"]*)">', text)]


def test_the_front_door_leads_to_the_runs(visitor: TestClient) -> None:
    answered = visitor.get("/", params={"as_of": "5"})
    assert (answered.status_code, answered.headers["location"]) == (307, "/runs?as_of=5")


def test_a_gain_has_its_interval_its_n_and_a_word(visitor: TestClient) -> None:
    text = page(visitor, "/runs")
    better = row_of(text, BETTER)
    assert "✓ completed" in better
    assert re.search(r"\+0\.\d{4} \+0\.\d{4} to \+0\.\d{4}, n = 40 ▲ significant gain p < 0\.001", better)
    assert "◇ simulated" in better
    assert "final, held out" in better
    assert "○ not significant" in row_of(text, EVEN)
    assert "✕ failed" in row_of(text, FAILED)
    assert "no final score" in row_of(text, FAILED)
    assert "▶ open" in row_of(text, OPEN)
    assert "no baseline score" in row_of(text, EMPTY)
    assert "imported from" in row_of(text, IMPORTED[0])


def test_the_same_interval_stands_on_the_runs_own_page(visitor: TestClient) -> None:
    found = re.search(r"[+−]\d\.\d{4} to [+−]\d\.\d{4}", row_of(page(visitor, "/runs"), BETTER))
    assert found is not None
    assert found[0] in unescape(page(visitor, f"/runs/{BETTER}"))


def test_lineage_of_any_depth_is_told_and_leads_to_the_family(visitor: TestClient) -> None:
    text = page(visitor, "/runs")
    deepest = row_of(text, LINEAGE[-1])
    assert f"from {LINEAGE[-2]} ← {LINEAGE[-3]} ← {LINEAGE[-4]} ← …, after iteration 3, generation 4" in deepest
    assert "2 branches" in row_of(text, BETTER)
    family = page(visitor, f"/runs/lineage/{LINEAGE[-1]}")
    runs_of = re.findall(r'<li id="run-([^"]*)">', family)
    assert len(runs_of) == len(LINEAGE) + 1
    assert parents_in(family) == {**dict(zip(LINEAGE, (None, *LINEAGE), strict=False)), SIBLING: BETTER}
    assert runs_of[0] == LINEAGE[0]
    assert family.count("<ul") - family.count("</ul>") == 0
    assert "this run" in family


def test_a_run_without_kin_says_so(visitor: TestClient) -> None:
    assert "was not branched from another" in page(visitor, f"/runs/lineage/{EVEN}")
    answered = visitor.get("/runs/lineage/none-such")
    assert answered.status_code == 404
    assert "none-such" in answered.text


def test_once_a_run_is_erased_its_interval_is_withheld(own_visitor: TestClient, own_world: Service) -> None:
    assert "significant gain" in row_of(page(own_visitor, "/runs"), BETTER)
    own_world.ledger.erase(f"run/{BETTER}", "retention")
    erased = row_of(page(own_visitor, "/runs"), BETTER)
    assert "no interval: the samples are withheld" in erased
    assert "significant" not in erased


@pytest.mark.parametrize(
    ("query", "there", "not_there"),
    [
        ("status=failed", FAILED, BETTER),
        ("status=open", OPEN, FAILED),
        (f"q={LINEAGE[1].upper()}", LINEAGE[1], BETTER),
        ("strategy=structural", FAILED, OPEN),
        ("simulated=no", IMPORTED[0], BETTER),
        ("simulated=yes", BETTER, IMPORTED[0]),
    ],
)
def test_filters_find_runs(visitor: TestClient, query: str, there: str, not_there: str) -> None:
    runs_found = listed(page(visitor, f"/runs?{query}"))
    assert there in runs_found
    assert not_there not in runs_found


def test_a_filter_that_nothing_fits_says_so_and_can_be_reset(visitor: TestClient) -> None:
    text = page(visitor, "/runs?q=%3Cscript%3Ealert(1)%3C/script%3E")
    assert "No run fits." in text
    assert "<script>alert" not in text
    assert 'href="/runs">Reset' in text


def test_headings_sort_and_say_how(visitor: TestClient) -> None:
    text = page(visitor, "/runs?sort=improvement")
    assert '<th scope="col" aria-sort="descending"><a href="/runs?sort=improvement&amp;order=up">improvement' in text
    gains = [found[0] for run in listed(text) if (found := re.search(r"[+−±]\d\.\d{4}", row_of(text, run)))]
    values = [float(gain.replace("−", "-").replace("±", "")) for gain in gains]
    assert values == sorted(values, reverse=True)
    assert listed(text)[-1] in (EMPTY, FAILED, OPEN, ERASED_RUN, *IMPORTED)


@pytest.mark.parametrize("query", ["sort=colour", "order=sideways", "page=0", "page=x", "simulated=perhaps"])
def test_a_question_that_makes_no_sense_is_told(visitor: TestClient, query: str) -> None:
    assert visitor.get(f"/runs?{query}").status_code == 422


def test_pages_lead_on_and_keep_what_was_asked(visitor: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = listed(page(visitor, "/runs?sort=run"))
    monkeypatch.setattr(runs, "PAGE", 5)
    seen, address = [], "/runs?sort=run"
    while True:
        text = page(visitor, address)
        seen += listed(text)
        older = re.search(r'rel="next" href="([^"]*)"', text)
        if older is None:
            break
        address = unescape(older[1])
    assert seen == everything
    assert 'rel="prev"' in text
    assert "beyond the last run" in page(visitor, "/runs?page=999")


def test_hostile_texts_are_inert(visitor: TestClient) -> None:
    text = page(visitor, "/runs")
    assert f'id="run-{HOSTILE_RUN}"' in text
    for tag in ("<img", "<iframe", "onerror=alert", "<script>"):
        assert tag not in text


def test_the_past_is_shown_as_it_was(visitor: TestClient) -> None:
    with_none = visitor.get("/runs", params={"as_of": "0"}).text
    assert "No run is on this ledger as of this moment." in with_none
    assert "What changed on this page since" in with_none


def test_a_new_run_appears_and_a_deep_line_nests_by_true_parent(own_visitor: TestClient, own_world: Service) -> None:
    for n in range(90):
        event = RunStarted(
            run=f"deep-{n}",
            directory=f"deep-{n}",
            timestamp="2026-11-22T10:00:00Z",
            strategy="iterative",
            parent_run=f"deep-{n - 1}" if n else None,
            parent_iteration=1 if n else None,
            system_prompt="p",
            config={},
        )
        own_world.ledger.record(NewEvent(f"run/deep-{n}", 0, event, {}))
    assert "generation 89" in row_of(page(own_visitor, "/runs?q=deep-89"), "deep-89")
    family = page(own_visitor, "/runs/lineage/deep-60")
    assert family.count("<li id=") == 90
    assert family.count("<ul") - family.count("</ul>") == 0
    assert parents_in(family) == {f"deep-{n}": f"deep-{n - 1}" if n else None for n in range(90)}
    assert "hx-get" not in page(own_visitor, "/runs?status=failed")
    assert "every 5s" in page(own_visitor, "/runs?status=open")
