"""The import of GenAI telemetry: calls become requests with their turns, results scores; the rest is a finding."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.adapters.otel import import_telemetry
from affidavit.api.adapters.otel.importer import FINDINGS
from affidavit.api.publishing import Published, Publisher
from affidavit.domain.errors import Refused
from affidavit.domain.evaluation.events import (
    EvaluationImported,
    InteractionPublished,
    RequestPublished,
    ScoreImported,
)
from affidavit.domain.event import Recorded
from affidavit.ledger.application import Ledger

AT = 1_795_341_600
TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"


def value(plain: Any) -> dict[str, Any]:
    match plain:
        case bool():
            return {"boolValue": plain}
        case int():
            return {"intValue": str(plain)}
        case float():
            return {"doubleValue": plain}
        case str():
            return {"stringValue": plain}
        case list():
            return {"arrayValue": {"values": [value(item) for item in plain]}}
        case _:
            return {"kvlistValue": {"values": pairs(plain)}}


def pairs(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": value(plain)} for name, plain in attributes.items()]


def span(
    attributes: dict[str, Any],
    identity: str = SPAN,
    *,
    trace: str = TRACE,
    parent: str = "",
    at: int = AT,
    events: tuple[tuple[str, dict[str, Any]], ...] = (),
) -> dict[str, Any]:
    return {
        "traceId": trace,
        "spanId": identity,
        "parentSpanId": parent,
        "name": "a span",
        "kind": 3,
        "startTimeUnixNano": str(at * 10**9),
        "endTimeUnixNano": str((at + 2) * 10**9),
        "attributes": pairs(attributes),
        "events": [
            {"name": name, "timeUnixNano": str((at + 1) * 10**9), "attributes": pairs(told)} for name, told in events
        ],
    }


def request(*spans: dict[str, Any], resource: dict[str, Any] | None = None) -> dict[str, Any]:
    named = {"service.name": "support", "service.version": "v7"} if resource is None else resource
    return {"resourceSpans": [{"resource": {"attributes": pairs(named)}, "scopeSpans": [{"spans": list(spans)}]}]}


def logs(*records: dict[str, Any]) -> dict[str, Any]:
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": list(records)}]}]}


def message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def chat(inputs: list[Any], outputs: list[Any], **more: Any) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": json.dumps(inputs),
        "gen_ai.output.messages": json.dumps(outputs),
        **more,
    }


def said(user: str = "My refund?", agent: str = "On its way.", **more: Any) -> dict[str, Any]:
    named = {"gen_ai.conversation.id": "c1", "user.id": "ada", **more}
    return chat([message("user", user)], [message("assistant", agent)], **named)


def write(folder: Path, *documents: Any, name: str = "spans.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def events(ledger: Ledger) -> list[Recorded]:
    with ledger.recorder.reading() as reader:
        source = ledger.event_reader(reader)
        return [found for seq in range(reader.head().size) if (found := source.event(seq)) is not None]


def of(ledger: Ledger, kind: type) -> list[Any]:
    return [recorded.event for recorded in events(ledger) if isinstance(recorded.event, kind)]


def turns(ledger: Ledger) -> list[tuple[str, str]]:
    return [(turn.speaker, turn.turn.get("content", "")) for turn in of(ledger, InteractionPublished)]


def test_a_call_becomes_a_request_with_its_turns(ledger: Ledger, tmp_path: Path) -> None:
    more: dict[str, Any] = {"gen_ai.usage.input_tokens": 12, "gen_ai.system_instructions": "[]"}
    attributes = said(**more)
    report = import_telemetry(ledger, write(tmp_path, request(span(attributes))))
    assert report.as_json() == {
        "rows": {"spans": 1, "evaluations": 0, "log_records": 0},
        "events": 4,
        "unchanged": 0,
        "findings": {},
        "import": "import/opentelemetry",
    }
    (published,) = of(ledger, RequestPublished)
    assert (published.source, published.agent_version, published.requested_at) == ("support", "v7", AT)
    assert (ledger.name_of(published.user), ledger.name_of(published.session)) == ("ada", "c1")
    assert ledger.name_of(published.request) == f"{TRACE}-{SPAN}"
    assert published.sent["otel"]["attributes"]["gen_ai.usage.input_tokens"] == 12
    assert "gen_ai.input.messages" not in published.sent["otel"]["attributes"]
    user, agent = of(ledger, InteractionPublished)
    assert (user.speaker, user.created_at, user.turn) == (
        "user",
        AT,
        {"created_at": AT, "role": "user", "content": "My refund?"},
    )
    assert (agent.speaker, agent.created_at, agent.turn["content"]) == ("agent", AT + 2, "On its way.")


def test_the_same_file_again_adds_nothing(ledger: Ledger, tmp_path: Path) -> None:
    result = ("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "tone", "gen_ai.evaluation.score.value": 0.5})
    path = write(tmp_path, request(span(said(), events=(result,))))
    first = import_telemetry(ledger, path)
    size = ledger.recorder.max_notification_id()
    again = import_telemetry(ledger, path)
    assert (first.events, again.events, again.unchanged, again.stream) == (5, 0, 4, None)
    assert ledger.recorder.max_notification_id() == size


@pytest.mark.parametrize("name", ["spans.json", "spans.jsonl", "spans.ndjson"])
def test_lines_are_known_whatever_the_file_is_called(ledger: Ledger, tmp_path: Path, name: str) -> None:
    path = write(tmp_path, request(span(said())), request(span(said(), "00000000000000aa", at=AT + 9)), name=name)
    assert import_telemetry(ledger, path).rows["spans"] == 2


def test_a_document_over_several_lines_is_one_request(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "spans.json"
    path.write_text(json.dumps(request(span(said())), indent=2))
    assert import_telemetry(ledger, path).rows["spans"] == 1


def test_a_conversation_is_told_once_though_each_call_repeats_it(ledger: Ledger, tmp_path: Path) -> None:
    named = {"gen_ai.conversation.id": "c1"}
    first, second = [message("system", "Be kind."), message("user", "Hi")], message("assistant", "Hello")
    later = [*first, second, message("user", "Bye")]
    path = write(
        tmp_path,
        request(
            span(chat(later, [message("assistant", "See you")], **named), "00000000000000bb", at=AT + 9),
            span(chat(first, [second], **named)),
        ),
    )
    report = import_telemetry(ledger, path)
    assert report.findings == {}
    told = [("system", "Be kind."), ("user", "Hi"), ("agent", "Hello"), ("user", "Bye"), ("agent", "See you")]
    assert turns(ledger) == told


def test_history_that_no_span_tells_is_counted(ledger: Ledger, tmp_path: Path) -> None:
    inputs = [message("user", "Hi"), message("assistant", "Hello"), message("user", "Bye")]
    report = import_telemetry(ledger, write(tmp_path, request(span(chat(inputs, [message("assistant", "Bye")])))))
    assert report.findings == {"history_not_in_file": 2}
    assert turns(ledger) == [("user", "Bye"), ("agent", "Bye")]


def test_an_agent_that_tells_all_stands_for_its_calls(ledger: Ledger, tmp_path: Path) -> None:
    agent = {**said(), "gen_ai.operation.name": "invoke_agent"}
    step = span({}, "00000000000000cc", parent=SPAN)
    call = span(said(agent="(call)"), "00000000000000dd", parent="00000000000000cc", at=AT + 1)
    report = import_telemetry(ledger, write(tmp_path, request(call, step, span(agent))))
    assert report.findings == {"call_within_agent": 1, "other_span": 1}
    assert turns(ledger) == [("user", "My refund?"), ("agent", "On its way.")]


def test_the_calls_of_an_agent_that_tells_nothing_are_recorded(ledger: Ledger, tmp_path: Path) -> None:
    """Conversation and user stand at the agent alone, and hold for the calls within."""
    agent = span({"gen_ai.operation.name": "invoke_agent", "gen_ai.conversation.id": "c9", "enduser.id": "bob"})
    call = span(chat([message("user", "Hi")], [message("assistant", "Ho")]), "00000000000000dd", parent=SPAN)
    report = import_telemetry(ledger, write(tmp_path, request(call, agent)))
    assert report.findings == {"span_without_content": 1}
    (published,) = of(ledger, RequestPublished)
    assert (ledger.name_of(published.user), ledger.name_of(published.session)) == ("bob", "c9")


def test_without_names_the_trace_is_the_session_and_the_session_the_user(ledger: Ledger, tmp_path: Path) -> None:
    path = write(tmp_path, request(span(chat([message("user", "Hi")], [])), resource={}))
    import_telemetry(ledger, path)
    (published,) = of(ledger, RequestPublished)
    assert (ledger.name_of(published.user), ledger.name_of(published.session)) == (TRACE, TRACE)
    assert (published.source, published.agent_version) == ("", "")


def test_scopes_under_their_old_name_are_read(ledger: Ledger, tmp_path: Path) -> None:
    group = {"instrumentationLibrarySpans": [{"instrumentationLibrary": {"name": "old"}, "spans": [span(said())]}]}
    assert import_telemetry(ledger, write(tmp_path, {"resourceSpans": [group]})).rows["spans"] == 1
    assert of(ledger, RequestPublished)[0].sent["otel"]["scope"] == "old"


def test_enums_by_name_are_read_as_numbers(ledger: Ledger, tmp_path: Path) -> None:
    """OTLP/JSON writes numbers; what protobuf libraries print by themselves has names."""
    call = {**span(said()), "kind": "SPAN_KIND_CLIENT", "status": {"code": "STATUS_CODE_ERROR", "message": "late"}}
    import_telemetry(ledger, write(tmp_path, request(call)))
    (published,) = of(ledger, RequestPublished)
    found = published.sent["otel"]
    assert (found["kind"], found["status"]) == (3, {"code": 2, "message": "late"})


def test_the_only_user_of_a_session_is_that_of_all_its_calls(ledger: Ledger, tmp_path: Path) -> None:
    nameless = {name: plain for name, plain in said().items() if name != "user.id"}
    path = write(tmp_path, request(span(said()), span(nameless, "00000000000000aa", at=AT + 5)))
    import_telemetry(ledger, path)
    assert {ledger.name_of(found.user) for found in of(ledger, RequestPublished)} == {"ada"}


def test_tools_are_kept_as_they_were_called(ledger: Ledger, tmp_path: Path) -> None:
    call = {"type": "tool_call", "id": "1", "name": "pay", "arguments": {"amount": 5, "api_key": "secret-1"}}
    answer = {"type": "tool_call_response", "id": "1", "response": {"paid": True}}
    history = [message("user", "Pay"), {"role": "assistant", "parts": [call]}, {"role": "tool", "parts": [answer]}]
    path = write(
        tmp_path,
        request(
            span(chat([message("user", "Pay")], [{"role": "assistant", "parts": [call], "finish_reason": "x"}])),
            span(chat(history, [message("assistant", "Paid.")]), "00000000000000aa", at=AT + 3),
        ),
    )
    report = import_telemetry(ledger, path)
    assert report.findings == {"secret_redacted": 1}
    assert turns(ledger) == [("user", "Pay"), ("agent", ""), ("system", '{"paid":true}'), ("agent", "Paid.")]
    called = of(ledger, InteractionPublished)[1].turn
    safe = {"amount": 5, "api_key": {"redacted": "api_key"}}
    assert called["tools_used"] == [{"tool_name": "pay", "tool_data": safe}]
    assert called["otel"] == {"parts": [{**call, "arguments": safe}], "message": {"finish_reason": "x"}}


OLD_FORMS: dict[str, Callable[[], list[Any]]] = {
    "structured attributes": lambda: [
        request(
            span(
                {
                    "gen_ai.operation.name": "chat",
                    "gen_ai.input.messages": [message("user", "Hi")],
                    "gen_ai.output.messages": [message("assistant", "Ho")],
                }
            )
        )
    ],
    "numbered attributes": lambda: [
        request(
            span(
                {
                    "gen_ai.system": "openai",
                    "llm.request.type": "chat",
                    "gen_ai.prompt.0.role": "user",
                    "gen_ai.prompt.0.content": "Hi",
                    "gen_ai.completion.0.role": "assistant",
                    "gen_ai.completion.0.content": "Ho",
                    "gen_ai.completion.0.finish_reason": "stop",
                }
            )
        )
    ],
    "events of the span": lambda: [
        request(
            span(
                {"gen_ai.operation.name": "chat"},
                events=(
                    ("gen_ai.user.message", {"content": "Hi", "gen_ai.system": "openai"}),
                    ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": json.dumps({"content": "Ho"})}),
                ),
            )
        )
    ],
    "old content events": lambda: [
        request(
            span(
                {"gen_ai.operation.name": "chat"},
                events=(
                    ("gen_ai.content.prompt", {"gen_ai.prompt": json.dumps([{"role": "user", "content": "Hi"}])}),
                    ("gen_ai.content.completion", {"gen_ai.completion": "Ho"}),
                ),
            )
        )
    ],
    "log records": lambda: [
        logs(
            {
                "traceId": TRACE.upper(),
                "spanId": SPAN,
                "timeUnixNano": 1,
                "eventName": "gen_ai.user.message",
                "body": value({"content": [{"type": "text", "text": "Hi"}]}),
            },
            {
                "traceId": TRACE,
                "spanId": SPAN,
                "attributes": pairs({"event.name": "gen_ai.choice"}),
                "body": value({"index": 0, "message": {"role": "assistant", "content": "Ho"}}),
            },
        ),
        request(span({"gen_ai.operation.name": "chat"})),
    ],
    "details in a log record": lambda: [
        request(span({"gen_ai.operation.name": "chat"})),
        logs(
            {
                "traceId": TRACE,
                "spanId": SPAN,
                "eventName": "gen_ai.client.inference.operation.details",
                "attributes": pairs(
                    {"gen_ai.input.messages": [message("user", "Hi")], "gen_ai.output.messages": [message("x", "Ho")]}
                ),
            }
        ),
    ],
}


@pytest.mark.parametrize("form", OLD_FORMS)
def test_older_forms_of_messages_are_read(ledger: Ledger, tmp_path: Path, form: str) -> None:
    report = import_telemetry(ledger, write(tmp_path, *OLD_FORMS[form]()))
    assert turns(ledger) == [("user", "Hi"), ("agent", "Ho")]
    assert report.findings == {}


def result(**more: Any) -> tuple[str, dict[str, Any]]:
    named = {"gen_ai.evaluation.name": "Relevance", "gen_ai.evaluation.score.value": 0.75}
    return "gen_ai.evaluation.result", {**named, **more}


def test_results_become_scores_of_their_session(ledger: Ledger, tmp_path: Path) -> None:
    told = result(**{"gen_ai.evaluation.score.label": "pass", "gen_ai.evaluation.explanation": "It is."})
    elsewhere = span({}, "00000000000000ee", trace="1" * 32, events=(result(**{"gen_ai.response.id": "r-1"}),))
    below = span({}, "00000000000000ff", parent=SPAN, events=(result(**{"gen_ai.evaluation.score.value": 1}),))
    answered = said(**{"gen_ai.response.id": "r-1"})
    report = import_telemetry(ledger, write(tmp_path, request(span(answered, events=(told,)), elsewhere, below)))
    assert report.findings == {}
    (session,) = {found.session for found in of(ledger, RequestPublished)}
    scores = of(ledger, ScoreImported)
    assert [(score.scorer, score.value, score.sessions) for score in scores] == [
        ("Relevance", 0.75, (session,)),
        ("Relevance", 0.75, (session,)),
        ("Relevance", 1.0, (session,)),
    ]
    assert [score.source for score in scores] == ["support"] * 3
    assert scores[0].scored_at == AT + 1
    assert scores[0].detail["otel"]["attributes"]["gen_ai.evaluation.explanation"] == "It is."
    assert len({score.run for score in scores}) == 3


def test_a_result_in_a_log_record_is_read(ledger: Ledger, tmp_path: Path) -> None:
    record = {"eventName": result()[0], "timeUnixNano": str(AT * 10**9), "attributes": pairs(result()[1])}
    named = {**record, "attributes": pairs({**result()[1], "gen_ai.conversation.id": "c1"})}
    report = import_telemetry(ledger, write(tmp_path, logs(record, named)))
    assert report.rows == {"spans": 0, "evaluations": 2, "log_records": 2}
    assert report.findings == {"evaluation_without_session": 1}
    nobodys, sessions = of(ledger, ScoreImported)
    assert (nobodys.named, ledger.name_of(sessions.named)) == (None, "c1")


def test_what_is_not_understood_is_counted(ledger: Ledger, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        request(
            span({"http.route": "/"}, "0000000000000001"),
            span({"gen_ai.operation.name": "embeddings"}, "0000000000000002"),
            span(chat([5], [{"role": "assistant"}]), "0000000000000003"),
            span(chat([message("user", " ")], []), "0000000000000004"),
            span(said(user="x" * 1_000_001), "0000000000000005"),
            span(said(**{"user.id": "u" * 5000}), "0000000000000006"),
            span(said(user="mine is sk-abcdefghijklmnop"), "0000000000000007"),
            span(said(**{"http.request.header.authorization": "Bearer 1"}), "0000000000000008"),
            span({}, "0000000000000009", events=(("gen_ai.evaluation.result", {"gen_ai.evaluation.name": "x"}),)),
            span({}, "000000000000000a", events=(("gen_ai.evaluation.result", {"gen_ai.evaluation.score.value": 1}),)),
            span({}, "000000000000000b", events=(result(**{"gen_ai.evaluation.name": "x" * 1001}),)),
            span({}, "000000000000000c", events=(result(**{"gen_ai.evaluation.score.value": True}),)),
        ),
        logs(
            {"body": value("a line")},
            {"eventName": "gen_ai.choice", "traceId": "2" * 32, "spanId": "2" * 16, "body": value({"message": "x"})},
        ),
        {"resourceMetrics": [{}]},
    )
    report = import_telemetry(ledger, path)
    assert report.findings == {
        "evaluation_without_name": 1,
        "evaluation_without_value": 2,
        "key_shaped_text": 1,
        "log_without_span": 1,
        "message_unreadable": 2,
        "not_recordable": 3,
        "other_log_record": 1,
        "other_operation": 1,
        "other_signal": 1,
        "other_span": 1,
        "secret_redacted": 1,
        "span_without_content": 2,
    }
    (finished,) = of(ledger, EvaluationImported)
    assert finished.findings == report.findings
    assert {finding["detail"] for finding in finished.detail["findings"]} <= set(FINDINGS.values())
    assert "Bearer 1" not in json.dumps([recorded.event.model_dump(mode="json") for recorded in events(ledger)])


def test_a_span_that_says_otherwise_now_stays_as_it_was(ledger: Ledger, tmp_path: Path) -> None:
    import_telemetry(ledger, write(tmp_path, request(span(said()))))
    before = turns(ledger)
    report = import_telemetry(ledger, write(tmp_path, request(span(said(agent="Never.")))))
    assert report.findings == {"request_differs": 1}
    assert turns(ledger) == before


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_an_import_that_is_killed_goes_on_where_it_stopped(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    spans = [span(said(), f"{n:016x}", at=AT + n, events=(result(),)) for n in range(1, 4)]
    path = write(tmp_path, request(*spans))
    submit, calls = Publisher.submit, 0

    def killed(self: Publisher, *given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise KeyboardInterrupt
        return submit(self, *given)

    monkeypatch.setattr(Publisher, "submit", killed)
    try:
        import_telemetry(ledger, path)
    except KeyboardInterrupt:
        monkeypatch.setattr(Publisher, "submit", submit)
        import_telemetry(ledger, path)
    kinds = [recorded.type_name for recorded in events(ledger)]
    assert len(kinds) == 1 + 3 * 3 + 3 + 1


def test_reading_waits_for_the_publisher(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affidavit.api.adapters.otel.importer.IN_FLIGHT", 6)
    waiting: list[int] = []
    submit = Publisher.submit

    def counted(self: Publisher, *given: Any) -> Any:
        answer = submit(self, *given)
        answers.append(answer)
        waiting.append(sum(not found.done() for found in answers))
        return answer

    answers: list[Any] = []
    monkeypatch.setattr(Publisher, "submit", counted)
    path = write(tmp_path, request(*(span(said(), f"{n:016x}", at=AT + n) for n in range(1, 40))))
    assert import_telemetry(ledger, path).events == 39 * 3 + 1
    assert max(waiting) <= 3
    assert all(isinstance(answer.result(), Published) for answer in answers)


def test_a_file_does_not_bring_back_whom_the_ledger_has_erased(ledger: Ledger, tmp_path: Path) -> None:
    path = write(tmp_path, request(span(said())))
    import_telemetry(ledger, path)
    ((_, scope),) = ledger.find_aliases("session", "c1")
    ledger.erase(scope, "user_request")
    size = ledger.recorder.max_notification_id()
    with pytest.raises(Refused, match="erased somebody"):
        import_telemetry(ledger, path)
    assert ledger.recorder.max_notification_id() == size


def _broken(path: str, found: Any) -> dict[str, Any]:
    """A good request with ``found`` in one place of it."""
    document = request(span(said(), events=(result(),)))
    *above, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    inner: Any = document
    for part in above:
        inner = inner[part]
    inner[last] = found
    return document


_FIRST = "resourceSpans.0.scopeSpans.0.spans.0"


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ([], "line 1: expected an object"),
        ({"spans": []}, "line 1: expected an object"),
        ({"resourceSpans": {}}, "line 1.resourceSpans: expected a list"),
        (_broken("resourceSpans.0", 5), r"line 1.resourceSpans\[0\]: expected an object"),
        (_broken(f"{_FIRST}.traceId", "W47/95gDgQPSabYzgT/GDA=="), r"spans\[0\].traceId: expected 32 hex digits"),
        (_broken(f"{_FIRST}.spanId", "0" * 16), r"spans\[0\].spanId: expected 16 hex digits"),
        (_broken(f"{_FIRST}.parentSpanId", "1"), r"spans\[0\].parentSpanId: expected 16 hex digits"),
        (_broken(f"{_FIRST}.startTimeUnixNano", "-1"), r"spans\[0\].startTimeUnixNano: expected nanoseconds"),
        (_broken(f"{_FIRST}.startTimeUnixNano", str(2**63)), r"spans\[0\].startTimeUnixNano: expected nanoseconds"),
        (_broken(f"{_FIRST}.name", 5), r"spans\[0\].name: expected text"),
        (_broken(f"{_FIRST}.attributes.0.value", {"intValue": "x"}), r"attributes\[0\].value: expected stringValue"),
        (_broken(f"{_FIRST}.attributes.0.value", "x"), r"attributes\[0\].value: expected a value"),
        (_broken(f"{_FIRST}.events.0.timeUnixNano", 1.5), r"events\[0\].timeUnixNano: expected nanoseconds"),
    ],
)
def test_a_bad_place_is_named_and_nothing_is_recorded(
    ledger: Ledger, tmp_path: Path, document: Any, named: str
) -> None:
    size = ledger.recorder.max_notification_id()
    with pytest.raises(Refused, match=named):
        import_telemetry(ledger, write(tmp_path, document))
    assert ledger.recorder.max_notification_id() == size


@pytest.mark.parametrize("line", [b"{", b"\xff", b'{"resourceSpans":[' + b"[" * 2000])
def test_a_bad_line_is_named(ledger: Ledger, tmp_path: Path, line: bytes) -> None:
    path = write(tmp_path, request(span(said())))
    path.write_bytes(path.read_bytes() + b"\n" + line + b"\n")
    with pytest.raises(Refused, match="line 3"):
        import_telemetry(ledger, path)
