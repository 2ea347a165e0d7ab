"""The threads that send the calls of a run, and a call on its way through them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from ...domain.model_calls import ModelAnswered, ModelRequested, Reply
from ...domain.optimization.conversation import Question
from ..models.chat import Exchange, Model, Prepared
from .run_calls import Place


@dataclass(slots=True, eq=False)
class Call:
    """A call that has no outcome yet. ``exchange`` is set by a worker, ``error`` where the model raised instead."""

    question: Question
    model: Model
    requested: ModelRequested
    prepared: Prepared | None = None
    exchange: Exchange | None = None
    error: BaseException | None = None
    elapsed: float = 0.0
    reply: Reply | None = None
    tried: int = 0
    due: float = 0.0
    """When it is to be asked again."""

    @property
    def place(self) -> Place:
        return self.requested.site, self.requested.occurrence

    @property
    def back(self) -> bool:
        return self.exchange is not None or self.error is not None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one attempt; ``settles`` says that it is the outcome of its call."""

    call: Call
    requested: ModelRequested
    answered: ModelAnswered
    settles: bool


class Workers:
    """At most ``size`` threads that send. They are daemons: a server that never answers keeps no process alive.

    A call that came back is in ``arrived``. ``clock`` is in seconds.
    """

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self._size = size
        self._clock = clock
        self._work: SimpleQueue[Call | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.arrived: SimpleQueue[Call] = SimpleQueue()

    def submit(self, call: Call) -> None:
        """Send a prepared call as soon as a thread is free."""
        if len(self._threads) < self._size:
            thread = threading.Thread(target=self._serve, name=f"calls-{len(self._threads)}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._work.put(call)

    def close(self) -> None:
        """Let each thread end after the call that it is at; none is waited for."""
        for _ in self._threads:
            self._work.put(None)

    def _serve(self) -> None:
        while (call := self._work.get()) is not None:
            start = self._clock()
            try:
                assert call.prepared is not None
                exchange = call.model.send(call.prepared)
                call.elapsed = max(0.0, self._clock() - start)
                call.exchange = exchange
            except BaseException as error:  # raised again where the run is driven
                call.error = error
            self.arrived.put(call)
