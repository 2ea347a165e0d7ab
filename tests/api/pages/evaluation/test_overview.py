"""The page of evaluation: the figures of the API with their n and intervals, versions apart, sets, and the warning."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from affidavit.api.adapters.evaluation import import_evaluation
from affidavit.api.http.service import Service
from affidavit.api.pages.evaluation.parts import tiles_of
from affidavit.api.pages.evaluation.query import set_text
from affidavit.api.pages.tiles import Tile
from affidavit.domain.evaluation.events import SessionGraded
from affidavit.domain.event import Meta, NewEvent
from affidavit.projections.evaluation.windows import SourceSet

from ..conftest import visiting
from ..nameless import judge_without_version
from ..world import session_alias
from ..world_sessions import (
    CANDIDATE,
    HOSTILE_SOURCE,
    LOSSES,
    OTHER_JUDGED,
    OTHER_VERSION,
    PIN,
    SESSION,
    TIES,
    WINS,
    WITH,
    WITHOUT,
)


def text_of(page: str) -> str:
    """What a reader sees of a page, blanks made one."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def section(page: str, name: str) -> str:
    """One section of the page in words, by the id of its heading."""
    found = re.search(rf'<section aria-labelledby="{name}">(.*?)</section>', page, re.S)
    assert found is not None, f"no section {name}"
    return text_of(found[1])


@pytest.fixture(scope="module")
def page(visitor: TestClient) -> str:
    answer = visitor.get("/evaluation")
    assert answer.status_code == 200, answer.text
    return answer.text


def overview(visitor: TestClient, page: str, **more: object) -> dict[str, Any]:
    """The API's answer for the window that the page says it shows."""
    found = re.search(r"from <strong>(.*?)</strong> to <strong>(.*?)</strong>", page)
    assert found is not None
    first, last = (datetime.strptime(day, "%d %B %Y").replace(tzinfo=UTC) for day in found.groups())
    window = {"from_ts": int(first.timestamp()), "to_ts": int(last.timestamp()) + 86_399, "bucket": "day"}
    answer = visitor.post("/api/get_evaluation_overview", json={**window, "session_lists": False, **more})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_the_tile_of_turns_is_in_the_words_of_the_seed(page: str) -> None:
    turns = section(page, "turns")
    n = WINS + TIES + LOSSES
    assert f"67% win rate · {WINS} wins · {TIES} ties · {LOSSES} losses · n={n} sampled" in turns
    assert "95 % interval of the win rate" in turns
    assert "positions" in turns
    assert "Three readings of the same verdicts" in turns


def test_the_headline_is_the_answer_of_the_api_with_interval_and_n(visitor: TestClient, page: str) -> None:
    answer = overview(visitor, page)
    by_session = answer["hero"]["by_session"]
    success = section(page, "success")
    low, high = by_session["interval"]
    assert f"{100 * by_session['rate']:.1f} % of {by_session['n']:,} graded sessions succeeded" in success
    assert f"95 % interval {100 * low:.1f} % to {100 * high:.1f} %" in success
    assert f"of {answer['hero']['sampling']['population']:,} sessions that began" in success


def test_each_point_of_the_trend_says_its_n(visitor: TestClient, page: str) -> None:
    buckets = overview(visitor, page)["hero"]["buckets"]
    told = re.findall(r"n = ([\d,]+) graded; ([\d,]+) sessions began", page)
    shown = [(int(n.replace(",", "")), int(of.replace(",", ""))) for n, of in told]
    assert shown[: len(buckets)] == [(bucket["session_count"], bucket["population"]) for bucket in buckets]


def test_each_tile_has_an_interval_of_its_change(visitor: TestClient, page: str) -> None:
    tiles = overview(visitor, page)["context_tiles"]
    shown = section(page, "success")
    for key, unit in (("success", 100), ("escalation", 100), ("corrections", 1)):
        low, high = tiles[key]["by_session"]["change"]["interval"]
        digits, after = (1, " pp") if unit == 100 else (2, "")
        printed = [f"{unit * bound:+.{digits}f}".replace("-", "−") for bound in (low, high)]
        assert f"({printed[0]} to {printed[1]}{after})" in shown
    assert "The last 7 days against the 7 days before" in shown


def test_both_ends_of_the_rules_are_shown_with_n(visitor: TestClient, page: str) -> None:
    rules = section(page, "rules")
    assert "Cited with success" in rules
    assert "Cited with failure" in rules
    assert "Neither end shows that a rule caused anything" in rules
    best = overview(visitor, page)["rule_attribution"][0]
    assert best["title"] in rules
    assert best["by_session"]["n"] == best["session_count"]


