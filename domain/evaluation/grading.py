"""Grading: a whole session, once, against the configured definition of success."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from ..material import fenced, make_fence
from ..model_calls import Conversation
from .judging import Answer, JudgeReply, Undecided, ask_until_usable, find_suspicions
from .prompts import JudgePrompt
from .shadow import SpokenTurn

SITE = "session.grade"
FailureType = Literal["system_error", "missing_tool", "wrong_tool", "insufficient_info_from_tool", "wrong_answer"]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "is_success": {"type": "boolean"},
        "failure_type": {
            "enum": [
                "system_error",
                "missing_tool",
                "wrong_tool",
                "insufficient_info_from_tool",
                "wrong_answer",
                None,
            ]
        },
        "failure_reason": {"type": ["string", "null"]},
        "is_escalated": {"type": "boolean"},
        "number_of_corrections": {"type": "integer", "minimum": 0},
    },
    "required": ["is_success", "failure_type", "failure_reason", "is_escalated", "number_of_corrections"],
    "additionalProperties": False,
}
_NOT_THE_USER = frozenset({"agent", "assistant", "system", "tool", "internal"})


@dataclass(frozen=True, slots=True)
class Grade:
    """How a session ended, as the judge found it; ``call`` is the seq of the reply that says so."""

    success: bool
    failure_type: FailureType | None
    failure_reason: str | None
    escalated: bool
    corrections: int
    call: int | None


class _Reply(JudgeReply):
    is_success: bool
    failure_type: FailureType | None
    failure_reason: str | None = None
    is_escalated: bool
    number_of_corrections: Annotated[int, Field(ge=0)]

    def contradiction(self) -> str | None:
        """A success that failed in some way has no meaning."""
        if self.is_success and self.failure_type is not None:
            return f'is_success is true but failure_type is "{self.failure_type}"'
        return None


def grade_session(
    prompt: JudgePrompt, turns: Sequence[SpokenTurn], definition: str, seed: str
) -> Conversation[Grade | Undecided]:
    """Have a session graded. More corrections than turns are a contradiction."""
    said = [f"{turn.role}: {turn.content}" + (f"\ntools used: {turn.tools}" if turn.tools else "") for turn in turns]
    fence = make_fence(seed, said)
    transcript = "\n".join(fenced(fence, turn) for turn in said)
    messages = prompt.messages({"fence": fence, "definition": definition, "transcript": transcript})

    def check(reply: _Reply) -> str | None:
        too_many = reply.number_of_corrections > len(turns)
        return f"number_of_corrections is more than the {len(turns)} turns of the session" if too_many else None

    answer = yield from ask_until_usable(SITE, messages, SCHEMA, _Reply, check)
    match answer:
        case Answer(_Reply() as reply, call):
            reason = None if reply.is_success else reply.failure_reason
            found = (reply.is_success, reply.failure_type, reason, reply.is_escalated, reply.number_of_corrections)
            return Grade(*found, call)
        case Undecided():
            return answer
    raise AssertionError("expected an answer or that there is none")


def user_turns(turns: Sequence[SpokenTurn]) -> int:
    """How many turns are the user's: those whose role, in lower case, is none of the system's own."""
    return sum(turn.role.lower() not in _NOT_THE_USER for turn in turns)


def suspicions(turns: Sequence[SpokenTurn]) -> dict[str, list[str]]:
    """Which turns, by their place from 0, look as if they spoke to the judge."""
    return find_suspicions({str(place): turn.content for place, turn in enumerate(turns)})
