"""The picture of a session's grades, read as XML."""

from __future__ import annotations

from xml.etree import ElementTree

from affidavit.api.pages.charts.grades import grades_picture
from affidavit.projections.evaluation.session_record import Judgement

SVG = "{http://www.w3.org/2000/svg}"
AT = 1_795_341_600
"""2026-11-22T10:00:00Z."""


def judged(at: str, success: bool | None, *, counts: bool = False) -> Judgement:
    return Judgement(
        seq=1, at=f"{at}.000000Z", success=success, reason=None, failure_type=None, corrections=None, turns=None,
        escalated=False, made="live", job=None, model=None, simulated=False, version=None, agent_version="v1",
        evaluation_name="agent_success", through=None, interactions=None, call=None, counts=counts, stale=False,
        suspicions=0,
    )  # fmt: skip


def test_each_finding_has_a_mark_of_its_own_shape_and_what_counts_a_ring() -> None:
    grades = [
        judged("2026-11-22T10:00:00", False),
        judged("2026-11-22T11:00:00", None),
        judged("2026-11-22T12:00:00", True, counts=True),
    ]
    root = ElementTree.fromstring(grades_picture(grades, AT))
    circles = [circle.get("class") for circle in root.iter(f"{SVG}circle")]
    assert circles == ["stroke-accent", "fill-good"]
    assert [rect.get("class") for rect in root.iter(f"{SVG}rect")] == ["fill-paper stroke-warn"]
    assert "stroke-bad" in [path.get("class") for path in root.iter(f"{SVG}path")]
    assert "2026-11-22T12:00:00 success, counts" in root.get("aria-label", "")


def test_later_grades_stand_further_right() -> None:
    grades = [judged("2026-11-22T10:00:00", True), judged("2026-11-23T10:00:00", True)]
    root = ElementTree.fromstring(grades_picture(grades, AT))
    first, second = (float(circle.get("cx", 0)) for circle in root.iter(f"{SVG}circle"))
    assert first < second


def test_grades_at_one_moment_are_drawn() -> None:
    grades = [judged("2026-11-22T10:00:00", True), judged("2026-11-22T10:00:00", False)]
    ElementTree.fromstring(grades_picture(grades, AT))
