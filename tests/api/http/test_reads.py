"""What is read back over HTTP, in the peer's shapes, as of any moment; and what reviewers and operators do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.domain.evaluation.events import RulePublished
from affidavit.domain.evaluation.publication import Publication
from affidavit.domain.event import NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import LedgerError
from affidavit.projections.evaluation import requests
from affidavit.tests.stores import every_store

from .conftest import a_request

PUBLISH = "/api/publish_interaction"
Key = Callable[..., dict[str, str]]


def publish(client: TestClient, *args: Any, **more: Any) -> dict[str, Any]:
    answer = client.post(PUBLISH, json=a_request(*args, **more))
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def post(client: TestClient, path: str, body: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = client.post(path, json=body, **more)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_requests_come_back_in_their_sessions_with_texts(client: TestClient) -> None:
    publish(client, "r1")
    publish(client, "r2", session="s2")
    publish(client, "r3")

    answer = post(client, "/api/get_requests", {})

    assert [session["session_id"] for session in answer["sessions"]] == ["s1", "s2"]
    first = answer["sessions"][0]["requests"]
    assert [found["request"]["request_id"] for found in first] == ["r1", "r3"]
    assert first[0]["interactions"][1]["shadow_content"] == "I do not know."
    assert first[0]["interactions"][0]["role"] == "User"
    assert answer["has_more"] is False


def test_more_is_said_to_follow_only_if_it_does(client: TestClient) -> None:
    for n in range(4):
        publish(client, f"r{n}", session=f"s{n}")

    pages = [post(client, "/api/get_requests", {"top_k": 2, "offset": offset}) for offset in (0, 2, 4)]

    assert [len(page["sessions"]) for page in pages] == [2, 2, 0]
    assert [page["has_more"] for page in pages] == [True, False, False]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"user_id": "u2"}, ["r2"]),
        ({"request_id": "r1"}, ["r1"]),
        ({"session_id": "s1"}, ["r2", "r1"]),
        ({"session_id": "s1", "user_id": "u1"}, ["r1"]),
        ({"source": "other"}, ["r2"]),
        ({"source": ""}, []),
        ({"user_id": "nobody"}, []),
        ({"start_time": "2026-11-22T10:00:00", "end_time": "2026-11-22T11:00:00"}, ["r2", "r1"]),
        ({"start_time": "2026-11-22T10:30:00+00:00"}, []),
        ({"start_time": "2026-11-22T19:00:00+09:00"}, ["r2", "r1"]),
        ({"end_time": "2026-11-22T09:59:59Z"}, []),
        ({"user_id": None, "request_id": None, "top_k": None, "offset": None}, ["r2", "r1"]),
    ],
)
def test_requests_are_found_by_what_they_are_asked_for(
    client: TestClient, given: dict[str, Any], found: list[str]
) -> None:
    publish(client, "r1")
    publish(client, "r2", user="u2", source="other")

    answer = post(client, "/api/get_requests", given)

    listed = [r["request"]["request_id"] for session in answer["sessions"] for r in session["requests"]]
    assert listed == found


def test_interactions_come_back_newest_first(client: TestClient) -> None:
    publish(client, "r1")
    publish(client, "r2", user="u2")

    mine = post(client, "/api/get_interactions", {"user_id": "u1", "top_k": 1})["interactions"]
    all_of_them = client.get("/api/get_all_interactions?limit=3").json()["interactions"]

    assert [(found["user_id"], found["content"]) for found in mine] == [("u1", "In Bern.")]
    assert [found["request_id"] for found in all_of_them] == ["r2", "r2", "r1"]


def test_an_answer_as_of_an_earlier_entry_knows_nothing_later(client: TestClient) -> None:
    first = publish(client, "r1")
    publish(client, "r2")

    then = post(client, "/api/get_requests", {"as_of": first["size"] - 1})
    again = client.post(f"/api/get_requests?as_of={first['size'] - 1}", json={}).json()

    assert len(then["sessions"][0]["requests"]) == 1
    assert (then["seq"], then["size"], then["root"]) == (first["size"] - 1, first["size"], first["root"])
    assert again == then
    assert client.get("/api/get_all_interactions?as_of=99").status_code == 404
    assert client.get("/api/get_all_interactions?as_of=soon-ish").status_code == 422


def test_the_overview_answers_with_the_peer_s_fields_and_refuses_what_it_refuses(client: TestClient) -> None:
    publish(client)

    answer = post(client, "/api/get_evaluation_overview", {"from_ts": 0, "to_ts": 2_000_000_000})

    assert {"hero", "context_tiles", "score_distribution", "source_set_comparison", "seq", "root"} <= answer.keys()
    for wrong in ({"from_ts": 2, "to_ts": 1}, {"from_ts": 10**30, "to_ts": 10**30}, {"from_ts": -1, "to_ts": 1}):
        assert client.post("/api/get_evaluation_overview", json=wrong).status_code == 422


def test_recent_comparisons_clamp_their_limit(client: TestClient) -> None:
    for limit in ("0", "-3", "1000"):
        assert client.get(f"/api/evaluations/shadow_comparisons/recent?limit={limit}").json()["verdicts"] == []
    assert client.get("/api/evaluations/shadow_comparisons/recent?limit=x").status_code == 422


def test_results_are_listed(client: TestClient) -> None:
    answer = post(client, "/api/get_agent_success_evaluation_results", {"limit": 5, "start_time": None})

    assert (answer["success"], answer["agent_success_evaluation_results"]) == (True, [])
    for wrong in ({"limit": 0}, {"start_time": "2026-01-02T00:00:00", "end_time": "2026-01-01T00:00:00"}):
        assert client.post("/api/get_agent_success_evaluation_results", json=wrong).status_code == 422


def test_without_a_judge_grading_says_so_and_a_regeneration_is_recorded_for_another_process(client: TestClient) -> None:
    click = {"session_id": "s1", "agent_version": "agent-v0"}
    assert client.post("/api/evaluations/grade_on_demand", json=click).json()["skipped_reason"] == "NO_REQUESTS"
    client.post("/api/publish_interaction", json=a_request())
    graded = client.post("/api/evaluations/grade_on_demand", json=click)
    started = client.post("/api/evaluations/regenerate", json={"from_ts": 1, "to_ts": 2_000_000_000})

    assert (graded.status_code, graded.json()["rule"]) == (503, "no_judge")
    assert (started.status_code, started.json()["total"]) == (200, 1)
    job = client.get(f"/api/evaluations/regenerate/{started.json()['job_id']}").json()
    assert (job["status"], job["sampled_count"]) == ("running", 1)
    assert client.post("/api/evaluations/regenerate", json={"from_ts": 2, "to_ts": 2}).status_code == 422
    for method in ("GET", "DELETE"):
        unknown = client.request(method, "/api/evaluations/regenerate/nope")
        assert (unknown.status_code, unknown.json()["detail"]) == (404, "Unknown job_id")


@every_store
def test_a_rule_is_found_by_its_words_and_what_was_found_is_recorded(client: TestClient, ledger: Ledger) -> None:
    rules = [
        {"rule": "parcels", "text": "Say where the parcel is.", "tags": ["post"]},
        {"rule": "tone", "kind": "user_playbook", "text": "Greet the customer.", "agent_version": "v2"},
        {"rule": "old", "text": "Parcels are lost.", "retired": True},
    ]
    published = post(client, "/api/rules", {"rules": rules})

    found = post(
        client, "/api/search", {"query": 'where is my "parcels" OR NEAR(', "user_id": "u1", "session_id": "s1"}
    )

    assert [rule["rule"] for rule in found["agent_playbooks"]] == ["parcels"]
    assert found["agent_playbooks"][0]["content"] == "Say where the parcel is."
    assert (found["success"], found["profiles"], found["user_playbooks"]) == (True, [], [])
    with ledger.recorder.reading() as reader:
        retrieved = ledger.event_reader(reader).event(found["retrieval"]["seq"])
    assert retrieved is not None
    assert retrieved.event.rules == (published["rules"][0]["seq"],)  # type: ignore[union-attr]
    assert retrieved.event.query == 'where is my "parcels" OR NEAR('  # type: ignore[union-attr]
    assert post(client, "/api/search", {"query": "greet", "agent_version": "v1"})["user_playbooks"] == []
    assert len(post(client, "/api/search", {"query": "greeting", "agent_version": "v2"})["user_playbooks"]) == 1


@every_store
def test_a_new_version_of_a_rule_replaces_the_old_and_the_old_is_found_as_of_then(client: TestClient) -> None:
    first = post(client, "/api/rules", {"rule": "parcels", "text": "Say where the parcel is."})
    found = [post(client, "/api/search", {"query": "parcel"})["agent_playbooks"] for _ in range(2)]
    assert [[rule["rule"] for rule in rules] for rules in found] == [["parcels"], ["parcels"]]
    post(client, "/api/rules", {"rule": "parcels", "text": "Ask for the number."})

    assert post(client, "/api/search", {"query": "parcel"})["agent_playbooks"] == []
    assert len(post(client, "/api/search", {"query": "number"})["agent_playbooks"]) == 1
    then = post(client, "/api/search", {"query": "parcel", "as_of": first["seq"]})
    assert [rule["content"] for rule in then["agent_playbooks"]] == ["Say where the parcel is."]
    assert "retrieval" not in then
    assert [rule["text"] for rule in client.get("/api/rules").json()["rules"]] == ["Ask for the number."]


@pytest.mark.parametrize("query", ["!!!", "   ", ""])
def test_a_question_without_words_finds_nothing(client: TestClient, query: str) -> None:
    answer = client.post("/api/search", json={"query": query})

    assert answer.status_code == (200 if query == "!!!" else 422)


def test_scores_are_matched_by_session(client: TestClient) -> None:
    publish(client, "r1")
    publish(client, "r2", user="u2")
    score = {"source_run_id": "run1", "scorer_name": "fluency", "value": -0.5, "ts": 5}

    scores = [score | {"session_id": "s1"}, score | {"session_id": "unknown"}, score]
    told = post(client, "/api/scores", {"scores": scores})["scores"]

    assert [found["matched_sessions"] for found in told] == [2, 0, 0]
    assert client.post("/api/scores", json=score | {"value": "NaN"}).status_code == 422
    assert client.post("/api/scores", json=score | {"ts": 10**30}).status_code == 422


def test_an_outcome_is_recorded_once_and_another_is_a_new_revision(client: TestClient, service: Service) -> None:
    publish(client)
    outcome = {"session_id": "s1", "outcome": "success", "occurred_at": service.now(), "metadata": {"a": None}}

    first, again, other = (
        post(client, "/api/session_outcome", body) for body in (outcome, outcome, outcome | {"outcome": "failure"})
    )

    assert [found["recorded"] for found in (first, again, other)] == [True, False, True]
    assert [found["outcome_revision"] for found in (first, again, other)] == [1, 1, 2]
    listed = post(client, "/api/get_session_outcomes", {"session_ids": ["s1"]})["session_outcomes"]
    assert [(found["outcome"], found["source"], found["metadata"]) for found in listed] == [
        ("failure", "prod", {"a": None})
    ]
    assert post(client, "/api/get_session_outcomes", {"outcome": "success"})["session_outcomes"] == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"session_id": "unknown"}, "unknown_session"),
        ({"occurred_at": 5}, "occurred_before_session"),
        ({"occurred_at": 2_000_000_000}, "occurred_in_future"),
    ],
)
def test_an_outcome_that_cannot_be_is_answered_no(
    client: TestClient, service: Service, change: dict[str, Any], reason: str
) -> None:
    publish(client)

    told = post(
        client,
        "/api/session_outcome",
        {"session_id": "s1", "outcome": "unknown", "occurred_at": service.now()} | change,
    )

    assert (told["success"], told["recorded"], told["reason"]) == (False, False, reason)


def test_the_configuration_changes_by_fields_and_as_a_whole_with_a_history(client: TestClient, key: Key) -> None:
    admin = key("admin")
    post(client, "/api/update_config", {"eval_concurrency_limit": 3}, headers=admin)
    post(client, "/api/update_config", {"agent_success_config": {"sampling_rate": 1}}, headers=admin)

    config = client.get("/api/get_config").json()
    history = client.get("/api/config_history").json()["changes"]

    assert (config["eval_concurrency_limit"], config["agent_success_config"]["sampling_rate"]) == (3, 1.0)
    assert config["storage_config"] is None
    assert [change["changed"] for change in history] == [["agent_success_config"], ["eval_concurrency_limit"]]
    assert client.get("/api/get_config?as_of=1").json()["agent_success_config"]["sampling_rate"] == 0.05
    post(client, "/api/set_config", config | {"eval_concurrency_limit": 7}, headers=admin)
    assert client.get("/api/get_config").json()["agent_success_config"]["sampling_rate"] == 1.0
    post(client, "/api/set_config", {}, headers=admin)
    assert client.get("/api/get_config").json()["eval_concurrency_limit"] == 10


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"unknown": 1}, ["unknown"]),
        ({"agent_success_config": {"unknown": 1}}, ["agent_success_config", "unknown"]),
        ({"eval_concurrency_limit": 0}, ["eval_concurrency_limit"]),
        ({"eval_sample_n_per_stratum": 10**30}, ["eval_sample_n_per_stratum"]),
        ({"shadow_comparison_judge_prompt_version": " "}, ["shadow_comparison_judge_prompt_version"]),
        ({"agent_success_config": {"sampling_rate": 2}}, ["agent_success_config", "sampling_rate"]),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_in_the_peer_s_shape(
    client: TestClient, key: Key, given: dict[str, Any], where: list[str]
) -> None:
    refused = client.post("/api/update_config", json=given, headers=key("admin"))

    assert refused.status_code == 422
    detail = refused.json()["detail"]
    assert detail.keys() == {"error", "hint", "validation_errors"}
    assert detail["validation_errors"][0]["loc"] == where


def test_what_the_oldest_clients_send_is_mapped_and_secrets_are_not_kept(
    client: TestClient, key: Key, ledger: Ledger
) -> None:
    old = {
        "storage_config": None,
        "batch_size": 10,
        "agent_success_configs": [{"evaluation_name": "e", "success_definition_prompt": "p", "sampling_rate": 0.5}],
        "api_key_config": {"openai": {"api_key": "sk-verysecretverysecret"}},
    }

    post(client, "/api/set_config", old, headers=key("admin"))

    config = client.get("/api/get_config")
    assert config.json()["agent_success_config"]["sampling_rate"] == 0.5
    assert "verysecret" not in config.text
    assert config.json()["api_key_config"]["openai"]["api_key"] == {"redacted": "api_key"}


def test_erasing_a_user_leaves_figures_and_no_text(client: TestClient, key: Key) -> None:
    publish(client, "r1")
    publish(client, "r2", user="u2")

    told = post(client, "/api/clear_user_data", {"user_id": "u1"}, headers=key("admin"))

    assert told["success"] is True
    assert {"requested", "executed", "erased", "stays"} <= told.keys()
    everything = client.post("/api/get_requests", json={})
    assert everything.text.count("Where is my parcel?") == 1
    erased = everything.json()["sessions"][1]["requests"][0]["interactions"][0]
    assert erased["content"] == ""
    assert "withheld" in erased
    assert "u1" not in {session["requests"][0]["request"]["user_id"] for session in everything.json()["sessions"]}
    again = post(client, "/api/clear_user_data", {"user_id": "u1"}, headers=key("admin"))
    assert again["deleted_counts"] == {}


def test_deleting_names_erasure(client: TestClient, key: Key) -> None:
    for path in (
        "delete_session",
        "delete_request",
        "delete_interaction",
        "delete_requests_by_ids",
        "delete_all_interactions",
    ):
        refused = client.request("DELETE", f"/api/{path}", json={"session_id": "s1"}, headers=key("admin"))
        assert refused.status_code == 501
        assert "erasure" in refused.json()["detail"]


def test_an_assignment_is_declared(client: TestClient) -> None:
    told = {"unit": "session", "shares": {"a": 0.9, "b": 0.1}, "mechanism": "random", "since": 5}
    post(client, "/api/assignments", told)

    (listed,) = client.get("/api/assignments").json()["assignments"]
    assert (listed["shares"], listed["unit"]) == ({"a": 0.9, "b": 0.1}, "session")
    for shares in ({"a": 0.5}, {}, {"Bad Name": 1.0}):
        assert client.post("/api/assignments", json=told | {"shares": shares}).status_code == 422


def test_health_and_identity_are_told(client: TestClient, ledger: Ledger) -> None:
    for path in ("/health", "/healthz", "/health/live"):
        assert client.get(path).json()["status"] == "ok"
    assert client.get("/health/ready").json()["status"] == "ready"
    assert client.get("/healthz/eval").json()["liveness"] == "off"
    me = client.get("/api/whoami").json()
    assert (me["success"], me["org_id"], me["storage_label"]) == (True, "self-host-org", ledger.origin)


def test_every_error_has_one_shape(client: TestClient) -> None:
    for answer in (client.get("/nope"), client.get("/api/search"), client.post("/api/get_interactions", json={})):
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert {"type", "title", "status", "rule", "detail"} <= problem.keys()
        assert problem["status"] == answer.status_code


def test_the_search_index_is_kept_until_a_rule_is_published(client: TestClient, service: Service) -> None:
    post(client, "/api/rules", {"rule": "parcels", "text": "Say where the parcel is."})
    post(client, "/api/search", {"query": "parcel"})

    with service.moment() as moment:
        assert moment.views.exec_driver_sql("SELECT count FROM rules_indexed").scalar_one() == 1


@pytest.mark.parametrize("path", ["shadow_comparisons/top_disagreements", "trend"])
def test_a_window_beyond_all_time_is_refused(client: TestClient, path: str) -> None:
    assert client.get(f"/api/evaluations/{path}?to_ts={10**30}").status_code == 422


def test_an_overview_in_milliseconds_is_answered(client: TestClient) -> None:
    answer = post(client, "/api/get_evaluation_overview", {"from_ts": 0, "to_ts": 2**53 - 1, "source_sets": []})

    assert answer["hero"]["state"] == "empty"


def test_what_a_search_found_stands_with_its_request_or_its_session(client: TestClient) -> None:
    post(client, "/api/rules", {"rule": "parcels", "text": "Say where the parcel is."})
    asked = {"query": "parcel", "user_id": "u1", "session_id": "s1"}
    named = post(client, "/api/search", asked | {"request_id": "r1"})["retrieval"]["seq"]
    alone = post(client, "/api/search", asked)["retrieval"]["seq"]
    publish(client, "r1")
    publish(client, "r2")

    (session,) = post(client, "/api/get_requests", {})["sessions"]

    first, second = (found["request"]["retrieved"] for found in session["requests"])
    assert [(found["seq"], found["query"]) for found in first] == [(named, "parcel")]
    assert first[0]["rules"] == [{"rule": "parcels", "seq": 1}]
    assert second == []
    assert [found["seq"] for found in session["retrieved"]] == [alone]


@pytest.mark.parametrize("name", [" ada ", ""])
def test_ids_that_only_an_import_keeps_are_found_and_erased(
    client: TestClient, service: Service, key: Key, name: str
) -> None:
    publication = Publication(name, " s ", f"r{name}", "", "v1", False, 1000, {}, [{"content": "secret"}])
    service.publisher.publish(publication)
    publish(client, "r2", user="ada")

    assert len(post(client, "/api/get_interactions", {"user_id": name})["interactions"]) == 1
    assert len(post(client, "/api/get_requests", {"user_id": name, "session_id": " s "})["sessions"]) == 1
    assert len(post(client, "/api/get_interactions", {"user_id": " ada\t"})["interactions"]) == 2
    told = post(client, "/api/clear_user_data", {"user_id": name}, headers=key("admin"))

    assert told["deleted_counts"] == {"keys": 1}
    everything = client.get("/api/get_all_interactions").text
    assert "secret" not in everything
    assert "parcel" in everything


def test_rules_are_published_all_or_none_and_the_bad_one_is_named(client: TestClient, ledger: Ledger) -> None:
    good = {"rule": "good", "text": "Say where the parcel is."}

    refused = client.post("/api/rules", json={"rules": [good, {"rule": "big", "text": "\x01" * 30_000}]})

    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"] == ["body", "rules", 1]
    assert client.get("/api/rules").json()["rules"] == []
    told = post(client, "/api/rules", {"rules": [good, good | {"text": "Ask."}]})["rules"]
    assert [rule["rule"] for rule in told] == ["good", "good"]
    assert [rule["text"] for rule in client.get("/api/rules").json()["rules"]] == ["Ask."]


def test_nothing_is_published_where_one_of_several_rules_is_not_recorded(service: Service) -> None:
    events = [RulePublished(rule=name, text=text) for name, text in (("good", "a"), ("big", "\x01" * 30_000))]

    with pytest.raises(LedgerError):
        service.append_all([NewEvent(f"rule/{event.rule}", 0, event, service.meta()) for event in events])

    assert service.head()[0] == 1


def test_the_error_of_a_rule_is_of_the_form_that_was_sent(client: TestClient) -> None:
    for body, place in (
        ({"rule": "../x", "text": "t"}, ["body", "rules", 0, "rule"]),
        ({"rules": [{"rule": "x"}]}, ["body", "rules", 0, "text"]),
    ):
        detail = client.post("/api/rules", json=body).json()["detail"]
        assert [error["loc"] for error in detail] == [place]


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_at_the_edge_of_the_calendar_is_refused_by_its_field(client: TestClient, time: str) -> None:
    for answer, field in (
        (client.get("/api/get_all_interactions", params={"as_of": time}), "as_of"),
        (client.post("/api/get_requests", json={"as_of": time}), "as_of"),
        (client.post("/api/get_requests", json={"start_time": time}), "start_time"),
    ):
        assert answer.status_code == 422
        assert field in answer.json()["detail"][0]["loc"]


@pytest.mark.parametrize("year", ["0001", "0500", "1969"])
def test_as_of_a_time_before_the_ledger_nothing_stood(client: TestClient, year: str) -> None:
    publish(client)

    assert client.get(f"/api/get_all_interactions?as_of={year}-06-01").json()["size"] == 0


def test_an_answer_ends_where_its_texts_grow_too_long_and_says_that_more_follow(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(4):
        publish(client, f"r{n}", session=f"s{n // 3}", interaction_data_list=[{"content": "x" * 1000}])
    monkeypatch.setattr(requests, "MAX_SHOWN", 2500)

    first = client.get("/api/get_all_interactions").json()
    rest = client.get(f"/api/get_all_interactions?offset={len(first['interactions'])}").json()
    assert [len(first["interactions"]), len(rest["interactions"])] == [2, 2]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    mine = post(client, "/api/get_interactions", {"user_id": "u1", "offset": 3})
    assert (len(mine["interactions"]), mine["has_more"]) == (1, False)
    pages = [post(client, "/api/get_requests", {"offset": offset}) for offset in (0, 1)]
    assert [page["has_more"] for page in pages] == [True, False]
    assert [(len(page["sessions"][0]["requests"]), page["sessions"][0]["has_more"]) for page in pages] == [
        (1, False),
        (1, True),
    ]


def test_a_report_that_was_made_before_is_answered_as_then(client: TestClient, service: Service) -> None:
    publish(client)
    outcome = {"session_id": "s1", "outcome": "success", "occurred_at": service.now()}
    first = post(client, "/api/session_outcome", outcome)
    post(client, "/api/session_outcome", outcome | {"outcome": "failure"})

    again = post(client, "/api/session_outcome", outcome)

    assert (again["recorded"], again["outcome_revision"]) == (False, 1)
    assert [again[name] for name in ("seq", "leaf_hash")] == [first[name] for name in ("seq", "leaf_hash")]
    (listed,) = post(client, "/api/get_session_outcomes", {})["session_outcomes"]
    assert listed["outcome"] == "failure"


def test_a_configuration_that_stays_the_same_is_no_change(client: TestClient, service: Service, key: Key) -> None:
    admin = key("admin")
    post(
        client,
        "/api/update_config",
        {"eval_concurrency_limit": 3, "api_key_config": {"api_key": "sk-1"}},
        headers=admin,
    )
    size = service.head()[0]

    post(client, "/api/update_config", {}, headers=admin)
    post(client, "/api/update_config", {"eval_concurrency_limit": 3}, headers=admin)
    post(client, "/api/set_config", client.get("/api/get_config").json(), headers=admin)

    assert len(client.get("/api/config_history").json()["changes"]) == 1
    assert service.head()[0] == size


def test_the_overrides_of_older_clients_are_taken(client: TestClient, key: Key) -> None:
    post(client, "/api/update_config", {"batch_size_override": 5}, headers=key("admin"))

    assert client.get("/api/get_config").json()["batch_size_override"] == 5


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"agent_success_config": {"success_definition_prompt": "\x07 "}}, "success_definition_prompt"),
        ({"batch_size": 10**30}, "batch_size"),
    ],
)
def test_a_configuration_that_cannot_be_kept_is_refused_by_its_field(
    client: TestClient, key: Key, given: dict[str, Any], where: str
) -> None:
    refused = client.post("/api/update_config", json=given, headers=key("admin"))

    assert refused.status_code == 422
    assert where in refused.json()["detail"]["validation_errors"][0]["loc"]


def test_what_an_outcome_carries_must_be_finite(client: TestClient) -> None:
    body = '{"session_id": "s1", "outcome": "success", "occurred_at": 5, "metadata": {"n": 1e400}}'

    refused = client.post("/api/session_outcome", content=body, headers={"Content-Type": "application/json"})

    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["body", "metadata"])


@pytest.mark.parametrize("path", ["shadow_comparisons/top_disagreements", "trend"])
def test_a_window_that_ends_before_it_begins_is_refused(client: TestClient, path: str) -> None:
    assert client.get(f"/api/evaluations/{path}?from_ts=5&to_ts=1").status_code == 422


def test_every_window_may_reach_as_far(client: TestClient) -> None:
    publish(client)
    last = 2**53 - 1

    for path in ("shadow_comparisons/top_disagreements", "trend"):
        assert client.get(f"/api/evaluations/{path}?to_ts={last}").status_code == 200
        assert client.get(f"/api/evaluations/{path}?to_ts={last + 1}").status_code == 422
    post(client, "/api/evaluations/sessions", {"from_ts": 0, "to_ts": last})


@pytest.mark.parametrize(
    ("method", "path", "named"),
    [
        ("post", "/api/publish_interaction", "leaf_hash"),
        ("post", "/api/search", "agent_playbooks"),
        ("post", "/api/get_requests", "has_more"),
        ("post", "/api/get_evaluation_overview", "hero"),
        ("get", "/api/evaluations/regenerate/{job_id}", "finished_at"),
    ],
)
def test_the_document_of_the_api_says_what_is_answered(client: TestClient, method: str, path: str, named: str) -> None:
    told = client.get("/openapi.json").json()["paths"][path][method]["responses"]["200"]

    assert {named, "seq", "size", "root"} <= set(told["content"]["application/json"]["schema"]["required"])
