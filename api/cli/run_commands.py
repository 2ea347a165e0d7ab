"""Commands about optimisation runs: import, runs, show, history, diff, rebuild."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...domain.errors import Refused
from ...ledger.errors import Malformed, Unavailable
from ...projections.directories.directory import PROFILES
from ...projections.runs.cost import cost_of
from ...projections.runs.prompt_diff import diff_iterations, render_words
from ...projections.runs.record import RunRecord
from ...projections.runs.rewrite_history import peer_entries, peer_json, peer_text, run_changes, true_json, true_text
from ...projections.runs.run_list import RunLine, list_runs
from ...projections.runs.summary import summarise
from ..adapters.reflex.importer import ImportReport, import_reflex
from ..reading import open_for_reading
from ..rebuilding import Folder, rebuild_folders
from ..record import open_ledger
from ..reviews import reviews_of
from ..run_folders import write_folders
from ..settings import keys_root, ledger_place
from .output import OnProgress, base64, print_json, print_table, progress, say, score


def import_tree(given: str | None, path: Path, as_json: bool) -> None:
    with open_ledger(given) as recording:
        with progress("importing", quiet=as_json) as on_progress:
            report = import_reflex(recording.ledger, path, on_progress)
        if report.added:
            recording.seal(report.added)
    if as_json:
        print_json(report.as_json())
    else:
        _print_report(report)


def _print_report(report: ImportReport) -> None:
    say(f"{len(report.added)} runs imported, {len(report.unchanged)} were there already, {report.files} files read")
    if report.findings:
        rows = [(found.place, found.kind, found.detail) for found in report.findings]
        print_table(("where", "finding", "detail"), rows)
    else:
        say("no findings")


def list_all_runs(given: str | None, as_json: bool, as_of: str | None) -> None:
    with open_for_reading(ledger_place(given), keys_root()) as ledger, ledger.views(jobs=None) as connection:
        size = ledger.size_as_of(as_of)
        root, lines = ledger.root_at(size), list_runs(connection, size)
    if as_json:
        print_json({"size": size, "root": base64(root), "runs": [asdict(line) for line in lines]})
        return
    columns = ("run", "status", "strategy", "iters", "base", "train", "final", "secs", "finds", "parent")
    print_table(columns, [_cells(line) for line in lines], right=columns[3:9])
    if not lines:
        say("no runs")


def _cells(line: RunLine) -> tuple[object, ...]:
    parent = None if line.parent_run is None else f"{line.parent_run}/{line.parent_iteration}"
    return (
        line.run,
        line.status,
        line.strategy,
        line.iterations,
        score(line.baseline_score),
        score(line.best_train_score),
        score(line.final_score),
        None if line.duration_seconds is None else f"{line.duration_seconds:.2f}",
        line.findings or None,
        parent,
    )


def show_run(given: str | None, run: str, as_json: bool, as_of: str | None, prices: Path | None) -> None:
    with open_for_reading(ledger_place(given), keys_root()) as ledger:
        size = ledger.size_as_of(as_of)
        record, root = ledger.run(run, size), ledger.root_at(size)
        summary = summarise(record, ledger.run_seed(record))
        reviews = reviews_of(ledger, run, size)
    if prices is not None:
        summary["cost"] = asdict(cost_of(record, read_prices(prices)))
    if as_json:
        listed = [review.as_json() for review in reviews]
        print_json({"size": size, "root": base64(root), **summary, "reviews": listed})
        return
    _print_summary(summary, record.calls.text() if record.calls.has_calls else None)
    for review in reviews:
        who = review.reviewer or f"[{review.withheld or 'not verified'}]"
        say(f"review: {review.verdict}, of {review.subject}, by {who}; `affidavit reviews {run}` has the words")


def _print_summary(summary: dict[str, Any], calls: str | None) -> None:
    parts = [f"run {summary['run']}", summary["status"], summary["strategy"], ", ".join(summary["models"])]
    say(" · ".join(part for part in parts if part))
    if summary["reason"]:
        say(f"  ended: {summary['reason']}")
    if summary["parent_run"]:
        say(f"branched from run {summary['parent_run']}, iteration {summary['parent_iteration']}")
    for role in ("baseline", "final"):
        evaluation = summary[role]
        if evaluation is not None:
            counted = "n not recorded" if evaluation["n"] is None else f"n={evaluation['n']}"
            say(f"  {role:<9} {score(evaluation['score']) or '—'}  ({counted})")
    if summary["improvement"] is not None:
        reported = f"p={summary['p_value']:.4f}" if summary["p_value"] is not None else "no p-value"
        say(f"  reported  improvement {summary['improvement']:+.4f}, {reported}")
    say(f"  paired    {summary['paired']['note']}")
    say()
    counted = "tokens" if summary["tokens"]["source"] == "calls" else "tokens stated"
    columns = ("iter", "train", "val", "change", "effect", counted, "seconds", "what changed")
    print_table(columns, [_iteration_cells(row) for row in summary["iterations"]], right=columns[:7])
    tokens = summary["tokens"]
    say(f"tokens: {tokens['eval_total']} evaluating, {tokens['reasoning_total'] or 0} reasoning")
    for gap in tokens["not_recorded"]:
        say(f"  not recorded: {gap}")
    if calls is not None:
        say(calls)
    if "cost" in summary:
        _print_cost(summary["cost"])
    for kind, count in summary["findings"].items():
        say(f"finding: {kind} × {count}")
    for what, count in summary["withheld"].items():
        say(f"withheld: {count} {what}")


def _print_cost(cost: dict[str, Any]) -> None:
    least = "at least " if cost["is_lower_bound"] else ""
    say("cost: not known" if cost["total"] is None else f"cost: {least}{cost['total']:.6g}")
    for gap in cost["not_priced"]:
        say(f"  not in it: {gap}")


def _iteration_cells(row: dict[str, Any]) -> tuple[object, ...]:
    effect = row["effect"]
    delta = None if effect is None or effect["delta"] is None else f"{effect['delta']:+.4f}"
    return (
        row["iteration"],
        score(row["score"]),
        score(row["val_score"]),
        row["change"],
        delta,
        row["eval_tokens"] + row["reasoning_tokens"],
        None if row["elapsed_seconds"] is None else f"{row['elapsed_seconds']:.1f}",
        "[withheld]" if isinstance(row["change_summary"], dict) else row["change_summary"],
    )


def print_history(given: str | None, run: str, profile: str, as_json: bool, as_of: str | None) -> None:
    record, size, root = _read_run(given, run, as_of)
    if profile == "native":
        found = run_changes(record)
        text, entries = true_text(found), true_json(found)
    elif profile == "reflex-0.2":
        logged = peer_entries(record)
        text, entries = peer_text(logged), peer_json(logged)
    else:
        raise Refused("profile", f"profile {profile!r}: expected one of {', '.join(PROFILES)}")
    if as_json:
        print_json({"size": size, "root": root, "run": run, "profile": profile, "entries": entries, "text": text})
    else:
        say(text)


def print_diff(
    given: str | None, run: str, a: int | None, b: int | None, words: bool, as_json: bool, as_of: str | None
) -> None:
    record, size, root = _read_run(given, run, as_of)
    last = max((iteration.number for iteration in record.iterations), default=0)
    before, after = a or 0, last if b is None else b
    diff = diff_iterations(record, before, after)
    if as_json:
        document = {"size": size, "root": root, "run": run, "from": before, "to": after}
        print_json({**document, "lines": diff.lines, "words": diff.words, "limits": diff.limits})
        return
    for limit in diff.limits:
        say(f"({limit})")
    if words:
        say(render_words(diff.words))
    else:
        for line in diff.lines:
            say(line)
        if not diff.lines and not diff.limits:
            say("the prompts are the same")


def rebuild_runs(
    given: str | None,
    to: Path,
    profile: str,
    run: str | None,
    as_of: str | None,
    as_json: bool,
    jobs: int | None = None,
) -> None:
    with open_for_reading(ledger_place(given), keys_root()) as ledger:
        size = ledger.size_as_of(as_of)
        root = ledger.root_at(size)
        names = [stream.removeprefix("run/") for stream in ledger.reader.streams("run")]
        if run is not None:
            ledger.run(run, size)
            names = [run]
        folders = rebuild_folders(ledger, keys_root(), names, size, profile, jobs)
        with closing(folders), progress("rebuilding", quiet=as_json) as on_progress:
            written = write_folders(to, _each_once(folders, len(names), on_progress))
    if as_json:
        print_json({"size": size, "root": base64(root), "profile": profile, "to": str(to), "files": written})
    else:
        say(f"rebuilt {written} files under {to}, profile {profile}, from {size} entries")


def _each_once(
    folders: Iterator[Folder | None], count: int, on_progress: OnProgress | None
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The folders that there are, by name; ``Refused`` where two would be one on a disk that ignores case."""
    seen: set[str] = set()
    for done, folder in enumerate(folders):
        if on_progress is not None:
            on_progress(done, count)
        if folder is None:
            continue
        if folder.name.casefold() in seen:
            raise Refused("directory_once", f"run {folder.run}: another run has a directory {folder.name!r}; use --run")
        seen.add(folder.name.casefold())
        yield folder.name, folder.files


def _read_run(given: str | None, run: str, as_of: str | None) -> tuple[RunRecord, int, str]:
    with open_for_reading(ledger_place(given), keys_root()) as ledger:
        size = ledger.size_as_of(as_of)
        return ledger.run(run, size), size, base64(ledger.root_at(size))


def read_prices(path: Path) -> dict[str, dict[str, float]]:
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise Unavailable(f"price table {path}: {error.strerror}") from error
    except ValueError as error:
        raise Malformed(f"price table {path}: expected JSON: {error}") from error
    if not isinstance(found, dict):
        raise Malformed(f"price table {path}: expected an object of models")
    return found
