"""The commands: what they print, and which times they take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from affidavit.api.cli.otel_commands import export_otel, import_otel
from affidavit.ledger.application import Ledger

AT = 1_795_341_600


@pytest.fixture
def given(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    ledger.close()
    monkeypatch.setenv("AFFIDAVIT_KEYS", str(tmp_path / "keys"))
    return str(tmp_path / "ledger")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    messages = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}])
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": messages}
    span = {
        "traceId": "a" * 32,
        "spanId": "b" * 16,
        "startTimeUnixNano": str(AT * 10**9),
        "attributes": [{"key": name, "value": {"stringValue": value}} for name, value in attributes.items()],
    }
    other = {"traceId": "a" * 32, "spanId": "c" * 16, "name": "GET /"}
    path = tmp_path / "spans.jsonl"
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span, other]}]}]}))
    return path


def test_an_import_says_what_it_did_and_found(given: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import_otel(given, file, False)
    printed = capsys.readouterr().out
    assert "2 spans read; 3 events added, 0 were there already" in printed
    assert "other_span" in printed
    import_otel(given, file, True)
    assert json.loads(capsys.readouterr().out) == {
        "rows": {"spans": 2, "evaluations": 0, "log_records": 0},
        "events": 0,
        "unchanged": 2,
        "findings": {"other_span": 1},
        "import": None,
    }


@pytest.mark.parametrize(
    ("start", "end", "count"),
    [
        (None, None, 1),
        ("2026-11-22", None, 1),
        (str(AT + 1), None, 0),
        (None, "2026-11-22T09:59:59Z", 0),
        (None, str(AT), 1),
    ],
)
def test_an_export_says_what_it_wrote(
    given: str,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    start: str | None,
    end: str | None,
    count: int,
) -> None:
    import_otel(given, file, True)
    capsys.readouterr()
    export_otel(given, tmp_path / "out.jsonl", None, start, end, True, True)
    told = json.loads(capsys.readouterr().out)
    assert told["spans"]["interaction"] == count
    export_otel(given, tmp_path / "again.jsonl", None, start, end, False, False)
    printed = capsys.readouterr().out
    assert ("1 interactions exported, without content" if count else "nothing exported") in printed
    assert f"from {told['size']} entries, root {told['root']}" in printed
