"""The pages of verdicts: lists by pages, one verdict whole, what is undecided, and hostile texts made inert."""

from __future__ import annotations

import html
import re

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.domain.evaluation.events import ShadowJudged
from affidavit.domain.event import Meta, NewEvent

from ..world import seq_of, session_alias
from ..world_sessions import (
    ERASED_SESSION,
    HOSTILE_SOURCE,
    JUDGED,
    LOSSES,
    OTHER_JUDGED,
    OTHER_VERSION,
    PIN,
    SESSION,
    TIES,
    UNDECIDED,
    WINS,
)

LIST = "/evaluation/comparisons"


def text_of(page: str) -> str:
    """What a reader sees of a page, blanks made one."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def walk(visitor: TestClient, path: str) -> list[int]:
    """The seqs of all verdicts of a list, followed from page to page."""
    seqs: list[int] = []
    following: str | None = path
    while following is not None:
        page = visitor.get(following)
        assert page.status_code == 200
        seqs += [int(found) for found in re.findall(r'id="verdict-(\d+)"', page.text)]
        older = re.search(r'rel="next" href="([^"]+)"', page.text)
        following = None if older is None else html.unescape(older[1])
    return seqs


def verdict_of(world: Service, session: str) -> int:
    """The first verdict on a turn of a session."""
    with world.moment() as moment:
        query = "SELECT min(seq) FROM verdicts WHERE session = ?"
        return int(moment.views.exec_driver_sql(query, (session_alias(world, session),)).scalar_one())


def test_every_verdict_of_the_pinned_version_stands_once_and_none_of_another(visitor: TestClient) -> None:
    pinned, other = walk(visitor, LIST), walk(visitor, f"{LIST}?version={OTHER_VERSION}")
    assert len(pinned) == len(set(pinned)) >= JUDGED
    assert len(other) == OTHER_JUDGED
    assert not set(pinned) & set(other)


def test_outcomes_are_told_apart(visitor: TestClient) -> None:
    counted = {outcome: len(walk(visitor, f"{LIST}?outcome={outcome}")) for outcome in ("win", "tie", "loss")}
    assert sum(counted.values()) == len(walk(visitor, LIST))
    assert counted["win"] >= WINS
    assert counted["tie"] >= TIES
    assert counted["loss"] >= LOSSES


def test_a_source_narrows_a_list_also_one_with_a_hostile_name(visitor: TestClient) -> None:
    page = visitor.get(LIST, params={"source": HOSTILE_SOURCE})
    assert page.text.count('id="verdict-') == 1
    assert "data-hostile>" not in page.text


def test_disagreements_are_significant_losses_only(visitor: TestClient, world: Service) -> None:
    found = set(walk(visitor, "/evaluation/disagreements"))
    with world.moment() as moment:
        rows = moment.views.exec_driver_sql(
            "SELECT seq FROM verdicts WHERE version = ? AND significant = 1 AND better <> 'tie' "
            "AND (better = '1') <> (reflexio_is_request_1 = 1)",
            (PIN,),
        )
        assert found == {row[0] for row in rows}
    assert found


def test_a_version_that_is_not_pinned_says_so(visitor: TestClient) -> None:
    assert f"Pinned is {PIN}" in text_of(visitor.get(f"{LIST}?version={OTHER_VERSION}").text)


def test_a_verdict_stands_side_by_side_with_all_that_proves_it(visitor: TestClient, world: Service) -> None:
    seq = verdict_of(world, SESSION)
    page = visitor.get(f"{LIST}/{seq}").text
    told = text_of(page)
    assert "Where is my parcel number 17?" in told
    assert re.search(r"Served answer shown (first, as Request 1|second, as Request 2)", told)
    assert re.search(r"Shadow shown (first, as Request 1|second, as Request 2)", told)
    assert "Why, in the judge's words" in told
    assert "[simulated]" in told
    assert "Computed again for this page: the seed follows" in told
    assert f'/ledger/entries/{seq}"' in page
    assert PIN in told
    assert "stand-in-judge-simulated" in told
    assert re.search(r"The judge: [^.]*\. So says .* stand-in-judge-simulated", told)
    lies, parts = (
        re.search(rf'aria-label="{name}">(.*?)</nav>', page, re.DOTALL)
        for name in ("Where this page lies", "Parts of this page")
    )
    assert lies is not None
    assert parts is not None
    assert "#" not in lies[1]
    assert all(target.startswith("#") for target in re.findall('href="([^"]*)"', parts[1]))
    proven = re.search(r'data-entries="([\d,]+)"', page)
    assert proven is not None
    assert str(seq) in proven[1].split(",")


def test_a_position_that_was_chosen_is_found_out(own_visitor: TestClient, own_world: Service) -> None:
    seq = verdict_of(own_world, SESSION)
    with own_world.moment() as moment:
        recorded = moment.events.event(seq)
    assert recorded is not None
    assert isinstance(recorded.event, ShadowJudged)
    chosen = recorded.event.model_copy(
        update={"position_seed": "0" * 16, "reflexio_is_request_1": True, "detail": {"comparison_reason": "so"}}
    )
    with own_world.ledger.recorder.reading() as reader:
        pos = reader.next_pos(recorded.stream)
    meta = Meta(scope=recorded.meta["scope"], judge_prompt_version=PIN)
    (made,) = own_world.ledger.record(NewEvent(recorded.stream, pos, chosen, meta))
    told = text_of(own_visitor.get(f"{LIST}/{made.seq}").text)
    assert "did not keep to the rule" in told
    assert "All 2 verdicts on this turn" in told


def test_erased_texts_are_shown_as_erased(visitor: TestClient, world: Service) -> None:
    with world.moment() as moment:
        rows = moment.views.exec_driver_sql("SELECT seq, session FROM verdicts WHERE session IS NOT NULL").all()
        names = moment.names_of({row.session for row in rows})
    (seq,) = [row.seq for row in rows if names[row.session] is None]
    page = visitor.get(f"{LIST}/{seq}").text
    told = text_of(page)
    assert ERASED_SESSION not in told
    assert "parcel 20" not in told
    assert told.count("erased: the key of this text was destroyed") >= 4


def test_what_is_no_verdict_is_not_found(visitor: TestClient, world: Service) -> None:
    assert visitor.get(f"{LIST}/0").status_code == 404
    assert visitor.get(f"{LIST}/{10**12}").status_code == 404
    seq = verdict_of(world, SESSION)
    assert visitor.get(f"{LIST}/{seq}", params={"as_of": seq - 1}).status_code == 404


@pytest.mark.parametrize("query", ["before=x", "before=1.2.3", f"before={10**18}9.1", "outcome=draw"])
def test_a_query_that_means_nothing_is_told(visitor: TestClient, query: str) -> None:
    assert visitor.get(f"{LIST}?{query}").status_code == 422


def test_what_is_undecided_stands_with_its_reason(visitor: TestClient, world: Service) -> None:
    page = visitor.get("/evaluation/undecided").text
    told = text_of(page)
    assert UNDECIDED in told
    assert "not_json" in told
    assert session_alias(world, UNDECIDED) in page


def test_the_past_shows_what_was_judged_then(visitor: TestClient, world: Service) -> None:
    first = seq_of(world, "config")
    told = text_of(visitor.get(LIST, params={"as_of": first}).text)
    assert "No comparison" in told
    assert "newest verdict under it" in told
