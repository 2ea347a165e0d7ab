"""Log lines: one each, of a form that machines read, and without secrets, whatever was logged."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator

import pytest

from affidavit.api.telemetry.logs import LogFormat, TextLines, ensure, install, without_secrets
from affidavit.api.telemetry.telemetry import ACCESS_LOG

SECRETS = [
    ("postgresql://ledger:s3cr3t-w0rd@db:5432/x: no route", "s3cr3t-w0rd"),
    ("postgresql://ledger:p@ss:s3cr3t-w0rd@db/x", "s3cr3t-w0rd"),
    ("host=db password=s3cr3t-w0rd user=x", "s3cr3t-w0rd"),
    ("host=db password='s3cr3t w0rd' user=x", "s3cr3t w0rd"),
    ('{"api_key": "s3cr3t-w0rd"}', "s3cr3t-w0rd"),
    ("Authorization: Bearer afk_s3cr3tw0rd", "s3cr3tw0rd"),
    ("authorization: Basic czNjcjN0", "czNjcjN0"),
    ("Cookie: affidavit_key=afk_s3cr3tw0rd", "s3cr3tw0rd"),
    ("the key afk_s3cr3tw0rd is not known", "s3cr3tw0rd"),
    ("sk-proj-s3cr3tw0rd was refused", "s3cr3tw0rd"),
    ("PRIVATE+KEY+affidavit+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr", "AYEKFALVFGyN"),
    ("GET https://x/?token=s3cr3t-w0rd&a=1", "s3cr3t-w0rd"),
    ("AFFIDAVIT_JUDGE_API_KEY=s3cr3t-w0rd", "s3cr3t-w0rd"),
]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, access = logging.getLogger(), logging.getLogger(ACCESS_LOG)
    handlers, level = [*root.handlers], access.level
    yield
    root.handlers[:] = handlers
    access.setLevel(level)
    logging.captureWarnings(False)


@pytest.mark.parametrize(("text", "secret"), SECRETS)
@pytest.mark.parametrize("kind", LogFormat)
def test_no_secret_is_logged(kind: LogFormat, text: str, secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    install(kind, access=False)

    logging.getLogger("affidavit.x").warning("failed: %s", text)

    told = capsys.readouterr().err
    assert secret not in told
    assert "failed" in told


def test_what_is_no_secret_is_left_as_it_is() -> None:
    for text in (
        "postgresql://ledger@db:5432/x: no answer within 5 seconds",
        "not signed, and tried again in 0.5 seconds: witness https://w.example/add: 503",
        "entry 5: expected 3, found 4",
    ):
        assert without_secrets(text) == text


@pytest.mark.parametrize("kind", LogFormat)
def test_what_is_hostile_stays_on_its_line(
    kind: LogFormat, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own cannot pass on a lone surrogate
    install(kind, access=False)

    logging.getLogger("affidavit.x").warning("a\nb\r\x1b[31m\u2028c\x85\ud800d" + "x" * 10_000)

    told = capsys.readouterr().err
    assert told.endswith("\n")
    assert len(told.splitlines()) == 1
    assert len(told) < 3000
    assert "\x1b" not in told


def test_of_an_error_that_nobody_expected_its_place_is_told_and_not_what_it_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    install(LogFormat.JSON, access=False)
    said: dict[str, str] = {}
    try:
        said["what a user wrote"]
    except KeyError:
        logging.getLogger("affidavit.http").exception("unexpected error")

    told = json.loads(capsys.readouterr().err)
    assert (told["level"], told["logger"], told["message"]) == ("error", "affidavit.http", "unexpected error")
    assert told["error"] == "KeyError"
    assert "test_logs.py" in told["where"]
    assert "what a user wrote" not in json.dumps(told)


def test_requests_are_told_where_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    line = {"fields": {"route": "/api/whoami", "status": 200, "ms": 1.5}}
    for access, kind in ((False, LogFormat.TEXT), (True, LogFormat.TEXT), (True, LogFormat.JSON)):
        install(kind, access=access)
        logging.getLogger(ACCESS_LOG).info("GET /api/whoami 200", extra=line)

    text, as_json = capsys.readouterr().err.splitlines()
    assert text.endswith("info affidavit.access: GET /api/whoami 200 route=/api/whoami status=200 ms=1.5")
    assert json.loads(as_json)["ms"] == 1.5


def test_what_cannot_be_told_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    install(LogFormat.TEXT, access=False)
    with open(os.devnull, encoding="ascii") as stream, monkeypatch.context() as meanwhile:
        meanwhile.setattr("sys.stderr", stream)  # not to be written to, as a full disk is not
        logging.getLogger("affidavit.x").warning("to nobody")
    wrong = logging.LogRecord("affidavit.x", logging.WARNING, "", 1, "%d entries", ("many",), None)
    assert "%d entries" in TextLines().format(wrong)


def test_a_library_s_warning_is_a_line_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    install(LogFormat.JSON, access=False)
    ensure()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["logger"] == "py.warnings"
