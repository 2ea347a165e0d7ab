"""docs/observing.md names every metric with its labels, and every bound as it is."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from affidavit.api.http.connections import HEAD_SECONDS, MOST
from affidavit.api.http.limits import MIB, Limits
from affidavit.api.http.publish import IN_FLIGHT, IN_FLIGHT_BYTES
from affidavit.api.publishing import MAX_WAITING
from affidavit.api.telemetry.metrics import Metrics
from affidavit.api.telemetry.standing import Judging, Standing

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "observing.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(affidavit_\w+)` \| ([\w, ]*)\|", re.MULTILINE)


def test_the_page_lists_every_metric_with_its_labels() -> None:
    metrics = Metrics(lambda: 0)
    metrics.count_request("GET", "/", 503, 1.0, "busy")
    metrics.count_step("commit", 1.0, {"entries": 1}, None)
    told = metrics.page(Standing(1, 1, 0, 0, 0, 0, False, False, Judging(0, 0, 0, False))).decode()

    served = {
        (sample.name.removesuffix("_count"), frozenset(sample.labels))
        for family in text_string_to_metric_families(told)
        for sample in family.samples
        if not sample.name.endswith(("_sum", "_bucket", "_created"))
    }

    listed = {(name, frozenset(labels.replace(",", " ").split())) for name, labels in ROW.findall(PAGE)}
    assert listed == served


def test_the_page_states_the_bounds_as_they_are() -> None:
    limits = Limits()
    for stated in (
        f"`--requests-per-minute`, {limits.requests_per_minute:,}",
        f"`AFFIDAVIT_REQUESTS_AT_ONCE`, {limits.requests_at_once}",
        f"{limits.requests_at_once // 2}",
        f"{limits.bodies_bytes // MIB} MiB",
        f"{IN_FLIGHT:,}, {IN_FLIGHT_BYTES // MIB} MiB",
        f"{MAX_WAITING:,}",
        f"connections | {MOST}",
        f"5 s after an answer, {HEAD_SECONDS:g} s before one",
    ):
        assert f"| {stated} |" in PAGE
