"""The peer's overview in plain Python, over rows in memory: slow on purpose, and short enough to be read.

It follows the peer's behaviour as it was observed, its errors included, and is what ours is held to in tests and
measured against here. Tied rules stand in order of kind and id, where the peer leaves it to chance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

DAY = 86_400
WEEK = 7 * DAY
Row = dict[str, Any]


def peer_overview(dataset: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """The answer to an overview request over ``dataset``: lists of rows as an export has them."""
    first, last = request["from_ts"], request["to_ts"]
    step = DAY if request.get("bucket", "week") == "day" else WEEK
    current_from = max(first, last - WEEK)
    prior_from = max(0, current_from - WEEK)
    trend = [row for row in dataset["results"] if first <= row["created_at"] <= last]
    current = [row for row in dataset["results"] if current_from <= row["created_at"] <= last]
    prior = [row for row in dataset["results"] if prior_from <= row["created_at"] < current_from]
    source_of = _first_sources(dataset["requests"])
    cited = _citations(dataset, trend)
    scores = _effective_scores(dataset["imported_scores"])
    sets = request.get("source_sets", [])

    def of(rows: list[Row], sources: Iterable[str]) -> list[Row]:
        wanted = set(sources)
        return [row for row in rows if source_of.get(_session(row), "") in wanted]

    matched = [source for given in sets for source in given["sources"]]
    return {
        "hero": {
            "state": "shadow_off" if trend else "empty",
            "regular_success_rate_pp": 100 * _rate(trend),
            "buckets": _buckets(trend, step),
        },
        "context_tiles": _tiles(current, prior),
        "rule_attribution": _rules(trend, cited),
        "score_distribution": _distribution(current, prior),
        "braintrust_tiles": _score_tiles(scores, prior_from, current_from, last),
        "shadow_win_rate_trend": _shadow(dataset, request),
        "recent_results": _recent(trend),
        "source_set_comparison": {
            "available_sources": sorted({source_of.get(_session(row), "") for row in trend}),
            "source_sessions": _source_sessions(trend, source_of),
            "sets": [
                {
                    "label": given["label"].strip(),
                    "sources": list(given["sources"]),
                    "session_count": len(rows),
                    "session_ids": sorted({row["session_id"] for row in rows if row["session_id"]}),
                    "success_rate_pp": 100 * _rate(rows),
                    "buckets": _buckets(rows, step),
                    "context_tiles": _tiles(of(current, given["sources"]), of(prior, given["sources"])),
                    "score_distribution": _distribution(of(current, given["sources"]), of(prior, given["sources"])),
                    "rule_attribution": _rules(rows, cited),
                    "braintrust_tiles": _score_tiles(
                        [score for score in scores if score["session_id"] in {row["session_id"] for row in rows}],
                        prior_from,
                        current_from,
                        last,
                    ),
                }
                for given in sets
                for rows in [of(trend, given["sources"])]
            ],
            "unmatched_session_count": len(trend) - len(of(trend, matched)) if sets else 0,
        },
    }


def _session(row: Row) -> tuple[str, str]:
    return row["user_id"], row["session_id"]


def _first_sources(requests: list[Row]) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], Row] = {}
    for row in requests:
        before = found.get(_session(row))
        if before is None or (row["created_at"], row["request_id"]) < (before["created_at"], before["request_id"]):
            found[_session(row)] = row
    return {session: row["source"] for session, row in found.items()}


def _citations(dataset: dict[str, Any], trend: list[Row]) -> list[tuple[tuple[str, str], Row]]:
    """(session, citation) of the trend's sessions, in order of session id and interaction time."""
    wanted = {_session(row) for row in trend}
    requests = {row["request_id"]: row for row in dataset["requests"]}
    found = []
    for turn in dataset["interactions"]:
        request = requests.get(turn["request_id"])
        if request is not None and _session(request) in wanted:
            order = (request["session_id"], turn["created_at"], turn["interaction_id"])
            found += [(order, _session(request), citation) for citation in turn["citations"]]
    found.sort(key=lambda item: item[0])
    return [(session, citation) for _, session, citation in found]


def _rate(rows: list[Row]) -> float:
    return _mean([row["is_success"] for row in rows])


def _mean(values: list[Any]) -> float:
    return sum(values) / len(values) if values else 0.0


