"""The judges at work: they follow the ledger, and judge what waits there.

What waits is found on the ledger, so a restart, a crash or a full queue loses nothing: a queue here is a page of it.
As many are judged at once as ``eval_concurrency_limit`` says at that moment, at most ``MAX_THREADS``.

When the provider fails, what was being judged ends undecided, and the judges pause, longer each time; then one goes
ahead alone. So an outage costs few turns their verdict, and those are tried again later, ``TRIES`` times in all.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from ...domain.errors import AffidavitError
from ...domain.evaluation.config import AgentSuccessConfig, EvaluationConfig
from ...domain.evaluation.events import ConfigChanged, Made
from ...domain.evaluation.prompts import SHADOW_PROMPTS
from ...domain.evaluation.sampling import is_sampled, sticky_fraction
from ...ledger.application import system_clock
from ...ledger.entries.entry import format_at
from ...projections.evaluation.jobs import job_progress, unfinished_jobs
from ...projections.evaluation.pending import (
    DueSession,
    first_active_request,
    session_rows,
    sessions_to_grade,
    sessions_to_try_again,
    turns_to_judge,
    turns_to_try_again,
)
from ..config import current_config
from ..drive.asking import Asker
from ..drive.claims import Claims
from ..models.chat import ChatModel
from ..models.patience import PROVIDER_REASONS, Patience
from ..moment import LiveLedger, Moment
from ..telling import Sparing, print_error, told
from .judging import Bench, Outcome
from .on_demand import OnDemandGrader
from .regeneration import Plan, finish_job, is_cancelled, left_of, plan_job
from .settings import MAX_THREADS, WorkerSettings

PAGE = 1000
TRIES = 3
TRY_AGAIN_AFTER = 600
"""Seconds until a turn that the provider failed is tried again."""

_LIGHTS = (("green", 300), ("amber", 1800))
"""Up to how many seconds after the last look at the ledger that went well."""

_Part = Literal["look", "pin", "provider", "work"]

_LOG = logging.getLogger("affidavit.judging")
_PAUSES = (5.0, 15.0, 60.0, 300.0)
_POLL = 1.0
_LATER = 30.0


class Stopping(Exception):
    """The judges are told to stop; what was being waited for is left to the next start."""


@dataclass(frozen=True, slots=True)
class Item:
    """One piece of work: a ``turn`` to judge, or a ``session`` to grade; for a job, as of its first entries."""

    turn: int | None = None
    session: str | None = None
    job: str | None = None
    upto: int | None = None
    version: str | None = None

    @property
    def key(self) -> str:
        subject = f"shadow/{self.turn}" if self.session is None else f"session/{self.session}"
        return f"{subject} {self.job or 'live'}"


@dataclass(frozen=True, slots=True)
class Summary:
    """What the judges did: turns and sessions with and without a conclusion, jobs ended; and what still waits."""

    turns: int
    turns_undecided: int
    sessions: int
    sessions_undecided: int
    jobs: int
    waiting: int
    problem: str | None


class Judges:
    """Judge turns, grade sessions and work through regenerations of one ledger, with one model.

    ``start`` and ``stop`` run them in the background, ``run_once`` judges what waits now. The model and the ledger are
    the caller's to close, after ``stop``.
    """

    def __init__(
        self,
        live: LiveLedger,
        model: ChatModel,
        *,
        settings: WorkerSettings | None = None,
        clock: Callable[[], int] = system_clock,
        patience: Patience | None = None,
        on_outcome: Callable[[Item, Outcome], None] | None = None,
    ) -> None:
        self._live = live
        self._model = model
        self._settings = settings or WorkerSettings()
        self._clock = clock
        self._on_outcome = on_outcome
        self._stopping = threading.Event()
        asker = Asker(model, patience or Patience(), self._sleep, watch=live.ledger.watch)
        self.bench = Bench(live.ledger, asker, clock)
        self._claims = Claims(live.ledger.place)
        self.on_demand = OnDemandGrader(
            live, self.bench, self._claims, grades_per_minute=self._settings.grades_per_minute
        )
        self._changed = threading.Condition()
        self._waiting: deque[Item] = deque()
        self._of_jobs: deque[Item] = deque()
        self._took_live = False
        self._later: list[tuple[float, Item]] = []
        self._known: set[str] = set()
        self._outstanding: Counter[str | None] = Counter()
        self._in_flight = 0
        self._low_turn = 0
        self._low_request = 0
        self._plans: dict[str, Plan] = {}
        self._more = False
        self._looked_again = float("-inf")
        self._pauses = 0
        self._paused_until = float("-inf")
        self._problems: dict[_Part, tuple[str, str]] = {}  # for the log, and as told to who asks
        self._sparing = Sparing()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._jobs_ended = 0
        self._last_tick: int | None = None
        self._poked = False
        self._thread: threading.Thread | None = None
        self._pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="judge")

    def start(self) -> None:
        """Follow the ledger in the background until ``stop``."""
        self._thread = threading.Thread(target=self._follow, name="judges", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop: calls in flight are finished and recorded, waiting between tries is not."""
        self._stopping.set()
        self.poke()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._pool.shutdown(cancel_futures=True)
        self._claims.close()

    def poke(self) -> None:
        """Say that something may wait; without it the judges look every second."""
        with self._changed:
            self._poked = True
            self._changed.notify_all()

    def run_once(self) -> Summary:
        """Judge what waits now, until nothing does, or the provider fails. What another process is at is left to it."""
        self._refill(again_before=self._clock() + 1_000_000)
        while not self._stopping.is_set() and self._pauses == 0:
            self._dispatch()
            with self._changed:
                if self._in_flight:
                    self._changed.wait(_POLL)
                    continue
            if not self._waiting and not self._of_jobs and not self._refill():
                break
        with self._changed:
            while self._in_flight:
                self._changed.wait(_POLL)
        self._end_jobs()
        return self.summary()

    def summary(self) -> Summary:
        """What was done since this object was made."""
        with self._changed:
            return Summary(
                turns=self._counts["turn", "judged"],
                turns_undecided=self._counts["turn", "undecided"],
                sessions=self._counts["session", "judged"],
                sessions_undecided=self._counts["session", "undecided"],
                jobs=self._jobs_ended,
                waiting=len(self._known),
                problem=self.problem,
            )

    def status(self) -> dict[str, Any]:
        """For health checks: what waits (as far as it is queued), what is wrong, when the ledger was last looked at."""
        age = float("inf") if self._last_tick is None else (self._clock() - self._last_tick) / 1_000_000
        with self._changed:
            items = [*self._waiting, *self._of_jobs, *(item for _, item in self._later)]
            return {
                "model": self._model.model,
                "running": self._thread is not None,
                "liveness": next((light for light, seconds in _LIGHTS if age <= seconds), "red"),
                "last_tick": None if self._last_tick is None else format_at(self._last_tick),
                "in_flight": self._in_flight,
                "pending_turns": sum(item.session is None for item in items),
                "pending_sessions": sum(item.session is not None for item in items),
                "running_jobs": sorted(self._plans),
                "judged_turns": self._counts["turn", "judged"],
                "undecided_turns": self._counts["turn", "undecided"],
                "graded_sessions": self._counts["session", "judged"],
                "undecided_sessions": self._counts["session", "undecided"],
                "paused": self._pauses > 0,
                "problem": "; ".join(public for _, public in self._problems.values()) or None,
            }

    @property
    def problem(self) -> str | None:
        """What is wrong, for who runs it; ``status`` says as much of it as those who ask may know."""
        with self._changed:
            return "; ".join(whole for whole, _ in self._problems.values()) or None

    def _note(self, part: _Part, problem: Exception | None) -> None:
        """Say what is wrong with a part, None for nothing any more."""
        with self._changed:
            if problem is None:
                self._problems.pop(part, None)
                return
            whole, public = self._problems[part] = print_error(problem), told(problem)
        if public != whole and self._sparing.may_say(whole):
            _LOG.warning("judging: %s", whole)

    # Finding work. Only one thread at a time does this: the one that follows, or the one in run_once.

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                if time.monotonic() - self._looked_again >= TRY_AGAIN_AFTER / 10:
                    self._looked_again = time.monotonic()
                    self._refill(again_before=self._clock() - TRY_AGAIN_AFTER * 1_000_000)
                else:
                    self._refill()
                self._end_jobs()
                self._dispatch()
            except Exception as error:  # a look that fails must not end the judging
                self._more = False
                self._note("look", error)
            else:
                self._note("look", None)
            with self._changed:
                looks_on = self._more and len(self._waiting) < PAGE
                if not self._poked and not looks_on:
                    self._changed.wait(_POLL)
                self._poked = False

    def _refill(self, again_before: int | None = None) -> bool:
        """Queue what waits on the ledger, as far as there is room; whether something is queued, or more to find."""
        more = self._look(again_before)
        self._last_tick = self._clock()
        return more

    def _look(self, again_before: int | None) -> bool:
        with self._changed:
            due = [item for at, item in self._later if at <= time.monotonic()]
            self._later = [(at, item) for at, item in self._later if at > time.monotonic()]
            for item in due:
                self._put(item)
        if len(self._waiting) >= PAGE:
            return True
        with self._live.moment() as moment:
            if again_before is not None:
                self._queue_again(moment, format_at(again_before))
            more = self._queue_turns(moment)
            self._more = self._queue_sessions(moment) or more
            self._queue_jobs(moment)
        return self._more or bool(self._waiting or self._of_jobs)

    def _queue_turns(self, moment: Moment) -> bool:
        version = self._pinned()
        if version is None:
            return False
        turns = turns_to_judge(moment.views, moment.size, low=self._low_turn, limit=PAGE)
        full = len(turns) == PAGE
        self._low_turn = turns[-1] + 1 if full else moment.size
        self._queue(Item(turn=turn) for turn in turns)
        return full

    def _queue_sessions(self, moment: Moment) -> bool:
        idle_since = self._idle_since()
        page = sessions_to_grade(moment.views, moment.size, idle_since=idle_since, low=self._low_request, limit=PAGE)
        self._queue(Item(session=due.session) for due in self._sampled(moment, page))
        full = len(page) == PAGE
        active = first_active_request(moment.views, moment.size, idle_since=idle_since, low=self._low_request)
        self._low_request = min(page[-1].last + 1 if full else moment.size, active)
        return full

    def _idle_since(self) -> int:
        return self._clock() // 1_000_000 - self._settings.idle_seconds

    def _queue_again(self, moment: Moment, before: str) -> None:
        if self._pinned() is not None:
            turns = turns_to_try_again(moment.views, moment.size, PROVIDER_REASONS, before=before, tries=TRIES)
            self._queue(Item(turn=turn) for turn in turns)
        due = sessions_to_try_again(moment.views, moment.size, PROVIDER_REASONS, before=before, tries=TRIES)
        self._queue(Item(session=found.session) for found in due)

    def _queue_jobs(self, moment: Moment) -> None:
        for job in unfinished_jobs(moment.views, moment.size):
            if job in self._plans:
                continue
            progress = job_progress(moment.views, moment.size, job)
            if progress is None:
                continue
            if progress.shadow and progress.version not in SHADOW_PROMPTS:
                finish_job(self._live, job, "judge_prompt_unknown")  # started by a version that knew more
                continue
            plan = plan_job(moment.views, progress)
            self._plans[job] = plan
            sessions, turns = left_of(moment.views, moment.size, plan)
            self._queue(Item(session=session, job=job, upto=plan.upto) for session in sessions)
            self._queue(Item(turn=turn, job=job, version=plan.version) for turn in turns)

    def _queue(self, items: Iterable[Item]) -> None:
        with self._changed:
            for item in items:
                if item.key not in self._known:
                    self._known.add(item.key)
                    self._outstanding[item.job] += 1
                    self._put(item)

    def _put(self, item: Item) -> None:
        (self._waiting if item.job is None else self._of_jobs).append(item)

    def _take(self) -> Item | None:
        """The next item; live work and jobs take turns, so that neither starves the other."""
        of_jobs = bool(self._of_jobs) and (self._took_live or not self._waiting)
        queue = self._of_jobs if of_jobs else self._waiting
        self._took_live = not of_jobs
        return queue.popleft() if queue else None

    def _sampled(self, moment: Moment, page: list[DueSession]) -> list[DueSession]:
        """Those in the sample, by the configuration in force when their last request was recorded."""
        names = moment.names_of({alias for due in page for alias in (due.user, due.session)})
        configs = _ConfigHistory(moment)
        return [due for due in page if self._is_sampled(configs.at(due.last), due, names)]

    def _is_sampled(self, config: EvaluationConfig, due: DueSession, names: dict[str, str | None]) -> bool:
        grading = config.agent_success_config
        user, session = names[due.user], names[due.session]
        if grading is None or user is None or session is None:  # switched off, or erased
            return False
        if grading.request_sources_enabled is not None and due.source not in grading.request_sources_enabled:
            return False
        rate = grading.sampling_rate
        if due.evaluation_only and grading.evaluation_only_sampling_rate is not None:
            rate = grading.evaluation_only_sampling_rate
        return is_sampled(sticky_fraction(self._settings.org, user, session), rate)

    def _pinned(self) -> str | None:
        """The pinned version; None, and a problem shown, where there is no prompt of that version: turns wait then."""
        version = current_config(self._live.ledger).shadow_comparison_judge_prompt_version
        if version in SHADOW_PROMPTS:
            self._note("pin", None)
            return version
        known = ", ".join(sorted(SHADOW_PROMPTS))
        self._note("pin", AffidavitError(f"no shadow judge prompt {version!r} (known: {known}); turns wait"))
        return None

    # Doing it.

    def _dispatch(self) -> None:
        """Hand out what is queued, up to the limit that the configuration sets now."""
        while not self._stopping.is_set():
            limit = min(current_config(self._live.ledger).eval_concurrency_limit, MAX_THREADS)
            with self._changed:
                if self._pauses:
                    limit = 0 if time.monotonic() < self._paused_until else 1
                item = self._take() if self._in_flight < limit else None
                if item is None:
                    return
                self._in_flight += 1
            self._pool.submit(self._work, item)

    def _work(self, item: Item) -> None:
        outcome: Outcome | None = None
        problem: Exception | None = None
        again = True
        try:
            outcome, again = self._judge(item)
        except Stopping:
            pass
        except Exception as error:  # shown in the status; the item is tried again later
            problem = error
        if outcome is not None and self._on_outcome is not None:
            try:
                self._on_outcome(item, outcome)
            except Exception as error:  # whoever only watches must not stop the work
                problem = error
        with self._changed:
            self._in_flight -= 1
            self._settle(item, outcome, problem, again)
            self._changed.notify_all()
            self._poked = True

    def _judge(self, item: Item) -> tuple[Outcome | None, bool]:
        """How it ended, and whether it is to be looked at again."""
        with self._claims.claimed(item.key) as held:
            if not held:
                return None, True
            if item.job is not None and is_cancelled(self._live.ledger, item.job):
                return None, False
            if item.turn is not None:
                version = item.version or self._pinned()
                return (None, True) if version is None else (self.bench.judge(item.turn, version, item.job), False)
            with self._live.moment() as moment:
                rows = session_rows(moment.views, item.upto or moment.size, item.session or "")
            if rows is None or (item.job is None and rows.last_at > self._idle_since()):
                return None, False  # it goes on: its newer request will be found when that is idle
            grading = current_config(self._live.ledger).agent_success_config or AgentSuccessConfig()
            made: Made = "live" if item.job is None else "regeneration"
            return self.bench.grade(rows, grading.success_definition_prompt, made, job=item.job), False

    def _settle(self, item: Item, outcome: Outcome | None, problem: Exception | None, again: bool) -> None:
        if problem is not None:
            self._note("work", problem)
        if again:
            self._later.append((time.monotonic() + _LATER, item))
            return
        self._known.discard(item.key)
        self._outstanding[item.job] -= 1
        if outcome is None or outcome.kind == "already":
            return
        self._counts["turn" if item.session is None else "session", outcome.kind] += 1
        if outcome.provider_failed:
            self._paused_until = time.monotonic() + _PAUSES[min(self._pauses, len(_PAUSES) - 1)]
            self._pauses += 1
            self._note("provider", AffidavitError(f"the provider fails: {outcome.reason}"))
        elif outcome.kind == "judged":
            self._pauses = 0
            self._note("provider", None)
            self._note("work", None)

    def _end_jobs(self) -> None:
        """End the jobs that are through, or cancelled with nothing of them in flight."""
        for job, plan in list(self._plans.items()):
            with self._changed:
                if self._outstanding[job]:
                    continue
            with self._live.moment() as moment:
                left = left_of(moment.views, moment.size, plan)
            del self._plans[job]
            if any(left) and not is_cancelled(self._live.ledger, job):
                continue  # another process had the rest, and let go of it: look anew
            if finish_job(self._live, job):
                self._jobs_ended += 1

    def _sleep(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise Stopping


class _ConfigHistory:
    """The configurations of a ledger as of one moment, each read once."""

    def __init__(self, moment: Moment) -> None:
        self._events = moment.events
        self._seqs = [recorded.seq for recorded in moment.events.stream("config", moment.size)]
        self._read: dict[int, EvaluationConfig] = {}

    def at(self, seq: int) -> EvaluationConfig:
        """The configuration in force when entry ``seq`` was recorded."""
        changed = max((found for found in self._seqs if found < seq), default=-1)
        if changed not in self._read:
            found = None if changed < 0 else self._events.event(changed)
            document = found.event.document if found is not None and isinstance(found.event, ConfigChanged) else None
            self._read[changed] = EvaluationConfig.model_validate(document if isinstance(document, dict) else {})
        return self._read[changed]
