"""Commands about evaluation: import, overview, trend."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from ...domain.errors import Refused
from ...ledger.errors import Unavailable
from ...projections.evaluation.overview import pinned_version
from ...projections.evaluation.trend import headline
from ...projections.evaluation.windows import OverviewRequest
from ..adapters.evaluation import import_evaluation as import_file
from ..answers import overview_answer, trend_answer
from ..moment import open_moment
from ..reading import parse_window
from ..settings import keys_root, ledger_place
from .opening import open_for_writing
from .output import print_json, print_table, progress, say


def import_evaluation(given: str | None, path: Path, as_json: bool) -> None:
    with (
        open_for_writing(given) as ledger,
        progress("importing", quiet=as_json) as on_progress,
    ):
        report = import_file(ledger, path, on_progress)
    if as_json:
        print_json(report.as_json())
        return
    rows = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in report.rows.items() if count)
    say(f"{rows} read; {report.events} events added, {report.unchanged} rows were there already")
    if report.findings:
        print_table(("finding", "count"), sorted(report.findings.items()), right=("count",))


def show_overview(
    given: str | None,
    start: str | None,
    end: str | None,
    bucket: str | None,
    source: str | None,
    source_sets: list[str],
    request_file: Path | None,
    as_of: str | None,
    as_json: bool,
) -> None:
    request = _overview_request(start, end, bucket, source, source_sets, request_file)
    with open_moment(ledger_place(given), keys_root(), as_of, jobs=None) as moment:
        answer = overview_answer(moment, request)
    if as_json:
        print_json(answer)
    else:
        _print_overview(answer, request)


def show_trend(
    given: str | None,
    start: str | None,
    end: str | None,
    source: str | None,
    version: str | None,
    as_of: str | None,
    as_json: bool,
) -> None:
    window = _overview_request(start, end, None, None, [], None)
    with open_moment(ledger_place(given), keys_root(), as_of, jobs=None) as moment:
        answer = trend_answer(moment, from_ts=window.from_ts, to_ts=window.to_ts, source=source, version=version)
        pin = pinned_version(moment.views, moment.size)
    if as_json:
        print_json(answer)
        return
    for trend in answer["versions"] or [None]:
        if trend is None:
            say("no verdict in this window")
            break
        pinned = " (pinned)" if trend["judge_prompt_version"] == pin else ""
        say(f"judge prompt {trend['judge_prompt_version']}{pinned}: {_tile(trend)}")
        _print_judges(trend["judges"])
        _print_undecided(trend["undecided"], "turns")
        _print_reading(trend["statistics"])
        print_table(
            ("date", "n", "wins", "losses", "ties"),
            [[day[name] for name in ("date", "n", "wins", "losses", "ties")] for day in trend["daily"]],
            right=("n", "wins", "losses", "ties"),
        )
    _print_stamp(answer)


def _overview_request(
    start: str | None,
    end: str | None,
    bucket: str | None,
    source: str | None,
    source_sets: list[str],
    request_file: Path | None,
) -> OverviewRequest:
    body: dict[str, Any] = {}
    if request_file is not None:
        try:
            body = orjson.loads(request_file.read_bytes())
        except OSError as error:
            raise Unavailable(f"{request_file}: {error.strerror}") from error
        except orjson.JSONDecodeError as error:
            raise Refused("request_valid", f"{request_file}: not JSON: {error}") from error
        if not isinstance(body, dict):
            raise Refused("request_valid", f"{request_file}: expected an object, found {type(body).__name__}")
    if request_file is None or start is not None or end is not None:
        body["from_ts"], body["to_ts"] = parse_window(start, end)
    if bucket is not None:
        body["bucket"] = bucket
    if source is not None:
        body["source"] = source
    if source_sets:
        body["source_sets"] = [_source_set(text) for text in source_sets]
    try:
        return OverviewRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "request"
        raise Refused("request_valid", f"{field}: {first['msg']}") from error


def _source_set(text: str) -> dict[str, Any]:
    label, separator, sources = text.partition("=")
    if not separator:
        raise Refused("request_valid", f"source set {text!r}: expected LABEL=source,source")
    return {"label": label, "sources": sources.split(",")}


def _print_overview(answer: dict[str, Any], request: OverviewRequest) -> None:
    hero, tiles = answer["hero"], answer["context_tiles"]
    session = hero["by_session"]
    say(f"{_date(request.from_ts)} to {_date(request.to_ts)}, UTC" + _of_source(request))
    say(f"success  {_percent(session)} of {session['n']} graded sessions; {hero['sampling']['population']} began")
    _print_judges(hero["sampling"]["judges"])
    _print_undecided(hero["sampling"]["undecided"], "sessions")
    if hero["sampling"].get("weighted", {}).get("rate") is not None:
        weighted = hero["sampling"]["weighted"]
        say(f"weighted by day and source: {_percent(weighted)}, covering {100 * weighted['coverage']:.0f} %")
    rows = []
    for name, unit in (
        ("success", "%"),
        ("behavior_success", "%"),
        ("corrections", ""),
        ("turns", ""),
        ("escalation", "%"),
    ):
        now, then = (tiles[name]["by_session"].get(window) for window in ("current", "prior"))
        rows.append((name.replace("_", " "), _figure(now, unit), _figure(then, unit) if then else "no baseline"))
    print_table(("last 7 days", "current", "before"), rows)
    print_table(
        ("rule", "kind", "title", "with success", "with failure", "net"),
        [_rule(rule) for rule in _both_ends(answer)],
        right=("with success", "with failure", "net"),
    )
    trend = answer["shadow_win_rate_trend"]
    say(f"shadow   {_tile(trend)} (judge prompt {trend['judge_prompt_version']})")
    _print_judges(trend["judges"])
    _print_undecided(trend.get("undecided", {"n": 0}), "turns")
    _print_reading(trend["statistics"])
    if request.source_sets:
        _print_sets(answer["source_set_comparison"])
    for warning in answer["warnings"]:
        say(f"note     {warning}")
    _print_stamp(answer)


def _both_ends(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The best rules and the worst, each once."""
    shown = {(rule["kind"], rule["rule_id"]): rule for rule in (*answer["rule_attribution"], *answer["harmful_rules"])}
    return list(shown.values())


