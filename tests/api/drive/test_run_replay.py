"""Replay: identical where nothing changed, and the first difference named with the call behind it, and why."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from affidavit.api.drive.run_calls import Place
from affidavit.api.drive.run_replay import CallName, Difference, ReplayReport, replay
from affidavit.api.models.bodies import read_chat
from affidavit.api.models.chat import Exchange
from affidavit.api.reading import open_for_reading
from affidavit.domain.errors import Refused
from affidavit.domain.event import Event, OpaqueEvent, Recorded
from affidavit.domain.model_calls import ModelAnswered
from affidavit.domain.optimization.conversation import MEASURED, REASONER, Calls, Fact, Script
from affidavit.domain.optimization.events import (
    AnalysisNoted,
    DuelJudged,
    IterationCompleted,
    PhaseStarted,
    PromptEvaluated,
    RunCompleted,
)
from affidavit.ledger.application import Ledger
from affidavit.ledger.store.opening import EventReader

from .conftest import MODEL, FailingLedger, Killed, Rig, body_of, optimising, question, seqs


@dataclass
class Changed:
    """Stands before an event reader: the outcomes of some calls, by place, are replies with these bodies."""

    events: EventReader
    bodies: Mapping[Place, str]

    def stream(self, stream: str, before: int | None = None, start: int = 0) -> Iterator[Recorded]:
        for recorded in self.events.stream(stream, before, start):
            yield replace(recorded, event=self._changed(recorded.event))

    def _changed(self, event: Event | OpaqueEvent) -> Event | OpaqueEvent:
        if not isinstance(event, ModelAnswered) or not (event.outcome == "replied" or event.gave_up):
            return event
        body = self.bodies.get((event.site, event.occurrence))
        if body is None:
            return event
        tokens = read_chat(body).completion_tokens
        return event.model_copy(
            update={"outcome": "replied", "reason": None, "completion_tokens": tokens, "gave_up": None, "body": body}
        )


def replayed(
    rig: Rig,
    run: str,
    make_script: Callable[[], Script],
    *,
    replaced: Mapping[Place, str] | None = None,
    **more: Any,
) -> ReplayReport:
    with rig.ledger.recorder.reading() as reader:
        events = Changed(rig.ledger.event_reader(reader), replaced or {})
        return replay(cast(EventReader, events), run, make_script, **more)


def differing(rig: Rig, make_script: Callable[[], Script], **more: Any) -> Difference:
    report = replayed(rig, "001", make_script, **more)
    assert not report.identical
    assert not report.complete
    assert report.difference is not None
    return report.difference


@pytest.fixture
def ran(rig: Rig) -> Rig:
    """Run 001, driven to its end."""
    rig.drive(rig.start("001"), optimising())
    return rig


def reply_to(rig: Rig, site: str, occurrence: int) -> CallName:
    """The call as a replay names it."""
    outcome = rig.read("001").outcome((site, occurrence))
    assert outcome is not None
    return CallName(site, occurrence, outcome.answer_seq or 0)


def test_a_finished_run_replays_identically_and_nothing_is_asked_or_written(ran: Rig, tmp_path: Path) -> None:
    ran.ledger.close()
    before = {path: path.read_bytes() for path in (tmp_path / "ledger").iterdir()}
    sent = ran.sent()
    with open_for_reading(tmp_path / "ledger", tmp_path / "keys") as opened:
        report = replay(opened.events, "001", optimising, sources={"script": "a1"}, versions={"affidavit": "1"})
    assert report == ReplayReport("001", True, True, None, 16, 9, (), (), None)
    assert json.loads(json.dumps(report.as_json()))["calls"] == 16
    assert ran.sent() == sent
    assert {path: path.read_bytes() for path in (tmp_path / "ledger").iterdir()} == before


@pytest.mark.parametrize("at", range(1, 13))
def test_an_interrupted_run_replays_as_far_as_it_is_recorded(rig: Rig, at: int) -> None:
    other = Rig(cast(Ledger, FailingLedger(rig.ledger, at=at)))
    with pytest.raises(Killed):
        other.drive(rig.start("001"), optimising(), max_workers=1)
    recorded = rig.read("001")
    report = replayed(rig, "001", optimising)
    assert report.identical
    assert not report.complete
    assert report.ended_at is not None
    assert report.ended_at.startswith("call ") or report.ended_at.startswith("fact ")
    assert (report.calls, report.facts) == (sum(map(bool, map(recorded.outcome, recorded.calls))), len(recorded.facts))
    assert [name.seq for name in report.in_flight] == [attempt.request_seq for attempt in recorded.in_flight()]


def test_a_resumed_run_and_a_branch_replay_identically(rig: Rig) -> None:
    other = Rig(cast(Ledger, FailingLedger(rig.ledger, at=9)))
    with pytest.raises(Killed):
        other.drive(rig.start("001"), optimising())
    rig.drive("001", optimising())
    rig.drive(rig.start("002", ("001", 1)), optimising())
    for run in ("001", "002"):
        report = replayed(rig, run, optimising)
        assert (report.identical, report.complete, report.calls, report.facts) == (True, True, 16, 9)


@pytest.mark.parametrize("judged", [True, False])
def test_a_replay_with_one_changed_reply_names_that_call(rig: Rig, judged: bool) -> None:
    """Each call of the run in turn; its changed reply shows in a fact, or in the request to the judge before it."""

    def make_script() -> Script:
        return optimising(judged=judged)

    rig.drive(rig.start("001"), make_script())
    for place in list(rig.read("001").calls):
        found = differing(rig, make_script, replaced={place: body_of("something else")})
        assert (found.why, found.calls) == ("reply_changed", (reply_to(rig, *place),))
        assert "something else" in found.replayed or found.field.endswith(".score")
        assert found.seq is not None


def test_a_request_and_its_place_are_named_where_it_differs_before_any_fact(ran: Rig) -> None:
    found = differing(ran, optimising, replaced={("eval.train", 1): body_of("other")})
    asked = ran.read("001").calls["judge.train", 1][0].request_seq
    assert (found.kind, found.seq) == ("request", asked)
    assert found.place == f"call judge.train 1 (entry {asked})"
    assert found.field == "messages.0.content"
    assert (found.recorded, found.replayed) == ("'rate re: start / row 1'", "'rate other'")


def test_a_reply_that_changed_in_nothing_but_its_tokens_names_those_it_may_be(ran: Rig) -> None:
    found = differing(ran, optimising, replaced={("eval.train", 1): body_of("re: start / row 1", tokens=99)})
    assert (found.field, found.why, len(found.calls)) == ("tokens", "reply_changed", 6)


def drifting(script: Script, by: float) -> Script:
    """The script, scoring the second answer of each evaluation otherwise."""
    answer: Any = None
    while True:
        try:
            step = script.send(answer)
        except StopIteration:
            return
        if isinstance(step, Fact) and isinstance(step.event, PromptEvaluated) and isinstance(step.event.samples, tuple):
            first, second, *rest = step.event.samples
            scored = second.model_copy(update={"score": (second.score or 0) + by})
            step = Fact(step.event.model_copy(update={"samples": (first, scored, *rest)}), step.because)
        answer = yield step


def test_the_same_answer_with_another_score_is_metric_drift(rig: Rig) -> None:
    rig.drive(rig.start("001"), optimising(judged=False))
    found = differing(rig, lambda: drifting(optimising(judged=False), 0.1), versions={"affidavit": "2"})
    assert (found.kind, found.why, found.field) == ("fact", "metric_drift", "samples.1.score")
    assert found.calls == (reply_to(rig, "eval.train", 1),)
    assert replayed(rig, "001", lambda: drifting(optimising(judged=False), math.ulp(0.0))).identical


def test_other_random_numbers_are_the_reason_where_the_seed_gives_them(rig: Rig) -> None:
    rig.drive(rig.start("001", draws=("0x0.0p+0",)), optimising())
    assert replayed(rig, "001", optimising).identical
    assert differing(rig, lambda: optimising(rule="do ")).why == "random_numbers"


def test_other_code_is_the_reason_where_files_or_versions_are_not_as_recorded(ran: Rig) -> None:
    sources, versions = {"script": "b2", "more": "c3"}, {"affidavit": "1"}
    report = replayed(ran, "001", lambda: optimising(rule="do "), sources=sources, versions=versions)
    assert report.difference is not None
    assert (report.difference.kind, report.difference.why) == ("request", "code_version")
    assert report.changed == ("more", "script")
    assert replayed(ran, "001", optimising, sources=sources, versions=versions).identical
    assert differing(ran, lambda: optimising(rule="do "), versions={"affidavit": "2"}).why == "code_version"


def test_a_script_that_is_no_function_of_its_replies_is_unknown(ran: Rig) -> None:
    found = differing(ran, lambda: optimising(rule="do "), sources={"script": "a1"}, versions={"affidavit": "1"})
    assert (found.kind, found.why, found.calls) == ("request", "unknown", ())


def shortened(script: Script, steps: int) -> Script:
    answer = None
    for _ in range(steps):
        answer = yield script.send(answer)


def lengthened(script: Script) -> Script:
    answer: Any = None
    while True:
        try:
            step = script.send(answer)
        except StopIteration:
            return
        if isinstance(step, Fact) and isinstance(step.event, RunCompleted):
            yield Calls((question("eval.train", "one more"),))
        answer = yield step


def test_what_is_missing_and_what_is_extra_is_named(ran: Rig) -> None:
    found = differing(ran, lambda: shortened(optimising(), 3))
    fact = ran.read("001").facts[1]
    assert (found.kind, found.seq) == ("missing", ran.read("001").calls["reasoner.analyse", 0][0].request_seq)
    found = differing(ran, lambda: shortened(optimising(), 4))
    assert (found.kind, found.seq) == ("missing", fact.seq)
    assert found.place == f"fact 1 (analysis.noted.v1, entry {fact.seq})"
    found = differing(ran, lambda: optimising(judged=False))
    assert (found.kind, found.place[:18]) == ("missing", "call judge.train 0")
    found = differing(ran, lambda: lengthened(optimising()))
    assert (found.kind, found.place) == ("extra", "call eval.train 6")
    found = differing(ran, lambda: optimising(samples=4))
    assert (found.kind, found.place[:17]) == ("request", "call eval.train 3")


def test_an_error_of_the_script_is_replayed_as_the_failure_it_was_or_named(ran: Rig) -> None:
    def failing(error: type[Exception]) -> Script:
        yield Calls((question("eval.train", "a"),))
        raise error("line 7")

    def invalid() -> Script:
        yield Fact(IterationCompleted(iteration=1, evaluation=4))

    ran.drive(ran.start("002"), failing(ZeroDivisionError))
    assert replayed(ran, "002", lambda: failing(ZeroDivisionError)).complete
    report = replayed(ran, "002", lambda: failing(ValueError))
    assert report.difference is not None
    assert (report.difference.kind, report.difference.field) == ("fact", "reason")
    ran.drive(ran.start("003"), invalid())
    assert replayed(ran, "003", invalid).complete
    found = differing(ran, lambda: failing(ValueError))
    assert (found.kind, found.field) == ("request", "iteration")


def test_a_duel_names_the_pair_and_an_analysis_of_several_the_one_that_said_it(rig: Rig) -> None:
    def make_script() -> Script:
        replies = yield Calls(tuple(question("duel.judge", f"pair {pair}", REASONER) for pair in range(3)))
        pairs: list[dict[str, Any]] = [{"id": "row-x", "asked": False, "verdict": "tie"}]
        pairs += [{"id": f"row-{at}", "asked": True, "verdict": reply.text} for at, reply in enumerate(replies)]
        yield Fact(DuelJudged(round=1, a=0, b=0, wins_a=0, wins_b=0, ties=4, undecided=0, pairs=pairs), seqs(replies))
        thoughts = yield Calls(tuple(question("reasoner.think", word, REASONER) for word in ("once", "again")))
        yield Fact(AnalysisNoted(kind="second", text=thoughts[1].text), seqs(thoughts))
        yield Fact(RunCompleted(reason="finished", converged=True))

    rig.drive(rig.start("001"), make_script())
    assert replayed(rig, "001", make_script).complete
    for place in (("duel.judge", 1), ("reasoner.think", 1)):
        found = differing(rig, make_script, replaced={place: body_of("changed")})
        assert (found.why, found.calls) == ("reply_changed", (reply_to(rig, *place),))


def test_a_reply_that_could_be_used_then_and_cannot_now_is_named(rig: Rig) -> None:
    def make_script() -> Script:
        (reply,) = yield Calls((question("reasoner.think", "once", REASONER),))
        kind = AnalysisNoted(kind="unusable") if reply.text == "changed" else PhaseStarted(phase=1, axis="one")
        yield Fact(kind, seqs((reply,)))

    rig.drive(rig.start("001"), make_script())
    found = differing(rig, make_script, replaced={("reasoner.think", 0): body_of("changed")})
    assert (found.why, found.calls) == ("reply_changed", (reply_to(rig, "reasoner.think", 0),))


def test_a_failed_call_replays_as_a_failed_call(rig: Rig) -> None:
    def refuse(text: str) -> Exchange | None:
        return Exchange("refused", 500, "no", "server_error") if text.endswith("row 1") else None

    rig.models[MODEL].before = refuse
    rig.drive(rig.start("001"), optimising())
    report = replayed(rig, "001", optimising)
    assert (report.identical, report.complete) == (True, True)
    place: Place = ("eval.train", 1)
    found = differing(rig, optimising, replaced={place: body_of("a reply after all")})
    assert found.calls == (reply_to(rig, *place),) or found.kind == "request"


def test_other_settings_of_a_request_are_a_difference(rig: Rig) -> None:
    def asks(temperature: float | None) -> Iterator[Any]:
        asked = question("eval.train", "a")
        ask = type(asked.ask)("eval.train", asked.ask.messages, temperature=temperature)
        yield Calls((type(asked)(MODEL, "train", ask),))
        yield Fact(RunCompleted(reason="finished", converged=True))

    rig.drive(rig.start("001"), cast(Script, asks(0.5)))
    for make_script in (lambda: cast(Script, asks(0.7)), lambda: cast(Script, asks(None))):
        found = differing(rig, make_script)
        assert (found.kind, found.field, found.recorded) == ("request", "temperature", "'0.5'")


def test_what_was_erased_is_not_replayed(ran: Rig) -> None:
    ran.ledger.erase("run/001", "requested")
    with pytest.raises(Refused, match=r"\[erased\]") as refused:
        replayed(ran, "001", optimising)
    assert refused.value.rule == "content_withheld"


def test_measured_fields_are_not_compared(ran: Rig) -> None:
    ended = ran.read("001").facts[-1].event
    assert all(getattr(ended, name) is not None for name in MEASURED if name in type(ended).model_fields)
    assert replayed(ran, "001", optimising).identical
