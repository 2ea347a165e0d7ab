"""The sessions of the world: sixty days of them, graded and judged, under two versions of the judge's prompt.

Under the pinned version the last thirty days hold exactly the verdicts that the seed's tile shows: ``WINS``, ``TIES``
and ``LOSSES``, which are ``JUDGED``. Most verdicts and grades are recorded as a judge would leave them, without its
calls; those of the named sessions come of calls, which are recorded too.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from affidavit.api.adapters.evaluation import import_evaluation
from affidavit.api.config import change_config, read_config
from affidavit.api.http.service import Service
from affidavit.api.models.chat import ChatModel
from affidavit.api.models.patience import Patience
from affidavit.api.models.standin import MODEL as STAND_IN
from affidavit.api.models.standin import answer
from affidavit.api.moment import LiveLedger
from affidavit.api.scoring import score_event
from affidavit.api.workers.judges import Judges
from affidavit.api.workers.regeneration import cancel_regeneration, start_regeneration
from affidavit.api.workers.settings import WorkerSettings
from affidavit.domain.evaluation.events import (
    AssignmentDeclared,
    Citation,
    InteractionPublished,
    RequestPublished,
    RulePublished,
    RulesRetrieved,
    SessionGraded,
    SessionOutcomeReported,
    ShadowJudged,
)
from affidavit.domain.evaluation.prompts import SHADOW_PROMPTS
from affidavit.domain.event import Event, Meta, NewEvent

from .hostile import ALL, HOSTILE

SOURCES = ("prod_with_reflexio", "prod_without_reflexio", "offline_candidate")
WITH, WITHOUT, CANDIDATE = SOURCES
PIN = "v1.1.0"
OTHER_VERSION = "v1.2.0-transcript"
"""In force for ``OTHER_DAYS``, then ``PIN`` again."""
OTHER_DAYS = (10, 11, 12)
"""Counted from the first of the last ``DAYS``."""
DAYS = 28
"""Days of sessions in the last thirty; before them as many in the thirty before, with fewer sessions."""
WINS, TIES, LOSSES = 134, 52, 14
JUDGED = 200
OTHER_JUDGED = 15

SESSION = "parcel-17"
"""Everything that a session can have: two requests, three judged turns, citations, grades through time, outcomes,
scores of another system, recorded calls of judges. Its second turn is the top disagreement."""
SESSION_USER = "alice@example.org"
UNGRADED = "parcel-18"
"""Nobody has graded it yet."""
UNDECIDED = "parcel-19"
"""The judge gave no verdict of its turn."""
HOSTILE_SESSION = HOSTILE[1]
HOSTILE_SOURCE = HOSTILE[0]
HOSTILE_USER = HOSTILE[2]
ERASED_SESSION = "parcel-20"
ERASED_USER = "erin@example.org"
FAILING = "login"
"""Of the sessions that cite this rule most fail."""
RULES = ("parcel", "refund", "invoice", "address", "login")
"""Rules that answers cite; ``login`` is retired, ``parcel`` has two versions."""
SCORERS = ("acc", "helpfulness")

_DAY = 86_400
_TURNS = (
    ("parcel", "Where is my parcel number {n}?", "Parcel {n} is with the carrier and arrives tomorrow before noon."),
    ("refund", "How do I get a refund for lamp {n}?", "Send a photo of lamp {n}; the refund comes in 3 days."),
    ("invoice", "I need invoice {n} again.", "Invoice {n} is under Orders, Invoices; I sent you a copy."),
    ("address", "Can I change the address of order {n}?", "Yes: until order {n} is packed."),
    ("login", "My login {n} does not work.", "Reset login {n} under Account; the link is valid for one hour."),
)
_VAGUE = ("Please contact support about {n}.", "I am not sure about {n}.", "It depends on {n}.")
_FAILURES = ("wrong_answer", "missing_tool", "insufficient_info_from_tool", "wrong_tool", "system_error")


@dataclass
class Clerk:
    """Records sessions as a server and its judges would, for one service. ``later`` moves the clock on by seconds."""

    service: Service
    later: Any
    rng: random.Random = field(default_factory=lambda: random.Random(8128))
    number: int = 0

    @property
    def now(self) -> int:
        return self.service.clock() // 1_000_000

    def configure(self, **fields: Any) -> None:
        ledger = self.service.ledger
        with ledger.recorder.reading() as reader:
            seen = read_config(ledger.event_reader(reader))
        change_config(ledger, seen, {**seen.document, **fields}, actor=ledger.alias("actor", "admin@example.org"))

    def publish(
        self,
        session: str,
        user: str,
        turns: Sequence[Mapping[str, Any]],
        *,
        source: str = WITH,
        agent_version: str = "v1",
        evaluation_only: bool = False,
    ) -> tuple[list[NewEvent], str, str]:
        """The events of one request, not yet recorded; the session's alias and the user's scope."""
        ledger, at = self.service.ledger, self.now
        owner = ledger.alias("user", user)
        scope = f"user/{owner}"
        alias = ledger.alias("session", session, under=scope)
        self.number += 1
        request = ledger.alias("request", f"request-{self.number}", under=scope)
        envelope = RequestPublished(
            request=request,
            user=owner,
            session=alias,
            source=source,
            agent_version=agent_version,
            evaluation_only=evaluation_only,
            requested_at=at,
            interactions=len(turns),
            sent={"request_id": f"request-{self.number}", "user_id": user, "session_id": session, "source": source},
        )
        events: list[Event] = [envelope]
        for index, turn in enumerate(turns):
            cited = tuple(
                Citation(kind=item["kind"], rule=item["real_id"], title=item["title"])
                for item in turn.get("citations", ())
            )
            events.append(
                InteractionPublished(
                    request=request,
                    session=alias,
                    index=index,
                    created_at=at + index,
                    speaker="agent" if turn["role"] == "Agent" else "user",
                    has_shadow=bool(turn.get("shadow_content")),
                    citations=cited,
                    turn=dict(turn),
                )
            )
        meta = Meta(scope=scope, recorder="affidavit/0.1.0")
        return [NewEvent(f"request/{request}", pos, event, meta) for pos, event in enumerate(events)], alias, scope

    def publish_now(self, session: str, user: str, turns: Sequence[Mapping[str, Any]], **more: Any) -> str:
        """Publish one request and record it; the session's alias."""
        events, alias, _ = self.publish(session, user, turns, **more)
        self.service.ledger.record(*events)
        return alias

    def day(self, count: int, verdicts: Iterator[str], version: str) -> None:
        """One day of ``count`` sessions: published in the morning, judged and mostly graded within the hour."""
        drawn = []
        ledger = self.service.ledger
        with ledger.naming():
            for _ in range(count):
                self.later(300)
                source = self.rng.choices(SOURCES, (5, 3, 2))[0]
                number, said = self.number, next(verdicts, None)
                rule, asked, served = self.rng.choice(_TURNS)
                cited = [{"kind": "agent_playbook", "real_id": rule, "title": f"About a {rule}"}]
                if self.rng.random() < 0.4:
                    cited.append({"kind": "profile", "real_id": f"p{number % 7}", "title": f"Preference {number % 7}"})
                turns: list[dict[str, Any]] = [
                    {"role": "User", "content": asked.format(n=number)},
                    {
                        "role": "Agent",
                        "content": served.format(n=number),
                        "citations": cited if source != WITHOUT else [],
                    },
                ]
                if said is not None:
                    turns[1]["shadow_content"] = self.rng.choice(_VAGUE).format(n=number)
                user = f"user{self.rng.randrange(60)}@example.org"
                events, alias, scope = self.publish(
                    f"session-{number}", user, turns, source=source, evaluation_only=source == WITHOUT
                )
                fails = source != WITHOUT and rule == FAILING
                drawn.append((events, alias, scope, self.now, source, said, fails))
        recorded = ledger.record(*(event for events, *_ in drawn for event in events))
        seqs = iter(acknowledged.seq for acknowledged in recorded)
        self.later(1800)
        judged = []
        for events, alias, scope, at, source, said, fails in drawn:
            turn = [next(seqs) for _ in events][-1]
            meta = Meta(scope=scope, recorder="affidavit/0.1.0", cause=turn)
            if said is not None:
                judged.append(
                    NewEvent(
                        f"shadow/{turn}",
                        0,
                        self.verdict(turn, alias, said, version),
                        Meta(**meta, judge_prompt_version=version),
                    )
                )
            if self.rng.random() < 0.9:
                judged.append(
                    NewEvent(
                        f"session/{alias}",
                        0,
                        self.grade(alias, at, source, turn, fails),
                        Meta(**meta, judge_prompt_version="v1.0.0"),
                    )
                )
        ledger.record(*judged)

    def verdict(self, turn: int, session: str, said: str, version: str) -> ShadowJudged:
        served_first = self.rng.random() < 0.5
        better = "tie" if said == "tie" else "1" if (said == "win") == served_first else "2"
        return ShadowJudged(
            turn=turn,
            session=session,
            agent_version="v1",
            reflexio_is_request_1=served_first,
            better=better,
            significant=said != "tie" and self.rng.random() < 0.3,
            judged_at=self.service.clock(),
            model=STAND_IN,
            prompt_digest=SHADOW_PROMPTS[version].digest,
            position_seed=("0" if served_first else "f") * 16,
            detail={"comparison_reason": f"[simulated] Better is {better}, by what was asked for."},
        )

    def grade(self, session: str, at: int, source: str, through: int, fails: bool) -> SessionGraded:
        success = self.rng.random() < {WITH: 0.82, WITHOUT: 0.6}.get(source, 0.7)
        corrections = self.rng.choices(range(7), (50, 20, 12, 8, 5, 3, 2))[0]
        failure = None if success else self.rng.choice(_FAILURES)
        if fails and corrections:
            success, failure = False, _FAILURES[0]
        return SessionGraded(
            session=session,
            agent_version="v1",
            success=success,
            failure_type=failure,
            corrections=corrections,
            turns=1 + corrections if success else None,
            escalated=self.rng.random() < (0.05 if success else 0.3),
            started_at=at,
            through=through,
            interactions=2,
            model=STAND_IN,
            detail={"failure_reason": None if success else "[simulated] drawn by chance"},
        )


