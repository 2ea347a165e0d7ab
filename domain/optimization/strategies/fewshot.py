"""Few-shot: worked examples from the training rows, chosen by the reasoning model, under an instruction.

A prompt that shows a row's own answer cannot be scored on that row. So the training rows are divided once: up to half
of them may become examples, the others score every prompt of the strategy, the start prompt too. All its scores are
therefore over the same rows, none of which any of its prompts shows, and may be compared. A row whose input is the
same as that of a scored row is no example either; rows that the start prompt shows already go to the examples' side.
(Leaving out just the shown rows, prompt by prompt, would give each prompt other rows and make the scores of two
iterations incomparable.) A batch size bounds the scored rows: one batch, the same in every iteration.

Iteration 1 is the start prompt's own score; its answers to the rows of the examples' side make the candidates, as the
bootstrap of aevyra-reflex does, unless an earlier phase has them already. They are not made anew every third round, as
there: a candidate's reference does not change, and what a prompt scores on rows that it shows says nothing.

Every further iteration scores one new prompt. The next one starts from the better of it and its parent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

from ...errors import Refused
from ...model_calls import Ask
from .. import requests
from ..conversation import Complete, Consult, Conversation, Progress, Propose, Score, Scored
from ..dataset import DataRow
from ..events import Sample
from ..requests import Shown
from ..study import Study
from .comparing import gain
from .settings import require_none

MOST_BOOTSTRAPPED = 40
"""The most rows that are set aside for examples."""
MOST_CANDIDATES = 20
MOST_EXAMPLES = 5

_PERFECT = 1.0
_TEMPERATURE = 0.7
_NOTE = "example_selection"
_KNOWN = "known_prompt"
_KEEP = "KEEP"
_EXAMPLES = "## Examples"
_FIRST = f"{_EXAMPLES}\n\n### Example 1\n**Input:** "

_TASK = """You improve a system prompt for a language model. The prompt is an instruction, followed by worked examples \
(few-shot examples). Choose the examples from the numbered candidates: at most {most}, those that teach most together. \
Prefer examples that differ from each other and show what the model gets wrong. You may edit the instruction too."""

_REPLY = """The samples that are scored are none of the candidates: do not copy samples or candidates into the \
instruction. The chosen examples are put below it for you.

Reply with exactly these four sections, in this order, each header on a line of its own:

## Analysis
What you found and why the change should help.

## Summary of change
One line that says what you changed.

## Selected examples
EXAMPLES: the numbers of the chosen candidates, the best first, such as EXAMPLES: 3, 7; or EXAMPLES: none

## Instruction
The whole instruction without the examples, with nothing after it; or only KEEP if it stays as it is."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A training row as an example; ``score`` is what the start prompt reached on it, None where the calls failed."""

    input: str
    output: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Draft:
    """An instruction and the candidates, by their places, that stand under it."""

    instruction: str
    chosen: tuple[int, ...]
    change_summary: str = ""


def fewshot(study: Study) -> Conversation:
    """Choose examples and edit the instruction until told to stop.

    A reply that cannot be used is noted, and the best candidates are tried under the instruction as it is. ``Refused``
    at once without references (``references_given``), and for options (``strategy_options``).
    """
    require_none("fewshot", study.options)
    if not study.has_ideals:
        raise Refused("references_given", "strategy fewshot: its examples need references, and some rows have none")
    return _choose(study)


def _choose(study: Study) -> Conversation:
    example_rows, scored_rows = _divide(study)
    ids = tuple(row.id for row in scored_rows)
    missing = tuple(row.id for row in example_rows if not _answers(study, row))
    if missing:
        yield Score((study.start,), samples=missing)
    candidates = _candidates(study, example_rows, scored_rows)

    (current,) = yield Score((study.start,), samples=ids)
    draft = Draft(_instruction(study), ())
    known = {study.start: current}
    progress: Progress = yield Complete(current)
    while not (progress.converged or progress.stop):
        history = study.history()
        (reply,) = yield Consult((_question(study, candidates, draft, current, history, first=len(known) == 1),))
        found = read_draft(reply.text, draft.instruction, len(candidates))
        if found is None:
            yield requests.unusable(_NOTE, reply)
        made = found or Draft(
            draft.instruction, tuple(range(len(candidates[:MOST_EXAMPLES]))), "Took the best candidates."
        )
        prompt = compose(made.instruction, [candidates[place] for place in made.chosen])
        if prompt not in known:
            yield Propose(
                current, prompt, reply.text or "", made.change_summary, history, axis="fewshot", because=(reply,)
            )
            (known[prompt],) = yield Score((prompt,), samples=ids, parent=current)
        elif found is not None:
            yield requests.noted(_NOTE, reply, _KNOWN)
        outcome = known[prompt]
        if (gain(outcome, current) or 0.0) > 0:
            current, draft = outcome, made
        progress = yield Complete(outcome)


def compose(instruction: str, examples: Sequence[Candidate]) -> str:
    """The whole prompt: the instruction, and the examples under it."""
    blocks = [
        f"### Example {number}\n**Input:** {example.input}\n**Output:** {example.output}"
        for number, example in enumerate(examples, 1)
    ]
    return "\n\n".join([*([instruction] if instruction else []), *([_EXAMPLES] if blocks else []), *blocks])