def _print_sets(comparison: dict[str, Any]) -> None:
    found = comparison["comparison"]
    print_table(
        ("set", "sessions", "success"),
        [(label, arm["n"], _percent(arm)) for label, arm in found["arms"].items()],
        right=("sessions",),
    )
    for difference in found["differences"]:
        if difference.get("difference") is None:
            say(f"{difference['a']} − {difference['b']}: {difference['note']}")
            continue
        low, high = (100 * bound for bound in difference["interval"])
        p_value = difference.get("adjusted_p")
        say(
            f"{difference['a']} − {difference['b']}: {100 * difference['difference']:+.1f} pp [{low:+.1f}, {high:+.1f}]"
            + ("" if p_value is None else f", p={p_value:.3f} adjusted")
            + (f"; {difference['note']}" if difference["note"] else "")
        )
        weighted = difference["weighted"]
        if weighted.get("difference") is not None:
            bounds = (
                ""
                if weighted.get("interval") is None
                else " [{:+.1f}, {:+.1f}]".format(*(100 * bound for bound in weighted["interval"]))
            )
            say(f"         weighted by day and source: {100 * weighted['difference']:+.1f} pp{bounds}")
    say(f"{found['design']}: {found['design_note']}")


def _print_judges(judges: dict[str, int]) -> None:
    """Which models judged; a stand-in has ``simulated`` in its name and is labelled."""
    named = [
        f"{name} {'(simulated) ' if 'simulated' in name else ''}n={count}" for name, count in judges.items() if name
    ]
    if named:
        say(f"         judged by {', '.join(named)}")


def _print_undecided(undecided: dict[str, Any], what: str) -> None:
    if undecided["n"]:
        reasons = ", ".join(f"{reason} {count}" for reason, count in undecided["reasons"].items())
        say(f"         {undecided['n']} {what} could not be judged: {reasons}")


def _print_reading(statistics: dict[str, Any]) -> None:
    if not statistics["n"]:
        return
    decided, evidence = statistics["rates"]["decided"], statistics["evidence_since_first"]
    say(f"         of decided turns {_percent(decided)}")
    counted = f"n={evidence['wins'] + evidence['losses']}"
    say(f"         since the first verdict, {_date(evidence['since'])}, {counted}: {evidence['note']}")
    positions = statistics["positions"]
    if positions["note"]:
        say(f"         positions: {positions['note']}")


def _print_stamp(answer: dict[str, Any]) -> None:
    say(f"from {answer['size']} entries, root {answer['root']}")


def _tile(trend: dict[str, Any]) -> str:
    total = trend["window_total"]
    if not total["n"]:
        return "no verdict in this window"
    return headline(total)


def _percent(rate: dict[str, Any]) -> str:
    if rate.get("rate") is None:
        return "—"
    if rate.get("interval") is None:
        return f"{100 * rate['rate']:.1f} %"
    low, high = rate["interval"]
    return f"{100 * rate['rate']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _figure(figure: dict[str, Any], unit: str) -> str:
    if unit == "%":
        return f"{_percent(figure)}  n={figure['n']}"
    if figure.get("mean") is None:
        return "—"
    bounds = "" if figure.get("interval") is None else f" [{figure['interval'][0]:.2f}, {figure['interval'][1]:.2f}]"
    return f"{figure['mean']:.2f}{bounds}  n={figure['n']}"


def _rule(rule: dict[str, Any]) -> tuple[Any, ...]:
    net = rule["net_sessions"]
    return (rule["rule_id"], rule["kind"], rule["title"], rule["successes_with"], rule["failures_with"], f"{net:+d}")


def _of_source(request: OverviewRequest) -> str:
    return "" if request.source is None else f", first source {request.source!r}"


def _date(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):
        return str(seconds)
