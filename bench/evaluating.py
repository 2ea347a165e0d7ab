"""Evaluation: overviews over a long record, with appends between, against the peer's algorithm in memory."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from statistics import median
from typing import Any

from affidavit.api.moment import LiveLedger
from affidavit.bench.peer_overview import DAY, peer_overview
from affidavit.bench.rows import Bench, Row
from affidavit.bench.windows import Side, interleave, median_of, ratios, timed
from affidavit.domain.evaluation.events import (
    Citation,
    InteractionPublished,
    RequestPublished,
    SessionGraded,
    ShadowJudged,
)
from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.projections.evaluation.overview import build_overview
from affidavit.projections.evaluation.windows import OverviewRequest

END = 1_795_305_600
DAYS = 60
SOURCES = ("prod_with_reflexio", "prod_without_reflexio", "offline_candidate", "my-integration", "")
SETS = [{"label": source, "sources": [source]} for source in SOURCES[:2]]
APPENDED = 20
"""Sessions that are recorded between two overviews."""


@dataclass(frozen=True)
class Session:
    """One session as it is drawn: a request, an answer with its shadow, a grade and a verdict."""

    number: int
    user: str
    at: int
    source: str
    rules: tuple[str, ...]
    success: bool
    corrections: int
    turns: int | None
    escalated: bool
    first: bool
    better: str
    significant: bool


def sessions(first: int, number: int, days: int, users: int) -> Iterator[Session]:
    """Sessions of the last ``days`` days before ``END``, the same ones each time."""
    rng = random.Random(first)
    for n in range(first, first + number):
        success = rng.random() < 0.7
        yield Session(
            n,
            f"user{rng.randrange(users)}",
            END - 1 - rng.randrange(days * DAY),
            rng.choice(SOURCES),
            tuple({str(int(rng.paretovariate(1)) % 200) for _ in range(rng.randrange(3))}),
            success,
            rng.randrange(7),
            rng.randrange(9) if success else None,
            rng.random() < 0.1,
            rng.random() < 0.5,
            rng.choice(("1", "2", "tie")),
            rng.random() < 0.2,
        )


def record(ledger: Ledger, drawn: list[Session]) -> None:
    """Record sessions in one commit."""
    with ledger.naming():
        named = [_aliases(ledger, session) for session in drawn]
    ledger.record(*(event for s, names in zip(drawn, named, strict=True) for event in _events(s, *names)))


def rows(drawn: list[Session]) -> dict[str, Any]:
    """The same sessions as rows in memory, as the peer's algorithm takes them."""
    return {
        "requests": [
            {**_who(s), "request_id": f"{s.number:032x}", "created_at": s.at, "source": s.source} for s in drawn
        ],
        "interactions": [
            {
                "interaction_id": s.number,
                "request_id": f"{s.number:032x}",
                "created_at": s.at,
                "citations": [{"kind": "agent_playbook", "real_id": rule, "title": ""} for rule in s.rules],
            }
            for s in drawn
        ],
        "results": [
            {
                **_who(s),
                "result_id": s.number,
                "is_success": s.success,
                "failure_type": None,
                "created_at": s.at,
                "number_of_correction_per_session": s.corrections,
                "user_turns_to_resolution": s.turns,
                "is_escalated": s.escalated,
            }
            for s in drawn
        ],
        "verdicts": [
            {
                "reflexio_is_request_1": s.first,
                "better_request": s.better,
                "judge_prompt_version": "v1.1.0",
                "created_at": datetime.fromtimestamp(s.at, UTC).isoformat(),
            }
            for s in drawn
        ],
        "imported_scores": [],
    }


