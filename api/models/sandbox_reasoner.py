"""The sandbox's reasoning model and judge, which answer what strategies and metrics ask, in the form demanded.

The reasoner knows a fixed list of edits to a prompt, some that help the simulated model of ``sandbox_task.py``, some
that do nothing and some that hurt, and draws one by a hash of the request. What a request's history marks as hurting
it takes back, where the prompt still has it, and does not propose again. The judge grades by the words that a response
shares with the reference, or with the right answer where there is none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .sandbox_task import ACTIONS, COMPONENTS, SEVERITIES, heeded, right_answer

_LABEL = "[simulated]"


@dataclass(frozen=True, slots=True)
class _Edit:
    """A line that may be added to a prompt. ``weight`` is how often it is drawn; ``mark`` what the prompt then has."""

    summary: str
    line: str
    weight: int
    mark: str = ""


_EDITS = (
    _Edit("Asked for one line and nothing else", "Answer with one line and nothing else.", 3, "line"),
    _Edit(
        "Named the format of the answer",
        "The answer has this form: severity: <severity> | component: <component> | action: <action>",
        3,
        "format",
    ),
    _Edit(
        "Listed the severities",
        f"Severity is one of {', '.join(SEVERITIES)}, by how many people are affected and how urgent it is.",
        3,
        "severities",
    ),
    _Edit("Listed the components", f"Component is one of {', '.join(COMPONENTS)}.", 3, "components"),
    _Edit(
        "Listed the actions",
        f"Action is one of {', '.join(ACTIONS)}; rollback only where something urgent began with a release.",
        3,
        "actions",
    ),
    _Edit(
        "Set the order of the decisions", "Decide on severity first, next on component, and then on action.", 2, "order"
    ),
    _Edit(
        "Added an example of an answer",
        "An example of an answer: severity: high | component: login | action: escalate",
        2,
    ),
    _Edit(
        "Added an example of a harmless case",
        "Where nothing is urgent: severity: low | component: billing | action: reply",
        2,
    ),
    _Edit("Gave the model a role", "You are an experienced incident manager.", 1),
    _Edit("Asked for accuracy", "Be accurate and complete.", 1),
    _Edit("Asked for reasoning step by step", "Think step by step and show your reasoning.", 2, "thinking"),
    _Edit("Asked for XML tags", "Put each part of the answer into XML tags.", 2, "tags"),
    _Edit("Asked for a friendly tone", "Be friendly: greet the user and apologise for the trouble.", 2, "small_talk"),
)
_MATERIAL = re.compile(r"^([^\n]*)\n<<<([0-9a-f]{32})\n(.*?)\n\2>>>$", re.DOTALL | re.MULTILINE)
"""A line that says what follows, and material between fences."""
_HEADER = re.compile(r"^## +(\S.*?) *$", re.MULTILINE)
_KEY = re.compile(r'"([a-z_]+)":')
_WORD = re.compile(r"\w+")
_OWN_LINES = re.compile(r"^(?:## (?:Task|Rules)|</?(?:task|rules)>)$")
_BULLET = re.compile(r"^(?:- |\d+\. )(?:IMPORTANT: )?|^IMPORTANT: ")
_REWRITING = re.compile(r"\b(?:improve|rewrite|revise)\b", re.IGNORECASE)
_OFFERED = re.compile(r"^(iterative|structural|fewshot|pdo): ", re.MULTILINE)
_CANDIDATE = re.compile(r"Candidate (\d+)\b")
_LAYOUT = re.compile(r"^The layout: (.+)$", re.MULTILINE)


class _Question:
    """A request: what it says outside of the material of others, and that material by its labels, in order."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.text = str(document["messages"][-1]["content"])
        self.material: list[tuple[str, str]] = [(label, text) for label, _, text in _MATERIAL.findall(self.text)]
        self.told = _MATERIAL.sub("", self.text)
        self.schema = _schema(document)
        self._luck = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).digest()

    def find(self, *words: str) -> str | None:
        """The first material whose label has one of ``words``, earlier words first."""
        for word in words:
            for label, text in self.material:
                if re.search(rf"\b{word}\b", label, re.IGNORECASE):
                    return text
        return None

    def draw(self, what: str, below: int) -> int:
        """A number below ``below`` that follows from the request."""
        return int.from_bytes(hashlib.sha256(self._luck + what.encode()).digest()[:6]) % below


def reason(document: Mapping[str, Any]) -> str:
    """What the simulated reasoner replies to a chat request."""
    question = _Question(document)
    keys = _demanded_keys(question)
    if keys:
        return json.dumps({key: _value(question, key, shape) for key, shape in keys.items()}, ensure_ascii=False)
    titles = list(dict.fromkeys(_HEADER.findall(question.told)))
    if not titles and _REWRITING.search(question.told) is None:
        return _remark(question)
    revised, summary = _rewritten(question, question.find("current prompt", "instruction", "prompt") or "")
    sections = [f"## {title}\n{_section(question, title.lower(), revised, summary)}" for title in titles]
    return "\n\n".join(sections) or revised


