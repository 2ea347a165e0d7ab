"""Grading and regenerating over HTTP, with the stand-in judge in the place of a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing

import httpx2
import pytest
from starlette.testclient import TestClient

from affidavit.api.http.app import create_app, open_service
from affidavit.api.http.service import Service
from affidavit.api.models.chat import ChatModel
from affidavit.api.models.patience import Patience
from affidavit.api.models.standin import answer
from affidavit.api.moment import LiveLedger
from affidavit.api.workers.judges import Judges
from affidavit.api.workers.settings import WorkerSettings
from affidavit.ledger.application import Ledger

from .conftest import LOCAL, a_request

GRADE = "/api/evaluations/grade_on_demand"
REGENERATE = "/api/evaluations/regenerate"
UNDECIDED = "/api/evaluations/undecided"
RECENT = "/api/evaluations/shadow_comparisons/recent"
CLICK = {"session_id": "s1", "agent_version": "agent-v0"}

Say = Callable[[httpx2.Request], httpx2.Response]


class Provider:
    """Answers as the stand-in judge, until a test says otherwise; counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.say: Say = lambda request: httpx2.Response(200, json=answer(json.loads(request.content)))

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked += 1
        return self.say(request)


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def judged(ledger: Ledger, now: list[int], provider: Provider) -> Iterator[tuple[TestClient, Judges]]:
    """A server with judges that work when they are told to."""

    def clock() -> int:
        return now[0]

    model = ChatModel("http://judge.test/v1", "stand-in", None, transport=httpx2.MockTransport(provider))
    with closing(model), closing(LiveLedger(ledger)) as live:
        settings = WorkerSettings(idle_seconds=0, grades_per_minute=2)
        patience = Patience(tries=1, first=0.0, longest=0.0, random=lambda: 0.0)
        judges = Judges(live, model, settings=settings, clock=clock, patience=patience)
        with open_service(ledger, judges=judges, clock=clock) as service:
            yield TestClient(create_app(service), base_url=LOCAL, client=("127.0.0.1", 40_000)), judges
        judges.stop()


def test_a_session_is_graded_on_demand_and_again_from_the_ledger(
    judged: tuple[TestClient, Judges], provider: Provider
) -> None:
    client, _ = judged
    client.post("/api/publish_interaction", json=a_request())

    first, again = (client.post(GRADE, json=CLICK).json() for _ in range(2))

    assert (first["session_id"], first["cached"], first["skipped_reason"]) == ("s1", False, None)
    assert (again["cached"], again["result_id"]) == (True, first["result_id"])
    assert provider.asked == 1
    (result,) = client.post("/api/get_agent_success_evaluation_results", json={}).json()[
        "agent_success_evaluation_results"
    ]
    assert result["result_id"] == first["result_id"]


def test_a_session_that_is_not_there_is_skipped(judged: tuple[TestClient, Judges]) -> None:
    told = judged[0].post(GRADE, json=CLICK).json()

    assert (told["result_id"], told["skipped_reason"]) == (None, "NO_REQUESTS")


def test_a_judge_that_fails_is_a_problem_that_says_so(judged: tuple[TestClient, Judges], provider: Provider) -> None:
    client, _ = judged
    client.post("/api/publish_interaction", json=a_request())
    provider.say = lambda request: httpx2.Response(400, json={"error": "no"})

    failed = client.post(GRADE, json=CLICK)

    assert (failed.status_code, failed.json()["rule"]) == (502, "judge_failed")


def test_gradings_that_are_paid_for_are_limited(judged: tuple[TestClient, Judges]) -> None:
    client, _ = judged
    for n in range(3):
        client.post("/api/publish_interaction", json=a_request(f"r{n}", session=f"s{n}"))

    answers = [client.post(GRADE, json=CLICK | {"session_id": f"s{n}"}) for n in range(3)]

    assert [found.status_code for found in answers] == [200, 200, 429]
    assert int(answers[2].headers["retry-after"]) > 0


def test_a_regeneration_runs_and_always_says_when_it_finished(judged: tuple[TestClient, Judges]) -> None:
    client, judges = judged
    client.post("/api/publish_interaction", json=a_request())
    window = {"from_ts": 1, "to_ts": 2_000_000_000, "evaluation_name": None}

    started = client.post(REGENERATE, json=window).json()
    job = f"{REGENERATE}/{started['job_id']}"
    running = client.get(job).json()
    assert client.post(REGENERATE, json=window).status_code == 409
    judges.run_once()
    done = client.get(job).json()

    assert started["total"] == 1
    assert (running["status"], running["finished_at"]) == ("running", None)
    assert (done["status"], done["completed"], done["failed"], done["failures"]) == ("completed", 1, 0, [])
    assert done["finished_at"] >= done["started_at"]
    assert client.get(f"{job}?as_of={started['seq']}").json()["status"] == "running"


def test_a_regeneration_is_cancelled(judged: tuple[TestClient, Judges]) -> None:
    client, judges = judged
    client.post("/api/publish_interaction", json=a_request())
    job = f"{REGENERATE}/{client.post(REGENERATE, json={'from_ts': 1, 'to_ts': 2_000_000_000}).json()['job_id']}"

    assert client.delete(job).json()["status"] == "cancelled"
    judges.run_once()

    assert client.get(job).json()["status"] == "cancelled"


