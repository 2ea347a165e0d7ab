"""The page of an iteration: the change, why, what it did, its samples and its calls."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.api.pages.runs import iteration
from affidavit.projections.runs.explanation import explain
from affidavit.projections.runs.record import RunRecord, fold_run

from ..hostile import HOSTILE
from ..world_runs import BETTER, BRANCH, DRIVEN, EMPTY, ERASED_RUN, HOSTILE_RUN, IMPORTED, LONG, OPEN


def text_of(page: str) -> str:
    """What a reader sees of a page, blanks made one."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


class Elements(HTMLParser):
    """Counts a page's elements, and keeps those that a text managed to make."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.hostile: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen += 1
        if any(name == "data-hostile" or name.startswith(("on", "style")) for name, _ in attrs):
            self.hostile.append(tag)


def part(page: str, name: str) -> str:
    """The section under the heading ``name``."""
    found = re.search(rf'<section aria-labelledby="{name}">.*?</section>', page, re.DOTALL)
    assert found is not None, name
    return found[0]


def record_of(world: Service, run: str) -> RunRecord:
    with world.moment() as moment:
        record = fold_run(moment.events.stream(f"run/{run}"))
    assert record is not None
    return record


def at(run: str, number: int) -> str:
    return f"/runs/{run}/iterations/{number}"


def test_the_difference_is_to_the_prompt_that_it_was_made_from(visitor: TestClient) -> None:
    page = visitor.get(at(BETTER, 6)).text
    diff = part(page, "diff")
    assert "<del>three</del>" in diff
    assert "<ins>two</ins>" in diff
    assert "1 line removed" in text_of(diff)
    assert "2 lines added" in text_of(diff)
    assert re.search(r'<option value="5" selected>iteration 5, [\d.]+ \(made from it\)', diff)


def test_it_is_compared_with_any_other_iteration(visitor: TestClient) -> None:
    diff = text_of(part(visitor.get(at(BETTER, 6), params={"against": "0"}).text, "diff"))
    assert "from initial prompt (30 characters)" in diff
    assert "is the prompt of" not in diff


def test_the_same_prompt_is_shown_once(visitor: TestClient) -> None:
    page = visitor.get(at(BETTER, 1)).text
    assert "It is, to the letter, the initial prompt." in part(page, "diff")
    assert 'class="sides"' not in page


def test_the_effect_is_that_of_the_change_alone_and_among_all(visitor: TestClient, world: Service) -> None:
    record = record_of(world, BETTER)
    rewrite = record.iterations[5].rewrite
    assert rewrite is not None
    told = explain(record).document["changes"][rewrite.rewrite]
    effect = text_of(part(visitor.get(at(BETTER, 6)).text, "effect"))
    assert f"{told['paired']['mean_difference']:+.4f}, n = {told['paired']['n']}" in effect
    assert f"this change alone p = {told['paired']['p_value']:.3f}" in effect
    assert f"among all changes p = {told['adjusted_p']:.3f}" in effect
    assert "Benjamini–Hochberg over 6 tested changes" in effect


def test_why_and_what_the_model_saw_are_quoted(visitor: TestClient) -> None:
    page = visitor.get(at(BETTER, 6)).text
    assert "1. Shorter, and what is not known." in part(page, "why")
    told = re.search(r"Iter 1 \(score: (0\.\d{4})\): Asked for three sentences", part(page, "history"))
    assert told is not None
    assert told[1] in text_of(visitor.get(at(BETTER, 1)).text), "the score that is recorded"


def test_the_reasons_of_a_reply_stand_apart_from_the_prompt_that_it_proposes(visitor: TestClient) -> None:
    why = part(visitor.get(at(DRIVEN, 2)).text, "why")
    quoted = re.search(r"<blockquote[^>]*>(.*?)</blockquote>", why, re.DOTALL)
    assert quoted is not None
    assert quoted[1].strip().startswith("[simulated] Drawn from a hash")
    assert "Revised prompt" not in quoted[1]
    assert "## Revised prompt" in why
    assert re.search(rf'href="/runs/{DRIVEN}/calls/\d+"', why)


def test_the_history_of_an_import_is_rebuilt_and_says_so(visitor: TestClient) -> None:
    history = text_of(part(visitor.get(at(IMPORTED[0], 3)).text, "history"))
    assert "Not recorded as shown" in history
    assert "Iter 1 (score: 0.3436" in history
    assert "Iter 2" not in history


def test_samples_are_counted_by_what_became_of_them_and_shown_by_it(visitor: TestClient, world: Service) -> None:
    record = record_of(world, BETTER)
    before, after = record.iterations[5].train.samples, record.iterations[6].train.samples
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)
    old = {sample.id: sample.score or 0.0 for sample in before}
    better = [sample.id for sample in after if (sample.score or 0.0) > old.get(sample.id, 9.0)]
    page = visitor.get(at(BETTER, 7), params={"show": "better"}).text
    assert f"{len(better)} better" in text_of(part(page, "samples"))
    assert re.findall(r'class="id"><bdi>([^<]+)', page) == better
    gains = visitor.get(at(BETTER, 7), params={"order": "gains"}).text
    deltas = [float(found) for found in re.findall(r'class="delta">\+?([\d.]+)<', gains)]
    assert deltas == sorted(deltas, reverse=True)


def test_samples_are_paged(visitor: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iteration, "SAMPLES", 5)
    names: list[str] = []
    following: str | None = at(BETTER, 5)
    while following is not None:
        page = part(visitor.get(following).text, "samples")
        names += re.findall(r'class="id"><bdi>([^<]+)', page)
        found = re.search(r'rel="next" href="([^"]+)"', page)
        following = None if found is None else html.unescape(found[1])
    assert names == [f"train-{n:02}" for n in range(24)]


def test_another_evaluation_of_the_prompt_is_shown_beside_its_own_counterpart(
    visitor: TestClient, world: Service
) -> None:
    final = record_of(world, BETTER).final
    assert final is not None
    page = visitor.get(at(BETTER, 7), params={"scored": str(final.evaluation), "against": "0"}).text
    samples = text_of(part(page, "samples"))
    assert "40 samples, held-out samples, final, beside the same under the initial prompt" in samples
    assert visitor.get(at(BETTER, 7), params={"scored": "0"}).status_code == 404


def test_metrics_stand_before_and_after(visitor: TestClient) -> None:
    scores = text_of(part(visitor.get(at(BETTER, 7)).text, "scores"))
    assert re.search(r"judge [\d.]+ [\d.]+ \+0\.085", scores)


def test_the_first_calls_stand_on_the_page_and_the_rest_one_link_away(
    visitor: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iteration, "CALLS", 3)
    calls = part(visitor.get(at(DRIVEN, 2)).text, "calls")
    assert len(set(re.findall(rf'href="/runs/{DRIVEN}/calls/(\d+)"', calls))) == 3
    assert f'href="/runs/{DRIVEN}/calls?iteration=2"' in calls


def test_iterations_lead_to_each_other_and_the_baseline_is_the_first(visitor: TestClient) -> None:
    seen = [0]
    page = visitor.get(at(BETTER, 0)).text
    while (found := re.search(rf'rel="next" href="/runs/{BETTER}/iterations/(\d+)"', page)) is not None:
        seen.append(int(found[1]))
        page = visitor.get(at(BETTER, seen[-1])).text
    assert seen == list(range(8))
    assert "<h1>Baseline of run better</h1>" in visitor.get(at(BETTER, 0)).text


def test_a_branch_says_whose_iteration_it_repeats(visitor: TestClient) -> None:
    page = visitor.get(at(BRANCH, 1)).text
    assert f'href="/runs/{DRIVEN}/iterations/1"' in page
    assert "No calls of its own" in page


def test_what_is_erased_is_said_in_place_of_every_text(visitor: TestClient) -> None:
    page = visitor.get(at(ERASED_RUN, 2)).text
    for name in ("diff", "why", "samples"):
        assert "erased: the key of this text was destroyed" in part(page, name)
    assert "Summarise" not in page


def test_hostile_texts_stay_texts(visitor: TestClient) -> None:
    answered = visitor.get(at(HOSTILE_RUN, 2))
    assert answered.status_code == 200
    elements = Elements()
    elements.feed(answered.text)
    assert elements.seen > 100
    assert not elements.hostile
    assert html.escape(HOSTILE[3], quote=False).replace("'", "&#39;") in answered.text
    assert "U+202E" in part(answered.text, "diff")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (at(BETTER, 8), 404),
        (at(EMPTY, 1), 404),
        (at("none", 1), 404),
        (f"{at(BETTER, 1)}?against=99", 404),
        (f"{at(BETTER, 1)}?show=everything", 422),
        (f"{at(BETTER, 1)}?page=0", 422),
        (f"/runs/{BETTER}/iterations/-1", 422),
        (at(EMPTY, 0), 200),
        (at(LONG, 40), 200),
        (f"{at(BETTER, 1)}?page=99", 200),
    ],
)
def test_what_is_not_there_is_said(visitor: TestClient, path: str, status: int) -> None:
    assert visitor.get(path).status_code == status


def test_the_last_iteration_of_an_open_run_leads_to_the_calls_of_the_one_at_work(visitor: TestClient) -> None:
    assert f'href="/runs/{OPEN}/calls?iteration=3"' in visitor.get(at(OPEN, 2)).text


def test_an_earlier_moment_says_which_figures_are_others_now(visitor: TestClient, world: Service) -> None:
    seq = record_of(world, BETTER).iterations[1].seq
    page = visitor.get(at(BETTER, 2), params={"as_of": str(seq)}).text
    assert "iterations of the run 2 7" in text_of(page)
    assert visitor.get(at(BETTER, 3), params={"as_of": str(seq)}).status_code == 404
