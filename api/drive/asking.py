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

from ...domain.event import Withheld
from ...domain.model_calls import Ask, Conversation, ModelAnswered, ModelRequested, Reply
from ...ledger.watching import Watch, unwatched
from ..models.bodies import is_request_for
from ..models.chat import ChatModel
from ..models.patience import Patience
from .exchanges import Attempt, answered, reply_of
from .journal import Journal, Overtaken, Sleep

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks one model. ``sleep`` waits between tries and may raise to end the work; ``clock`` is in seconds."""

    model: ChatModel
    patience: Patience = field(default_factory=Patience)
    sleep: Sleep = time.sleep
    clock: Callable[[], float] = time.monotonic
    watch: Watch = unwatched

    def converse(self, journal: Journal, conversation: Conversation[T]) -> T:
        """Drive ``conversation`` to its conclusion, which is returned and not yet recorded.

        ``Overtaken`` where somebody else concludes the same work meanwhile; ``LedgerError`` as recording does.
        """
        recorded: dict[int, list[Attempt]] = {}
        for attempt in journal.attempts:
            recorded.setdefault(attempt.requested.occurrence, []).append(attempt)
        try:
            ask = next(conversation)
            for attempts in recorded.values():
                body = attempts[0].requested.body
                if isinstance(body, Withheld) or not is_request_for(ask, body):
                    break  # what was asked then is not what is asked now: these replies answer something else
                ask = conversation.send(_fed(attempts) or self._ask(journal, ask, attempts))
            while True:
                ask = conversation.send(self._ask(journal, ask, []))
        except StopIteration as stop:
            conclusion: T = stop.value
            return conclusion

    def _ask(self, journal: Journal, ask: Ask, earlier: list[Attempt]) -> Reply:
        """Ask until there is a reply or patience ends, after the attempts ``earlier`` of another process."""
        site = ask.site
        occurrence = earlier[0].requested.occurrence if earlier else journal.occurrences.get(site, 0)
        attempt, tried = max((past.requested.attempt for past in earlier), default=0), 0
        while True:
            prepared = self.model.prepare(ask)
            attempt, tried = attempt + 1, tried + 1
            requested = ModelRequested(
                site=site, occurrence=occurrence, attempt=attempt, model=self.model.model, body=prepared.body
            )
            journal.append(requested)
            start = self.clock()
            with self.watch("ask_model"):
                exchange = self.model.send(prepared)
            reply = _record(journal, answered(requested, exchange, self.clock() - start))
            if exchange.replied:
                return reply
            if self.model.step_down(prepared, exchange):
                tried -= 1  # the server said how it wants to be asked; that is no failure of its
                continue
            wait = self.patience.wait(tried, exchange)
            if wait is None:
                return reply
            self.sleep(wait)


def _record(journal: Journal, answer: ModelAnswered) -> Reply:
    """Record what came back, even if somebody else has concluded this meanwhile: it is paid for."""
    known = len(journal.concluded)
    seq = journal.append(answer, even_if_overtaken=True).seq
    if len(journal.concluded) > known:
        raise Overtaken(f"stream {journal.work.stream}: another worker has concluded this")
    return reply_of(answer, seq)


def _fed(attempts: list[Attempt]) -> Reply | None:
    """The recorded reply to a question, None where none came; ``Refused`` as ``reply_of`` does."""
    for attempt in attempts:
        if attempt.settles and attempt.answered is not None and attempt.answer_seq is not None:
            return reply_of(attempt.answered, attempt.answer_seq)
    return None
