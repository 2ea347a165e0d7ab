"""The page of judges: pins and verdicts through time, prompts word for word, the configuration's changes."""

from __future__ import annotations

import html
import re

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.app import create_app, open_service
from affidavit.api.http.service import Service
from affidavit.domain.evaluation.prompts import SHADOW_PROMPTS

from ..conftest import LOCAL, visiting
from ..nameless import judge_without_version
from ..world_sessions import OTHER_JUDGED, OTHER_VERSION, PIN

PAGE = "/evaluation/judges"


def text_of(page: str) -> str:
    """What a reader sees of a page, blanks made one."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_the_pinned_version_through_time_is_drawn_and_told(visitor: TestClient) -> None:
    page = visitor.get(PAGE).text
    told = text_of(page)
    assert f"Pinned is {PIN} ." in told
    assert re.search(rf'aria-label="Versions of[^"]*{re.escape(OTHER_VERSION)}: {OTHER_JUDGED} verdicts, pinned', page)
    pinned = page.split("The same as a table")[1].split("</table>")[0]
    assert re.findall(r"<bdi>([^<]+)</bdi>", pinned) == [PIN, OTHER_VERSION, PIN]


def test_prompts_stand_word_for_word(visitor: TestClient) -> None:
    page = visitor.get(PAGE).text
    assert (
        html.escape(SHADOW_PROMPTS[PIN].text, quote=True).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in page
    )
    assert "This server would judge with exactly this text." in page
    assert f'id="version-{PIN}"' in page


def test_changes_of_the_configuration_are_listed(visitor: TestClient) -> None:
    told = text_of(visitor.get(PAGE).text)
    assert told.count("shadow comparison judge prompt version") == 2
    assert "stand-in-judge-simulated is no real model" in told


@pytest.mark.parametrize("span", ["90", "365", "all"])
def test_every_span_is_drawn(visitor: TestClient, span: str) -> None:
    page = visitor.get(PAGE, params={"span": span})
    assert page.status_code == 200
    assert f"{PIN}: " in page.text


def test_a_span_that_is_none_is_told(visitor: TestClient) -> None:
    assert visitor.get(PAGE, params={"span": "x"}).status_code == 422


def test_without_a_judge_the_page_says_so(own_world: Service) -> None:
    with open_service(own_world.ledger, live=own_world.live, clock=own_world.clock) as service:
        visitor = TestClient(create_app(service), base_url=LOCAL, client=("127.0.0.1", 40_000))
        assert "No judge is configured here" in text_of(visitor.get(PAGE).text)


def test_the_past_compares_with_today(visitor: TestClient) -> None:
    told = text_of(visitor.get(PAGE, params={"as_of": 20}).text)
    assert f"verdicts under {OTHER_VERSION}" in told


def test_each_version_that_judged_says_whether_its_words_are_recorded(visitor: TestClient) -> None:
    told = text_of(visitor.get(PAGE).text)
    assert re.search(rf"{re.escape(OTHER_VERSION)} {OTHER_JUDGED} [^⚠]*⚠ words not recorded", told)
    assert "published ⚠ after its first verdict" in told
    assert "1 version lies outside this span." in told
    assert "outside this span" not in text_of(visitor.get(PAGE, params={"span": "all"}).text)


def test_verdicts_that_name_no_version_have_a_row_and_lead_to_their_list(own_world: Service) -> None:
    seq = judge_without_version(own_world)
    visitor = visiting(own_world)
    page = visitor.get(PAGE).text
    assert re.search(r"no version named 1 [^⚠]*⚠ nobody knows which", text_of(page))
    assert "no version named: 1 verdicts, never pinned" in page
    listed = visitor.get("/evaluation/comparisons", params={"version": "-"}).text
    assert "Comparisons under no version named" in text_of(listed)
    assert re.findall(r'id="verdict-(\d+)"', listed) == [str(seq)]