def test_a_version_is_chosen_and_never_added_up(visitor: TestClient, page: str) -> None:
    chips = section(page, "turns")
    assert f"{PIN} (pinned) n = {WINS + TIES + LOSSES}" in chips
    assert f"{OTHER_VERSION} n = {OTHER_JUDGED}" in chips
    other = section(visitor.get("/evaluation", params={"version": OTHER_VERSION}).text, "turns")
    assert f"n={OTHER_JUDGED} sampled" in other
    assert f"You look at judge prompt {OTHER_VERSION}; the configuration pins {PIN}" in other


def test_sources_narrow_the_page_and_are_counted(visitor: TestClient, page: str) -> None:
    whole = overview(visitor, page, source=WITH)
    narrowed = visitor.get("/evaluation", params={"source": WITH}).text
    n = whole["hero"]["by_session"]["n"]
    assert f"of {n:,} graded sessions succeeded" in section(narrowed, "success")
    assert f"sessions whose first request came from {WITH}" in text_of(narrowed)
    nobody = visitor.get("/evaluation", params={"source": "-"})
    assert nobody.status_code == 200
    assert "no source" in text_of(nobody.text)


def test_sets_are_compared_with_intervals_and_a_warning(visitor: TestClient) -> None:
    asked = [f"rules:{WITH}", f"plain:{WITHOUT},{CANDIDATE}"]
    sets = section(visitor.get("/evaluation", params={"set": asked}).text, "sets")
    assert "rules − plain" in sets
    assert re.search(r"rules − plain: [+−][\d.]+ pp \([+−][\d.]+ to [+−][\d.]+ pp\), p [<=] [\d.]+", sets)
    assert "Observational: a gap here is a correlation, not an effect." in sets or "Assigned by chance" in sets
    assert "p is adjusted for all pairs" in sets


def test_an_undeclared_source_makes_a_comparison_observational(own_world: Service, own_visitor: TestClient) -> None:
    one = {"role": "User", "content": "Hello"}
    for number, source in enumerate(("pilot-a", "pilot-b")):
        sent = {"user_id": f"p{number}", "session_id": f"pilot-{number}", "source": source}
        assert own_visitor.post("/api/publish_interaction", json={**sent, "interaction_data_list": [one]}).is_success
    answer = own_visitor.get(
        "/evaluation", params={"set": ["a:pilot-a", "b:pilot-b"], "to": "2100-01-01", "from": "2026-01-01"}
    )
    assert "Observational: a gap here is a correlation, not an effect." in section(answer.text, "sets")


def test_the_form_builds_sets_without_javascript(visitor: TestClient) -> None:
    fields = {f"in:{WITH}": "1", f"in:{WITHOUT}": "2", f"in:{CANDIDATE}": "2", "label:1": "a, b: c%", "label:2": ""}
    answer = visitor.get("/evaluation", params={**fields, "days": "30"})
    assert answer.status_code == 303
    target = answer.headers["location"]
    assert "in%3A" not in target
    followed = visitor.get(target)
    shown = section(followed.text, "sets")
    assert f"a, b: c% − {WITHOUT} + {CANDIDATE}" in shown or f"a, b: c% − {CANDIDATE} + {WITHOUT}" in shown


def test_a_set_survives_its_address() -> None:
    odd = SourceSet(label="50 %: a,b", sources=("", "x:y", "a,b%2C"))
    assert set_text(odd) == "50 %25%3A a%2Cb:,x%3Ay,a%2Cb%252C"


def test_what_cannot_be_read_is_said(visitor: TestClient) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"from": "yesterday"}, "expected a date"),
        ({"days": "many"}, "expected a number of days"),
        ({"days": "0"}, "expected 1 to"),
        ({"from": "2026-02-01", "to": "2026-01-01"}, "begins after it ends"),
        ({"set": "label"}, "label:source"),
        ({"set": ["a:x", "b:x"]}, "each source may stand in one set"),
    ]
    for asked, told in cases:
        answer = visitor.get("/evaluation", params=asked)
        assert answer.status_code == 422
        assert told in text_of(answer.text)


def test_a_window_without_sessions_and_a_ledger_without_any_say_what_to_do(
    visitor: TestClient, service: Service
) -> None:
    assert "No session in this window" in visitor.get("/evaluation?from=2020-01-01&to=2020-01-31").text
    empty = visiting(service).get("/evaluation")
    assert empty.status_code == 200
    assert "No session in this window" in empty.text


