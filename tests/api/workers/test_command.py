"""The command that judges: what it prints, and what its exit code means."""

from __future__ import annotations

from pathlib import Path

import pytest

from affidavit.api.cli.judge_commands import judge
from affidavit.api.models.standin import StandInJudge
from affidavit.domain.errors import Refused
from affidavit.domain.evaluation.events import ShadowJudged

from .conftest import Court


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFIDAVIT_KEYS", str(tmp_path / "keys"))
    for name in ("MODEL", "BASE_URL", "API_KEY"):
        monkeypatch.delenv(f"AFFIDAVIT_JUDGE_{name}", raising=False)


def test_once_judges_what_waits_and_the_stand_ins_name_is_in_every_verdict(
    court: Court, capsys: pytest.CaptureFixture[str]
) -> None:
    with court.reopened() as live:
        for number in range(3):
            court.exchange(live.ledger, f"s{number}")
    with StandInJudge() as stand_in:
        code = judge(str(court.folder / "ledger"), True, stand_in.model, stand_in.base_url)
        again = judge(str(court.folder / "ledger"), True, stand_in.model, stand_in.base_url)
    printed = capsys.readouterr().out
    assert (code, again) == (0, 0)
    assert "stand-in-judge-simulated" in printed
    assert "turns    3 judged, 0 undecided" in printed
    assert "turns    0 judged, 0 undecided" in printed
    with court.reopened() as live:
        found = [recorded.event for recorded in court.events(live.ledger, ShadowJudged)]
    assert {event.model for event in found if isinstance(event, ShadowJudged)} == {"stand-in-judge-simulated"}


def test_once_says_what_was_left_without_a_verdict(court: Court, capsys: pytest.CaptureFixture[str]) -> None:
    with court.reopened() as live:
        court.exchange(live.ledger, "s")
    with StandInJudge() as stand_in:
        code = judge(str(court.folder / "ledger"), True, stand_in.model, stand_in.base_url + "/nowhere")
    assert code == 3
    assert "1 undecided" in capsys.readouterr().out


def test_without_a_model_it_says_what_to_give(court: Court) -> None:
    with pytest.raises(Refused, match="--model and --base-url"):
        judge(str(court.folder / "ledger"), True, None, None)
