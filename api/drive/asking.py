"""The live loop: drives a conversation, each attempt on the ledger before and after it is sent.

``model.requested`` is durable before a byte leaves; ``model.answered`` follows with the exact body. After a kill the
same loop runs again: replies that are recorded are fed without a call, so none is bought twice; a request that has
no answer is a call of unknown cost, and the next attempt is made beside it, both visible for good.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ...domain.model_calls import Ask, Conversation, ModelAnswered, ModelRequested, Reply
from ..models.chat import ChatModel, Exchange, is_request_for, read_chat
from ..models.patience import Patience
from .journal import Call, Journal, Overtaken, Sleep

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks one model. ``sleep`` waits between tries and may raise to end the work; ``clock`` is in seconds."""

    model: ChatModel
    patience: Patience = field(default_factory=Patience)
    sleep: Sleep = time.sleep
    clock: Callable[[], float] = time.monotonic

    def converse(self, journal: Journal, conversation: Conversation[T]) -> T:
        """Drive ``conversation`` to its conclusion, which is returned and not yet recorded.

        ``Overtaken`` where somebody else concludes the same work meanwhile; ``LedgerError`` as recording does.
        """
        recorded: dict[int, list[Call]] = {}
        for call in journal.calls:
            recorded.setdefault(call.requested.occurrence, []).append(call)
        try:
            ask = next(conversation)
            for calls in recorded.values():
                if not is_request_for(ask, _opened(calls[0].requested.body)):
                    break  # what was asked then is not what is asked now: these replies answer something else
                ask = conversation.send(_fed(calls) or self._ask(journal, ask, calls))
            while True:
                ask = conversation.send(self._ask(journal, ask, []))
        except StopIteration as stop:
            conclusion: T = stop.value
            return conclusion

    def _ask(self, journal: Journal, ask: Ask, calls: list[Call]) -> Reply:
        """Ask until there is a reply or patience ends, after the attempts ``calls`` of an earlier process."""
        site = ask.site
        occurrence = calls[0].requested.occurrence if calls else journal.occurrences.get(site, 0)
        attempt, tried = max((call.requested.attempt for call in calls), default=0), 0
        while True:
            prepared = self.model.prepare(ask)
            attempt, tried = attempt + 1, tried + 1
            requested = ModelRequested(
                site=site, occurrence=occurrence, attempt=attempt, model=self.model.model, body=prepared.body
            )
            journal.append(requested)
            start = self.clock()
            exchange = self.model.send(prepared)
            reply = self._record(journal, requested, exchange, self.clock() - start)
            if exchange.replied:
                return reply
            if self.model.step_down(prepared, exchange):
                tried -= 1  # the server said how it wants to be asked; that is no failure of its
                continue
            wait = self.patience.wait(tried, exchange)
            if wait is None:
                return reply
            self.sleep(wait)

    def _record(self, journal: Journal, requested: ModelRequested, exchange: Exchange, elapsed: float) -> Reply:
        said = read_chat(exchange.body) if exchange.replied else None
        reason = exchange.reason or (said.reason if said is not None else "") or None
        answered = ModelAnswered(
            site=requested.site,
            occurrence=requested.occurrence,
            attempt=requested.attempt,
            outcome=exchange.outcome,
            status=exchange.status,
            reason=reason,
            prompt_tokens=None if said is None else said.prompt_tokens,
            completion_tokens=None if said is None else said.completion_tokens,
            elapsed_seconds=round(max(0.0, elapsed), 6),
            body=exchange.body,
        )
        known = len(journal.concluded)
        seq = journal.append(answered, even_if_overtaken=True).seq
        if len(journal.concluded) > known:
            raise Overtaken(f"stream {journal.work.stream}: another worker has concluded this")
        return Reply(None if said is None else said.text, reason or "", seq)


def _fed(calls: list[Call]) -> Reply | None:
    """The recorded reply to a question, None where none came or it is no longer open."""
    for call in calls:
        if call.answer is not None and call.answered is not None and call.answered.outcome == "replied":
            said = read_chat(_opened(call.answered.body) or None)
            return Reply(said.text, call.answered.reason or said.reason, call.answer.seq)
    return None


def _opened(body: object) -> str:
    return body if isinstance(body, str) else ""
