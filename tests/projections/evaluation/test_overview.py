"""The overview is the peer's, figure by figure, and does not depend on how the read model came to be."""

from __future__ import annotations

import copy
import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from affidavit.bench.peer_overview import DAY, WEEK, peer_overview
from affidavit.domain.evaluation.events import AssignmentDeclared, SessionGraded, ShadowJudged, ShadowUndecided
from affidavit.domain.event import Meta, NewEvent
from affidavit.projections.evaluation.trend import build_trend
from affidavit.projections.statistics.rates import mean_interval

from .conftest import Filled, Ledgers, differences
from .golden import make_edge_cases

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden" / "reflexio"
END = 1_704_067_200
SOURCES = ("", "a", "prod_with_reflexio", "prod_without_reflexio")
SECONDS = st.one_of(
    st.sampled_from([END, END - 1, END - DAY, END - WEEK, END - WEEK - 1, END - 2 * WEEK, END - 2 * WEEK - 1, 0, 5]),
    st.integers(END - 3 * WEEK, END + 1),
)
# Each example fills a ledger: few of them, and what fails is not made smaller for minutes.
_FEW = settings(
    max_examples=40,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


@st.composite
def datasets(draw: st.DrawFn) -> dict[str, Any]:
    """Rows as an export has them: few users and sessions, so that they meet; times where windows begin and end."""
    pairs = [(f"u{draw(st.integers(0, 2))}", f"s{draw(st.integers(0, 3))}") for _ in range(draw(st.integers(1, 6)))]
    requests: list[dict[str, Any]] = []
    interactions: list[dict[str, Any]] = []
    for number in range(draw(st.integers(0, 10))):
        user, session = draw(st.sampled_from(pairs))
        request = f"{draw(st.integers(0, 2**32)):08x}{number}"
        at = draw(SECONDS)
        requests.append(
            {
                "request_id": request,
                "user_id": user,
                "session_id": session,
                "created_at": at,
                "source": draw(st.sampled_from(SOURCES)),
                "agent_version": draw(st.sampled_from(("v1", "v2"))),
                "evaluation_only": False,
            }
        )
        for _ in range(draw(st.integers(0, 2))):
            interactions.append(
                {
                    "interaction_id": len(interactions) + 1,
                    "user_id": user,
                    "request_id": request,
                    "created_at": at + draw(st.integers(0, 3)),
                    "role": draw(st.sampled_from(("User", "Agent"))),
                    "content": "x",
                    "shadow_content": draw(st.sampled_from(("", "y"))),
                    "citations": draw(_citations),
                }
            )
    results = []
    for number in range(draw(st.integers(0, 10))):
        user, session = draw(st.sampled_from([*pairs, ("", "s0"), ("u0", ""), ("ghost", "s9")]))
        results.append({"user_id": user, "session_id": session, **draw(_graded), "result_id": number + 1})
    verdicts = [
        {**draw(_judged), "verdict_id": number + 1, "interaction_id": str(draw(st.integers(1, 20)))}
        for number in range(draw(st.integers(0, 6)))
    ]
    scores = {(row["source_run_id"], row["scorer_name"]): row for row in draw(st.lists(_scored, max_size=6))}
    return {
        "config": {},
        "requests": requests,
        "interactions": interactions,
        "results": results,
        "verdicts": verdicts,
        "imported_scores": list(scores.values()),
    }


_citations = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(("playbook", "profile", "user_playbook")),
            "real_id": st.sampled_from("12345"),
            "tag": st.just(""),
            "title": st.sampled_from(("", "Rule", "Rule (renamed)")),
        }
    ),
    max_size=4,
)
_graded = st.fixed_dictionaries(
    {
        "agent_version": st.sampled_from(("v1", "v2")),
        "is_success": st.booleans(),
        "failure_type": st.sampled_from((None, "", "system_error", " System_Error ", "wrong_answer")),
        "failure_reason": st.sampled_from((None, "", "it failed")),
        "evaluation_name": st.just("agent_success"),
        "created_at": SECONDS,
        "number_of_correction_per_session": st.sampled_from((0, 1, 4, 5, 6, 40)),
        "user_turns_to_resolution": st.sampled_from((None, 0, 1, 7)),
        "is_escalated": st.booleans(),
        "tags": st.sampled_from((None, [], ["billing"])),
        "regular_vs_shadow": st.sampled_from((None, "tied")),
    }
)
_judged = st.builds(
    lambda at, fraction, **row: {**row, "created_at": f"{_iso(at)}{fraction}+00:00"},
    at=SECONDS,
    fraction=st.sampled_from(("", ".000001", ".995758")),
    session_id=st.sampled_from(("s0", "s1", "s9")),
    agent_version=st.just("v1"),
    reflexio_is_request_1=st.booleans(),
    better_request=st.sampled_from(("1", "2", "tie")),
    is_significantly_better=st.booleans(),
    comparison_reason=st.sampled_from((None, "because")),
    judge_prompt_version=st.sampled_from(("v1.1.0", "v1.0.0")),
)
_scored = st.fixed_dictionaries(
    {
        "source": st.just("braintrust"),
        "source_run_id": st.sampled_from(("run0", "run1", "run2")),
        "session_id": st.sampled_from((None, "s0", "s1", "ghost")),
        "scorer_name": st.sampled_from(("accuracy", "Ünïcode")),
        "value": st.sampled_from((0.0, 1.0, -1.5, 1e-9, 0.3333)),
        "ts": SECONDS,
    }
)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    first, last = sorted((draw(SECONDS), draw(SECONDS)))
    chosen = draw(st.lists(st.sampled_from((*SOURCES, "never_seen")), unique=True, max_size=4))
    cut = draw(st.integers(0, len(chosen)))
    sets = [{"label": f"set {i}", "sources": part} for i, part in enumerate((chosen[:cut], chosen[cut:])) if part]
    return {
        "from_ts": first,
        "to_ts": last,
        "bucket": draw(st.sampled_from(("day", "week"))),
        "include_shadow": draw(st.booleans()),
        "source_sets": sets,
    }


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@given(datasets(), requests())
@_FEW
def test_it_is_the_peers_in_every_field(ledgers: Ledgers, dataset: dict[str, Any], request_: dict[str, Any]) -> None:
    with ledgers.filled(dataset) as ledger:
        assert differences(peer_overview(dataset, request_), ledger.overview(request_)) == []


