"""What the tests of these pages read of them, and sign for them."""

from __future__ import annotations

import re
from html import unescape

from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.ledger.entries.review import Statement, Subject, sign_statement

from ..world import ADA


def text_of(client: TestClient, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


def cards(client: TestClient, path: str) -> list[int]:
    return [int(seq) for seq in re.findall(r'<article class="card review" id="review-(\d+)"', client.get(path).text)]


def note_of(service: Service, subject: Subject, words: str = "I have read it.") -> str:
    with service.ledger.recorder.reading() as reader:
        head = reader.head()
    made = Statement(service.ledger.origin, subject, head.size, head.root(), "approve", "2026-11-22T10:00:00Z", words)
    return sign_statement(made, ADA).decode()