def test_grades_of_two_judge_prompts_are_not_mixed(own_world: Service) -> None:
    visitor = visiting(own_world)
    before = section(visitor.get("/evaluation").text, "success")
    alias = session_alias(own_world, SESSION)
    with own_world.moment() as moment:
        at = moment.views.exec_driver_sql(
            "SELECT min(requested_at) FROM requests WHERE session = ?", (alias,)
        ).scalar_one()
        pos = moment.events.reader.next_pos(f"session/{alias}")
    graded = SessionGraded(
        session=alias,
        agent_version="v9",
        evaluation_name="another",
        success=False,
        corrections=0,
        escalated=False,
        started_at=at,
        detail={},
    )
    own_world.ledger.record(
        NewEvent(f"session/{alias}", pos, graded, Meta(recorder="affidavit/0.1.0", judge_prompt_version="v2.0.0"))
    )
    newest = visitor.get("/evaluation").text
    assert section(newest, "success") == before
    assert "1 results of other versions are in no figure" in text_of(newest)
    chosen = section(visitor.get("/evaluation?graded=v2.0.0").text, "success")
    assert "of 1 graded sessions succeeded" in chosen
    assert "judge prompt v2.0.0" in chosen


def test_imported_results_replace_no_headline_and_invent_no_share(own_world: Service, tmp_path: Path) -> None:
    visitor = visiting(own_world)
    before = section(visitor.get("/evaluation").text, "success")
    with own_world.moment() as moment:
        (at,) = moment.views.exec_driver_sql("SELECT max(requested_at) FROM requests").one()
    named = {"agent_version": "v7", "is_success": False, "created_at": at}
    rows = [{**named, "result_id": n, "user_id": f"z{n}", "session_id": f"z{n}"} for n in range(300)]
    (tmp_path / "rows.json").write_text(json.dumps({"results": rows}))
    import_evaluation(own_world.ledger, tmp_path / "rows.json")
    page = visitor.get("/evaluation").text
    assert section(page, "success") == before
    assert "300 results of other versions are in no figure" in text_of(page)
    imported = section(visitor.get("/evaluation?graded=-").text, "success")
    assert "and 300 graded sessions whose beginning is not recorded" in imported
    assert "Graded: 0 of " in imported


def tile_of(worth: float) -> Tile:
    """The tile of success, ten points up and clearly so, of users worth so many."""
    side = {"rate": 0.5, "mean": 0.5, "n": 100, "clusters": 50, "interval": [0.4, 0.6]}
    change = {"difference": 0.1, "interval": [0.05, 0.15], "users_worth": worth}
    found = {"by_session": {"current": side, "prior": side, "change": change}}
    keys = ("success", "behavior_success", "corrections", "turns", "escalation")
    return tiles_of(dict.fromkeys(keys, found))[0]


def test_a_tile_of_few_users_tells_no_better_or_worse() -> None:
    assert tile_of(20).verdict == "✓ better"
    assert tile_of(19.9).verdict.startswith("○ too few to tell")
    assert tile_of(19.9).tone == ""


def test_the_weighted_difference_is_in_no_picture_and_called_what_it_is(visitor: TestClient) -> None:
    page = visitor.get("/evaluation", params={"set": [f"a:{WITH}", f"b:{WITHOUT}"]}).text
    assert not [svg for svg in re.findall(r"<svg.*?</svg>", page, re.S) if "weighted" in svg]
    assert "these sessions only; says nothing of sources in general; repeated users not allowed for" in text_of(page)
    assert "it says nothing of sources in general" in section(page, "success")


def test_the_bound_runs_since_the_first_verdict_whatever_the_window(visitor: TestClient) -> None:
    shown = [section(visitor.get(f"/evaluation?days={days}").text, "turns") for days in (7, 90)]
    found = [
        re.search(rf"Since the first verdict of {PIN} on .*?bounded by .*?\.(?= positions)", text) for text in shown
    ]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0][0] == found[1][0]
    assert re.search(r"n = \d+ users of \d+ verdicts", found[0][0])
    assert shown[0].split("sampled")[0] != shown[1].split("sampled")[0]
    assert "In this window: 95 % interval of the win rate" in shown[0]


