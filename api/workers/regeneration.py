"""Regeneration: judging a stratified sample of what is on the ledger again, as a set of events.

A job is its ``regeneration.started``: from the seed, the window and the first ``upto`` entries follows what it works
on, and from the conclusions on the ledger what is left of it. So a restart goes on where the last process stopped,
and there is no state to lose.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection

from ...domain.errors import Refused
from ...domain.evaluation.events import RegenerationCancelled, RegenerationFinished, RegenerationStarted
from ...domain.evaluation.prompts import SHADOW_PROMPTS
from ...domain.evaluation.sampling import draw
from ...domain.event import Meta, NewEvent
from ...ledger.application import Ledger
from ...ledger.errors import Conflict
from ...projections.evaluation.jobs import (
    JobProgress,
    concluded_sessions,
    concluded_turns,
    job_progress,
    running_jobs,
)
from ...projections.evaluation.pending import regeneration_candidates, turns_to_judge_anew
from ..config import current_config
from ..moment import LiveLedger
from ..settings import recorder_name
from .settings import MAX_THREADS

LOCK = "regeneration"


@dataclass(frozen=True, slots=True)
class StartedJob:
    """A job is on the ledger. ``total`` counts the (session, agent version, source) in the window before sampling."""

    job: str
    total: int
    candidates: int
    sampled: int
    shadow: bool
    seq: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a job works on: ``sessions`` to grade, and of these the ``turns`` to judge under ``version``."""

    job: str
    upto: int
    version: str
    sessions: tuple[str, ...]
    turns: tuple[int, ...]


def start_regeneration(
    live: LiveLedger, from_at: int, to_at: int, *, random: Callable[[int], bytes] = os.urandom, actor: str | None = None
) -> StartedJob:
    """Start a job over the sessions with a request in ``[from_at, to_at]`` (seconds); its work is the workers'.

    Turns are judged anew where the pinned version has a prompt and has not judged them.
    ``Refused``: ``window_ordered``; ``regeneration_running`` where one has neither ended nor been cancelled.
    """
    if from_at >= to_at:
        raise Refused("window_ordered", f"from_ts {from_at}, to_ts {to_at}: expected from_ts before to_ts")
    ledger = live.ledger
    config = current_config(ledger)
    version = config.shadow_comparison_judge_prompt_version
    job, seed = random(16).hex(), random(16).hex()
    n = config.eval_sample_n_per_stratum
    with ledger.place.alone(LOCK):  # of two that start at once, the second must see the first
        with live.moment() as moment:
            if running_jobs(moment.views, moment.size):
                raise Refused("regeneration_running", "A regenerate is already running for this org")
            upto = moment.size
            found = regeneration_candidates(moment.views, upto, from_at, to_at)
            sampled = draw(seed, found.strata, n)
            sessions = [session for drawn in sampled.values() for session in drawn]
            known = version in SHADOW_PROMPTS
            anew = turns_to_judge_anew(moment.views, upto, sessions, version) if known else {}
        strata = [[*stratum, len(found.strata[stratum]), len(drawn)] for stratum, drawn in sampled.items()]
        event = RegenerationStarted(
            job=job,
            from_at=from_at,
            to_at=to_at,
            upto=upto,
            seed=seed,
            sample_n=n,
            concurrency=min(config.eval_concurrency_limit, MAX_THREADS),
            candidates=sum(map(len, found.strata.values())),
            tuples=found.tuples,
            strata=len(strata),
            sampled=len(sessions),
            shadow=bool(anew),
            plan={"strata": strata},
        )
        (started,) = ledger.record(NewEvent(_stream(job), 0, event, _meta(version, actor)))
    return StartedJob(job, found.tuples, event.candidates, event.sampled, event.shadow, started.seq)


def cancel_regeneration(live: LiveLedger, job: str, *, actor: str | None = None) -> JobProgress:
    """Ask that a job go no further; one that has ended stays as it is. ``Refused`` (``job_known``) for no such job."""
    while True:
        with live.moment() as moment:
            found = job_progress(moment.views, moment.size, job)
        if found is None:
            raise Refused("job_known", "Unknown job_id")
        if found.cancelling or found.status != "running":
            return found
        with suppress(Conflict):  # it has ended meanwhile, or somebody else cancels it
            live.ledger.record(NewEvent(_stream(job), 1, RegenerationCancelled(job=job), _meta(found.version, actor)))


def is_cancelled(ledger: Ledger, job: str) -> bool:
    """Whether a job is to go no further: cancelled, or ended."""
    with ledger.recorder.reading() as reader:
        return reader.next_pos(_stream(job)) > 1


def plan_job(views: Connection, progress: JobProgress) -> Plan:
    """What a job works on; the same each time."""
    found = regeneration_candidates(views, progress.upto, progress.from_at, progress.to_at)
    sampled = draw(progress.seed, found.strata, progress.sample_n)
    sessions = tuple(session for drawn in sampled.values() for session in drawn)
    version = progress.version or ""
    anew = turns_to_judge_anew(views, progress.upto, sessions, version) if progress.shadow else {}
    turns = tuple(turn for session in sessions for turn in anew.get(session, ()))
    return Plan(progress.job, progress.upto, version, sessions, turns)


def left_of(views: Connection, size: int, plan: Plan) -> tuple[list[str], list[int]]:
    """The sessions and turns of a job that have no conclusion yet."""
    graded, judged = concluded_sessions(views, size, plan.job), concluded_turns(views, size, plan.job)
    sessions = [session for session in plan.sessions if session not in graded]
    return sessions, [turn for turn in plan.turns if turn not in judged]


def finish_job(live: LiveLedger, job: str, error: str | None = None) -> bool:
    """Record that a job is over, if nobody has; whether this call did. ``error`` is a code for why it had to be."""
    while True:
        with live.moment() as moment:
            found = job_progress(moment.views, moment.size, job)
        if found is None or found.status != "running":
            return False
        event = RegenerationFinished(
            job=job,
            status="error" if error else "cancelled" if found.cancelling else "completed",
            completed=found.completed,
            failed=found.failed,
            reason=error,
        )
        with suppress(Conflict):  # it was cancelled, or ended, a moment ago
            live.ledger.record(NewEvent(_stream(job), 1 + found.cancelling, event, _meta(found.version, None)))
            return True


def _stream(job: str) -> str:
    return f"regeneration/{job}"


def _meta(version: str | None, actor: str | None) -> Meta:
    meta = Meta(recorder=recorder_name())
    if version is not None:
        meta["judge_prompt_version"] = version
    if actor is not None:
        meta["actor"] = actor
    return meta
