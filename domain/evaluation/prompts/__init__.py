"""The judges' prompts, by version: public texts that a ledger publishes before it uses them.

A text has two parts, the instructions and the question, parted by the line ``=== question ===``. Names behind a
dollar sign are filled in once; what is filled in is not searched again. A text never changes under its version:
another wording is another version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import Literal

from . import grade_v1_0_0, shadow_v1_1_0, shadow_v1_2_0_transcript

Judge = Literal["shadow", "grade"]
_PARTING = "\n=== question ===\n"


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """The text of one version. ``transcript`` says that the earlier turns are shown."""

    judge: Judge
    version: str
    text: str
    transcript: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def messages(self, filled: Mapping[str, str]) -> tuple[dict[str, str], ...]:
        """The instructions as the system's message, the question as the user's; ``KeyError`` for a missing name."""
        instructions, question = self.text.split(_PARTING)
        parts = (("system", instructions), ("user", question))
        return tuple({"role": role, "content": Template(part).substitute(filled).strip()} for role, part in parts)


SHADOW_PROMPTS: Mapping[str, JudgePrompt] = {
    prompt.version: prompt
    for prompt in (
        JudgePrompt("shadow", "v1.1.0", shadow_v1_1_0.TEXT),
        JudgePrompt("shadow", "v1.2.0-transcript", shadow_v1_2_0_transcript.TEXT, transcript=True),
    )
}
GRADE_PROMPT = JudgePrompt("grade", "v1.0.0", grade_v1_0_0.TEXT, transcript=True)
"""The one version of the session grader's prompt; the definition of success comes from the configuration."""
