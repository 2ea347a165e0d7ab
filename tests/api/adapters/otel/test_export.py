"""The export of interactions and evaluations: stable bytes, no content unless asked for, and the way back."""

from __future__ import annotations

import json
import random
import shutil
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affidavit.api.adapters.evaluation import import_evaluation
from affidavit.api.adapters.otel import TelemetryExport, Window, export_telemetry, import_telemetry
from affidavit.api.adapters.otel.exporter import ALWAYS
from affidavit.api.publishing import Publisher
from affidavit.api.reading import open_for_reading
from affidavit.domain.evaluation.events import InteractionPublished, RequestPublished, ScoreImported
from affidavit.domain.evaluation.publication import Publication
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.errors import Unavailable
from affidavit.projections.registry import REGISTRY

AT = 1_795_341_600
ROWS: dict[str, Any] = {
    "requests": [{"request_id": "r1", "user_id": "ada", "session_id": "s1", "created_at": AT, "source": "support"}],
    "interactions": [
        {"interaction_id": 1, "request_id": "r1", "created_at": AT, "content": "My refund?"},
        {
            "interaction_id": 2,
            "request_id": "r1",
            "created_at": AT + 4,
            "role": "Agent",
            "content": "On its way.",
            "shadow_content": "In a week.",
        },
        {"interaction_id": 3, "request_id": "r1", "created_at": AT + 5, "content": "Thanks"},
        {"interaction_id": 4, "request_id": "r1", "created_at": AT + 6, "role": "Agent", "content": "Bye"},
    ],
    "results": [
        {
            "result_id": 1,
            "user_id": "ada",
            "session_id": "s1",
            "agent_version": "v7",
            "is_success": False,
            "failure_reason": "It was late.",
            "created_at": AT,
        }
    ],
    "verdicts": [
        {
            "verdict_id": 1,
            "interaction_id": "2",
            "session_id": "s1",
            "agent_version": "v7",
            "reflexio_is_request_1": True,
            "better_request": "2",
            "judge_prompt_version": "v1.1.0",
            "comparison_reason": "It is sooner.",
            "created_at": "2026-11-22T10:00:30+00:00",
        }
    ],
    "imported_scores": [
        {"source": "lab", "source_run_id": "x", "session_id": "s1", "scorer_name": "Tone", "value": 0.25, "ts": AT + 60}
    ],
}


@pytest.fixture
def rows(ledger: Ledger, tmp_path: Path) -> Ledger:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS))
    import_evaluation(ledger, path)
    return ledger


def export(
    folder: Path,
    name: str = "spans.jsonl",
    *,
    as_of: str | None = None,
    window: Window = ALWAYS,
    content: bool = False,
) -> tuple[TelemetryExport, Path]:
    with open_for_reading(folder / "ledger", folder / "keys") as opened:
        path = folder / name
        size = opened.size_as_of(as_of)
        return export_telemetry(opened, path, size=size, window=window, content=content), path


def plain(value: dict[str, Any]) -> Any:
    ((kind, given),) = value.items()
    if kind == "arrayValue":
        return [plain(item) for item in given["values"]]
    return int(given) if kind == "intValue" else given


def spans(path: Path) -> list[dict[str, Any]]:
    """The spans of an export, each with its attributes and those of its events as objects."""
    found = []
    for line in path.read_text().splitlines():
        for group in json.loads(line)["resourceSpans"]:
            for scope in group["scopeSpans"]:
                for span in scope["spans"]:
                    span["attributes"] = {item["key"]: plain(item["value"]) for item in span["attributes"]}
                    for event in span.get("events", []):
                        event["attributes"] = {item["key"]: plain(item["value"]) for item in event["attributes"]}
                    span["resource"] = {item["key"]: plain(item["value"]) for item in group["resource"]["attributes"]}
                    found.append(span)
    return found


def test_every_exchange_and_evaluation_is_a_span_that_names_its_entry(rows: Ledger, tmp_path: Path) -> None:
    report, path = export(tmp_path)
    assert report.spans == {"interaction": 2, "shadow_verdict": 1, "session_grade": 1, "imported_score": 1}
    with rows.recorder.reading() as reader:
        leaves = {row.seq: row.leaf.hex() for row in reader.entries()}
        head = reader.head()
    found = spans(path)
    assert len({(span["traceId"], span["spanId"]) for span in found}) == 5
    for span in found:
        assert span["attributes"]["affidavit.leaf_hash"] == leaves[span["attributes"]["affidavit.seq"]]
        assert span["attributes"]["affidavit.size"] == head.size
        assert span["attributes"]["affidavit.content"] == "left_out"
        assert span["resource"]["affidavit.origin"] == rows.origin
    one, two, *judged = found
    assert [span["attributes"]["affidavit.turns"] for span in (one, two)] == [[2, 3], [4, 5]]
    assert one["resource"]["service.name"] == "support"
    verdict = next(span for span in judged if span["attributes"]["affidavit.kind"] == "shadow_verdict")
    assert (verdict["traceId"], verdict["parentSpanId"]) == (one["traceId"], one["spanId"])
    assert verdict["attributes"]["affidavit.judge_prompt_version"] == "v1.1.0"
    assert verdict["events"][0]["name"] == "gen_ai.evaluation.result"
    assert verdict["events"][0]["attributes"] == {
        "gen_ai.evaluation.name": "shadow_comparison",
        "gen_ai.evaluation.score.label": "loss",
    }
    sessions = {span["attributes"]["gen_ai.conversation.id"] for span in found}
    assert sessions == {rows.find_aliases("session", "s1")[0][0]}


