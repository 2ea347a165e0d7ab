"""The task of the sandbox: incident reports, the line that answers each, and a simulated model that answers them.

The right answer follows from the report alone: ``severity: high | component: billing | action: escalate``. The
simulated model could find it always; how often it does, and how it puts it, depends on what its prompt says. Each
property of a prompt that it heeds is in ``_HEEDED``: naming the format, the values or the order of the decisions,
examples and emphasis help; tags, thinking aloud and small talk spoil the answer. Everything is drawn from hashes of
the report and of what is heeded, so the same request always gets the same reply.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

SANDBOX_PROMPT = "You help the support team. Read the incident report and say what should be done about it."
"""A poor first prompt: it names no format, no values and no rules."""

SEVERITIES = ("critical", "high", "medium", "low")
COMPONENTS = ("billing", "login", "search", "email", "reports", "mobile")
ACTIONS = ("page", "rollback", "escalate", "assign", "reply")

_ANSWER = re.compile(
    rf"severity: (?:{'|'.join(SEVERITIES)}) \| component: (?:{'|'.join(COMPONENTS)}) \| action: (?:{'|'.join(ACTIONS)})"
)
"""An answer in the right form, right or wrong."""

_REPORTS = {
    "billing": ("Card payments end with an error at checkout.", "The invoice shows the wrong amount."),
    "login": ("Signing in fails although the password is right.", "The two-factor code is never accepted."),
    "search": ("The search finds nothing that was added this week.", "The search puts old articles first."),
    "email": ("Confirmation e-mails are not delivered.", "Newsletter e-mails are sent twice."),
    "reports": ("The weekly report stays empty.", "The export of the sales report has no header row."),
    "mobile": ("The phone app closes by itself on opening a photo.", "The phone app shows its menu off the screen."),
}
_SCOPES = {
    "critical": ("All customers are affected.", "Nobody in the company can work."),
    "high": ("Several teams are blocked.", "Many customers have called about it."),
    "medium": ("One colleague is affected and has a workaround.", "It happens to a single customer."),
    "low": ("It is cosmetic and can wait.", "There is no hurry at all."),
}
_CAUSES = (
    "It began right after last night's release.",
    "Nothing was changed on our side.",
    "We do not know since when.",
)

_COMPONENT_SIGNS = {
    "billing": r"payment|invoice|refund|charged",
    "login": r"sign(?:ing|ed)? in|password|two-factor|log(?:ging|ged)? in",
    "search": r"search",
    "email": r"e-?mail",
    "reports": r"report stays|report has|export|dashboard",
    "mobile": r"phone|tablet",
}
_SEVERITY_SIGNS = {
    "critical": r"all customers|nobody|everybody|everyone",
    "high": r"several|many",
    "low": r"cosmetic|no hurry|can wait",
    "medium": r"one colleague|single",
}
_ACTION_BY_SEVERITY = {"critical": "page", "high": "escalate", "medium": "assign", "low": "reply"}
_RELEASE = re.compile(r"\brelease\b|\bdeploy", re.IGNORECASE)

_LOOSE = {
    "critical": "disastrous", "high": "serious", "medium": "moderate", "low": "minor",
    "billing": "payments", "login": "authentication", "search": "lookup", "email": "messaging",
    "reports": "analytics", "mobile": "handsets",
    "page": "wake somebody up", "rollback": "undo the change", "escalate": "tell a manager",
    "assign": "hand it to an engineer", "reply": "write back",
}  # fmt: skip
"""How a value is put by a model that was not told the words to use."""

_HEEDED: Mapping[str, str] = {
    "line": r"\b(?:one|single) line\b|nothing else|no other text|only the line",
    "format": r"severity:[^\n|]*\|[^\n|]*component:[^\n|]*\|[^\n|]*action:",
    "severities": r"\A(?=.*\bcritical\b)(?=.*\bhigh\b)(?=.*\bmedium\b)(?=.*\blow\b)",
    "components": r"\A" + "".join(rf"(?=.*\b{name}\b)" for name in COMPONENTS),
    "actions": r"\A" + "".join(rf"(?=.*\b{name}\b)" for name in ACTIONS),
    "order": r"\bfirst\b[^.\n]*\bthen\b|^1\..*^2\.",
    "emphasis": r"\b(?:MUST|IMPORTANT|NEVER|ALWAYS)\b",
    "sections": r"^#{1,3} ",
    "tags": r"\bxml\b|^</?[a-z_]+>$",
    "thinking": r"step by step|explain your (?:reasoning|thinking)|think aloud|show your (?:reasoning|work)",
    "small_talk": r"\bgreet|\bapologi[sz]e|\bfriendly\b|\bpolite",
}
_FIELDS = {
    "severity": ("severities", SEVERITIES),
    "component": ("components", COMPONENTS),
    "action": ("actions", ACTIONS),
}
_UNTOLD = {"severity": 0.45, "component": 0.6, "action": 0.3}
"""How likely each field is right where the prompt does not list its values."""

_CASE_MATTERS = frozenset({"emphasis"})

_GREETING = "Hello, and thank you so much for reaching out to us! I am really sorry for the trouble."
_END = "Let me know if you need anything else."
_MOST_EXAMPLES = 4
_LONG = 500
"""Words from which on a prompt is too long to be followed well."""


@dataclass(frozen=True, slots=True)
class Heeded:
    """What a prompt says that the simulated model heeds."""

    properties: frozenset[str]
    examples: int

    def __contains__(self, name: object) -> bool:
        return name in self.properties

    def key(self) -> str:
        return ",".join(sorted(self.properties)) + f";{self.examples}"


@lru_cache(maxsize=256)
def heeded(prompt: str) -> Heeded:
    """Read a prompt as the simulated model does."""
    flags = re.DOTALL | re.MULTILINE
    found = {
        name
        for name, pattern in _HEEDED.items()
        if re.search(pattern, prompt, flags if name in _CASE_MATTERS else flags | re.IGNORECASE)
    }
    if len(prompt.split()) > _LONG:
        found.add("long")
    return Heeded(frozenset(found), min(_MOST_EXAMPLES, len(set(_ANSWER.findall(prompt)))))


def right_answer(report: str) -> str:
    """The line that answers a report. What a report leaves open is drawn from a hash of it."""
    return _line(_triage(report))


def reply_to(prompt: str, report: str) -> str:
    """What the simulated model says to ``report`` under ``prompt``."""
    found = heeded(prompt)
    fields = {name: _decided(name, right, report, found) for name, right in _triage(report).items()}
    in_form = _drawn(report, "form", found) < 0.04 + 0.7 * ("format" in found) + 0.08 * found.examples
    text = _line(fields) if in_form else _sentence(fields)
    bare = 0.05 + 0.8 * ("line" in found) + 0.06 * found.examples + 0.06 * ("emphasis" in found)
    if "tags" in found and _drawn(report, "tags", found) < 0.7:
        text = "\n".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    if "thinking" in found and _drawn(report, "thinking", found) < 0.85:
        return f"{_thoughts(report, fields)}\n\n{text}"
    if "small_talk" in found and _drawn(report, "small talk", found) < 0.85:
        return f"{_GREETING}\n\n{text}\n\n{_END}"
    if _drawn(report, "bare", found) < bare:
        return text
    return f"Here is how I see it.\n\n{text}\n\n{_END}"


def sandbox_dataset(n: int = 60) -> list[dict[str, Any]]:
    """``n`` rows with ``id``, ``messages`` and ``ideal``, always the same ones."""
    rows = []
    for number in range(1, n + 1):
        draw = [
            int(_chance("row", str(number), part) * 1_000_000) for part in ("component", "severity", "cause", "text")
        ]
        component, severity = COMPONENTS[draw[0] % len(COMPONENTS)], SEVERITIES[draw[1] % len(SEVERITIES)]
        report = " ".join(
            (
                f"Incident {1000 + number}:",
                _REPORTS[component][draw[3] % 2],
                _SCOPES[severity][draw[3] // 2 % 2],
                _CAUSES[draw[2] % len(_CAUSES)],
            )
        )
        rows.append(
            {
                "id": f"incident-{number:03d}",
                "messages": [{"role": "user", "content": report}],
                "ideal": right_answer(report),
            }
        )
    return rows


def _triage(report: str) -> dict[str, str]:
    severity = _first(_SEVERITY_SIGNS, report)
    component = _first(_COMPONENT_SIGNS, report)
    released = severity in ("critical", "high") and _RELEASE.search(report) is not None
    return {
        "severity": severity,
        "component": component,
        "action": "rollback" if released else _ACTION_BY_SEVERITY[severity],
    }


def _first(signs: Mapping[str, str], report: str) -> str:
    for value, pattern in signs.items():
        if re.search(pattern, report, re.IGNORECASE):
            return value
    return _pick(tuple(signs), "open", report)


def _decided(name: str, right: str, report: str, found: Heeded) -> str:
    told, values = _FIELDS[name]
    chance = _UNTOLD[name] + 0.3 * (told in found) + 0.035 * found.examples + 0.03 * ("sections" in found)
    chance += (0.2 if name == "action" else 0.05) * ("order" in found) - 0.15 * ("long" in found)
    value = right
    if _drawn(report, name, found) >= min(chance, 0.98):
        value = _pick(tuple(other for other in values if other != right), name, report)
    worded = told in found or _drawn(report, name + " word", found) < 0.2 + 0.2 * found.examples
    return value if worded else _LOOSE[value]


def _line(fields: Mapping[str, str]) -> str:
    return " | ".join(f"{name}: {value}" for name, value in fields.items())


def _sentence(fields: Mapping[str, str]) -> str:
    return (
        f"I would call the severity {fields['severity']}; the component seems to be {fields['component']}, "
        f"and the action that I suggest is to {fields['action']}."
    )


def _thoughts(report: str, fields: Mapping[str, str]) -> str:
    return (
        f"Let me think about this step by step. The report says: {report} First I ask how many people are affected, "
        f"which makes me think of {fields['severity']}. Then I ask what it is about; that could be "
        f"{fields['component']}. Taking all of this together, and weighing the alternatives, I come to an answer."
    )


def _drawn(report: str, what: str, found: Heeded) -> float:
    """Mostly the report's own luck, so that prompts can be compared on it; a little that of the prompt."""
    return 0.92 * _chance(what, report) + 0.08 * _chance(what, report, found.key())


def _pick(values: tuple[str, ...], *parts: str) -> str:
    return values[int(_chance(*parts) * len(values))]


def _chance(*parts: str) -> float:
    """A number in [0, 1) that follows from ``parts``."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:6]) / 2**48
