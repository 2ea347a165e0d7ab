"""The explanation of a run as text. Every word of it is made from the JSON answer, so the two cannot disagree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import shorten, wrap
from typing import Any

from ...domain.optimization.effects import THRESHOLD
from ..statistics.figures import MINIMUM_N
from ..statistics.gain import p_text
from ..text_table import aligned, score_or_dash
from .calls_account import account_lines

WIDTH = 110
"""How wide text is for whoever does not say."""

_NARROWEST = 40
_INDENT = "  "
_BAR = "| "
_RATIONALE_LINES = 2
_STATUS = {
    "open": "it has no end on record: what follows is what is recorded so far",
    "interrupted": "it never ended: what follows is what was found of it",
    "failed": "it ended without a result",
}
_EXAMPLES = (("largest_gain", "The sample that gained most"), ("largest_loss", "The sample that lost most"))


def explanation_text(document: dict[str, Any], width: int = WIDTH) -> str:
    """The JSON answer of an explanation, as text for people, no wider than ``width`` but for tables."""
    width = max(width, _NARROWEST)
    inner = width - len(_INDENT)
    withheld = _listed(f"{count} {what}" for what, count in document["withheld"].items())
    parts = [
        [*_folded(_title(document), width), "", *_section("How it went", _circumstances(document), width)],
        _section("What it gained", _gained(document), width),
        _section("Read this with care", _listed(document["warnings"]), width),
        _section(
            "Iterations, scored on training samples: not to be compared with the scores above",
            [*_rows(document), *_folded(_picked(document), inner)],
            width,
            is_table=True,
        ),
        _section("What changed, each change beside its own effect", _changes(document, inner), width),
        _section("Phases", _phases(document["phases"]), width),
        _section("What the reasoning model decided besides", _decisions(document["decisions"]), width),
        _section("The prompt, before and after", _prompt(document["prompt"]), width),
        *(_section(title, _example(document["examples"][name]), width) for name, title in _EXAMPLES),
        _section(
            "Model calls" if document["calls"] else "Tokens, as the run states them",
            _account(document),
            width,
            is_table=True,
        ),
        _section("What the reasoning model says happened: its own words, checked by nobody", _says(document), width),
        _section("Not recorded", _listed(document["not_recorded"]), width),
        _section("Withheld", withheld, width),
        _folded([_more(document)], width),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def comparison_lines(paired: dict[str, Any], what: str, width: int = WIDTH) -> list[str]:
    """A paired comparison in words, called ``what``; the last line tells what it can and cannot show."""
    return _folded(_compared(paired, what), width)


def _compared(paired: dict[str, Any], what: str) -> list[str]:
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
    return [", ".join(parts), paired["note"]]


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
    return [f"{_BAR}{line}" for line in (text or "(empty)").splitlines()]


def _section(title: str, lines: Iterable[str], width: int, *, is_table: bool = False) -> list[str]:
    """A title above its lines, which are folded unless they are a table."""
    found = lines if is_table else _folded(lines, width - len(_INDENT))
    indented = [f"{_INDENT}{line}" if line else "" for line in found]
    return [*_folded([title], width), *indented] if indented else []


def _folded(lines: Iterable[str], width: int) -> list[str]:
    """Lines of at most ``width`` characters; what goes on stands further in, and behind the bar where there is one."""
    found: list[str] = []
    for line in lines:
        text = line.lstrip(" ")
        indent = line[: len(line) - len(text)]
        if text.startswith(_BAR):
            indent, text = indent + _BAR, text[len(_BAR) :]
        room = max(width - len(indent), 20)
        pieces = wrap(text, room, subsequent_indent="  ", break_on_hyphens=False, expand_tabs=False) or [""]
        found += [indent + piece for piece in (pieces if len(text) > room else [text])]
    return found


def _title(document: dict[str, Any]) -> list[str]:
    lines = []
    if document["simulated"]:
        names = one_line(", ".join(document["simulated"]))
        lines += [f"SIMULATED: {names} — no language model; these scores say nothing about any model", ""]
    models = ", ".join(document["models"])
    parts = [f"Run {document['run']}", document["status"], document["strategy"], models]
    lines.append(one_line(" · ".join(part for part in parts if part)))
    return [*lines, *(f"{_INDENT}{line}" for line in (_verdict(document["outcome"]), _reported(document)))]


def _verdict(outcome: dict[str, Any]) -> str:
    """What the run gained, in one line."""
    paired = outcome["paired"]
    if paired is None:
        return f"gain: cannot be said, {outcome['not_compared']}"
    if paired["mean_difference"] is None:
        return f"gain: cannot be said, {paired['note']}"
    if paired["differing"] == 0:
        return f"gain: none, in any of {paired['n']} samples"
    bounds = paired["interval"]
    parts = [f"{'loss' if paired['direction'] == 'loss' else 'gain'}: {signed(paired['mean_difference'])}"]
    parts += [] if bounds is None else [f"95 % interval [{signed(bounds[0])}, {signed(bounds[1])}]"]
    parts += [f"n = {paired['n']}", p_text(paired["p_value"])]
    verdict = "significant" if paired["is_significant"] else paired["note"].partition(":")[0].partition(";")[0]
    return f"{', '.join(parts)}: {verdict}"


def _reported(document: dict[str, Any]) -> str:
    """Which prompt the run reports, in one line."""
    prompt = document["prompt"]
    if not prompt["is_final"]:
        ahead = "none" if prompt["iteration"] is None else f"that of iteration {prompt['iteration']}"
        return f"reported: nothing; ahead on record: {ahead}"
    if prompt["after"] is None:
        return "reported: a prompt that is not recorded"
    if prompt["unchanged"]:
        return "reported: the initial prompt, unchanged"
    made = "" if prompt["change"] is None else f", made by change {prompt['change']}"
    origin = (
        "a prompt of no recorded iteration"
        if prompt["iteration"] is None
        else f"the prompt of iteration {prompt['iteration']}"
    )
    return f"reported: {origin}{made}"


def _circumstances(document: dict[str, Any]) -> Iterator[str]:
    if document["status"] in _STATUS:
        yield _STATUS[document["status"]]
    if document["imported_from"]:
        yield f"imported from {document['imported_from']}"
    if document["parent_run"]:
        yield f"branched from run {document['parent_run']}, iteration {document['parent_iteration']}"
    metrics = one_line(", ".join(document["metrics"])) or "not recorded"
    yield f"metrics: {metrics}; reasoning model: {one_line(document['reasoning_model'] or 'not recorded')}"
    stopped = document["stopped"]
    if stopped["reason"] is not None:
        time = "" if stopped["duration_seconds"] is None else f" after {stopped['duration_seconds']:.1f} s"
        meaning = "" if stopped["meaning"] is None else f": {stopped['meaning']}"
        yield f"stopped by {stopped['reason']}{time}{meaning}"
    if stopped["message"] is not None:
        yield from quoted(stopped["message"])
    yield _threshold(document["threshold"], is_told=stopped["reason"] == "converged")


def _threshold(threshold: dict[str, Any], is_told: bool) -> str:
    """``is_told``: whether it was said already what reached it."""
    if threshold["value"] is None:
        return "threshold: not recorded"
    source = threshold["meaning"] or "its source is not recorded"
    reached = {True: "reached", False: "not reached", None: ""}[None if is_told else threshold["converged"]]
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
        yield from _compared(outcome["paired"], "final − baseline, on the samples that both scored")
    if outcome["reported"] is not None:
        reported = outcome["reported"]
        p = p_text(reported["p_value"])
        improvement = reported["improvement"]
        gain = "no improvement" if improvement is None else f"improvement {improvement:+.4f}"
        yield f"as the run's own files report it: {gain}, {p}"
    found = document["generalisation"]
    if found is not None and found["train_gain"] is not None:
        yield _compared(found["train_gain"], "the same gain on the training samples that it was made on")[0]


def _counted(found: dict[str, Any]) -> str:
    if found["answers"] is None:
        return "n not recorded"
    samples = found["answers"] if found["samples"] is None else found["samples"]
    parts = [f"n = {samples}"]
    if samples != found["answers"]:
        parts.append(f"{found['answers']} answers, averaged per sample")
    if found["failed"]:
        parts.append(f"{found['failed']} without a score")
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
    tokens = "tokens" if document["tokens"]["source"] == "calls" else "tokens stated"
    columns = ("iteration", "phase", "train", "kind", "n", "no score", "val", "change", tokens, "elapsed s")
    yield from aligned(columns, rows, right=tuple(column for column in columns if column != "kind"))


def _picked(document: dict[str, Any]) -> Iterator[str]:
    if len(document["iterations"]) > 1:
        yield "The highest of several scores is too high on average: it was picked for being highest."


def _changes(document: dict[str, Any], width: int) -> Iterator[str]:
    """Changes that an iteration scored with their tests and reasons; each of the others in one line."""
    found = document["changes"]
    if not found:
        yield "no change is recorded"
        return
    for change in found:
        if change["scored_in_iteration"] is None:
            yield shorten(_aside(change), width, placeholder=" …")
            continue
        yield change["line"]
        if change["paired"] is not None:
            yield from (f"    {line}" for line in _compared(change["paired"], "effect"))
        if change["rationale"]:
            yield from (f"    {line}" for line in _begun(change["rationale"], width - 4 - len(_BAR)))
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


def _aside(change: dict[str, Any]) -> str:
    """A change that no iteration scored, such as a variant that another one beat."""
    effect, told = change["effect"], change["change_summary"]
    if effect["delta"] is None or not isinstance(told, str):
        return str(change["line"])
    origin = "" if change["after_iteration"] is None else f" (after iteration {change['after_iteration']})"
    return (
        f"Change {change['change']}{origin}, in no iteration: Δ{signed(effect['delta'])}, {effect['direction']}: {told}"
    )


def _begun(rationale: Any, width: int) -> list[str]:
    if isinstance(rationale, dict):
        return quoted(rationale)
    return [f"{_BAR}{line}" for line in wrap(rationale, width, max_lines=_RATIONALE_LINES, placeholder=" …")]


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
        yield "the prompt that was reported is not recorded" if prompt["is_final"] else "no iteration has a score yet"
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
    else:
        yield from quoted(said["text"])


def _more(document: dict[str, Any]) -> str:
    run = document["run"]
    return f"More: affidavit history {run} (every change), affidavit diff {run} A B (two iterations' prompts), --json"


def _listed(found: Iterable[str]) -> Iterator[str]:
    for item in found:
        yield f"- {item}"
