"""An attempt at a call: what is recorded of an exchange with a model, and the reply that is read back from it."""

from __future__ import annotations

from dataclasses import dataclass

from ...domain.errors import Refused
from ...domain.event import Withheld
from ...domain.model_calls import ModelAnswered, ModelRequested, Reply
from ...domain.text import without_surrogates
from ..models.bodies import read_chat
from ..models.chat import Exchange


@dataclass(slots=True)
class Attempt:
    """One try of a call as it was recorded: the request, and the answer if one came, each with its entry."""

    requested: ModelRequested
    request_seq: int
    answered: ModelAnswered | None = None
    answer_seq: int | None = None

    @property
    def settles(self) -> bool:
        """Whether this is the outcome of the call: a reply, or the failure after which no further try was made."""
        return self.answered is not None and (self.answered.outcome == "replied" or bool(self.answered.gave_up))


def answered(
    requested: ModelRequested, exchange: Exchange, elapsed: float, gave_up: bool | None = None
) -> ModelAnswered:
    """What is recorded of the exchange that ``requested`` led to; ``elapsed`` is in seconds."""
    said = read_chat(exchange.body) if exchange.replied else None
    return ModelAnswered(
        site=requested.site,
        occurrence=requested.occurrence,
        attempt=requested.attempt,
        outcome=exchange.outcome,
        status=exchange.status,
        reason=exchange.reason or (said.reason if said is not None else "") or None,
        prompt_tokens=None if said is None else said.prompt_tokens,
        completion_tokens=None if said is None else said.completion_tokens,
        elapsed_seconds=round(max(0.0, elapsed), 6),
        gave_up=gave_up,
        body=exchange.body,
    )


def reply_of(answer: ModelAnswered, seq: int) -> Reply:
    """The outcome of a call as whoever asked is sent it: the same whether it came just now or is read back.

    ``Refused`` (``content_withheld``) where its text is not open here.
    """
    if answer.outcome != "replied":
        return Reply(None, answer.reason or "", seq, answer.prompt_tokens, answer.completion_tokens)
    if isinstance(answer.body, Withheld):
        raise Refused("content_withheld", f"entry {seq}: the reply is {answer.body}; without it nothing can be done")
    said = read_chat(answer.body)
    return Reply(
        None if said.text is None else without_surrogates(said.text),
        answer.reason or said.reason,
        seq,
        answer.prompt_tokens,
        answer.completion_tokens,
    )