def test_without_content_nothing_that_is_sealed_leaves(rows: Ledger, tmp_path: Path) -> None:
    text = export(tmp_path)[1].read_text()
    sealed = ("My refund", "On its way", "In a week", "Thanks", "It is sooner", "It was late", '"ada"', '"s1"', '"r1"')
    assert not [said for said in sealed if said in text]


def test_with_content_texts_names_and_reasons_come_along(rows: Ledger, tmp_path: Path) -> None:
    one, *others = spans(export(tmp_path, content=True)[1])
    assert (one["attributes"]["user.id"], one["attributes"]["gen_ai.conversation.id"]) == ("ada", "s1")
    (answer,) = json.loads(one["attributes"]["gen_ai.output.messages"])
    assert answer["parts"] == [{"type": "text", "content": "On its way."}]
    assert answer["affidavit"]["shadow_content"] == "In a week."
    told = {
        event["attributes"].get("gen_ai.evaluation.explanation") for span in others for event in span.get("events", [])
    }
    assert told == {"It is sooner.", "It was late.", None}


def test_the_same_entries_and_options_give_the_same_bytes(rows: Ledger, tmp_path: Path) -> None:
    size = rows.recorder.max_notification_id()
    first = export(tmp_path, "one", content=True)[1].read_bytes()
    with Publisher(rows) as publisher:
        publisher.publish(Publication("bob", "s2", "r2", "", "", False, AT, {}, [{"content": "later"}]))
    assert export(tmp_path, "two", content=True, as_of=str(size - 1))[1].read_bytes() == first
    assert export(tmp_path, "three", content=True)[1].read_bytes() != first


def test_as_of_an_earlier_entry_shows_what_stood_then(rows: Ledger, tmp_path: Path) -> None:
    report, path = export(tmp_path, as_of="2")
    assert (report.size, report.spans["interaction"], report.spans["session_grade"]) == (3, 1, 0)
    assert spans(path)[0]["attributes"]["affidavit.turns"] == [2]


@pytest.mark.parametrize(
    ("window", "counts"),
    [
        (Window(AT, AT), [2, 0, 1, 0]),
        (Window(AT + 1, None), [0, 1, 0, 1]),
        (Window(None, AT + 59), [2, 1, 1, 0]),
        (Window(AT + 60, AT + 60), [0, 0, 0, 1]),
        (Window(AT + 61, None), [0, 0, 0, 0]),
    ],
)
def test_a_window_goes_by_the_times_of_what_happened(
    rows: Ledger, tmp_path: Path, window: Window, counts: list[int]
) -> None:
    assert list(export(tmp_path, window=window)[0].spans.values()) == counts


def test_what_is_erased_says_so(rows: Ledger, tmp_path: Path) -> None:
    ((alias, scope),) = rows.find_aliases("session", "s1")
    rows.erase(scope, "user_request")
    report, path = export(tmp_path, content=True)
    assert report.withheld == {"erased": 5, "closed": 0}
    for span in spans(path):
        assert span["attributes"]["affidavit.content"] == "erased"
        assert span["attributes"]["gen_ai.conversation.id"] == alias
        assert "gen_ai.output.messages" not in span["attributes"]


@pytest.mark.parametrize(
    "odd", [5, {"trace_id": 5}, {"trace_id": "x", "links": [5, {}], "attributes": {}}, {"parts": [5], "message": 5}]
)
def test_rows_that_use_our_names_otherwise_are_exported(ledger: Ledger, tmp_path: Path, odd: Any) -> None:
    """Another import keeps whatever fields it finds."""
    rows = {name: [{**row, "otel": odd} for row in ROWS[name]] for name in ("requests", "interactions")}
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    import_evaluation(ledger, path)
    assert len(spans(export(tmp_path, content=True)[1])) == 2


def test_without_keys_content_is_closed(rows: Ledger, tmp_path: Path) -> None:
    with open_for_reading(tmp_path / "ledger", tmp_path / "nowhere") as opened:
        report = export_telemetry(opened, tmp_path / "spans.jsonl", size=opened.size, content=True)
    assert report.withheld == {"erased": 0, "closed": 5}


