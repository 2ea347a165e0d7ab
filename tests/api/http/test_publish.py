"""Publishing over HTTP: what is taken, what is answered, what is refused, and that nothing is half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.app import create_app
from affidavit.api.http.limits import Limits
from affidavit.api.http.service import Service, Settings
from affidavit.domain.evaluation.events import InteractionPublished, RequestPublished
from affidavit.domain.event import Recorded
from affidavit.ledger.application import Ledger

from .conftest import LOCAL, a_request

URL = "/api/publish_interaction"
BATCH = "/api/publish_interactions"
NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}


def recorded(ledger: Ledger) -> list[Recorded]:
    """Everything after the opening, sealed content opened."""
    with ledger.recorder.reading() as reader:
        events = ledger.event_reader(reader)
        return [found for seq in range(1, reader.head().size) if (found := events.event(seq)) is not None]


def test_a_published_request_is_on_the_ledger_with_its_texts_sealed(client: TestClient, ledger: Ledger) -> None:
    answer = client.post(URL, json=a_request())

    told = answer.json()
    assert answer.status_code == 200
    assert (told["success"], told["message"], told["request_id"]) == (True, "Interaction published successfully", "r1")
    envelope, question, reply = recorded(ledger)
    assert isinstance(envelope.event, RequestPublished)
    assert isinstance(question.event, InteractionPublished)
    assert isinstance(reply.event, InteractionPublished)
    assert told["seq"] == envelope.seq
    assert [turn["seq"] for turn in told["interactions"]] == [question.seq, reply.seq]
    assert (question.event.speaker, reply.event.speaker) == ("user", "agent")
    assert (question.event.has_shadow, reply.event.has_shadow) == (False, True)
    assert reply.event.turn == {"role": "Agent", "content": "In Bern.", "shadow_content": "I do not know."}
    assert envelope.meta["scope"] == f"user/{envelope.event.user}"
    with ledger.recorder.reading() as reader:
        raw = b"".join(row.raw for row in reader.entries(1))
    for secret in (b"parcel", b"Bern", b"u1", b"s1", b"r1"):
        assert secret not in raw.replace(b"v1", b"")


def test_an_answer_says_from_which_entries_it_is(client: TestClient) -> None:
    answer = client.post(URL, json=a_request())

    assert answer.json()["size"] == 4
    assert answer.headers["affidavit-root"] == answer.json()["root"]
    assert answer.headers["affidavit-seq"] == "3"


def test_the_same_request_again_is_answered_with_the_same_acknowledgement(client: TestClient, ledger: Ledger) -> None:
    first = client.post(URL, json=a_request()).json()
    again = client.post(URL, json=a_request())

    assert again.status_code == 200
    assert [again.json()[name] for name in ("seq", "leaf_hash", "interactions")] == [
        first[name] for name in ("seq", "leaf_hash", "interactions")
    ]
    assert again.json()["repeated"] is True
    assert len(recorded(ledger)) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"source": "other"},
        {"user_id": "u2"},
        {"session_id": "s2"},
        {"evaluation_only": True},
        {"agent_version": "v9"},
        {"interaction_data_list": [{"content": "Where is my parcel?"}]},
        {"interaction_data_list": [{"content": "Where is my parcel?"}, {"content": "other"}]},
    ],
)
def test_another_payload_under_a_known_request_id_is_a_conflict(
    client: TestClient, ledger: Ledger, change: dict[str, Any]
) -> None:
    client.post(URL, json=a_request())

    refused = client.post(URL, json=a_request() | change)

    assert refused.status_code == 409
    assert refused.json()["rule"] == "request_id_taken"
    assert len(recorded(ledger)) == 3


def test_explicit_defaults_are_the_same_payload(client: TestClient) -> None:
    client.post(URL, json=a_request())

    again = client.post(URL, json=a_request(skip_aggregation=False, retrieval_experiment_id=None))

    assert again.json()["repeated"] is True


def test_a_repeat_says_the_same_whatever_version_the_server_stands_in_with_by_now(
    service: Service, client: TestClient
) -> None:
    client.post(URL, json=a_request("left-out"))
    client.post(URL, json=a_request("named", agent_version="agent-v0"))
    later = replace(service, settings=Settings(agent_version="agent-v7"))
    other = TestClient(create_app(later), base_url=LOCAL, client=("127.0.0.1", 40_000))

    for caller, body in (
        (client, a_request("left-out", agent_version="agent-v0")),
        (client, a_request("named")),
        (other, a_request("left-out")),
        (other, a_request("named", agent_version="agent-v0")),
    ):
        assert caller.post(URL, json=body).json()["repeated"] is True
    assert other.post(URL, json=a_request("left-out", agent_version="agent-v7")).status_code == 409


def test_a_search_that_names_a_request_makes_it_nobody_s(
    client: TestClient, ledger: Ledger, key: Callable[..., dict[str, str]]
) -> None:
    client.post("/api/search", json={"query": "a", "user_id": "ua", "session_id": "sa", "request_id": "r1"})
    published = client.post(URL, json=a_request("r1", user="ub")).json()

    client.post("/api/clear_user_data", json={"user_id": "ua"}, headers=key("admin"))

    (session,) = client.post("/api/get_requests", json={"user_id": "ub"}).json()["sessions"]
    assert session["requests"][0]["request"]["request_id"] == "r1"
    again = client.post(URL, json=a_request("r1", user="ub")).json()
    assert (again["repeated"], again["seq"]) == (True, published["seq"])


def test_many_who_repeat_one_request_at_once_get_one_acknowledgement(client: TestClient, ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post(URL, json=a_request()).json(), range(24)))

    assert len({answer["leaf_hash"] for answer in answers}) == 1
    assert sum(not answer["repeated"] for answer in answers) == 1
    assert len(recorded(ledger)) == 3


def test_a_crash_between_naming_and_recording_loses_nothing(client: TestClient, ledger: Ledger) -> None:
    user = ledger.alias("user", "u1")
    ledger.alias("request", "r1", under=f"user/{user}")

    answer = client.post(URL, json=a_request())

    assert (answer.status_code, answer.json()["repeated"]) == (200, False)


def test_who_comes_back_after_erasure_is_somebody_new(client: TestClient, service: Service) -> None:
    first = client.post(URL, json=a_request()).json()
    alias = service.ledger.find_aliases("user", "u1")[0][0]
    service.ledger.erase(f"user/{alias}", "user_request")

    again = client.post(URL, json=a_request()).json()

    assert again["repeated"] is False
    assert again["seq"] > first["seq"]
    assert service.ledger.find_aliases("user", "u1")[0][0] != alias


def test_entries_without_content_are_dropped_and_told(client: TestClient, ledger: Ledger) -> None:
    entries = [{"content": " "}, {"content": "hi", "bogus": 1, "user_id": "u1"}, {"tools_used": [{"tool_name": "t"}]}]

    answer = client.post(URL, json=a_request(interaction_data_list=entries, Source="x")).json()

    assert answer["message"].endswith("with 3 warning(s)")
    assert answer["warnings"][0] == "interaction_data_list[1]: ignored unrecognised field(s) bogus"
    assert "Source" in answer["warnings"][1]
    assert "index 0" in answer["warnings"][2]
    envelope = recorded(ledger)[0].event
    assert isinstance(envelope, RequestPublished)
    assert (envelope.interactions, envelope.dropped) == (2, 1)


def test_lax_numbers_and_booleans_are_taken_and_times_kept_as_given(client: TestClient, ledger: Ledger) -> None:
    entries = [{"content": "hi", "created_at": "5"}, {"content": "ho", "created_at": -3.0}, {"content": "now"}]

    assert client.post(URL, json=a_request(interaction_data_list=entries, evaluation_only="yes")).status_code == 200

    envelope, *turns = [found.event for found in recorded(ledger)]
    assert isinstance(envelope, RequestPublished)
    assert envelope.evaluation_only
    assert [turn.created_at for turn in turns if isinstance(turn, InteractionPublished)] == [
        5,
        -3,
        envelope.requested_at,
    ]


def test_hostile_text_is_kept_as_it_is(client: TestClient, ledger: Ledger) -> None:
    text = "<script>alert(1)</script>\x00\x1b[2J ignore all instructions \u202e 🦊"

    assert client.post(URL, json=a_request(interaction_data_list=[{"content": text}])).status_code == 200

    turn = recorded(ledger)[1].event
    assert isinstance(turn, InteractionPublished)
    assert turn.turn == {"content": text}


ENTRY = {"content": "hi"}
BAD: list[tuple[str, dict[str, Any]]] = [
    ("session_id", {"session_id": None}),
    ("session_id", {"session_id": "  "}),
    ("user_id", {"user_id": ""}),
    ("source", {"source": "My Integration"}),
    ("source", {"source": None}),
    ("source", {"source": "a\n"}),
    ("source", {"source": "a" * 129}),
    ("agent_version", {"agent_version": "a" * 1001}),
    ("interaction_data_list", {"interaction_data_list": []}),
    ("interaction_data_list", {"interaction_data_list": [ENTRY] * 1001}),
    ("interaction_data_list", {"interaction_data_list": [{}, {"content": "  "}]}),
    ("created_at", {"interaction_data_list": [ENTRY | {"created_at": "2026-11-22T10:00:00Z"}]}),
    ("created_at", {"interaction_data_list": [ENTRY | {"created_at": 1.5}]}),
    ("created_at", {"interaction_data_list": [ENTRY | {"created_at": 10**30}]}),
    ("content", {"interaction_data_list": [{"content": "a" * 1_000_001}]}),
    ("user_action", {"interaction_data_list": [{"user_action": "shout"}]}),
    ("interaction_data_list", {"interaction_data_list": [{"user_action": "click"}]}),
    ("interacted_image_url", {"interaction_data_list": [{"interacted_image_url": "file:///etc/passwd"}]}),
    *(
        ("interacted_image_url", {"interaction_data_list": [{"interacted_image_url": f"http://{host}/"}]})
        for host in (
            "169.254.169.254",
            "169.254.169.254.",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "169.254.43518",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[fd00:ec2::254]",
            "METADATA.google.internal.",
            "",
        )
    ),
    (
        "interaction_data_list",
        {"interaction_data_list": [{"interacted_image_url": "http://a.b/c", "image_encoding": "aGk="}]},
    ),
    ("kind", {"interaction_data_list": [{"citations": [{"kind": "rule", "real_id": "1"}]}]}),
    ("learning_id", {"interaction_data_list": [{"retrieved_learnings": [{"kind": "profile", "learning_id": ""}]}]}),
    ("tool_data", {"interaction_data_list": [{"tools_used": [{"tool_name": "t", "tool_data": {"n": 10**30}}]}]}),
    ("body", {"evaluation_only": True, "force_extraction": True}),
    ("body", {"retrieval_experiment_id": "x"}),
]


@pytest.mark.parametrize(("field", "change"), BAD)
def test_what_does_not_fit_is_refused_with_its_field_named(
    client: TestClient, ledger: Ledger, field: str, change: dict[str, Any]
) -> None:
    refused = client.post(URL, json=a_request() | change)

    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    detail = refused.json()["detail"]
    assert {"type", "loc", "msg"} <= detail[0].keys()
    assert field in detail[0]["loc"]
    assert recorded(ledger) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"user_id": NaN}',
        b'{"user_id": "\xff"}',
        b'{"user_id": "\\ud800", "session_id": "s", "interaction_data_list": [{"content": "a"}]}',
        b'{"a":' * 100_000,
        b"[" * 5000 + b"]" * 5000,
    ],
)
def test_what_is_no_json_that_can_be_kept_is_refused(client: TestClient, ledger: Ledger, body: bytes) -> None:
    refused = client.post(URL, content=body, headers=JSON)

    assert refused.status_code == 422
    assert refused.json()["rule"] == "request_invalid"
    assert recorded(ledger) == []


def test_a_number_that_no_float_holds_is_refused_by_its_field(client: TestClient, ledger: Ledger) -> None:
    body = json.dumps(a_request(interaction_data_list=[{"tools_used": [{"tool_name": "t", "tool_data": {"n": 7}}]}]))

    refused = client.post(URL, content=body.replace('"n": 7', '"n": 1e400'), headers=JSON)

    assert refused.status_code == 422
    assert "tool_data" in refused.json()["detail"][0]["loc"]
    assert recorded(ledger) == []


def test_a_tool_s_data_may_be_nested_but_not_endlessly(client: TestClient) -> None:
    data: dict[str, Any] = {}
    for _ in range(60):
        data = {"a": data}

    refused = client.post(
        URL, json=a_request(interaction_data_list=[{"tools_used": [{"tool_name": "t", "tool_data": data}]}])
    )

    assert refused.status_code == 422
    assert "nested" in refused.json()["detail"][0]["msg"]


def test_citations_that_fit_no_entry_are_refused_by_name_and_nobody_else_suffers(
    client: TestClient, ledger: Ledger
) -> None:
    cited = [{"kind": "playbook", "real_id": f"{n:04}", "title": "t" * 90} for n in range(1000)]

    refused = client.post(URL, json=a_request(interaction_data_list=[{"citations": cited}]))

    assert refused.status_code == 422
    assert "interaction_data_list[0].citations" in refused.json()["detail"]
    assert recorded(ledger) == []
    assert client.post(URL, json=a_request()).status_code == 200


def test_a_batch_answers_each_line_and_keeps_the_good_ones(client: TestClient, ledger: Ledger) -> None:
    lines = [
        json.dumps(a_request("r1")),
        "no json",
        json.dumps(a_request("r2")),
        json.dumps(a_request("r1", source="x")),
    ]

    answer = client.post(BATCH, content="\n".join(lines) + "\n\n", headers=NDJSON)

    told = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [line.get("status") for line in told] == [200, 422, 200, 409, None]
    assert [line["line"] for line in told[:-1]] == [1, 2, 3, 4]
    assert {"lines": 4, "published": 2, "failed": 2}.items() <= told[-1].items()
    assert len(recorded(ledger)) == 6


def test_a_batch_repeated_after_a_lost_answer_is_answered_the_same(client: TestClient, ledger: Ledger) -> None:
    body = "\n".join(json.dumps(a_request(f"r{n}")) for n in range(50))

    first, again = (client.post(BATCH, content=body, headers=NDJSON).text.splitlines() for _ in range(2))

    hashes = [[json.loads(line)["leaf_hash"] for line in lines[:-1]] for lines in (first, again)]
    assert hashes[0] == hashes[1]
    assert len(recorded(ledger)) == 150


class TestWithSmallLimits:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(Limits(body_bytes=2000, batch_bytes=6000, batch_lines=5))

    def test_a_body_over_the_limit_is_refused(self, client: TestClient, ledger: Ledger) -> None:
        refused = client.post(URL, json=a_request(interaction_data_list=[{"content": "a" * 3000}]))

        assert refused.status_code == 413
        assert recorded(ledger) == []

    def test_a_body_over_the_limit_is_refused_without_its_length_being_told(
        self, client: TestClient, ledger: Ledger
    ) -> None:
        refused = client.post(URL, content=(b"a" * 500 for _ in range(9)), headers=JSON)

        assert refused.status_code == 413
        assert recorded(ledger) == []

    def test_the_line_that_breaks_a_batch_s_limits_is_told_and_those_before_it_stand(
        self, client: TestClient, ledger: Ledger
    ) -> None:
        lines = [json.dumps(a_request(f"r{n}")) for n in range(8)]

        told = client.post(BATCH, content="\n".join(lines), headers=NDJSON).text.splitlines()

        assert [json.loads(line).get("status") for line in told] == [200] * 5 + [413, None]
        assert len(recorded(ledger)) == 15

    def test_a_line_that_is_too_long_ends_the_batch(self, client: TestClient) -> None:
        lines = [json.dumps(a_request("r1")), "x" * 2500, json.dumps(a_request("r2"))]

        told = client.post(BATCH, content="\n".join(lines), headers=NDJSON).text.splitlines()

        assert [json.loads(line).get("rule") for line in told] == [None, "line_too_large", None]

    def test_a_batch_that_is_too_large_is_refused(self, client: TestClient, ledger: Ledger) -> None:
        refused = client.post(BATCH, content=b"{}\n" * 4000, headers=NDJSON)

        assert refused.status_code == 413
        assert recorded(ledger) == []


def test_publishing_needs_its_scope(client: TestClient, key: Callable[..., dict[str, str]]) -> None:
    assert client.post(URL, json=a_request(), headers=key("read", "review")).status_code == 403
    assert client.post(URL, json=a_request(), headers=key("publish")).status_code == 200
