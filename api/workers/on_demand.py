"""Grading one session because somebody asks: coalesced, answered from the ledger for a day, limited."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime

from ...domain.errors import AffidavitError, Refused
from ...domain.evaluation.config import AgentSuccessConfig
from ...projections.evaluation.pending import SessionRows, earliest_session, newest_grading, session_rows
from ..config import current_config
from ..drive.claims import Claims
from ..moment import LiveLedger
from .judging import Bench

CACHE_SECONDS = 86_400

_LOOK_AGAIN = 0.2


class JudgeFailed(AffidavitError):
    """The judge gave no grade; ``reason`` is the code that ``session.undecided`` bears."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the judge gave no grade: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class GradedOnDemand:
    """What a click is answered with. ``agent_version`` is the one that the grade stands under."""

    session_id: str
    result_id: int | None = None
    cached: bool = False
    skipped_reason: str | None = None
    retrieved_learning_status: str | None = None
    agent_version: str | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Ungraded:
    """A session that has content, and no grade of it that still counts; it would be graded under ``version``."""

    rows: SessionRows
    version: str


def look_up(live: LiveLedger, session_id: str, agent_version: str, now: int) -> GradedOnDemand | Ungraded:
    """What a click can be answered with for nothing at ``now`` (microseconds since 1970).

    It speaks of the session of the earliest request with this id. Its grade stands under ``agent_version`` if a
    request of the session has it, else under that of its last request: a version that never was would make a session
    of its own.
    """
    session_id = session_id.strip()
    aliases = [alias for alias, _ in live.ledger.find_aliases("session", session_id)]
    with live.moment() as moment:
        session = earliest_session(moment.views, moment.size, aliases) if aliases else None
        rows = None if session is None else session_rows(moment.views, moment.size, session)
        if rows is None:
            return GradedOnDemand(session_id, skipped_reason="NO_REQUESTS")
        version = agent_version if agent_version in rows.agent_versions else rows.agent_version
        if rows.through is None:
            return GradedOnDemand(session_id, retrieved_learning_status="skipped", agent_version=version)
        made = newest_grading(moment.views, moment.size, rows.session, version, rows.through)
        found = None if made is None else moment.events.event(made.seq)
    if made is None or found is None or now / 1_000_000 - _timestamp(found.at) >= CACHE_SECONDS:
        return Ungraded(rows, version)
    return GradedOnDemand(session_id, made.result_id, cached=True, agent_version=version, seq=made.seq)


class OnDemandGrader:
    """Grades single sessions. Safe from threads.

    A grade of the same content counts for a day, whoever made it; it is looked up on the ledger, so a restart
    forgets nothing. Callers who ask for the same at once share one grading, in other processes by the claim on it.
    """

    def __init__(self, live: LiveLedger, bench: Bench, claims: Claims, *, grades_per_minute: int) -> None:
        self._live = live
        self._bench = bench
        self._claims = claims
        self._grades_per_minute = grades_per_minute
        self._mutex = threading.Lock()
        self._running: dict[tuple[str, str, int | None], Future[GradedOnDemand]] = {}
        self._started: deque[int] = deque()

    def grade(self, session_id: str, agent_version: str) -> GradedOnDemand:
        """Grade the session that ``look_up`` speaks of, unless it has a grade that counts.

        ``Refused`` (``rate_limited``); ``JudgeFailed`` where the judge gave no grade, which is on the ledger as
        ``session.undecided``.
        """
        found = look_up(self._live, session_id, agent_version, self._bench.clock())
        return found if isinstance(found, GradedOnDemand) else self._shared(session_id, agent_version, found)

    def _shared(self, session_id: str, agent_version: str, found: Ungraded) -> GradedOnDemand:
        key = (found.rows.session, found.version, found.rows.through)
        with self._mutex:
            running = self._running.get(key)
            if running is None:
                own: Future[GradedOnDemand] = Future()
                self._running[key] = own
        if running is not None:
            return replace(running.result(), session_id=session_id.strip())
        try:
            own.set_result(self._claimed(session_id, agent_version, found.rows.session))
        except BaseException as error:
            own.set_exception(error)
        finally:
            with self._mutex:
                del self._running[key]
        return own.result()

    def _claimed(self, session_id: str, agent_version: str, session: str) -> GradedOnDemand:
        """Grade once nobody else grades this session on demand, unless that somebody left a grade that counts."""
        while True:
            with self._claims.claimed(f"on_demand/{session}") as held:
                if held:
                    found = look_up(self._live, session_id, agent_version, self._bench.clock())
                    return found if isinstance(found, GradedOnDemand) else self._graded(session_id, found)
            self._bench.asker.sleep(_LOOK_AGAIN)

    def _graded(self, session_id: str, found: Ungraded) -> GradedOnDemand:
        self._require_allowance()
        rows, version = found.rows, found.version
        grading = current_config(self._live.ledger).agent_success_config or AgentSuccessConfig()
        outcome = self._bench.grade(rows, grading.success_definition_prompt, "on_demand", version=version)
        if outcome.kind == "undecided":
            raise JudgeFailed(outcome.reason)
        with self._live.moment() as moment:
            made = newest_grading(moment.views, moment.size, rows.session, version, rows.through or 0)
        if made is None:  # somebody without the claim, on another machine, ended undecided
            raise JudgeFailed("overtaken")
        return GradedOnDemand(
            session_id.strip(),
            made.result_id,
            retrieved_learning_status="not_applicable",
            agent_version=version,
            seq=made.seq,
        )

    def _require_allowance(self) -> None:
        now = self._bench.clock()
        with self._mutex:
            while self._started and self._started[0] <= now - 60_000_000:
                self._started.popleft()
            if len(self._started) >= self._grades_per_minute:
                most = self._grades_per_minute
                raise Refused("rate_limited", f"{most} gradings on demand a minute are allowed; try again later")
            self._started.append(now)


def _timestamp(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