def measure_overview(bench: Bench) -> list[Row]:
    """Random windows, two source sets, by day; between any two overviews some sessions are appended."""
    number = bench.sizes.sessions
    drawn = list(sessions(0, number, DAYS, max(1, number // 10)))
    with bench.ledgers.create("overview") as ledger:
        for start in range(0, number, 500):
            record(ledger, drawn[start : start + 500])
        live = LiveLedger(ledger)
        fresh = count(number, APPENDED)
        dataset = rows(drawn)
        asked = [random_request(random.Random(seed)) for seed in range(bench.sizes.long_windows + 1)]
        overview(live, {"from_ts": 0, "to_ts": END})
        seconds = interleave(
            {
                "ours": _asking(live, ledger, asked, fresh, lists=False),
                "lists": _asking(live, ledger, asked, fresh, lists=True),
                "peer": _asking_the_peer(dataset, asked),
            },
            bench.sizes.long_windows,
        )
        live.close()
    what = f"an overview over {number:,} sessions and {number:,} verdicts, random windows, appends between"
    beside = {"peer_milliseconds": 1000 * median(seconds["peer"])}
    lists = {"milliseconds": 1000 * median(seconds["lists"])}
    return [
        Row("overview", f"{what}, without session lists, against the peer's algorithm in memory", "×",
            median_of(ratios(seconds["ours"], seconds["peer"])), 200, beside=beside),
        Row("overview_time", "the same, in milliseconds", "ms",
            median_of([1000 * taken for taken in seconds["ours"]]), 20, "at most"),
        Row("overview_lists", "the same with session lists, every name opened, against the peer's algorithm", "×",
            median_of(ratios(seconds["lists"], seconds["peer"])), 5, beside=lists),
    ]  # fmt: skip


def measure_overview_memory(bench: Bench) -> list[Row]:
    """The most that an overview of three days takes, over a long record against a shorter one as dense."""
    number = bench.sizes.sessions
    peaks = {}
    for name, part in (("long", 1.0), ("short", 0.4)):
        with bench.ledgers.create(f"overview-{name}") as ledger:
            few = int(number * part)
            drawn = list(sessions(1, few, int(DAYS * part), max(1, few // 10)))
            for start in range(0, few, 500):
                record(ledger, drawn[start : start + 500])
            live = LiveLedger(ledger)
            request = {"from_ts": END - 3 * DAY, "to_ts": END, "source_sets": SETS, "session_lists": False}
            overview(live, request)
            tracemalloc.start()
            overview(live, request)
            peaks[name] = tracemalloc.get_traced_memory()[1] / 2**20
            tracemalloc.stop()
            live.close()
    return [
        Row(
            "overview_memory",
            f"memory of an overview of 3 days over {number:,} sessions in {DAYS} days, against {int(number * 0.4):,} "
            f"in {int(DAYS * 0.4)}",
            "×",
            median_of([peaks["long"] / peaks["short"]]),
            1.1,
            "at most",
            beside={f"{name}_mebibytes": peak for name, peak in peaks.items()},
        )
    ]


def random_request(rng: random.Random) -> dict[str, Any]:
    first = rng.randrange(END - DAYS * DAY, END - 3 * DAY)
    return {"from_ts": first, "to_ts": rng.randrange(first + DAY, END), "bucket": "day", "source_sets": SETS}


def overview(live: LiveLedger, request: dict[str, Any]) -> dict[str, Any]:
    with live.moment() as moment:
        asked = OverviewRequest.model_validate(request)
        found: dict[str, Any] = build_overview(
            moment.views, moment.events, moment.size, asked, moment.names_of, moment.sessions_named
        )
    return found


def _asking(
    live: LiveLedger, ledger: Ledger, asked: list[dict[str, Any]], fresh: Iterator[int], *, lists: bool
) -> Side:
    turns = iter(asked)

    def ask() -> float:
        record(ledger, list(sessions(next(fresh), APPENDED, 1, 1000)))  # of the last day, as what is new is
        request = {**next(turns), "session_lists": lists}
        return timed(lambda: overview(live, request))

    return ask


def _asking_the_peer(dataset: dict[str, Any], asked: list[dict[str, Any]]) -> Side:
    turns = iter(asked)
    return lambda: timed(lambda: peer_overview(dataset, next(turns)))


def _who(session: Session) -> dict[str, str]:
    return {"user_id": session.user, "session_id": f"s{session.number:07}"}


def _aliases(ledger: Ledger, session: Session) -> tuple[str, str, str]:
    user = ledger.alias("user", session.user)
    scope = f"user/{user}"
    return (
        user,
        ledger.alias("session", f"s{session.number:07}", under=scope),
        ledger.alias("request", f"{session.number:032x}", under=scope),
    )


def _events(s: Session, user: str, session: str, request: str) -> list[NewEvent]:
    meta = Meta(scope=f"user/{user}", recorder="affidavit/0.2.0")
    cited = tuple(Citation(kind="agent_playbook", rule=rule) for rule in s.rules)
    published = RequestPublished(
        request=request,
        user=user,
        session=session,
        source=s.source,
        agent_version="v1",
        requested_at=s.at,
        interactions=1,
        sent={"user_id": s.user},
    )
    turn = InteractionPublished(
        request=request,
        session=session,
        index=0,
        created_at=s.at,
        speaker="agent",
        has_shadow=True,
        citations=cited,
        turn={"content": "an answer"},
    )
    graded = SessionGraded(
        session=session,
        agent_version="v1",
        success=s.success,
        corrections=s.corrections,
        turns=s.turns,
        escalated=s.escalated,
        started_at=s.at,
        made="import",
        result_id=s.number,
        detail={"failure_reason": None},
    )
    judged = ShadowJudged(
        session=session,
        agent_version="v1",
        reflexio_is_request_1=s.first,
        better=s.better,
        significant=s.significant,
        judged_at=s.at * 1_000_000,
        made="import",
        detail={"comparison_reason": "because"},
    )
    return [
        NewEvent(f"request/{request}", 0, published, meta),
        NewEvent(f"request/{request}", 1, turn, meta),
        NewEvent(f"session/{session}", 0, graded, meta),
        NewEvent(f"session/{session}", 1, judged, Meta(**meta, judge_prompt_version="v1.1.0")),
    ]