def test_a_grade_is_answered_from_the_ledger_also_where_no_judge_is(
    judged: tuple[TestClient, Judges], client: TestClient, provider: Provider
) -> None:
    judged[0].post("/api/publish_interaction", json=a_request())
    first = judged[0].post(GRADE, json=CLICK).json()

    again = client.post(GRADE, json=CLICK).json()

    assert (again["cached"], again["result_id"], provider.asked) == (True, first["result_id"], 1)


def test_the_total_of_a_job_is_that_of_its_start_and_its_concurrency_what_is_kept_to(
    judged: tuple[TestClient, Judges], key: Callable[..., dict[str, str]]
) -> None:
    client, _ = judged
    client.post("/api/update_config", json={"eval_concurrency_limit": 5000}, headers=key("admin"))
    client.post("/api/publish_interaction", json=a_request("r1", agent_version="v1"))
    client.post("/api/publish_interaction", json=a_request("r2", agent_version="v2", source="other"))

    started = client.post(REGENERATE, json={"from_ts": 1, "to_ts": 2_000_000_000}).json()
    job = client.get(f"{REGENERATE}/{started['job_id']}").json()

    assert (started["total"], job["total"]) == (2, 2)
    assert (started["total_candidates"], job["total_candidates"]) == (1, 1)
    assert job["concurrency_limit"] == 64


def test_what_no_judge_could_decide_is_listed_until_it_has_a_verdict(
    judged: tuple[TestClient, Judges], provider: Provider
) -> None:
    client, judges = judged
    published = client.post("/api/publish_interaction", json=a_request()).json()
    provider.say = lambda request: httpx2.Response(400, json={"error": "no"})
    judges.run_once()
    client.post(GRADE, json=CLICK)

    found = client.get(UNDECIDED).json()
    session, turn = found["undecided"]
    assert (found["total"], found["reasons"], found["has_more"]) == (2, {"request_refused": 2}, False)
    assert turn["kind"] == "turn"
    assert turn["turn_seq"] > published["seq"]
    assert turn["interaction_id"] == str(turn["turn_seq"])
    assert (turn["session_id"], turn["user_id"], turn["judge_prompt_version"]) == ("s1", "u1", "v1.1.0")
    assert (turn["reason"], turn["judge_model"], turn["made"]) == ("request_refused", "stand-in", "live")
    assert turn["calls"] == provider.asked - 1
    assert (session["kind"], session["session_id"], session["made"]) == ("session", "s1", "on_demand")
    assert (session["turn_seq"], session["interaction_id"], session["job_id"]) == (None, None, None)

    (second,) = client.get(UNDECIDED, params={"limit": 1, "offset": 1}).json()["undecided"]
    assert second == turn
    assert client.get(UNDECIDED, params={"as_of": published["seq"]}).json()["total"] == 0

    provider.say = lambda request: httpx2.Response(200, json=answer(json.loads(request.content)))
    client.post(GRADE, json=CLICK)
    assert [left["kind"] for left in client.get(UNDECIDED).json()["undecided"]] == ["turn"]
    assert client.get(UNDECIDED, params={"as_of": session["seq"]}).json()["undecided"] == [session, turn]


def test_recent_comparisons_as_of_then_are_those_of_the_30_days_before_then(
    judged: tuple[TestClient, Judges], now: list[int]
) -> None:
    client, judges = judged
    client.post("/api/publish_interaction", json=a_request())
    judges.run_once()
    recent = client.get(RECENT).json()
    now[0] += 31 * 86_400_000_000

    assert client.get(RECENT).json()["verdicts"] == []
    assert len(recent["verdicts"]) == 1
    assert client.get(RECENT, params={"as_of": recent["seq"]}).json()["verdicts"] == recent["verdicts"]


def test_health_tells_of_the_judges_and_of_the_failures_of_a_day(
    judged: tuple[TestClient, Judges], provider: Provider, now: list[int]
) -> None:
    client, judges = judged
    assert client.get("/healthz/eval").json()["liveness"] == "red"
    client.post("/api/publish_interaction", json=a_request())
    provider.say = lambda request: httpx2.Response(400, json={"error": "no"})
    judges.run_once()
    told = []
    for minutes in (0, 6, 31, 24 * 60):
        now[0] += minutes * 60_000_000
        health = client.get("/healthz/eval").json()
        told.append((health["liveness"], health["failures_24h"]["turns"]))

    assert health["model"] == "stand-in"
    assert told == [("green", 1), ("amber", 1), ("red", 1), ("red", 0)]


def test_a_regeneration_asked_for_where_no_judge_is_is_done_by_judges_elsewhere(
    judged: tuple[TestClient, Judges], client: TestClient
) -> None:
    client.post("/api/publish_interaction", json=a_request())
    job = client.post(REGENERATE, json={"from_ts": 1, "to_ts": 2_000_000_000}).json()["job_id"]
    judged[1].run_once()

    done = client.get(f"{REGENERATE}/{job}").json()

    assert (done["status"], done["completed"]) == ("completed", 1)


def test_without_judges_a_job_can_still_be_looked_at(client: TestClient, service: Service) -> None:
    assert service.judges is None
    assert client.get(f"{REGENERATE}/{'0' * 32}").status_code == 404