def read_draft(text: str | None, instruction: str, candidates: int) -> Draft | None:
    """What a reply chose of so many ``candidates``, under its instruction or the present one; None where unusable.

    Usable is a reply with both sections, with at most five different numbers of candidates, or ``none``.
    """
    sections = requests.read_sections(text or "", ("summary of change", "selected examples", "instruction"))
    numbers = _read_numbers(requests.unwrap(sections.get("selected examples", "")))
    edited = requests.unwrap(sections.get("instruction", ""))
    if numbers is None or not edited or not all(1 <= number <= candidates for number in numbers):
        return None
    chosen = tuple(number - 1 for number in numbers)
    summary = sections.get("summary of change", "").split("\n")[0].strip()
    return Draft(instruction if edited == _KEEP else edited, chosen, summary)


_CHOICE = re.compile(r"(?:EXAMPLES:)?\s*(none|[0-9]{1,3}(?:\s*,\s*[0-9]{1,3})*)\s*\.?", re.IGNORECASE)


def _read_numbers(text: str) -> list[int] | None:
    found = _CHOICE.fullmatch(text)
    if found is None:
        return None
    numbers = [] if found[1].lower() == "none" else [int(number) for number in found[1].split(",")]
    return numbers if len(dict.fromkeys(numbers)) == len(numbers) <= MOST_EXAMPLES else None


def _divide(study: Study) -> tuple[list[DataRow], list[DataRow]]:
    """The rows that may become examples and those that are scored, each in the order of the data set."""
    shuffled = study.random.sample(study.rows, len(study.rows))
    order = sorted(shuffled, key=lambda row: not _shows(study.start, row))
    most = min(len(order) // 2, MOST_BOOTSTRAPPED)
    rest = order[most:]
    unshown = [row for row in rest if not _shows(study.start, row)]
    scored = (unshown or rest)[: study.options.batch_size or None]
    example_ids, scored_ids = {row.id for row in order[:most]}, {row.id for row in scored}
    return [row for row in study.rows if row.id in example_ids], [row for row in study.rows if row.id in scored_ids]


def _answers(study: Study, row: DataRow) -> list[Sample]:
    """What the start prompt led to on a training row, in its newest evaluation there."""
    for evaluation in reversed(study.evaluations):
        if evaluation.purpose in ("train", "variant") and study.prompts[evaluation.prompt] == study.start:
            samples = evaluation.samples if isinstance(evaluation.samples, tuple) else ()
            found = [sample for sample in samples if sample.id == row.id]
            if found:
                return found
    return []


def _candidates(study: Study, example_rows: Sequence[DataRow], scored_rows: Sequence[DataRow]) -> list[Candidate]:
    """At most 20 examples, those that the start prompt did best on first, each input once."""
    taken = {row.input for row in scored_rows}
    found = []
    for row in example_rows:
        samples = _answers(study, row)
        perfect = (sample.response for sample in samples if sample.score == _PERFECT)
        output = next(perfect, row.ideal or "")
        if row.input not in taken and output.strip():
            taken.add(row.input)
            scores = [sample.score for sample in samples if sample.score is not None]
            found.append(Candidate(row.input, output, fsum(scores) / len(scores) if scores else None))
    found.sort(key=lambda item: -1.0 if item.score is None else item.score, reverse=True)
    return found[:MOST_CANDIDATES]


def _shows(prompt: str, row: DataRow) -> bool:
    return f"\n**Input:** {row.input}\n**Output:** " in prompt


def _instruction(study: Study) -> str:
    """The start prompt without the examples that an earlier phase of this strategy put under it."""
    at = study.start.find(_FIRST)
    ours = at >= 0 and any(_shows(study.start[at:], row) for row in study.rows)
    return study.start[:at].rstrip("\n") if ours else study.start


def _question(
    study: Study, candidates: Sequence[Candidate], draft: Draft, current: Scored, history: str, *, first: bool
) -> Ask:
    shown = ", ".join(str(place + 1) for place in draft.chosen) or "none"
    parts: list[str | Shown] = [
        _TASK.format(most=MOST_EXAMPLES),
        Shown("The present instruction:", draft.instruction),
        f"Candidates that stand under it at present: {shown}. Score: {requests.score_text(current.score)}.",
        Shown("What earlier changes did:", history),
    ]
    if not first:
        parts += ["The samples that this prompt did worst on:", *requests.failing_samples(current)]
    parts.append("The candidates:" if candidates else "There are no candidates: only the instruction can change.")
    for number, candidate in enumerate(candidates, 1):
        score = requests.score_text(candidate.score)
        parts.append(Shown(f"Candidate {number}, scored {score} at first. Its input:", requests.cut(candidate.input)))
        parts.append(Shown(f"Candidate {number}, its output:", requests.cut(candidate.output)))
    site = "fewshot.select" if first else "fewshot.refine"
    return requests.ask(study, site, requests.compose(*parts, _REPLY), _TEMPERATURE)
