"""Log lines on stderr, as text or as JSON, each on one line, and none with a secret.

What an error says may be content, so of an error that nobody expected its type and its place in the program are told.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum

from .telemetry import ACCESS_LOG


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


_MOST = 2000
_SECRETS = (
    (re.compile(r"(://[^\s/@:]{0,200}):\S{0,1000}@"), r"\1:***@"),
    (re.compile(r"(?i)\b(bearer|basic)\s{1,3}[^\s'\",;]+"), r"\1 ***"),
    (
        re.compile(
            r"(?i)((?:password|passwd|secret|token|api[_-]?key|authorization|cookie)[\"']?\s{0,3}[=:]\s{0,3})"
            r"(?:\"[^\"]*\"|'[^']*'|[^\s,;&]+)"
        ),
        r"\1***",
    ),
    (re.compile(r"\b(?:afk|sk|pk)[-_][A-Za-z0-9_-]{8,}"), "***"),
    (re.compile(r"\bPRIVATE\+KEY\+\S+"), "***"),
)
"""What looks like a secret. No pattern looks far ahead: a long hostile text must not keep a thread busy."""


def install(kind: LogFormat, *, access: bool) -> None:
    """Send what is logged in this process from here on to stderr, and warnings of libraries, too.

    ``access`` adds a line for each request.
    """
    root = logging.getLogger()
    for old in _installed():
        root.removeHandler(old)
    handler = _ToStderr()
    handler.setFormatter(JsonLines() if kind is LogFormat.JSON else TextLines())
    root.addHandler(handler)
    logging.getLogger(ACCESS_LOG).setLevel(logging.INFO if access else logging.WARNING)
    logging.captureWarnings(True)


def ensure() -> None:
    """Text, where nothing was installed."""
    if not _installed():
        install(LogFormat.TEXT, access=False)


def _installed() -> list[logging.Handler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, _ToStderr)]


class _ToStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        with suppress(OSError, ValueError):  # a full disk, or nobody who reads: that must not end what goes on here
            print(line, file=sys.stderr, flush=True)


def without_secrets(text: str) -> str:
    """``text`` without what looks like a password, a token or a key, on one line, and cut off where it is long."""
    for pattern, told in _SECRETS:
        text = pattern.sub(told, text)
    plain = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    return plain if len(plain) <= _MOST else f"{plain[:_MOST]}…"


class _Lines(logging.Formatter):
    def _parts(self, record: logging.LogRecord) -> dict[str, object]:
        at = datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds")
        parts: dict[str, object] = {
            "at": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_secrets(_message(record)),
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            parts |= fields
        if record.exc_info and record.exc_info[1] is not None:
            parts["error"] = type(record.exc_info[1]).__name__
            frames = traceback.extract_tb(record.exc_info[2])
            parts["where"] = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
        return parts


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # a library's mistake, whose words do not fit its values
        return str(record.msg)


class JsonLines(_Lines):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self._parts(record), ensure_ascii=False, default=str)


class TextLines(_Lines):
    """For people: time, level, logger, message, then ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        parts = self._parts(record)
        at, level, logger, message = (parts.pop(name) for name in ("at", "level", "logger", "message"))
        return " ".join([f"{at} {level} {logger}: {message}", *(f"{name}={value}" for name, value in parts.items())])