def test_an_export_writes_over_nothing_and_leaves_no_half(
    rows: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "spans.jsonl"
    path.write_text("mine")
    with pytest.raises(Unavailable, match="never writes over it"):
        export(tmp_path)
    assert path.read_text() == "mine"
    path.unlink()
    before = sorted(tmp_path.iterdir())

    def broken(*_: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("affidavit.api.adapters.otel.exporter.print_request", broken)
    with pytest.raises(KeyboardInterrupt):
        export(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_memory_does_not_grow_with_what_is_exported(ledger: Ledger, tmp_path: Path) -> None:
    with Publisher(ledger) as publisher:
        for number in range(30):
            turns = [{"content": "x" * 400_000}]
            publisher.publish(Publication("ada", "s1", f"r{number}", "", "", False, AT, {}, turns))
    few, many = (peak_of(tmp_path, as_of) for as_of in ("10", "60"))
    assert many < 1.2 * few


def peak_of(folder: Path, as_of: str) -> int:
    """Most bytes that Python held at once while it exported."""
    tracemalloc.start()
    try:
        export(folder, as_of, as_of=as_of, content=True)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_ledger_does_not_take_its_own_export(rows: Ledger, tmp_path: Path) -> None:
    _, path = export(tmp_path, content=True)
    report = import_telemetry(rows, path)
    assert report.findings == {"own_export": 5}
    assert report.events == 1


@contextmanager
def a_ledger(made_once: Path, folder: Path, seed: int = 1) -> Iterator[Ledger]:
    shutil.copytree(made_once, folder, dirs_exist_ok=True)
    edge = Edge(lambda: AT * 1_000_000, random.Random(seed).randbytes)
    with Ledger(folder / "ledger", folder / "keys", REGISTRY, edge=edge, sign_in_background=False) as opened:
        yield opened


def interactions(ledger: Ledger) -> list[Any]:
    """What was published, without what is random or names the file: aliases, ids, and the span as it was found."""
    found: list[Any] = []
    with ledger.recorder.reading() as reader:
        events = ledger.event_reader(reader)
        for seq in range(reader.head().size):
            recorded = events.event(seq)
            match recorded and recorded.event:
                case RequestPublished() as event:
                    who = (ledger.name_of(event.user), ledger.name_of(event.session))
                    found.append((*who, event.source, event.agent_version, event.requested_at, event.interactions))
                case InteractionPublished() as event:
                    found.append((event.index, event.speaker, event.created_at, event.has_shadow, event.turn))
                case ScoreImported() as event:
                    found.append((event.source, event.scorer, event.value, event.scored_at, len(event.sessions)))
    return found


_TEXT = st.text(min_size=1, max_size=6).filter(lambda text: text.strip())
_PARTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "content": _TEXT}),
    st.fixed_dictionaries({"type": st.just("tool_call"), "name": _TEXT, "arguments": st.dictionaries(_TEXT, _TEXT)}),
    st.fixed_dictionaries({"type": st.just("blob"), "content": _TEXT}),
)


def _messages(role: str, least: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    message = st.fixed_dictionaries(
        {"role": st.just(role), "parts": st.lists(_PARTS, min_size=1, max_size=2)},
        optional={"finish_reason": st.just("stop"), "name": _TEXT},
    )
    return st.lists(message, min_size=least, max_size=2)


_CALLS = st.lists(
    st.tuples(
        st.sampled_from(["s1", "s2", ""]),
        st.sampled_from(["ada", "bob", ""]),
        _messages("user", 1),
        _messages("assistant", 0),
        st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=12)
@given(calls=_CALLS)
def test_an_export_of_an_imported_file_imports_to_the_same(
    made_once: Path, tmp_path_factory: pytest.TempPathFactory, calls: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("round")
    source = folder / "source.jsonl"
    source.write_text("".join(json.dumps(_request(number, *call)) + "\n" for number, call in enumerate(calls)))
    with a_ledger(made_once, folder / "one") as first:
        import_telemetry(first, source)
        there = interactions(first)
        _, path = export(folder / "one", content=True)
    # Another origin: the same made ledger under another name would take the file for its own export.
    named = path.read_text().replace(first.origin, "elsewhere")
    path.write_text(named)
    with a_ledger(made_once, folder / "two", seed=2) as second:
        report = import_telemetry(second, path)
        assert interactions(second) == there
    assert report.findings.keys() <= {"secret_redacted", "key_shaped_text"}


def _request(
    number: int, session: str, user: str, inputs: list[Any], outputs: list[Any], score: float | None
) -> dict[str, Any]:
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": json.dumps(inputs),
        "gen_ai.output.messages": json.dumps(outputs),
        "gen_ai.conversation.id": session,
        "user.id": user,
    }
    result = {
        "name": "gen_ai.evaluation.result",
        "timeUnixNano": str((AT + number) * 10**9),
        "attributes": [
            {"key": "gen_ai.evaluation.name", "value": {"stringValue": "Tone"}},
            {"key": "gen_ai.evaluation.score.value", "value": {"doubleValue": score}},
        ],
    }
    span = {
        "traceId": f"{number + 1:032x}",
        "spanId": f"{number + 1:016x}",
        "startTimeUnixNano": str((AT + number) * 10**9),
        "endTimeUnixNano": str((AT + number + 3) * 10**9),
        "attributes": [{"key": name, "value": {"stringValue": value}} for name, value in attributes.items()],
        "events": [] if score is None else [result],
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "support"}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}
