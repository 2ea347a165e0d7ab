"""Publishing: requests from many callers become durable together.

Whoever publishes waits for one writer thread. It takes all that wait, finds their aliases in one transaction,
and records them in one commit; each request is recorded whole or not at all. A request that is published again
under its id is answered from the log: with the same acknowledgement where it says the same, else ``Refused``.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Self

from ..domain.errors import AffidavitError, Refused
from ..domain.evaluation.events import RequestPublished
from ..domain.evaluation.publication import Aliases, Publication, publish
from ..domain.event import Meta, NewEvent
from ..ledger.application import Acknowledged, Ledger
from ..ledger.errors import Conflict, LedgerError, NotNow, Unavailable
from .settings import recorder_name

MAX_WAITING = 20_000
"""Interactions that may wait for the writer; one more is refused as overload."""

BATCH = 2000
"""Interactions that the writer takes into one commit, but for the last request of it."""

LINGER = 0.0003
"""Seconds that the writer waits after a commit that several shared: who has just been answered may have the next
request at hand, which then waits for the disk with the others and not after them."""

MAX_KNOWN = 50_000
"""Aliases that are kept in memory."""


@dataclass(frozen=True, slots=True)
class Published:
    """A request is durable and chained, as of the first ``size`` entries, whose root is ``root``."""

    request_id: str
    request: Acknowledged
    interactions: tuple[Acknowledged, ...]
    size: int
    root: bytes
    repeated: bool = False


@dataclass(slots=True)
class _Waiting:
    publication: Publication
    new_id: bool
    answer: Future[Published]
    events: list[NewEvent] = field(default_factory=list)
    again: bool = False


class Publisher:
    """Publishes onto one ledger. Safe from threads and beside other processes. Close it before the ledger."""

    def __init__(self, ledger: Ledger, *, max_waiting: int = MAX_WAITING) -> None:
        self._ledger = ledger
        self._max_waiting = max_waiting
        self._recorder = recorder_name()
        self._queue: deque[_Waiting] = deque()
        self._queued = 0
        self._ready = threading.Condition()
        self._closed = False
        self._known: dict[tuple[str, str], str] = {}  # (scope, name) to alias, of users and sessions
        self._writer = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._writer.start()

    def submit(self, publication: Publication, *, new_id: bool = False) -> Future[Published]:
        """Hand in a request. ``new_id`` says that its id was made for it, so that nobody can have used it.

        The future fails as ``publish`` does; ``NotNow`` at once where too many wait or it is closed.
        """
        answer: Future[Published] = Future()
        with self._ready:
            if self._closed:
                raise NotNow("the publisher is closed; nothing was recorded")
            if self._queued >= self._max_waiting:
                raise NotNow(f"{self._queued} interactions wait to be recorded; try again later")
            self._queued += 1 + len(publication.turns)
            self._queue.append(_Waiting(publication, new_id, answer))
            self._ready.notify()
        return answer

    def publish(self, publication: Publication, *, new_id: bool = False) -> Published:
        """Record a request; durable and chained when this returns.

        ``Refused``: ``request_id_taken`` where the id stands for another payload, ``entry_fits`` where something
        open in it is too long.
        """
        return self.submit(publication, new_id=new_id).result()

    def forget(self) -> None:
        """Forget the names that are kept in memory, after one of them was erased."""
        self._known.clear()

    def close(self) -> None:
        """Record what waits, then stop."""
        with self._ready:
            self._closed = True
            self._ready.notify()
        self._writer.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while taken := self._take():
            # Who has gone away meanwhile is left out; from here on nobody can.
            batch = [waiting for waiting in taken if waiting.answer.set_running_or_notify_cancel()]
            try:
                self._record(batch)
            except Exception as error:  # nobody may wait for ever
                for waiting in batch:
                    _fail(waiting, error)
            if len(batch) > 1:
                time.sleep(LINGER)

    def _take(self) -> list[_Waiting]:
        with self._ready:
            while not self._queue and not self._closed:
                self._ready.wait()
            batch: list[_Waiting] = []
            taken = 0
            while self._queue and taken < BATCH:
                batch.append(self._queue.popleft())
                taken += 1 + len(batch[-1].publication.turns)
            self._queued -= taken
            return batch

    def _record(self, batch: list[_Waiting]) -> None:
        repeats: list[_Waiting] = []
        fresh: list[_Waiting] = []
        seen: set[str] = set()
        with self._ledger.naming():
            for waiting in batch:
                request_id = waiting.publication.request_id
                if request_id in seen:
                    repeats.append(waiting)  # its twin is on the way in
                    continue
                seen.add(request_id)
                if self._prepare(waiting):
                    fresh.append(waiting)
        erased: list[_Waiting] = []
        self._append(fresh, repeats, erased)
        if erased:
            with self._ledger.naming():
                named = [waiting for waiting in erased if self._prepare_again(waiting)]
            self._append(named, repeats, erased)
        for waiting in repeats:
            _settle(waiting, self._read_back)

    def _prepare(self, waiting: _Waiting) -> bool:
        """Name the request and make its events; False where it has failed."""
        publication = waiting.publication
        try:
            user, session = self._who(publication)
            scope = f"user/{user}"
            request = self._request_alias(publication.request_id, scope, new_id=waiting.new_id)
            meta = Meta(recorder=self._recorder, scope=scope)
            stream = f"request/{request}"
            events = publish(publication, Aliases(user, session, request))
            waiting.events = [NewEvent(stream, pos, event, meta) for pos, event in enumerate(events)]
        except (AffidavitError, ValueError) as error:
            if _is_erased(error) and not waiting.again:
                return self._prepare_again(waiting)
            _fail(waiting, error)
            return False
        return True

    def _prepare_again(self, waiting: _Waiting) -> bool:
        """The user whom we knew was erased meanwhile, and is somebody new now."""
        waiting.again = True
        self._known.clear()
        return self._prepare(waiting)

    def _who(self, publication: Publication) -> tuple[str, str]:
        """The aliases of user and session; kept, because appending under an erased user is refused anyhow."""
        user = self._alias("user", publication.user_id, None)
        return user, self._alias("session", publication.session_id, f"user/{user}")

    def _alias(self, kind: str, name: str, under: str | None) -> str:
        alias = self._known.get((under or "", name))
        if alias is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            alias = self._known[under or "", name] = self._ledger.alias(kind, name, under=under)
        return alias

    def _request_alias(self, request_id: str, scope: str, *, new_id: bool) -> str:
        """The alias whose stream decides about a request id: the oldest, whoever's it is."""
        if new_id:
            return self._ledger.alias("request", request_id, under=scope)
        return self._ledger.scopes.oldest_alias("request", request_id, scope)

    def _append(self, fresh: list[_Waiting], repeats: list[_Waiting], erased: list[_Waiting]) -> None:
        """Record all in one commit; where one of them cannot be, each in its own, so that it fails alone."""
        if not fresh:
            return
        try:
            acknowledged = self._ledger.record(*(event for waiting in fresh for event in waiting.events))
        except (LedgerError, Refused) as error:
            if isinstance(error, Unavailable):
                for waiting in fresh:
                    _fail(waiting, error)
            elif len(fresh) > 1:
                for waiting in fresh:
                    self._append([waiting], repeats, erased)
            elif isinstance(error, Conflict):
                repeats.append(fresh[0])
            elif _is_erased(error) and not fresh[0].again:
                erased.append(fresh[0])
            else:
                _fail(fresh[0], error)
        else:
            size, root = self._head()
            start = 0
            for waiting in fresh:
                stop = start + len(waiting.events)
                request, *interactions = acknowledged[start:stop]
                start = stop
                request_id = waiting.publication.request_id
                waiting.answer.set_result(Published(request_id, request, tuple(interactions), size, root))

    def _head(self) -> tuple[int, bytes]:
        with self._ledger.recorder.reading() as reader:
            head = reader.head()
            return head.size, head.root()

    def _read_back(self, waiting: _Waiting) -> Published:
        """What the log says of a request that is on it already."""
        publication = waiting.publication
        for alias, _ in self._ledger.find_aliases("request", publication.request_id):
            stream = f"request/{alias}"
            with self._ledger.recorder.reading() as reader:
                head = reader.head()
                acknowledged = [Acknowledged(row.seq, row.leaf) for row in reader.stream(stream)]
                recorded = [found.event for found in self._ledger.event_reader(reader).stream(stream)]
            if recorded:
                user, session = self._who(publication)
                if not _says_the_same(recorded, publish(publication, Aliases(user, session, alias))):
                    break
                request, *interactions = acknowledged
                return Published(
                    publication.request_id, request, tuple(interactions), head.size, head.root(), repeated=True
                )
        raise Refused(
            "request_id_taken",
            f"request_id {publication.request_id!r}: it stands for another payload already; nothing was recorded",
        )


