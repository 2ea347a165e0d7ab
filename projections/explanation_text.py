"""The explanation of a run as text. Every word of it is made from the JSON answer, so the two cannot disagree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import Any

from ..domain.optimization.effects import THRESHOLD
from .calls_account import account_lines
from .rates import MINIMUM_N
from .statistics import p_text
from .text_table import aligned, score_or_dash

WIDTH = 112
_STATUS = {
    "open": "it has no end on record: what follows is what is recorded so far",
    "interrupted": "it never ended: what follows is what was found of it",
    "failed": "it ended without a result",
}
_EXAMPLES = (("largest_gain", "The sample that gained most"), ("largest_loss", "The sample that lost most"))


def explanation_text(document: dict[str, Any]) -> str:
    """The JSON answer of an explanation, as text for people."""
    parts = [
        _head(document),
        _section("What it gained", _gained(document)),
        _section("Read this with care", _listed(document["warnings"])),
        _section("Iterations, scored on training samples: not to be compared with the scores above", _rows(document)),
        _section("What changed, each change beside its own effect", _changes(document)),
        _section("Phases", _phases(document["phases"])),
        _section("What the reasoning model decided besides", _decisions(document["decisions"])),
        _section("The prompt, before and after", _prompt(document["prompt"])),
        *(_section(title, _example(document["examples"][name])) for name, title in _EXAMPLES),
        _section("Model calls" if document["calls"] else "Tokens", _account(document)),
        _section("What the reasoning model says happened: its own words, checked by nobody", _says(document)),
        _section("Not recorded", _listed(document["not_recorded"])),
        _section("Withheld", _listed(f"{count} {what}" for what, count in document["withheld"].items())),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def comparison_lines(paired: dict[str, Any], what: str) -> list[str]:
    """A paired comparison in words, called ``what``; the last line tells what it can and cannot show."""
    if paired["mean_difference"] is None:
        return [f"{what}: {paired['note']}"]
    if paired["differing"] == 0:
        return [f"{what}: none, in any of {paired['n']} samples", paired["note"]]
    bounds, method = paired["interval"], "BCa bootstrap"
    if paired["n"] < MINIMUM_N:
        method += ", too narrow for so few samples"
    parts = [
        f"{what}: {signed(paired['mean_difference'])}",
        "no interval" if bounds is None else f"95 % interval [{signed(bounds[0])}, {signed(bounds[1])}] ({method})",
        f"{p_text(paired['p_value'])} (Wilcoxon signed-rank)",
        f"n = {paired['n']}, of which {paired['differing']} differ",
    ]
    return [*wrap(", ".join(parts), WIDTH, subsequent_indent="  "), paired["note"]]


def signed(value: float) -> str:
    """A difference of scores with its sign."""
    return f"{value:+.4f}".replace("-", "−")


def one_line(text: str) -> str:
    """A name of somebody else, without line breaks."""
    return " ".join(text.split())


def quoted(text: Any) -> list[str]:
    """A text of somebody else, each line behind a bar; a placeholder for one that is not open here."""
    if isinstance(text, dict):
        return [f"[withheld {text.get('withheld')}]"]
    return [f"| {line}" for line in (text or "(empty)").splitlines()]


def _section(title: str, lines: Iterable[str]) -> list[str]:
    found = [f"  {line}" if line else "" for line in lines]
    return [title, *found] if found else []


def _head(document: dict[str, Any]) -> list[str]:
    lines = []
    if document["simulated"]:
        names = one_line(", ".join(document["simulated"]))
        lines += [f"SIMULATED: {names} — no language model; these scores say nothing about any model", ""]
    models = ", ".join(document["models"])
    parts = [f"Run {document['run']}", document["status"], document["strategy"], models]
    lines.append(one_line(" · ".join(part for part in parts if part)))
    if document["status"] in _STATUS:
        lines.append(f"  {_STATUS[document['status']]}")
    if document["imported_from"]:
        lines.append(f"  imported from {document['imported_from']}")
    if document["parent_run"]:
        lines.append(f"  branched from run {document['parent_run']}, iteration {document['parent_iteration']}")
    metrics = one_line(", ".join(document["metrics"])) or "not recorded"
    lines.append(f"  metrics: {metrics}; reasoning model: {one_line(document['reasoning_model'] or 'not recorded')}")
    stopped = document["stopped"]
    if stopped["reason"] is not None:
        meaning = "" if stopped["meaning"] is None else f": {stopped['meaning']}"
        time = "" if stopped["duration_seconds"] is None else f", after {stopped['duration_seconds']:.1f} s"
        lines.append(f"  stopped by {stopped['reason']}{meaning}{time}")
    if stopped["message"] is not None:
        lines += [f"  {line}" for line in quoted(stopped["message"])]
    lines.append(f"  {_threshold(document['threshold'])}")
    return lines


def _threshold(threshold: dict[str, Any]) -> str:
    if threshold["value"] is None:
        return "threshold: not recorded"
    source = threshold["meaning"] or "its source is not recorded"
    reached = {True: "reached", False: "not reached", None: ""}[threshold["converged"]]
    told = f": {reached}, {threshold['judged_by']}" if reached else ""
    return f"threshold: {threshold['value']:g} ({source}){told}"


def _gained(document: dict[str, Any]) -> Iterator[str]:
    sizes, outcome = document["samples"], document["outcome"]
    told = [f"{sizes[part]} {part}" for part in ("train", "val", "test") if sizes[part] is not None]
    held_out = {True: "", False: "; nothing held out", None: ""}[sizes["held_out"]]
    yield f"samples: {', '.join(told) or 'the split is not recorded'}{held_out}"
    for role in ("baseline", "final"):
        found = outcome[role]
        if found is None:
            yield f"{role:<9} not recorded"
        else:
            yield f"{role:<9} {score_or_dash(found['score'])}  {_counted(found)}"
    for found in document["targets"]:
        yield f"target    {score_or_dash(found['score'])}  {one_line(found['model'] or '')}, {_counted(found)}"
    if outcome["not_compared"] is not None:
        yield f"not compared: {outcome['not_compared']}"
    else:
        yield from comparison_lines(outcome["paired"], "final − baseline, on the samples that both scored")
    if outcome["reported"] is not None:
        reported = outcome["reported"]
        p = p_text(reported["p_value"])
        improvement = reported["improvement"]
        gain = "no improvement" if improvement is None else f"improvement {improvement:+.4f}"
        yield f"as the run's own files report it: {gain}, {p}"
    found = document["generalisation"]
    if found is not None and found["train_gain"] is not None:
        yield from comparison_lines(found["train_gain"], "the same gain on the training samples that it was made on")[
            :-1
        ]


def _counted(found: dict[str, Any]) -> str:
    if found["answers"] is None:
        return "n not recorded"
    samples = found["answers"] if found["samples"] is None else found["samples"]
    parts = [f"n = {samples}"]
    if samples != found["answers"]:
        parts.append(f"{found['answers']} answers, averaged per sample")
    if found["failed"]:
        parts.append(f"{found['failed']} failed")
    if found["passes"] > 1:
        spread = "" if found["std"] is None else f", std {found['std']:.4f}"
        parts.append(f"{found['passes']} passes{spread}")
    if found["kind"] != "mean":
        parts.append(found["kind"])
    return ", ".join(parts)


def _rows(document: dict[str, Any]) -> Iterator[str]:
    found = document["iterations"]
    if not found:
        yield "none is recorded"
        return
    rows = [
        (
            row["iteration"],
            row["phase"],
            score_or_dash(row["score"]),
            row["kind"] if row["sample_set"] != "batch" else f"{row['kind']}, batch",
            row["n"],
            row["failed"],
            score_or_dash(row["val_score"]),
            row["change"],
            row["tokens"] if row["tokens_are_whole"] else f"≥ {row['tokens']}",
            None if row["elapsed_seconds"] is None else f"{row['elapsed_seconds']:.1f}",
        )
        for row in found
    ]
    columns = ("iteration", "phase", "train", "kind", "n", "failed", "val", "change", "tokens", "elapsed s")
    yield from aligned(columns, rows, right=tuple(column for column in columns if column != "kind"))
    if len(found) > 1:
        yield "The highest of several scores is too high on average: it was picked for being highest."


def _changes(document: dict[str, Any]) -> Iterator[str]:
    found = document["changes"]
    if not found:
        yield "no change is recorded"
        return
    for change in found:
        yield from wrap(change["line"], WIDTH, subsequent_indent="  ", break_on_hyphens=False)
        if change["paired"] is not None:
            yield from (f"    {line}" for line in comparison_lines(change["paired"], "effect"))
        yield from (f"    {line}" for line in quoted(change["rationale"]))
    count = document["changes_count"]
    yield (
        f"all changes: {count['helped']} helped, {count['no_effect']} had no effect, {count['hurt']} hurt, "
        f"{count['unknown']} not measured or not comparable; the bound is {THRESHOLD:g}, which is no test"
    )
    if count["tested"]:
        yield (
            f"of {count['tested']} tested, {count['significant_alone']} significant taken alone, "
            f"{count['significant']} with the number of tests allowed for (Benjamini and Hochberg 1995)"
        )


def _phases(phases: list[dict[str, Any]]) -> Iterator[str]:
    for phase in phases:
        scores = f"{score_or_dash(phase['score_before'])} → {score_or_dash(phase['score_after'])}"
        converged = ", converged" if phase["converged"] else ""
        yield f"{phase['phase']}  {one_line(phase['axis'])}: {phase['iterations']} iterations, {scores}{converged}"


def _decisions(decisions: list[dict[str, str]]) -> Iterator[str]:
    for made in decisions:
        yield f"{made['kind']}: {made['decision']}"


def _prompt(prompt: dict[str, Any]) -> Iterator[str]:
    if prompt["after"] is None:
        yield "no prompt has been scored since the initial one"
        return
    if not prompt["is_final"]:
        yield "the prompt that is ahead so far; the run has not reported one"
    if prompt["unchanged"] is None:
        yield "withheld"
    elif prompt["unchanged"]:
        yield "unchanged: the run reports the prompt that it began with"
    yield from quoted("\n".join(prompt["diff"])) if prompt["diff"] else ()
    yield from (f"({limit})" for limit in prompt["limits"])


def _example(example: dict[str, Any] | None) -> Iterator[str]:
    if example is None:
        return
    before, after = example["before"]["score"], example["after"]["score"]
    yield f"{one_line(example['id'])}: {score_or_dash(before)} → {score_or_dash(after)}"
    yield "input"
    yield from quoted(example["input"])
    if example["ideal"]:
        yield "reference"
        yield from quoted(example["ideal"])
    for role in ("before", "after"):
        answers = example[role]["answers"]
        yield role if answers == 1 else f"{role} (the first of {answers} answers; the score is their mean)"
        yield from quoted(example[role]["response"])


def _account(document: dict[str, Any]) -> Iterator[str]:
    if document["calls"] is not None:
        yield from account_lines(document["calls"])
        return
    tokens = document["tokens"]
    for purpose, count in tokens["by_purpose"].items():
        yield f"{purpose:<9} {'not recorded' if count is None else count}"


def _says(document: dict[str, Any]) -> Iterator[str]:
    said = document["model_says"]
    if said is None:
        return
    yield f"{one_line(said['model'] or 'the reasoning model')}:"
    if said["text"] is None:
        yield "it gave no answer"
    elif isinstance(said["text"], dict):
        yield from quoted(said["text"])
    else:
        for line in said["text"].splitlines():
            yield from (f"| {piece}" for piece in wrap(line, WIDTH) or [""])


def _listed(found: Iterable[str]) -> Iterator[str]:
    for item in found:
        yield from wrap(item, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
