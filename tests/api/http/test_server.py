"""A real server on a free port: our client against it, the founding page's snippets, slow bodies."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import SimpleNamespace

import httpx2
import pytest
import uvicorn

from affidavit.api.client import AffidavitClient, ApiError, InteractionData
from affidavit.api.http.app import create_app
from affidavit.api.http.connections import ImpatientProtocol
from affidavit.api.http.limits import Limits
from affidavit.api.http.service import Service, Settings
from affidavit.domain.evaluation.events import RequestPublished


@pytest.fixture
def settings() -> Settings:
    return Settings(Limits(body_seconds=1.5))


@pytest.fixture
def port(service: Service) -> Iterator[int]:
    """The port of a server that runs in a thread."""
    with _serving(service) as number:
        yield number


@contextmanager
def _serving(service: Service, protocol: type[ImpatientProtocol] = ImpatientProtocol) -> Iterator[int]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()  # callers queue until the server is there
    config = uvicorn.Config(create_app(service), log_level="critical", proxy_headers=False, ws="none", http=protocol)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield int(listening.getsockname()[1])
    server.should_exit = True
    thread.join()
    listening.close()


@pytest.fixture
def client(port: int) -> Iterator[AffidavitClient]:
    with AffidavitClient(f"http://127.0.0.1:{port}") as opened:
        yield opened


def test_the_founding_page_s_source_assignment_runs(client: AffidavitClient) -> None:
    """Its session-level snippet, imports aside."""
    client.publish_rules([{"rule": "parcels", "text": "Say where the parcel is."}])
    import random

    user, session_id, user_message = SimpleNamespace(id="u1"), "s1", "Where is my parcel?"

    def run_agent(message: str, context: object) -> str:
        return f"{message} {context}"

    HOLDOUT_FRACTION = 0.10  # noqa: N806

    def assign_session_source(session_id: str) -> str:
        if random.Random(session_id).random() < HOLDOUT_FRACTION:
            return "prod_without_reflexio"
        return "prod_with_reflexio"

    source = assign_session_source(session_id)
    rules: object
    if source == "prod_with_reflexio":
        rules = client.search(user_message)
        evaluation_only = False
    else:
        rules = []
        evaluation_only = True
    agent_response = run_agent(user_message, context=rules)
    interactions = [
        InteractionData(role="user", content=user_message),
        InteractionData(role="assistant", content=agent_response),
    ]
    client.publish_interaction(
        user_id=user.id,
        interactions=interactions,
        session_id=session_id,
        source=source,
        agent_version="v1",
        evaluation_only=evaluation_only,
    )

    (session,) = client.get_requests(session_id="s1")["sessions"]
    assert session["requests"][0]["request"]["source"] == source


def test_the_founding_page_s_shadow_snippet_runs(client: AffidavitClient) -> None:
    """Its per-turn snippet, imports aside."""
    user, session_id, user_message = SimpleNamespace(id="u1"), "s1", "Where is my parcel?"
    llm = SimpleNamespace(generate=lambda message, rules: f"{message} {len(rules)}")
    rules = client.search(user_message)
    regular_response = llm.generate(user_message, rules=rules)
    shadow_response = llm.generate(user_message, rules=[])

    client.publish_interaction(
        user_id=user.id,
        interactions=[
            InteractionData(role="User", content=user_message),
            InteractionData(
                role="Agent",
                content=regular_response,  # what was served to the user
                shadow_content=shadow_response,  # used only for grading
            ),
        ],
        session_id=session_id,
        source="my-integration",
        agent_version="v1",
    )

    (newest, _) = client.get_all_interactions()["interactions"]
    assert (newest["speaker"], newest["shadow_content"]) == ("agent", shadow_response)


def test_the_founding_page_s_request_by_curl_is_taken(port: int) -> None:
    body = {
        "user_id": "id",
        "interaction_data_list": [
            {"role": "user", "content": "<user_message>"},
            {"role": "assistant", "content": "<run_agent_result>"},
        ],
        "session_id": "<session_id>",
        "source": "prod_with_reflexio",
        "agent_version": "v1",
        "evaluation_only": "false",
    }
    headers = {"User-Agent": "curl/8.0", "Content-Type": "application/json"}

    answer = httpx2.post(f"http://127.0.0.1:{port}/api/publish_interaction", json=body, headers=headers)

    assert (answer.status_code, answer.json()["success"]) == (200, True)


def test_the_client_reaches_every_reading_endpoint(client: AffidavitClient, service: Service) -> None:
    client.publish_interaction("u1", [InteractionData(content="hi")], "s1", request_id="r1")
    client.declare_assignment("session", {"a": 0.5, "b": 0.5}, "random", since=1)
    client.import_scores([{"source_run_id": "x", "scorer_name": "y", "value": 1, "ts": 1, "session_id": "s1"}])
    assert client.report_session_outcome("s1", "success", service.now())["recorded"]

    assert client.get_evaluation_overview(0, 2_000_000_000)["size"] == service.head()[0]
    assert client.get_recent_shadow_comparisons()["verdicts"] == []
    assert client.get_top_disagreements(limit=5)["total"] == 0
    assert client.get_trend()["versions"] == []
    assert client.list_sessions(0, 2_000_000_000)["size"] > 1
    assert client.get_evaluation_results()["success"]
    assert client.get_requests(as_of=0)["sessions"] == []
    assert len(client.get_interactions("u1")["interactions"]) == 1
    assert len(client.get_session_outcomes()["session_outcomes"]) == 1
    assert client.list_rules()["rules"] == []
    assert len(client.list_assignments()["assignments"]) == 1
    assert client.get_config()["eval_concurrency_limit"] == 10
    assert client.get_config_history()["changes"] == []
    assert client.whoami()["success"]
    assert client.health()["status"] == "ready"
    assert client.evaluation_health()["liveness"] == "off"
    assert client.anchoring_health()["schedule"] == "off"


def test_the_client_administers_with_a_key(service: Service, port: int) -> None:
    token, _ = service.keyring.create(["admin"], "", "2026-11-22T10:00:00+00:00")
    with AffidavitClient(f"http://127.0.0.1:{port}", token) as admin:
        admin.publish_interaction("u1", [{"content": "hi"}], "s1")
        admin.update_config(eval_concurrency_limit=4)
        assert admin.get_config()["eval_concurrency_limit"] == 4
        admin.set_config({})
        assert admin.get_config()["eval_concurrency_limit"] == 10
        assert admin.clear_user_data("u1")["success"]


def test_a_batch_through_the_client_answers_each(client: AffidavitClient) -> None:
    many = [{"user_id": f"u{n}", "session_id": "s", "interactions": [{"content": "hi"}]} for n in range(250)]

    *each, summary = client.publish_interactions([*many, many[0] | {"source": "NO"}])

    assert [found["success"] for found in each] == [True] * 250 + [False]
    assert (summary["published"], summary["failed"]) == (250, 1)


def test_a_refusal_is_one_error_with_the_problem_s_fields(client: AffidavitClient) -> None:
    with pytest.raises(ApiError) as caught:
        client.publish_interaction("", [InteractionData(content="hi")], "s1")

    assert (caught.value.status, caught.value.rule) == (422, "request_invalid")
    assert caught.value.detail[0]["loc"] == ["body", "user_id"]
    with pytest.raises(ApiError) as caught:
        client.get_regeneration("nope")
    assert (caught.value.status, caught.value.rule) == (404, "job_known")


def test_only_calls_that_may_come_twice_are_tried_again() -> None:
    seen: list[tuple[str, bytes]] = []
    slept: list[float] = []

    def overloaded(request: httpx2.Request) -> httpx2.Response:
        seen.append((request.url.path, request.content))
        return httpx2.Response(503, headers={"Retry-After": "2"}, json={"rule": "unavailable", "detail": "later"})

    with AffidavitClient("http://h", transport=httpx2.MockTransport(overloaded), sleep=slept.append) as client:
        with pytest.raises(ApiError, match="503 unavailable"):
            client.publish_interaction("u", [{"content": "a"}], "s")
        assert len(seen) == 4
        assert len(set(seen)) == 1, "each try must bear the same request id"
        assert slept == [2.0, 4.0, 8.0]
        with pytest.raises(ApiError):
            client.publish_rules([{"rule": "a", "text": "b"}])
        assert len(seen) == 5


def test_no_answer_at_all_is_the_same_error() -> None:
    def unreachable(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    with (
        AffidavitClient("http://h", transport=httpx2.MockTransport(unreachable), sleep=lambda _: None) as client,
        pytest.raises(ApiError, match="no_answer"),
    ):
        client.whoami()


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/api/publish_interaction", "application/json"), ("/api/publish_interactions", "application/x-ndjson")],
)
def test_a_body_that_does_not_arrive_is_told_so(port: int, service: Service, path: str, kind: str) -> None:
    size = service.head()[0]
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as caller:
        caller.sendall(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: 100\r\n\r\n{{".encode()
        )
        answer = b""
        while part := caller.recv(4096):
            answer += part
            if b"body_too_slow" in answer:
                break

    assert b"body_too_slow" in answer
    assert service.head()[0] == size


def test_a_caller_that_never_finishes_its_head_is_let_go(service: Service) -> None:
    class Soon(ImpatientProtocol):
        head_seconds = 0.5

    whole = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with _serving(service, Soon) as port, closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as caller:
        caller.sendall(whole)
        answered = b""
        while b"}" not in answered:
            answered += caller.recv(65536)
        caller.sendall(whole[:20])
        rest = b"".join(iter(lambda: caller.recv(65536), b""))

    assert answered.startswith(b"HTTP/1.1 200 OK")
    assert rest == b""


def test_a_body_may_take_longer_than_a_head(service: Service) -> None:
    class Soon(ImpatientProtocol):
        head_seconds = 0.3

    body = b'{"top_k": 1}'
    head = (
        "POST /api/get_requests HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with _serving(service, Soon) as port, closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as caller:
        caller.sendall(head.encode() + body[:3])
        threading.Event().wait(0.5)
        caller.sendall(body[3:])

        assert b"200 OK" in caller.recv(65536)


def test_the_client_s_further_fields_are_recorded(client: AffidavitClient, service: Service) -> None:
    client.publish_interaction(
        "u1",
        [{"content": "hi"}],
        "s1",
        wait_for_response=True,
        session_finished=True,
        skip_aggregation=True,
        retrieval_experiment_id="x",
        retrieval_experiment_arm="holdout",
    )

    with service.moment() as moment:
        envelope = moment.events.event(1)
    assert envelope is not None
    assert isinstance(envelope.event, RequestPublished)
    assert isinstance(envelope.event.sent, dict)
    further = {"session_finished": True, "skip_aggregation": True}
    experiment = {"retrieval_experiment_id": "x", "retrieval_experiment_arm": "holdout"}
    assert (further | experiment).items() <= envelope.event.sent.items()
    assert client.alive()["status"] == "ok"


def test_deleting_through_the_client_names_erasure(client: AffidavitClient) -> None:
    deletions: list[Callable[[], object]] = [
        lambda: client.delete_session("s1"),
        lambda: client.delete_request("r1"),
        lambda: client.delete_interaction("u1", 1),
        lambda: client.delete_requests_by_ids(["r1"]),
        client.delete_all_interactions,
    ]
    for delete in deletions:
        with pytest.raises(ApiError) as caught:
            delete()
        assert (caught.value.status, caught.value.rule) == (501, "erasure_instead")


def test_a_batch_that_is_too_much_for_one_body_is_sent_in_several(
    client: AffidavitClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [{"user_id": f"u{n}", "session_id": "s", "interactions": [{"content": "hi"}]} for n in range(25)]
    for name, most in (("_BATCH_LINES", 10), ("_BATCH_BYTES", 1000)):
        monkeypatch.setattr(f"affidavit.api.client.{name}", most)

        *each, summary = client.publish_interactions([*many, many[0] | {"source": "NO"}])

        assert [found["line"] for found in each] == list(range(1, 27))
        assert (summary["lines"], summary["published"], summary["failed"]) == (26, 25, 1)
    assert client.publish_interactions([]) == [{"lines": 0, "published": 0, "failed": 0}]
