"""The pages of recorded calls: lists by pages and by iteration, and one call whole."""

from __future__ import annotations

import html
import re

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.api.pages.runs import calls
from affidavit.domain.model_calls import ModelRequested

from ..world_runs import BETTER, BRANCH, DRIVEN

LIST = f"/runs/{DRIVEN}/calls"


def requests_of(world: Service, run: str) -> list[tuple[int, int | None]]:
    """(seq, iteration) of every request of a run, in order."""
    with world.moment() as moment:
        return [
            (found.seq, found.event.iteration)
            for found in moment.events.stream(f"run/{run}")
            if isinstance(found.event, ModelRequested)
        ]


def walk(visitor: TestClient, path: str, rel: str = "next") -> list[list[int]]:
    """The requests of every page of a list, followed from page to page."""
    pages: list[list[int]] = []
    following: str | None = path
    while following is not None:
        page = visitor.get(following)
        assert page.status_code == 200
        pages.append([int(seq) for seq in re.findall(rf'href="{re.escape(LIST)}/(\d+)"', page.text)])
        found = re.search(rf'rel="{rel}" href="([^"]+)"', page.text)
        following = None if found is None else html.unescape(found[1])
    return pages


def test_every_request_stands_on_one_page_in_order(
    visitor: TestClient, world: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "ROWS", 7)
    pages = walk(visitor, LIST)
    assert [seq for page in pages for seq in page] == [seq for seq, _ in requests_of(world, DRIVEN)]
    assert {len(page) for page in pages[:-1]} == {7}


def test_a_list_is_that_of_one_iteration_where_it_is_asked_for(visitor: TestClient, world: Service) -> None:
    requests = requests_of(world, DRIVEN)
    for number in (1, 2):
        (page,) = walk(visitor, f"{LIST}?iteration={number}")
        assert page == [seq for seq, iteration in requests if iteration == number]
    (before,) = walk(visitor, f"{LIST}?iteration=0")
    (after,) = walk(visitor, f"{LIST}?iteration=3")
    assert [*before, *after] == [seq for seq, iteration in requests if iteration is None]
    assert walk(visitor, f"{LIST}?iteration=") == walk(visitor, LIST)


def test_a_row_tells_the_question_without_the_words_that_mark_material(visitor: TestClient) -> None:
    page = visitor.get(f"{LIST}?iteration=2").text
    assert "You improve the system prompt of a language model" in page
    assert "&lt;&lt;&lt;" not in page


def test_a_call_shows_question_answer_and_both_entries(visitor: TestClient, world: Service) -> None:
    seq = next(seq for seq, iteration in requests_of(world, DRIVEN) if iteration == 2)
    page = visitor.get(f"{LIST}/{seq}").text
    assert "<h1>Call iterative.diagnose, number 1</h1>" in page
    assert "<summary>The current prompt:</summary>" in page
    assert "## Revised prompt" in page
    assert "Simulated: sandbox/reasoner" in page
    entries = re.search(r'data-entries="(\d+),(\d+)"', page)
    assert entries is not None
    assert int(entries[1]) == seq
    assert visitor.get(f"{LIST}/{entries[2]}").text.count("shown here") == 1


def test_a_run_without_calls_says_so(visitor: TestClient) -> None:
    assert "No calls are recorded here" in visitor.get(f"/runs/{BETTER}/calls").text


def test_the_calls_that_a_branch_was_fed_stand_with_its_parent(visitor: TestClient) -> None:
    assert "No calls are recorded here" in visitor.get(f"/runs/{BRANCH}/calls?iteration=1").text


@pytest.mark.parametrize(
    "path", ["/runs/none/calls", f"{LIST}/0", f"{LIST}/999999", f"/runs/{BETTER}/calls/3", "/runs/none/calls/3"]
)
def test_what_is_not_there_is_not_found(visitor: TestClient, path: str) -> None:
    assert visitor.get(path).status_code == 404


@pytest.mark.parametrize("query", ["iteration=-1", "iteration=x", "from=-1", "from=x"])
def test_a_query_that_is_none_is_refused(visitor: TestClient, query: str) -> None:
    assert visitor.get(f"{LIST}?{query}").status_code == 422


def test_before_the_answer_came_it_was_in_flight(visitor: TestClient, world: Service) -> None:
    seq = requests_of(world, DRIVEN)[0][0]
    page = visitor.get(f"{LIST}/{seq}?as_of={seq}").text
    assert "No answer is on record" in page
    assert f'href="{LIST}?as_of={seq}"' in page