def record_sessions(service: Service, later: Any) -> None:
    """Record the sessions, rules, configurations, judgings, jobs, outcomes, scores, and an import of other rows."""
    clerk = Clerk(service, later)
    _record_rules(clerk)
    clerk.configure(agent_success_config={"sampling_rate": 0.0}, eval_sample_n_per_stratum=3, eval_concurrency_limit=1)
    verdicts = ["win"] * 30 + ["tie"] * 14 + ["loss"] * 12
    clerk.rng.shuffle(verdicts)
    before = iter(verdicts)
    for _ in range(DAYS):
        clerk.day(2, before, PIN)
        service.ledger.sign()
        later(_DAY - 2 * 300 - 1800)
    later(2 * _DAY)
    # Of the named sessions come 4 wins, a tie and a loss.
    verdicts = ["win"] * (WINS - 4) + ["tie"] * (TIES - 1) + ["loss"] * (LOSSES - 1)
    clerk.rng.shuffle(verdicts)
    pinned, other = iter(verdicts), iter(["win", "tie", "loss"] * (OTHER_JUDGED // 3))
    for day in range(DAYS):
        if day == OTHER_DAYS[0]:
            clerk.configure(shadow_comparison_judge_prompt_version=OTHER_VERSION)
        elif day == OTHER_DAYS[-1] + 1:
            clerk.configure(shadow_comparison_judge_prompt_version=PIN)
        if day in OTHER_DAYS:
            clerk.day(5, other, OTHER_VERSION)
            later(_DAY - 5 * 300 - 1800)
        else:
            clerk.day(8, pinned, PIN)
            later(_DAY - 8 * 300 - 1800)
        service.ledger.sign()
    left = [*pinned, *other]
    assert not left, f"{len(left)} verdicts found no session"
    _record_named(clerk)


def _record_rules(clerk: Clerk) -> None:
    rules = [RulePublished(rule=name, title=f"About a {name}", text=served) for name, _, served in _TURNS]
    service = clerk.service
    service.append_all([NewEvent(f"rule/{rule.rule}", 0, rule, service.meta()) for rule in rules])
    again = rules[0].model_copy(update={"text": f"{rules[0].text} Name the carrier."})
    retired = rules[-1].model_copy(update={"retired": True})
    hostile = RulePublished(rule="hostile", title=HOSTILE[1], text=ALL, tags=(HOSTILE[0],))
    service.append_all([NewEvent(f"rule/{rule.rule}", 0, rule, service.meta()) for rule in (again, retired, hostile)])
    declared = AssignmentDeclared(
        unit="session",
        shares={WITH: 0.5, WITHOUT: 0.3, CANDIDATE: 0.2},
        mechanism="random",
        since=clerk.now,
        note=f"made-up sessions {HOSTILE[0]}",
    )
    service.append("assignment", declared, service.meta())


_SAID: dict[str, str] = {
    "Parcel 17 is in Bern.": "win",
    "I have cancelled parcel 17.": "big loss",
    "Parcel 17 arrives tomorrow before noon.": "win",
    "Parcel 18 is in Basel.": "tie",
    "Parcel 20 is in Chur.": "win",
    ALL: "win",
}
"""What the judge says of a turn, by the answer that was served."""


def simulated_judge(request: httpx2.Request) -> httpx2.Response:
    """A provider: it decides on the turns of the named sessions by ``_SAID``, on the rest as the stand-in does."""
    document = json.loads(request.content)
    question = str(document["messages"][-1]["content"])
    if "Parcel 19" in question and "The session, oldest turn first:" not in question:
        said = {"role": "assistant", "content": "I would rather not say."}
        used = {"prompt_tokens": 9, "completion_tokens": 5}
        return httpx2.Response(200, json={"choices": [{"message": said, "finish_reason": "stop"}], "usage": used})
    found = answer(document)
    served = next((text for text in _SAID if text in question), None)
    if served is not None and "The session, oldest turn first:" not in question:
        outcome = _SAID[served]
        first = question.index(served) < question.index("I do not know.")
        better = "tie" if outcome == "tie" else "1" if first == (outcome == "win") else "2"
        reason = f"[simulated] {HOSTILE[0]}" if served == ALL else "[simulated] It answers what was asked."
        verdict = {
            "better_request": better,
            "is_significantly_better": outcome == "big loss",
            "comparison_reason": reason,
        }
        found["choices"][0]["message"]["content"] = json.dumps(verdict)
    return httpx2.Response(200, json=found)


@contextmanager
def judging(live: LiveLedger, clock: Any) -> Iterator[Judges]:
    """Judges that ask ``simulated_judge``; they work when told to, one after the other."""
    with closing(
        ChatModel("http://judge.invalid/v1", STAND_IN, "", transport=httpx2.MockTransport(simulated_judge))
    ) as model:
        judges = Judges(
            live,
            model,
            settings=WorkerSettings(idle_seconds=600),
            clock=clock,
            patience=Patience(tries=2, first=0.0, longest=0.0, random=lambda: 0.0),
        )
        try:
            yield judges
        finally:
            judges.stop()


def _exchange(asked: str, served: str, *cited: str) -> list[dict[str, Any]]:
    return [
        {"role": "User", "content": asked},
        {
            "role": "Agent",
            "content": served,
            "shadow_content": "I do not know.",
            "citations": [
                {"kind": "agent_playbook", "real_id": rule, "title": f"About a {rule}", "tag": "used"} for rule in cited
            ],
        },
    ]


def _record_named(clerk: Clerk) -> None:
    service, later = clerk.service, clerk.later
    day = clerk.now
    first = [
        *_exchange("Where is my parcel number 17?", "Parcel 17 is in Bern.", "parcel"),
        *_exchange("No, I meant: keep it!", "I have cancelled parcel 17.", "parcel", "refund"),
    ]
    session = clerk.publish_now(SESSION, SESSION_USER, first)
    owner = service.ledger.alias("user", SESSION_USER)
    found = RulesRetrieved(rules=(1, 2), user=owner, session=session, query="Where is my parcel number 17?")
    service.append(f"retrieval/{session}", found, service.meta(scope=f"user/{owner}"))
    hostile = [
        {"role": "User", "content": ALL, "tools_used": [{"tool_name": HOSTILE[0], "tool_data": {HOSTILE[1]: ALL}}]},
        {
            "role": "Agent",
            "content": ALL,
            "shadow_content": "I do not know.",
            "citations": [{"kind": "profile", "real_id": HOSTILE[0], "title": HOSTILE[2]}],
        },
    ]
    clerk.publish_now(HOSTILE_SESSION, HOSTILE_USER, hostile, source=HOSTILE_SOURCE, agent_version=HOSTILE[7])
    clerk.publish_now(UNGRADED, "bob@example.org", _exchange("Where is parcel 18?", "Parcel 18 is in Basel.", "parcel"))
    clerk.publish_now(UNDECIDED, "carol@example.org", _exchange("Where is parcel 19?", "Parcel 19 is in Biel."))
    clerk.publish_now(ERASED_SESSION, ERASED_USER, _exchange("Where is parcel 20?", "Parcel 20 is in Chur."))
    with judging(service.live, service.clock) as judges:
        judges.run_once()
        judges.on_demand.grade(SESSION, "v1")
        later(3600)
        second = _exchange("Thank you. When will it come?", "Parcel 17 arrives tomorrow before noon.", "parcel")
        clerk.publish_now(SESSION, SESSION_USER, second, agent_version="v2")
        judges.run_once()
        later(2 * _DAY // 24)
        for named in (SESSION, HOSTILE_SESSION, ERASED_SESSION):
            judges.on_demand.grade(named, "v1")
        start_regeneration(service.live, day - 3 * _DAY, day - 2 * _DAY)
        judges.run_once()
    later(600)
    cancelled = start_regeneration(service.live, day - 9 * _DAY, day - 8 * _DAY)
    cancel_regeneration(service.live, cancelled.job)
    with judging(service.live, service.clock) as judges:
        judges.run_once()
    _record_outcomes(clerk, session, f"user/{owner}")
    _import_rows(service)
    later(600)
    start_regeneration(service.live, day - 5 * _DAY, day - 4 * _DAY)
    service.ledger.sign()


def _record_outcomes(clerk: Clerk, session: str, scope: str) -> None:
    service = clerk.service
    for revision, outcome, label in ((1, "unknown", "waiting"), (2, "success", f"delivered {HOSTILE[0]}")):
        reported = SessionOutcomeReported(
            session=session,
            outcome=outcome,
            occurred_at=clerk.now,
            value=None if revision == 1 else 12.5,
            revision=revision,
            detail={"label": label, "metadata": {HOSTILE[2]: HOSTILE[1]}},
        )
        service.append(f"session/{session}", reported, service.meta(scope=scope))
    for scorer, value in zip(SCORERS, (0.875, 4.5), strict=True):
        for number, name in enumerate((SESSION, "session-70", "session-71", "session-72", "nobody-has-this-id")):
            event = score_event(
                service.ledger,
                0,
                source="nightly",
                source_run_id=f"{scorer}-{number}",
                session_id=name,
                scorer=scorer if number else f"{scorer}{HOSTILE[0]}",
                value=value - number / 8,
                scored_at=clerk.now,
            )
            service.append_all([event])


def _import_rows(service: Service) -> None:
    """Rows of another system, of long ago: a request without its turn, verdicts without one, odd fields."""
    at = 1_704_067_200
    request = {"user_id": "u1", "session_id": "imported-1", "created_at": at, "agent_version": "v0"}
    shown = {"role": "Agent", "content": "served", "shadow_content": "shadow", "request_id": "r1"}
    verdict = {
        "session_id": "imported-1",
        "agent_version": "v0",
        "reflexio_is_request_1": True,
        "better_request": "2",
        "is_significantly_better": True,
        "judge_prompt_version": "v1.0.0",
        "created_at": datetime.fromtimestamp(at, UTC).isoformat(),
        "comparison_reason": HOSTILE[1],
    }
    rows = {
        "requests": [{**request, "request_id": "r1", "source": "legacy"}],
        "interactions": [
            {"interaction_id": 7, "request_id": "r1", "created_at": at, "role": "User", "content": "hi"},
            {"interaction_id": 8, "created_at": at + 1, **shown},
            {"interaction_id": 9, "request_id": "nowhere", "created_at": at, "role": "User", "content": HOSTILE[0]},
        ],
        "results": [
            {
                "result_id": 4,
                "user_id": "u1",
                "session_id": "imported-1",
                "agent_version": "v0",
                "is_success": False,
                "failure_type": "system_error",
                "failure_reason": HOSTILE[3],
                "created_at": at,
            }
        ],
        "verdicts": [
            {**verdict, "verdict_id": 5, "interaction_id": "8"},
            {**verdict, "verdict_id": 6, "interaction_id": "404"},
        ],
    }
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "rows<script>.json"
        path.write_text(json.dumps(rows), encoding="utf-8")
        import_evaluation(service.ledger, path)
