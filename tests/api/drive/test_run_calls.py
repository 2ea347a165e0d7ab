"""What a run's stream holds for its script, also where others have written into it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from affidavit.api.drive.claims import RUNS
from affidavit.api.drive.exchanges import reply_of
from affidavit.domain.errors import Refused
from affidavit.domain.event import Event, Meta, NewEvent
from affidavit.domain.model_calls import ModelAnswered, ModelRequested
from affidavit.domain.optimization.events import RunSealed
from affidavit.domain.optimization.foreign import RecordingOpened
from affidavit.tests.folders import folder_of

from .conftest import Rig, body_of, optimising

HOLD = """
import sys
from pathlib import Path
from affidavit.api.drive.claims import Claims
from affidavit.ledger.store.sqlite.place import FolderPlace
claims = Claims(FolderPlace(Path(sys.argv[1])), sys.argv[2])
with claims.claimed("run/001") as held:
    print(held, flush=True)
    sys.stdin.read()
"""


class Later(Event):
    """An event that today's registry does not have."""

    type_name = "later.noted.v1"


def record(rig: Rig, *events: Event) -> None:
    pos = rig.events("001")[-1].pos + 1
    rig.ledger.record(*(NewEvent("run/001", pos + at, event, Meta()) for at, event in enumerate(events)))


def request(attempt: int) -> ModelRequested:
    return ModelRequested(site="eval.train", occurrence=0, attempt=attempt, model="m", body="{}")


def answer(attempt: int, text: str) -> ModelAnswered:
    return ModelAnswered(site="eval.train", occurrence=0, attempt=attempt, outcome="replied", body=body_of(text))


def test_of_two_replies_to_one_call_the_first_on_record_is_its_outcome(rig: Rig) -> None:
    rig.start("001")
    record(rig, request(1), request(2), answer(2, "came first"), answer(1, "came late"))
    outcome = rig.read("001").outcome(("eval.train", 0))
    assert outcome is not None
    assert outcome.answered is not None
    assert reply_of(outcome.answered, 9).text == "came first"
    assert rig.read("001").last_attempt(("eval.train", 0)) == 2


def test_an_answer_to_nothing_or_to_what_is_answered_is_refused(rig: Rig) -> None:
    rig.start("001")
    record(rig, request(1), answer(1, "a"), answer(1, "again"))
    with pytest.raises(Refused, match=r"answers attempt 1 of call eval.train 0, which was not requested") as refused:
        rig.read("001")
    assert refused.value.rule == "answer_requested"


def test_an_event_of_a_newer_version_is_refused_and_not_passed_over(rig: Rig) -> None:
    rig.start("001")
    record(rig, Later())
    with pytest.raises(Refused, match=r"later.noted.v1 is of a newer version"):
        rig.drive("001", optimising())
    assert not rig.sent()


@pytest.mark.parametrize(
    "beside",
    [
        RunSealed(profile="native", version=1, upto=1, files=0, bytes=0, manifest={}),
        RecordingOpened(recording=1, system="other"),
    ],
)
def test_what_others_say_about_the_record_is_no_fact_of_the_script(rig: Rig, beside: Event) -> None:
    rig.drive(rig.start("001"), optimising())
    before = rig.read("001")
    record(rig, beside)
    after = rig.read("001")
    assert after.facts == before.facts
    assert after.ended_by == before.ended_by is not None
    assert after.next_pos == before.next_pos + 1


def test_a_run_that_another_process_drives_is_busy_until_that_process_dies(rig: Rig) -> None:
    rig.start("001")
    command = [sys.executable, "-c", HOLD, str(folder_of(rig.ledger)), RUNS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with pytest.raises(Refused) as refused:
            rig.drive("001", optimising())
        assert refused.value.rule == "run_busy"
        holder.kill()
    rig.drive("001", optimising())
