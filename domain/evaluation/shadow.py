"""Shadow judging: one turn's served answer against its shadow, by a judge that does not know which is which.

The methodology contract: the judge sees the user's message in isolation (v1.1.0) or, under a prompt of its own, the
earlier turns of the same request (v1.2.0-transcript). Which answer is shown first is the first bit of a seed that is
recorded with the verdict.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..event import Withheld
from ..material import fenced, make_fence
from ..model_calls import Conversation
from .events import Better, InteractionPublished, Speaker
from .judging import Answer, JudgeReply, Undecided, ask_until_usable, find_suspicions
from .prompts import JudgePrompt

SITE = "shadow.compare"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "better_request": {"type": "string", "enum": ["1", "2", "tie"]},
        "is_significantly_better": {"type": "boolean"},
        "comparison_reason": {"type": ["string", "null"]},
    },
    "required": ["better_request", "is_significantly_better", "comparison_reason"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class SpokenTurn:
    """A turn as it was published. ``order`` sorts turns as they were spoken: (created_at, place in the list).

    ``tools`` is what it says of tools that were used, as JSON.
    """

    order: tuple[int, int]
    speaker: Speaker
    role: str
    content: str
    shadow: str | None = None
    tools: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a judge is asked to compare. ``earlier`` is every earlier turn with content, oldest first."""

    earlier: tuple[SpokenTurn, ...]
    served: str
    shadow: str


@dataclass(frozen=True, slots=True)
class ShadowVerdict:
    """Which request the judge found better; ``call`` is the seq of the reply that says so."""

    better: Better
    significant: bool
    reason: str | None
    call: int | None


class _Reply(JudgeReply):
    better_request: Better
    is_significantly_better: bool
    comparison_reason: str | None = None

    def contradiction(self) -> str | None:
        """A tie that is significantly better has no meaning: it is asked again, and never taken as either half."""
        if self.better_request == "tie" and self.is_significantly_better:
            return 'better_request is "tie" but is_significantly_better is true'
        return None


def spoken_turn(event: InteractionPublished) -> SpokenTurn | None:
    """The turn that an event holds, None where its text is not open."""
    if isinstance(event.turn, Withheld):
        return None
    sent = event.turn
    tools = sent.get("tools_used")
    return SpokenTurn(
        (event.created_at, event.index),
        event.speaker,
        str(sent.get("role") or "User"),
        str(sent.get("content") or ""),
        sent.get("shadow_content") or None,
        json.dumps(tools, ensure_ascii=False) if tools else "",
    )


def is_judged(turn: SpokenTurn) -> bool:
    """Whether a turn has something to compare: the agent's, with any shadow text, blanks included."""
    return turn.speaker == "agent" and bool(turn.shadow)


def compare_turn(turn: SpokenTurn, request: Iterable[SpokenTurn]) -> Comparison:
    """The comparison of a judged turn among the turns of its request."""
    earlier = sorted((other for other in request if other.order < turn.order), key=lambda other: other.order)
    spoken = tuple(other for other in earlier if other.content.strip())
    return Comparison(spoken, turn.content, turn.shadow or "")


def position_seed(leaf: bytes, version: str, job: str | None = None) -> str:
    """The seed of one judging: 16 hex digits of SHA-256("affidavit position" NUL leaf NUL version NUL job).

    ``leaf`` is the leaf hash of the turn's entry. It hangs on the salts and the chain, so that nobody could know it
    when the texts were written, or choose it; and it is the same for all who judge the turn again after a kill.
    """
    text = b"\0".join((b"affidavit position", leaf, version.encode(), (job or "").encode()))
    return hashlib.sha256(text).hexdigest()[:16]


def is_served_first(seed: str) -> bool:
    """Whether the served answer is shown as Request 1: where the first bit of the seed is 0."""
    return int(seed, 16) >> 63 == 0


def judge_turn(prompt: JudgePrompt, comparison: Comparison, seed: str) -> Conversation[ShadowVerdict | Undecided]:
    """Have a turn judged; the texts go to the judge as they are, each between lines that nobody could foresee."""
    first, second = comparison.served, comparison.shadow
    if not is_served_first(seed):
        first, second = second, first
    said = [f"{_named(turn)}: {turn.content}" for turn in comparison.earlier]
    message = _user_message(comparison)
    shown = said if prompt.transcript else [message]
    fence = make_fence(seed, (first, second, *shown))
    filled = {
        "fence": fence,
        "user_message": fenced(fence, message) if message else "(none)",
        "transcript": "\n".join(fenced(fence, turn) for turn in said) or "(none)",
        "request_1": fenced(fence, first),
        "request_2": fenced(fence, second),
    }
    answer = yield from ask_until_usable(SITE, prompt.messages(filled), SCHEMA, _Reply)
    match answer:
        case Answer(_Reply() as reply, call):
            return ShadowVerdict(reply.better_request, reply.is_significantly_better, reply.comparison_reason, call)
        case Undecided():
            return answer
    raise AssertionError("expected an answer or that there is none")


def suspicions(prompt: JudgePrompt, comparison: Comparison) -> dict[str, list[str]]:
    """What of the material that the judge sees looks as if it spoke to the judge."""
    context = "\n".join(turn.content for turn in comparison.earlier) if prompt.transcript else _user_message(comparison)
    return find_suspicions({"context": context, "served": comparison.served, "shadow": comparison.shadow})


def _user_message(comparison: Comparison) -> str:
    """The last message of the user's before the turn, "" where there is none."""
    return next((turn.content for turn in reversed(comparison.earlier) if turn.speaker == "user"), "")


def _named(turn: SpokenTurn) -> str:
    return {"user": "User", "agent": "Assistant"}.get(turn.speaker, turn.role)