def _says_the_same(recorded: Sequence[object], again: Sequence[object]) -> bool:
    """Whether what was recorded has the payload of ``again``; when it arrived is no part of that."""
    if len(recorded) != len(again):
        return False
    for old, new in zip(recorded, again, strict=True):
        if type(old) is not type(new):
            return False
        fields = {**old.__dict__}, {**new.__dict__}
        for found in fields:
            found.pop("requested_at" if isinstance(new, RequestPublished) else "created_at")
        if isinstance(old, RequestPublished) and isinstance(new, RequestPublished):
            _forget_version(old, new, *fields)
            _forget_id(*fields)
        if fields[0] != fields[1]:
            return False
    return True


def _forget_version(old: RequestPublished, new: RequestPublished, *fields: dict[str, Any]) -> None:
    """Take the agent version out of what is compared where both mean the same one.

    Who leaves it out means the server's, which may be another by now, and may be named when it is sent again.
    """
    if not isinstance(old.sent, dict) or not isinstance(new.sent, dict):
        return
    if old.agent_version == new.agent_version or old.sent.get("agent_version") == new.sent.get("agent_version"):
        for found in fields:
            del found["agent_version"]
            found["sent"] = {name: value for name, value in found["sent"].items() if name != "agent_version"}


def _forget_id(*fields: dict[str, Any]) -> None:
    """Take the id that both were asked under out of what is compared: who left it out was told it, and may name it."""
    for found in fields:
        if isinstance(found["sent"], dict):
            found["sent"] = {name: value for name, value in found["sent"].items() if name != "request_id"}


def _is_erased(error: Exception) -> bool:
    return isinstance(error, Refused) and error.rule == "scope_erased"


def _settle(waiting: _Waiting, find: Callable[[_Waiting], Published]) -> None:
    try:
        published = find(waiting)
    except Exception as error:  # whoever waits is told
        _fail(waiting, error)
    else:
        waiting.answer.set_result(published)


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
