"""docs/http-api.md names every endpoint with its scope, and every limit with its default."""

from __future__ import annotations

import re
from pathlib import Path

from affidavit.api.client import AffidavitClient
from affidavit.api.http.access import SCOPES
from affidavit.api.http.limits import Limits

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "http-api.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (GET|POST|DELETE) \| `([^`]+)` \| (\w+) \|", re.MULTILINE)


def test_the_page_lists_every_endpoint_with_the_scope_that_it_needs() -> None:
    listed = {(method, path): scope for method, path, scope in ROW.findall(PAGE)}

    assert listed | {("GET", "/openapi.json"): "any"} == SCOPES


def test_the_page_states_the_limits_as_they_are() -> None:
    limits = Limits()

    for stated in (
        f"{limits.requests_per_minute:,}",
        f"{limits.body_bytes // 2**20} MiB",
        f"{limits.batch_bytes // 2**20} MiB, {limits.batch_lines:,} lines",
        f"{limits.body_seconds:g} s, a batch within {limits.batch_seconds:g} s",
    ):
        assert f"| {stated} |" in PAGE


def test_our_client_names_every_endpoint() -> None:
    source = Path(__import__(AffidavitClient.__module__, fromlist=["x"]).__file__ or "").read_text(encoding="utf-8")
    aliases = {"/health", "/healthz", "/health/live", "/metrics", "/openapi.json", "/assets/{name}"}

    for _, path in SCOPES:
        if path not in aliases and not path.startswith("/api/delete_"):
            assert path.partition("{")[0] in source