def test_a_scorer_has_an_interval_where_users_allow_it(own_world: Service, tmp_path: Path) -> None:
    with own_world.moment() as moment:
        (at,) = moment.views.exec_driver_sql("SELECT max(started_at) FROM results").one()
    scores = [
        {"source": "s", "source_run_id": f"{name}{n}", "session_id": f"{name}{n}", "scorer_name": name}
        | {"value": n / 10, "ts": at}
        for name, count in (("few", 5), ("many", 9))
        for n in range(count)
    ]
    (tmp_path / "rows.json").write_text(json.dumps({"imported_scores": scores}))
    import_evaluation(own_world.ledger, tmp_path / "rows.json")
    success = section(visiting(own_world).get("/evaluation").text, "success")
    assert "too few: an interval needs scores of 6 users; mean of n = 5 scores, 5 users" in success
    assert "95 % interval 0.189 to 0.611; mean of n = 9 scores, 9 users; nothing before" in success


def test_verdicts_without_a_version_can_be_chosen(own_world: Service) -> None:
    judge_without_version(own_world)
    visitor = visiting(own_world)
    turns = visitor.get("/evaluation").text
    assert "no version named" in section(turns, "turns")
    chosen = section(visitor.get("/evaluation?version=-").text, "turns")
    assert "· n=1 sampled" in chosen
    assert "You look at judge prompt not named" in chosen


def test_seven_days_are_as_long_as_the_seven_before(visitor: TestClient) -> None:
    assert "the current window has" not in text_of(visitor.get("/evaluation?days=7").text)
    assert "the current window has" in text_of(visitor.get("/evaluation?days=6").text)


def test_an_assignment_whose_sizes_do_not_fit_allows_no_effect(own_world: Service) -> None:
    visitor = visiting(own_world)
    asked = {"set": [f"a:{WITH}", f"b:{WITHOUT}"]}
    declared = section(visitor.get("/evaluation", params=asked).text, "sets")
    assert re.search(r"of those graded only: \d+ of \d+ sessions that began", declared)
    one = [{"role": "User", "content": "Hello"}]
    for n in range(80):
        sent = {"user_id": f"m{n}", "session_id": f"m{n}", "source": WITH, "interaction_data_list": one}
        assert visitor.post("/api/publish_interaction", json=sent).is_success
    found = section(visitor.get("/evaluation", params={**asked, "from": "2026-01-01", "to": "2100-01-01"}).text, "sets")
    assert "no gap may be read as an effect" in found
    assert "Assigned by chance" not in found


def test_what_the_judge_says_is_called_so(page: str) -> None:
    turns = section(page, "turns")
    assert "the judge calls it significantly better" in turns
    assert "made the answer worse" not in turns


def test_a_source_says_what_the_api_counts(visitor: TestClient, page: str) -> None:
    told = "The overview of the API counts turns of all sources here"
    assert told in section(visitor.get("/evaluation", params={"source": WITH}).text, "turns")
    assert told not in section(page, "turns")


def test_texts_of_others_are_inert(visitor: TestClient) -> None:
    answer = visitor.get(
        "/evaluation", params={"source": HOSTILE_SOURCE, "set": f"<b>x:{WITH}", "version": "<script>x"}
    )
    assert answer.status_code == 200
    assert "<script>x" not in answer.text
    assert "<b>x" not in answer.text
    assert "&lt;b&gt;x" in answer.text


def test_an_earlier_moment_shows_what_changed(visitor: TestClient, world: Service) -> None:
    with world.moment() as moment:
        seq = moment.views.exec_driver_sql("SELECT seq FROM results ORDER BY seq DESC LIMIT 1 OFFSET 40").scalar_one()
    page = visitor.get("/evaluation", params={"as_of": str(seq)})
    assert page.status_code == 200
    assert "You see the past." in text_of(page.text)
    assert re.search(rf'href="/evaluation\?[^"]*as_of={seq}', page.text)


def test_what_is_kept_of_a_page_is_dropped_when_something_is_recorded(own_world: Service) -> None:
    visitor = visiting(own_world)
    before = visitor.get("/evaluation").text
    assert visitor.get("/evaluation").text == before
    one = [{"role": "User", "content": "Hello"}]
    sent = {"user_id": "new", "session_id": "new", "source": "pilot", "interaction_data_list": one}
    assert visitor.post("/api/publish_interaction", json=sent).is_success
    assert visitor.get("/evaluation").text != before


def test_each_of_the_newest_sessions_leads_to_its_page_and_an_erased_one_shows_no_raw_alias(
    visitor: TestClient, page: str
) -> None:
    shown = page.split('id="sessions"')[1]
    links = re.findall(r'href="(/evaluation/sessions/session-[0-9a-f]+)"', shown)
    assert len(links) > 3
    assert all(visitor.get(link).status_code == 200 for link in links)
    assert "[withheld" not in shown
    assert "name withheld" in shown