def _buckets(rows: list[Row], step: int) -> list[dict[str, Any]]:
    by_time: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_time[row["created_at"] // step * step].append(row)
    return [
        {
            "ts": at,
            "regular_rate": _rate(found),
            "regular_n": len(found),
            "shadow_n": 0,
            "avg_corrections": _mean([row["number_of_correction_per_session"] for row in found]),
            "escalation_rate": _mean([row["is_escalated"] for row in found]),
        }
        for at, found in sorted(by_time.items())
    ]


def _tiles(current: list[Row], prior: list[Row]) -> dict[str, Any]:
    def eligible(rows: list[Row]) -> list[Row]:
        return [
            row for row in rows if row["is_success"] or (row["failure_type"] or "").strip().lower() != "system_error"
        ]

    def turns(rows: list[Row]) -> float:
        return _mean([row["user_turns_to_resolution"] for row in rows if row["user_turns_to_resolution"] is not None])

    def corrections(rows: list[Row]) -> float:
        return _mean([row["number_of_correction_per_session"] for row in rows])

    def escalated(rows: list[Row]) -> float:
        return 100 * _mean([row["is_escalated"] for row in rows])

    behaved, behaved_before = eligible(current), eligible(prior)
    behavior: dict[str, Any] = {
        "eligible_sessions": len(behaved),
        "excluded_system_errors": len(current) - len(behaved),
    }
    if behaved:
        behavior["current"] = 100 * _rate(behaved)
    if behaved and behaved_before:
        behavior["delta_pp"] = 100 * _rate(behaved) - 100 * _rate(behaved_before)
    return {
        "success": {"current": 100 * _rate(current), "delta_pp": 100 * _rate(current) - 100 * _rate(prior)},
        "behavior_success": behavior,
        "corrections": {"current": corrections(current), "delta": corrections(current) - corrections(prior)},
        "turns": {"current": turns(current), "delta": turns(current) - turns(prior)},
        "escalation": {"current": escalated(current), "delta_pp": escalated(current) - escalated(prior)},
    }


def _distribution(current: list[Row], prior: list[Row]) -> dict[str, Any]:
    def bins(rows: list[Row]) -> list[int]:
        found = [0] * 6
        for row in rows:
            found[min(5, max(0, row["number_of_correction_per_session"]))] += 1
        return found

    return {"labels": ["0", "1", "2", "3", "4", "5+"], "current_bins": bins(current), "baseline_bins": bins(prior)}


def _rules(rows: list[Row], cited: list[tuple[tuple[str, str], Row]]) -> list[dict[str, Any]]:
    success: dict[tuple[str, str], bool] = {}
    for row in sorted(rows, key=lambda row: (-row["created_at"], row["result_id"])):
        success[_session(row)] = row["is_success"]
    rules: dict[tuple[str, str], dict[str, Any]] = {}
    titles: dict[tuple[str, str], str] = {}
    for session, citation in cited:
        key = (citation["kind"], citation["real_id"])
        if citation["title"]:
            titles.setdefault(key, citation["title"])
        if session in success:
            rules.setdefault(key, {"sessions": {}})["sessions"].setdefault(session, success[session])
    found = []
    for (kind, rule), known in rules.items():
        won = sum(known["sessions"].values())
        lost = len(known["sessions"]) - won
        found.append(
            {
                "rule_id": rule,
                "kind": kind,
                "title": titles.get((kind, rule), ""),
                "successes_with": won,
                "failures_with": lost,
                "net_sessions": won - lost,
                "cited_session_ids": sorted(session_id for _, session_id in known["sessions"]),
            }
        )
    found.sort(key=lambda r: (-r["net_sessions"], -r["successes_with"] - r["failures_with"], r["kind"], r["rule_id"]))
    return found[:5]


def _effective_scores(scores: list[Row]) -> list[Row]:
    return list({(row["source"], row["source_run_id"], row["scorer_name"]): row for row in scores}.values())


def _score_tiles(scores: list[Row], prior_from: int, current_from: int, last: int) -> list[dict[str, Any]]:
    current: defaultdict[str, list[float]] = defaultdict(list)
    prior: defaultdict[str, list[float]] = defaultdict(list)
    for row in scores:
        if current_from <= row["ts"] <= last:
            current[row["scorer_name"]].append(row["value"])
        if prior_from <= row["ts"] <= current_from:
            prior[row["scorer_name"]].append(row["value"])
    return [
        {
            "scorer_name": scorer,
            "current": _mean(values),
            "n": len(values),
            "delta": _mean(values) - _mean(prior.get(scorer, [])),
        }
        for scorer, values in sorted(current.items())
    ]


def _shadow(dataset: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    pin = dataset.get("config", {}).get("shadow_comparison_judge_prompt_version", "v1.1.0")
    daily: dict[str, list[int]] = {}
    if request.get("include_shadow", True):
        for row in dataset["verdicts"]:
            at = datetime.fromisoformat(row["created_at"])
            if row["judge_prompt_version"] == pin and request["from_ts"] <= at.timestamp() <= request["to_ts"]:
                counts = daily.setdefault(at.date().isoformat(), [0, 0, 0])
                tie = row["better_request"] == "tie"
                won = (row["better_request"] == "1") == row["reflexio_is_request_1"]
                counts[2 if tie else 0 if won else 1] += 1
    wins, losses, ties = (sum(counts[i] for counts in daily.values()) for i in range(3))
    n = wins + losses + ties
    return {
        "daily": [
            {"date": date, "n": sum(counts), "wins": counts[0], "losses": counts[1], "ties": counts[2]}
            for date, counts in sorted(daily.items())
        ],
        "window_total": {
            "n": n,
            "wins": wins,
            "losses": losses,
            "ties": ties,
            "win_rate": wins / n if n else 0.0,
            "net_win": (wins - losses) / n if n else 0.0,
        },
        "judge_prompt_version": pin,
    }


def _recent(trend: list[Row]) -> list[dict[str, Any]]:
    newest = sorted(trend, key=lambda row: (row["created_at"], row["result_id"]), reverse=True)[:100]
    return [{name: value for name, value in row.items() if value is not None} for row in newest]


def _source_sessions(trend: list[Row], source_of: dict[tuple[str, str], str]) -> list[dict[str, Any]]:
    found: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in trend:
        found[source_of.get(_session(row), "")].add(_session(row))
    return [
        {
            "source": source,
            "session_ids": sorted({session for _, session in sessions if session}),
            "sessions": [{"user_id": user, "session_id": session} for user, session in sorted(sessions) if session],
        }
        for source, sessions in sorted(found.items())
    ]