@given(datasets(), requests(), st.randoms(use_true_random=False))
@_FEW
def test_it_does_not_depend_on_when_it_was_looked_at(
    ledgers: Ledgers, dataset: dict[str, Any], request_: dict[str, Any], rng: random.Random
) -> None:
    """Segments that were cached before more was recorded are mended: looking between makes no difference, and as of
    the entry before, the answer is the one of then."""
    requests_of = {row["request_id"] for row in rng.sample(dataset["requests"], len(dataset["requests"]) // 2)}
    earlier = copy.deepcopy(dataset)
    earlier["requests"] = [row for row in dataset["requests"] if row["request_id"] in requests_of]
    earlier["interactions"] = [row for row in dataset["interactions"] if row["request_id"] in requests_of]
    for kind in ("results", "verdicts", "imported_scores"):
        earlier[kind] = dataset[kind][: len(dataset[kind]) // 2]
    with ledgers.filled(earlier) as looked:
        before = looked.overview(request_)
        size = looked.ledger.recorder.max_notification_id()
        looked.add(dataset)
        after = looked.overview(request_)
        assert looked.overview(request_, as_of=str(size - 1)) == before
        # Nothing kept: derived from the rows alone, as of the last entry.
        with looked.live.moment() as moment:
            moment.views.exec_driver_sql("DELETE FROM segments")
        assert looked.overview(request_) == after


def test_edge_cases_are_answered_as_the_peer_answers_them(ledgers: Ledgers) -> None:
    golden = json.loads(make_edge_cases.FILE.read_text(encoding="utf-8"))
    assert golden == json.loads(json.dumps(make_edge_cases.build())), "run make_edge_cases.py"
    with ledgers.filled(golden["dataset"]) as ledger:
        for number, (asked, answer) in enumerate(zip(golden["requests"], golden["answers"], strict=True)):
            assert differences(answer, ledger.overview(asked)) == [], f"request {number}"


def test_the_peers_own_answers_are_met(ledgers: Ledgers) -> None:
    if not GOLDEN.is_dir():
        pytest.skip(f"../shared/golden/reflexio is not here: {GOLDEN}")
    for path in sorted(GOLDEN.glob("*.json")):
        golden = json.loads(path.read_text())
        with ledgers.filled(golden["dataset"]) as ledger:
            pairs = zip(golden["dataset"]["overview_requests"], golden["answers"], strict=True)
            for number, (asked, answer) in enumerate(pairs):
                expected = _without_free_order(answer)
                assert differences(expected, ledger.overview(asked)) == [], f"{path.name} request {number}"


def _without_free_order(answer: dict[str, Any]) -> dict[str, Any]:
    """A golden answer with its rules in our order: the peer leaves the order of tied rules to chance."""
    oracle = answer.pop("_oracle", None)
    if oracle is None:
        return answer
    answer["rule_attribution"] = _ordered(oracle["attribution"]["rules"])
    for given_set, known in zip(answer["source_set_comparison"]["sets"], oracle["sets"], strict=True):
        given_set["rule_attribution"] = _ordered(known["rules"])
    return answer


def _ordered(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def key(rule: dict[str, Any]) -> tuple[int, int, str, str]:
        total = rule["successes_with"] + rule["failures_with"]
        return (-rule["net_sessions"], -total, rule["kind"], rule["rule_id"])

    return sorted(rules, key=key)[:5]


def test_an_empty_window_before_is_no_baseline_and_not_zero(ledgers: Ledgers) -> None:
    with ledgers.filled(_one_session()) as ledger:
        tile = ledger.overview({"from_ts": END - DAY, "to_ts": END})["context_tiles"]["success"]
    assert (tile["delta_pp"], tile["has_baseline"], tile["by_session"]["prior"]) == (100.0, False, None)


def test_a_session_that_was_graded_twice_counts_once_beside_the_rows(ledgers: Ledgers) -> None:
    dataset = _one_session()
    dataset["results"].append({**dataset["results"][0], "result_id": 2, "is_success": False})
    with ledgers.filled(dataset) as ledger:
        hero = ledger.overview({"from_ts": END - DAY, "to_ts": END})["hero"]
    assert hero["row_count"] == 2
    assert (hero["by_session"]["n"], hero["by_session"]["successes"]) == (1, 0), "the result recorded last counts"


def test_a_source_narrows_hero_tiles_rules_and_sessions_but_not_the_sets(ledgers: Ledgers) -> None:
    dataset = _one_session()
    other = _one_session("u2", "s2", "b", 2)
    for kind in ("requests", "interactions", "results"):
        dataset[kind] += other[kind]
    request = {
        "from_ts": END - DAY,
        "to_ts": END,
        "source": "b",
        "source_sets": [{"label": "x", "sources": ["a", "b"]}],
    }
    with ledgers.filled(dataset) as ledger:
        found = ledger.overview(request)
    assert found["hero"]["row_count"] == 1
    assert found["context_tiles"]["rows"]["current"] == 1
    assert [rule["cited_session_ids"] for rule in found["rule_attribution"]] == [["s2"]]
    assert [row["session_id"] for row in found["recent_results"]] == ["s2"]
    assert [listed["source"] for listed in found["source_set_comparison"]["source_sessions"]] == ["b"]
    assert found["source_set_comparison"]["sets"][0]["session_count"] == 2


def test_mid_session_flips_of_the_source_are_counted(ledgers: Ledgers) -> None:
    dataset = _one_session()
    dataset["requests"].append({**dataset["requests"][0], "request_id": "r9", "source": "b", "created_at": END - 5})
    with ledgers.filled(dataset) as ledger:
        assert (
            ledger.overview({"from_ts": END - DAY, "to_ts": END})["hero"]["sampling"]["mid_session_source_flips"] == 1
        )


def test_sets_are_observational_unless_chance_assigned_them_as_declared_before(ledgers: Ledgers) -> None:
    def declare(ledger: Filled, pos: int, since: int, **more: Any) -> None:
        declared = AssignmentDeclared(**{"unit": "session", "mechanism": "random", **more}, since=since)
        ledger.ledger.record(NewEvent("assignment", pos, declared, Meta()))

    def design(ledger: Filled, *sources: str) -> tuple[str, str, Any]:
        sets = [{"label": source, "sources": [source]} for source in sources]
        asked = {"from_ts": END - DAY, "to_ts": END, "source_sets": sets}
        found = ledger.overview(asked)["source_set_comparison"]["comparison"]
        return found["design"], found["design_note"], found["assignment"]

    halves = {"a": 0.5, "b": 0.5}
    with ledgers.filled(_one_session()) as late:
        assert design(late, "a")[::2] == ("observational", None)
        declare(late, 0, END - WEEK, shares=halves)
        assert "after the first" in design(late, "a")[1]
    with ledgers.filled(_no_rows()) as ledger:
        declare(ledger, 0, END - WEEK, shares=halves)
        ledger.add(_one_session())
        kind, _, assignment = design(ledger, "a")
        assert (kind, assignment["sample_ratio"]["observed"]) == ("declared", {"a": 1, "b": 0})
        assert "assigns nothing to 'c'" in design(ledger, "a", "c")[1]
        declare(ledger, 1, END - 5, shares=halves)
        assert "changed inside" in design(ledger, "a")[1]
    with ledgers.filled(_no_rows()) as ledger:
        declare(ledger, 0, END - WEEK, shares=halves, unit="user")
        ledger.add(_one_session())
        ledger.add(_one_session("u1", "s2", "b", 2))
        assert "1 users are in several sets" in design(ledger, "a", "b")[1]


@pytest.mark.parametrize(
    ("jobs", "counting"),
    [
        ([None, None], 0),
        ([None, "j"], 1),
        ([None, "j", None], 1),
        (["j", "k", "j"], 1),
        (["j", "j", "k", "k"], 2),
    ],
)
def test_of_a_turn_one_verdict_counts_the_first_of_the_job_that_judged_last(
    ledgers: Ledgers, jobs: list[str | None], counting: int
) -> None:
    with ledgers.filled(_no_rows()) as ledger:
        for pos, job in enumerate(jobs):
            judged = ShadowJudged(
                turn=0,
                agent_version=f"v{pos}",
                reflexio_is_request_1=True,
                better="1" if pos == counting else "2",
                significant=False,
                judged_at=(END - 10) * 1_000_000,
                job=None if job is None else job.encode().hex() * 16,
                detail={},
            )
            ledger.ledger.record(NewEvent("shadow/0", pos, judged, Meta(judge_prompt_version="v1.1.0")))
        total = ledger.overview({"from_ts": END - DAY, "to_ts": END})["shadow_win_rate_trend"]["window_total"]
    assert (total["n"], total["wins"]) == (1, 1)


def test_a_turn_that_could_not_be_judged_is_counted_until_it_is(ledgers: Ledgers) -> None:
    now = 1_795_341_600
    request = {"from_ts": now - DAY, "to_ts": now + DAY}
    failed = ShadowUndecided(turn=0, session="session-" + 16 * "0", agent_version="v1", reason="garbage", calls=3)
    with ledgers.filled(_no_rows()) as ledger:
        meta = Meta(judge_prompt_version="v1.1.0")
        ledger.ledger.record(NewEvent("shadow/0", 0, failed, meta))
        undecided = ledger.overview(request)["shadow_win_rate_trend"]["undecided"]
        judged = ShadowJudged(
            turn=0,
            agent_version="v1",
            reflexio_is_request_1=True,
            better="tie",
            significant=False,
            judged_at=now * 1_000_000,
            detail={},
        )
        ledger.ledger.record(NewEvent("shadow/0", 1, judged, meta))
        after = ledger.overview(request)["shadow_win_rate_trend"]["undecided"]
    assert (undecided["n"], undecided["reasons"]) == (1, {"garbage": 1})
    assert after["n"] == 0


def test_a_score_that_came_before_its_session_is_matched_when_it_is_read(ledgers: Ledgers) -> None:
    dataset = _one_session()
    score = {"source": "s", "source_run_id": "r", "session_id": "s1", "scorer_name": "acc", "value": 0.5, "ts": END - 5}
    request = {"from_ts": END - DAY, "to_ts": END, "source_sets": [{"label": "a", "sources": ["a"]}]}
    with ledgers.filled({**_no_rows(), "imported_scores": [score]}) as ledger:
        assert ledger.overview(request)["source_set_comparison"]["sets"][0]["braintrust_tiles"] == []
        ledger.add(dataset)
        (tile,) = ledger.overview(request)["source_set_comparison"]["sets"][0]["braintrust_tiles"]
    assert (tile["scorer_name"], tile["current"]) == ("acc", 0.5)


def test_a_scorers_interval_takes_a_users_scores_together(ledgers: Ledgers) -> None:
    """Seven users of whom one has half of the scores; a score that names no session stands for itself."""
    users = [*range(7), *[0] * 7]
    dataset = _no_rows()
    for number, user in enumerate(users, 1):
        dataset["requests"] += _one_session(f"u{user}", f"s{number}", number=number)["requests"]
    named = {"source": "s", "ts": END - 5}
    dataset["imported_scores"] = [
        {**named, "source_run_id": str(n), "session_id": f"s{n}", "scorer_name": "a", "value": user / 10}
        for n, user in enumerate(users, 1)
    ] + [
        {**named, "source_run_id": str(n), "session_id": None, "scorer_name": name, "value": value}
        for name, value, count in (("few", 0.5, 5), ("huge", 1e300, 6), ("same", 0.5, 6))
        for n in range(count)
    ]
    dataset["imported_scores"][-7]["value"] = -1e300
    request = {"from_ts": END - DAY, "to_ts": END}
    with ledgers.filled(dataset) as ledger:
        tiles = {tile["scorer_name"]: tile for tile in ledger.overview(request)["braintrust_tiles"]}
    of = {name: tile["by_score"]["current"] for name, tile in tiles.items()}
    expected = mean_interval([user / 10 for user in users], users)
    assert (of["a"]["n"], of["a"]["clusters"]) == (14, 7)
    assert expected.interval is not None
    assert of["a"]["interval"] == pytest.approx([expected.interval.low, expected.interval.high])
    assert of["a"]["mean"] == tiles["a"]["current"]
    assert of["few"]["note"] == "too few: an interval needs scores of 6 users"
    assert [of[name]["interval"] for name in ("few", "huge", "same")] == [None] * 3


def test_evidence_since_the_first_verdict_does_not_depend_on_where_the_window_begins(ledgers: Ledgers) -> None:
    draw = random.Random(5)
    dataset = _no_rows()
    for number in range(1, 41):
        dataset["requests"] += _one_session(f"u{number % 30}", f"s{number}", "ab"[number % 2], number)["requests"]
    dataset["verdicts"] = [
        {
            "verdict_id": n,
            "interaction_id": str(n),
            "session_id": f"s{n}",
            "agent_version": "v1",
            "created_at": _iso(END - (41 - n) * DAY // 4),
            "judge_prompt_version": "v1.1.0",
            "reflexio_is_request_1": True,
            "better_request": draw.choice(("1", "1", "2", "tie")),
        }
        for n in range(1, 41)
    ]

    with ledgers.filled(dataset) as ledger, ledger.live.moment() as moment:

        def shown(days: float, source: str | None) -> dict[str, Any]:
            from_at = int(END - days * DAY)
            found: dict[str, Any]
            (found,) = build_trend(moment.views, moment.size, from_at=from_at, to_at=END, source=source)["versions"]
            return found

        for source in (None, "a"):
            whole, late = shown(30, source), shown(2.6, source)
            since = whole["statistics"]["evidence_since_first"]
            assert late["statistics"]["evidence_since_first"] == since
            assert {**since, "since": 0, "verdicts": 0} == {
                **whole["statistics"]["evidence"],
                "since": 0,
                "verdicts": 0,
            }
            assert since["verdicts"] == whole["window_total"]["n"]
            assert late["statistics"]["evidence"]["p_anytime"] is None
            assert [day["evidence_since_first"] for day in late["daily"]] == [
                day["evidence_since_first"] for day in whole["daily"][-len(late["daily"]) :]
            ]
            for name in late["by_source"]:
                its_own = [found["by_source"][name]["statistics"]["evidence_since_first"] for found in (whole, late)]
                assert its_own[0] == its_own[1]


def test_what_was_cached_of_another_log_is_not_read(ledgers: Ledgers) -> None:
    """Views of a longer log beside an older ledger are made anew, and the segments kept with them are dropped."""
    request = {"from_ts": END - DAY, "to_ts": END}
    with ledgers.filled(_one_session()) as ledger:
        assert ledger.overview(request)["hero"]["row_count"] == 1
        with ledger.live.moment() as moment:
            moment.views.exec_driver_sql("UPDATE tracking SET size = size + 5 WHERE view = 'evaluation'")
            moment.views.exec_driver_sql("UPDATE segments SET content = x'00'")
            moment.views.commit()
        assert ledger.overview(request)["hero"]["row_count"] == 1


def test_a_result_far_in_the_future_costs_no_more_than_any(ledgers: Ledgers) -> None:
    dataset = _one_session()
    dataset["results"].append({**dataset["results"][0], "result_id": 2, "session_id": "s2", "created_at": 2**53 - 1})
    with ledgers.filled(dataset) as ledger:
        found = ledger.overview({"from_ts": 0, "to_ts": 2**53 - 1, "bucket": "day"})
    assert [bucket["regular_n"] for bucket in found["hero"]["buckets"]] == [1, 1]
    assert "milliseconds" in found["warnings"][0]


def test_a_grade_that_somebody_asked_for_counts_but_does_not_speak_for_its_stratum(ledgers: Ledgers) -> None:
    """Whoever clicks on failures until they succeed must not raise the weighted share."""
    dataset = _one_session()
    dataset["results"] = []
    with ledgers.filled(dataset) as ledger:
        ((session, scope),) = ledger.ledger.find_aliases("session", "s1")
        for pos, (made, success) in enumerate((("live", False), ("on_demand", False), ("on_demand", True))):
            graded = SessionGraded(
                session=session,
                agent_version="v1",
                success=success,
                corrections=0,
                escalated=False,
                started_at=END - 10,
                made=made,
                detail={},
            )
            ledger.ledger.record(NewEvent(f"session/{session}", pos, graded, Meta(scope=scope)))
        hero = ledger.overview({"from_ts": END - DAY, "to_ts": END})["hero"]
    assert (hero["row_count"], hero["by_session"]["rate"], hero["sampling"]["weighted"]["rate"]) == (1, 1.0, 0.0)


def _no_rows() -> dict[str, Any]:
    return {"requests": [], "interactions": [], "results": [], "verdicts": [], "imported_scores": []}


def _one_session(user: str = "u1", session: str = "s1", source: str = "a", number: int = 1) -> dict[str, Any]:
    citation = {"kind": "playbook", "real_id": "1", "tag": "", "title": "Rule"}
    return {
        "requests": [
            {
                "request_id": f"r{number}",
                "user_id": user,
                "session_id": session,
                "created_at": END - 10,
                "source": source,
                "agent_version": "v1",
            }
        ],
        "interactions": [
            {
                "interaction_id": number,
                "request_id": f"r{number}",
                "created_at": END - 10,
                "role": "Agent",
                "content": "x",
                "citations": [citation],
            }
        ],
        "results": [
            {
                "result_id": number,
                "user_id": user,
                "session_id": session,
                "agent_version": "v1",
                "is_success": True,
                "created_at": END - 10,
            }
        ],
        "verdicts": [],
        "imported_scores": [],
    }
