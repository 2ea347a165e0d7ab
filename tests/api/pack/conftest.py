"""A recorded run and the pack of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from affidavit.api.pack.collect import collect_evidence, select_run
from affidavit.api.pack.render import render_page
from affidavit.api.reading import open_for_reading
from affidavit.api.record import RecordingLedger
from affidavit.domain.optimization.events import Sample
from affidavit.ledger.application import Ledger
from affidavit.ledger.evidence.evidence import Evidence

HOSTILE = "</script><script>alert(1)</script> <!-- \r\n\0 \u2028 “ & &amp; \x7f é \U0001f600"


@pytest.fixture
def recorded(ledger: Ledger) -> str:
    """A run of two iterations whose texts are hostile to a page; other entries stand in between. Its name."""
    recording = RecordingLedger(ledger, actor="optimiser@example.org")
    run = recording.start_run(
        strategy="iterative", prompt="Answer.", config={"temperature": 0.5}, models=["local/small"]
    )
    other = recording.start_run(strategy="iterative", prompt="Other.", config={})
    run.record_baseline(score=0.25)
    first = run.record_evaluation("Answer.", samples=_samples(0.25, 0.5, 0.125))
    run.record_iteration(first)
    run.record_rewrite(first, "Answer.\nCite.", rationale=HOSTILE, change_summary="Asked to cite")
    other.record_baseline(score=0.5)
    second = run.record_evaluation("Answer.\nCite.", samples=_samples(0.75, 0.5, 1 / 3))
    run.record_iteration(second)
    final = run.record_evaluation("Answer.\nCite.", purpose="final", samples=_samples(0.75, 0.5, 0.5))
    run.complete(reason="finished", best="Answer.\nCite.", final=final)
    recording.seal()
    return "001"


def _samples(*scores: float) -> list[Sample]:
    return [Sample(id=str(i), input=f"<q{i}>", response=HOSTILE, score=score) for i, score in enumerate(scores)]


Collect = Callable[..., Evidence]


@pytest.fixture
def collect(ledger: Ledger, recorded: str, tmp_path: Path) -> Collect:
    """Collects the run's evidence; takes ``calls`` and ``content``."""

    def collected(*, calls: bool = False, content: bool = True) -> Evidence:
        with open_for_reading(ledger.place, tmp_path / "keys") as opened:
            chosen = select_run(opened, recorded, calls=calls, content=content)
            return collect_evidence(opened, chosen, "affidavit test", "2026-11-22T10:00:00.000000Z", None)

    return collected


@pytest.fixture
def page(collect: Collect) -> str:
    return render_page(collect())
