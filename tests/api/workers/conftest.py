"""Fixtures for judging: a ledger with published sessions, and a provider that says what a test wants."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from affidavit.api.models.chat import ChatModel
from affidavit.api.models.patience import Patience
from affidavit.api.models.standin import answer
from affidavit.api.moment import LiveLedger
from affidavit.api.workers.judges import Judges
from affidavit.api.workers.settings import WorkerSettings
from affidavit.domain.evaluation.config import AgentSuccessConfig, EvaluationConfig
from affidavit.domain.evaluation.events import ConfigChanged, InteractionPublished, RequestPublished
from affidavit.domain.event import Event, Meta, NewEvent, Recorded
from affidavit.ledger.application import Edge, Ledger
from affidavit.projections.registry import REGISTRY

NOON = 1_795_348_800
"""Seconds since 1970, two hours after the tests' clock starts."""

PATIENT = Patience(tries=3, first=0.0, longest=0.0, random=lambda: 0.0)


def completion(text: str | None, **more: Any) -> httpx2.Response:
    """A chat completion that says ``text``."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop", **more}
    return httpx2.Response(200, json={"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})


def verdict(better: str = "1", significant: bool = False) -> httpx2.Response:
    said = {"better_request": better, "is_significantly_better": significant, "comparison_reason": "because"}
    return completion(json.dumps(said))


def stand_in(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, json=answer(json.loads(request.content)))


class Provider:
    """Answers each request by ``say``, the stand-in judge by default, and counts."""

    def __init__(self) -> None:
        self.say: Callable[[httpx2.Request], httpx2.Response] = stand_in
        self.requests: list[dict[str, Any]] = []
        self._mutex = threading.Lock()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        with self._mutex:
            self.requests.append(json.loads(request.content))
        return self.say(request)

    def model(self, name: str = "judge-1") -> ChatModel:
        return ChatModel("http://judge.test/v1", name, "sk-secret", transport=httpx2.MockTransport(self))


@pytest.fixture
def provider() -> Provider:
    return Provider()


class Court:
    """A ledger to publish on and judge from; ``reopened`` is what another process, or a later one, would have."""

    def __init__(self, folder: Path, now: list[int], provider: Provider) -> None:
        self.folder = folder
        self.now = now
        self.provider = provider
        self._opened = 0

    @contextmanager
    def reopened(self) -> Iterator[LiveLedger]:
        self._opened += 1
        stream = random.Random(self._opened)
        ledger = Ledger(
            self.folder / "ledger",
            self.folder / "keys",
            REGISTRY,
            edge=Edge(self.clock, stream.randbytes),
            sign_in_background=False,
        )
        with ledger, closing(LiveLedger(ledger)) as live:
            yield live

    def clock(self) -> int:
        self.now[0] += 1
        return self.now[0]

    @contextmanager
    def judges(self, live: LiveLedger, **settings: Any) -> Iterator[Judges]:
        chosen = WorkerSettings(**{"idle_seconds": 600, **settings})
        with closing(self.provider.model()) as model:
            judges = Judges(live, model, settings=chosen, clock=self.clock, patience=PATIENT)
            try:
                yield judges
            finally:
                judges.stop()

    def configure(self, ledger: Ledger, **fields: Any) -> None:
        grading = {"agent_success_config": AgentSuccessConfig(sampling_rate=1.0)}
        config = EvaluationConfig(**{**grading, **fields})
        event = ConfigChanged(
            changed=tuple(sorted(fields)),
            shadow_comparison_judge_prompt_version=config.shadow_comparison_judge_prompt_version,
            eval_sample_n_per_stratum=config.eval_sample_n_per_stratum,
            eval_concurrency_limit=config.eval_concurrency_limit,
            document=config.as_json(),
        )
        with ledger.recorder.reading() as reader:
            pos = reader.next_pos("config")
        ledger.record(NewEvent("config", pos, event, Meta()))

    def publish(
        self,
        ledger: Ledger,
        session: str,
        turns: list[dict[str, Any]],
        *,
        user: str = "alice",
        source: str = "prod",
        at: int | None = None,
        imported: bool = False,
        evaluation_only: bool = False,
        agent_version: str = "v1",
    ) -> list[int]:
        """Publish one request; the seqs of its turns."""
        at = self.now[0] // 1_000_000 if at is None else at
        speakers = {"user": "user", "agent": "agent", "assistant": "agent"}
        owner = ledger.alias("user", user)
        under = f"user/{owner}"
        alias, request = ledger.alias("session", session, under), ledger.alias("request", f"r{self.now[0]}", under)
        self.now[0] += 1
        events: list[Event] = [
            RequestPublished(
                request=request,
                user=owner,
                session=alias,
                source=source,
                agent_version=agent_version,
                requested_at=at,
                interactions=len(turns),
                imported=imported,
                evaluation_only=evaluation_only,
                sent={"user_id": user},
            )
        ]
        events += [
            InteractionPublished(
                request=request,
                session=alias,
                index=index,
                created_at=turn.get("created_at", at),
                speaker=speakers.get(turn["role"].strip().lower(), "system"),
                has_shadow=bool(turn.get("shadow_content")),
                interaction_id=900 + index if imported else None,
                turn=turn,
            )
            for index, turn in enumerate(turns)
        ]
        stream, meta = f"request/{request}", Meta(scope=under)
        done = ledger.record(*(NewEvent(stream, pos, event, meta) for pos, event in enumerate(events)))
        return [acknowledged.seq for acknowledged in done[1:]]

    def exchange(self, ledger: Ledger, session: str, **more: Any) -> int:
        """Publish a question with an answer and its shadow; the seq of the turn that is judged."""
        turns = [
            {"role": "User", "content": "Where is my parcel number 17?"},
            {"role": "Agent", "content": "Parcel 17 is in Bern.", "shadow_content": "I do not know."},
        ]
        return self.publish(ledger, session, turns, **more)[1]

    def events(self, ledger: Ledger, *types: type[Event]) -> list[Recorded]:
        """All events of these types, opened, in order."""
        with ledger.recorder.reading() as reader:
            events = ledger.event_reader(reader)
            found = [events.event(seq) for seq in range(reader.head().size)]
        return [recorded for recorded in found if recorded is not None and isinstance(recorded.event, types)]


@pytest.fixture
def court(tmp_path: Path, made_once: Path, now: list[int], provider: Provider) -> Court:
    import shutil

    for name in ("ledger", "keys"):
        shutil.copytree(made_once / name, tmp_path / name)
    return Court(tmp_path, now, provider)


@pytest.fixture
def live(court: Court) -> Iterator[LiveLedger]:
    with court.reopened() as live:
        court.configure(live.ledger)
        yield live
