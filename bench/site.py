"""A ledger as large as pages must stay fast on: runs with their calls, and sessions that were graded and judged.

Of each run there are a baseline, iterations with a rewrite between any two, some recorded calls and a final
evaluation; every fourth is a branch. Of each session a request with an answer and its shadow, a grade and a verdict.
Texts are sealed, as they always are. Everything is drawn by number, the same each time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

from affidavit.api.moment import LiveLedger
from affidavit.bench.evaluating import Session, sessions
from affidavit.domain.evaluation.events import (
    Citation,
    InteractionPublished,
    RequestPublished,
    SessionGraded,
    ShadowJudged,
)
from affidavit.domain.event import Event, Meta, NewEvent
from affidavit.domain.model_calls import ModelAnswered, ModelRequested
from affidavit.domain.optimization.events import (
    IterationCompleted,
    PromptEvaluated,
    Purpose,
    RewriteProposed,
    RunCompleted,
    RunFailed,
    RunStarted,
    Sample,
    Split,
    mean_score,
)
from affidavit.ledger.application import Ledger

RUN_LENGTH = 57
"""Events of a run."""
ITERATIONS = 16
CALLS = 3
HELD_OUT = 20
DAYS = 90
END = 1_795_305_600
STRATEGIES = ("iterative", "structural", "fewshot", "pdo", "auto")
_BATCH_RUNS = 10
_BATCH_SESSIONS = 250
_SIGNED_EVERY = 20
_TEXT = "Summarise the incident report. Name the service that failed, and since when; say what is not known. " * 4


def record_site(ledger: Ledger, runs: int, events: int) -> None:
    """Record ``runs`` runs and as many sessions as make ``events`` events in all, in turn, and derive the views.

    Checkpoints are signed along the way, as time would have them.
    """
    drawn = list(sessions(0, (events - runs * RUN_LENGTH) // 4, DAYS, max(1, events // 100)))
    drawn.sort(key=lambda session: session.at)
    share = len(drawn) / max(1, runs)
    waiting = iter(drawn)
    for start in range(0, runs, _BATCH_RUNS):
        batch = range(start, min(start + _BATCH_RUNS, runs))
        ledger.record(*(event for number in batch for event in _run(number)))
        upto = int(share * batch.stop) - int(share * start)
        while upto > 0 and (part := list(islice(waiting, min(upto, _BATCH_SESSIONS)))):
            _record_sessions(ledger, part)
            upto -= len(part)
        if start // _BATCH_RUNS % _SIGNED_EVERY == 0:
            ledger.sign()
    _record_sessions(ledger, list(waiting))
    ledger.sign()
    live = LiveLedger(ledger)
    with live.moment():
        pass
    live.close()


def run_name(number: int) -> str:
    return f"{number:06}"


def session_name(number: int) -> str:
    return f"s{number:07}"


def _run(number: int) -> Iterator[NewEvent]:
    rng = random.Random(number)
    name = run_name(number)
    meta = Meta(recorder="affidavit/0.1.0")
    for pos, event in enumerate(_events_of_run(name, number, rng)):
        yield NewEvent(f"run/{name}", pos, event, meta)


def _events_of_run(name: str, number: int, rng: random.Random) -> Iterator[Event]:
    at = datetime.fromtimestamp(END - (20_000 - number) * 300, UTC).isoformat(timespec="microseconds")
    branch = number % 4 == 3
    yield RunStarted(
        run=name,
        directory=f"{name}_{at[:19].replace(':', '-')}",
        timestamp=at,
        strategy=STRATEGIES[number % 5],
        models=(f"sandbox/model-{number % 7}",),
        reasoning_model="sandbox/reasoner",
        metrics=("rouge", "judge"),
        threshold=0.85,
        max_iterations=ITERATIONS,
        split=Split(train=24, val=12, test=HELD_OUT, seed=number),
        parent_run=run_name(number - 1) if branch else None,
        parent_iteration=3 if branch else None,
        system_prompt=_TEXT,
        config={"optimizer_config": {"strategy": STRATEGIES[number % 5], "max_iterations": ITERATIONS, "seed": number}},
        dataset="data/incidents.jsonl",
    )
    level = 0.3 + rng.random() / 5
    yield _evaluated(0, 0, "baseline", level, HELD_OUT, rng)
    for iteration in range(1, ITERATIONS + 1):
        level = min(0.95, level + rng.random() / 40)
        yield _evaluated(iteration, iteration - 1, "train", level, 5, rng)
        yield IterationCompleted(
            iteration=iteration,
            evaluation=iteration,
            rewrite=iteration - 2 if iteration > 1 else None,
            eval_tokens=2000 + rng.randrange(500),
            reasoning_tokens=500 + rng.randrange(100),
            elapsed_seconds=20.0 * iteration,
            timestamp=at,
        )
        if iteration < ITERATIONS:
            yield RewriteProposed(
                rewrite=iteration - 1,
                parent=iteration,
                prompt=iteration,
                tokens=500,
                system_prompt=f"{_TEXT}\nRule {iteration}: name the source of what is said.",
                rationale=f"Samples with low scores lacked rule {iteration}. " * 5,
                change_summary=f"Asked for rule {iteration}",
            )
    for occurrence in range(CALLS):
        call = {"site": "eval.final", "occurrence": occurrence, "attempt": 1}
        body = {"body": '{"model": "sandbox/target", "messages": [{"role": "user", "content": "' + _TEXT + '"}]}'}
        yield ModelRequested(**call, model="sandbox/target", purpose="final", **body)
        yield ModelAnswered(**call, outcome="replied", status=200, prompt_tokens=90, completion_tokens=30, **body)
    final = ITERATIONS + 1
    yield _evaluated(final, ITERATIONS - 1, "final", level, HELD_OUT, rng)
    if number % 50 == 7:
        yield RunFailed(reason="provider_unreachable", timestamp=at, message="timed out")
        return
    yield RunCompleted(
        reason="max_iterations",
        converged=False,
        best=ITERATIONS - 1,
        final_evaluation=final,
        duration_seconds=20.0 * ITERATIONS,
        timestamp=at,
    )


def _evaluated(
    evaluation: int, prompt: int, purpose: Purpose, level: float, n: int, rng: random.Random
) -> PromptEvaluated:
    samples = tuple(
        Sample(
            id=f"{purpose if purpose == 'train' else 'test'}-{each}",
            input=f"Incident report {each}: service svc-{each} has answered slowly.",
            response=f"Service svc-{each} is slow. ",
            score=round(min(1.0, max(0.0, level + rng.gauss(0, 0.1))), 4),
        )
        for each in range(n)
    )
    score = mean_score(samples)
    return PromptEvaluated(
        evaluation=evaluation,
        prompt=prompt,
        purpose=purpose,
        score=score,
        n=n,
        failed=0,
        detail_mean=score,
        tokens=2000,
        scores_by_metric={"rouge": score or 0.0, "judge": score or 0.0},
        samples=samples,
    )


def _record_sessions(ledger: Ledger, drawn: Sequence[Session]) -> None:
    """In two commits: a verdict names the entry of the turn that it is about."""
    if not drawn:
        return
    named = []
    with ledger.naming():
        for session in drawn:
            user = ledger.alias("user", session.user)
            scope = f"user/{user}"
            alias = ledger.alias("session", session_name(session.number), under=scope)
            request = ledger.alias("request", f"{session.number:032x}", under=scope)
            named.append((session, user, alias, request, Meta(scope=scope, recorder="affidavit/0.1.0")))
    published = [
        NewEvent(f"request/{request}", pos, event, meta)
        for session, user, alias, request, meta in named
        for pos, event in enumerate(_published(session, user, alias, request))
    ]
    turns = [acknowledged.seq for acknowledged in ledger.record(*published)][1::2]
    judged = []
    for (session, _, alias, _, meta), turn in zip(named, turns, strict=True):
        versioned = Meta(**meta, judge_prompt_version="v1.1.0")
        judged.append(NewEvent(f"session/{alias}", 0, _graded(session, alias, turn), meta))
        judged.append(NewEvent(f"shadow/{turn}", 0, _judged(session, alias, turn), versioned))
    ledger.record(*judged)


def _published(session: Session, user: str, alias: str, request: str) -> tuple[RequestPublished, InteractionPublished]:
    envelope = RequestPublished(
        request=request,
        user=user,
        session=alias,
        source=session.source,
        agent_version="v1",
        requested_at=session.at,
        interactions=1,
        sent={"user_id": session.user},
    )
    turn = InteractionPublished(
        request=request,
        session=alias,
        index=0,
        created_at=session.at,
        speaker="agent",
        has_shadow=True,
        citations=tuple(Citation(kind="agent_playbook", rule=rule, title=f"Rule {rule}") for rule in session.rules),
        turn={"role": "Agent", "content": _TEXT[:300], "shadow_content": _TEXT[:200]},
    )
    return envelope, turn


def _graded(session: Session, alias: str, turn: int) -> SessionGraded:
    return SessionGraded(
        session=alias,
        agent_version="v1",
        success=session.success,
        corrections=session.corrections,
        turns=session.turns,
        escalated=session.escalated,
        started_at=session.at,
        through=turn,
        interactions=1,
        detail={"failure_reason": None},
    )


def _judged(session: Session, alias: str, turn: int) -> ShadowJudged:
    return ShadowJudged(
        turn=turn,
        session=alias,
        agent_version="v1",
        reflexio_is_request_1=session.first,
        better=session.better,
        significant=session.significant and session.better != "tie",
        judged_at=session.at * 1_000_000,
        detail={"comparison_reason": "because"},
    )