def judge(document: Mapping[str, Any]) -> str:
    """What the simulated judge replies to a question of ``domain/optimization/metrics.py``."""
    question = _Question(document)
    share = _agreement(question, question.find("response") or "")
    said = {"score": 1 + round(4 * share), "reason": f"{_LABEL} {share:.0%} of the words agree with the right answer."}
    return json.dumps(said)


def _schema(document: Mapping[str, Any]) -> Mapping[str, Any]:
    asked = document.get("response_format") or {}
    schema = (asked.get("json_schema") or asked).get("schema") or {}
    properties: Mapping[str, Any] = schema.get("properties") or {}
    return properties


def _demanded_keys(question: _Question) -> Mapping[str, Any]:
    """The keys of the JSON object that is asked for, each with its schema where there is one."""
    if question.schema or "json" not in question.told.lower():
        return question.schema
    return {key: {} for key in _KEY.findall(question.told)}


def _value(question: _Question, key: str, shape: Mapping[str, Any]) -> object:
    allowed = shape.get("enum")
    if key == "winner":
        return _winner(question, "tie" in question.told.lower() if allowed is None else "tie" in allowed)
    if allowed is None and key == "axis":
        allowed = _OFFERED.findall(question.told)
    if allowed:
        return allowed[question.draw(key, len(allowed))]
    match shape.get("type"):
        case "integer" | "number":
            return 1 + question.draw(key, 5)
        case "boolean":
            return question.draw(key, 2) == 0
    return _remark(question)


def _winner(question: _Question, may_tie: bool) -> str:
    a, b = (_agreement(question, question.find(f"answer {name}") or "") for name in "AB")
    if a == b:
        return "tie" if may_tie else "AB"[question.draw("winner", 2)]
    return "A" if a > b else "B"


def _agreement(question: _Question, text: str) -> float:
    """The share of words that ``text`` has in common with the right answer (F1)."""
    known = question.find("reference", "expected")
    if known is None:
        known = right_answer(question.find("user", "input") or "")
    wanted, found = _words(known), _words(text)
    shared = sum(min(found.count(word), wanted.count(word)) for word in set(wanted))
    return 2 * shared / (len(wanted) + len(found)) if shared else 0.0


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _section(question: _Question, title: str, revised: str, summary: str) -> str:
    if "summary" in title:
        return summary
    if "example" in title:
        return _examples(question)
    return revised if "prompt" in title or "instruction" in title else _remark(question)


def _remark(question: _Question) -> str:
    failing = sum("expected" in label.lower() for label, _ in question.material)
    seen = f"{failing} samples are shown with what was expected" if failing else "nothing was expected in particular"
    return f"{_LABEL} Drawn from a hash of the request; {seen}."


def _examples(question: _Question) -> str:
    """The numbers of up to four of the candidates that the request shows."""
    numbers = list(dict.fromkeys(found[1] for label, _ in question.material if (found := _CANDIDATE.match(label))))
    numbers.sort(key=lambda number: question.draw(f"candidate {number}", 2**32))
    return f"EXAMPLES: {', '.join(numbers[:4]) or 'none'}"


def _rewritten(question: _Question, prompt: str) -> tuple[str, str]:
    """A new prompt, and what was changed in one line."""
    lines = prompt.splitlines()
    layout = _LAYOUT.search(question.told)
    if layout is not None:
        return _laid_out(layout[1].lower(), lines), "Changed the layout"
    hurt = [line for line in question.text.splitlines() if "✗ hurt" in line]
    banned = [edit for edit in _EDITS if any(edit.summary in line for line in hurt)]
    for edit in banned:
        if edit.line in prompt:
            return "\n".join(line for line in lines if edit.line not in line), f"Took back: {edit.line}"
    had = heeded(prompt)
    left = [edit for edit in _EDITS if edit not in banned and edit.line not in prompt and edit.mark not in had]
    drawn = [edit for edit in left for _ in range(edit.weight)]
    if not drawn:
        return prompt, "Changed nothing"
    chosen = drawn[question.draw("edit", len(drawn))]
    return "\n".join((*lines, chosen.line)), chosen.summary


def _laid_out(layout: str, lines: Sequence[str]) -> str:
    """The same lines under headings, in tags, as steps, with emphasis, or in another order, as ``layout`` says."""
    plain = [_BULLET.sub("", line) for line in lines if line.strip() and not _OWN_LINES.match(line)]
    head, rest = plain[:1], plain[1:]
    if "markdown" in layout:
        return "\n".join(("## Task", *head, *(["## Rules"] if rest else []), *(f"- {line}" for line in rest)))
    if "xml" in layout:
        return "\n".join(("<task>", *head, "</task>", *(["<rules>", *rest, "</rules>"] if rest else [])))
    if "steps" in layout:
        return "\n".join((*head, *(f"{number}. {line}" for number, line in enumerate(rest, 1))))
    if "stand out" in layout:
        return "\n".join((*head, *(f"IMPORTANT: {line}" for line in rest)))
    return "\n".join(plain if "plain" in layout else (*head, *reversed(rest)))
