"""Recording a run from Python: what every call answers, what is refused, threads, processes and failures."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from affidavit.api.reading import open_for_reading, open_scopes
from affidavit.api.record import RecordingLedger, RunRecorder, open_ledger
from affidavit.domain.errors import Refused
from affidavit.domain.event import Event, Withheld
from affidavit.domain.optimization.events import Sample
from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.entries.entry import parse_entry
from affidavit.ledger.errors import Conflict, Malformed
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.receipt import parse_receipt, verify_receipt
from affidavit.projections.registry import REGISTRY
from affidavit.projections.runs.record import RunRecord
from affidavit.projections.runs.run_list import list_runs
from affidavit.projections.seals import check_seals
from affidavit.tests.folders import folder_of


@pytest.fixture
def recording(ledger: Ledger) -> RecordingLedger:
    return RecordingLedger(ledger, actor="optimiser@example.org")


@pytest.fixture
def run(recording: RecordingLedger) -> RunRecorder:
    return recording.start_run(
        strategy="iterative",
        prompt="Answer.",
        config={"temperature": 0.5, "reasoning_api_key": "sk-very-secret-0123456789"},
        models=["local/small"],
        metrics=["rouge"],
        dataset="/data/questions.jsonl",
    )


def _read(recording: RecordingLedger, run: str = "001") -> RunRecord:
    record = recording.read_run(run)
    assert record is not None
    return record


def _samples(*scores: float) -> list[Sample]:
    return [Sample(id=str(i), input=f"q{i}", response="a", score=score) for i, score in enumerate(scores)]


def test_every_field_of_an_iteration_comes_back(recording: RecordingLedger, run: RunRecorder, now: list[int]) -> None:
    run.record_baseline(score=0.25, tokens=10)
    first = run.record_evaluation("Answer.", samples=_samples(0.25, 0.5), scores_by_metric={"rouge": 0.375}, tokens=20)
    run.record_iteration(first, reasoning_tokens=5)
    change = run.record_rewrite(
        first, "Answer. Cite.", rationale="It never cites.", change_summary="Asked to cite", history="(none)"
    )
    second = run.record_evaluation("Answer. Cite.", samples=_samples(0.75, 0.5), tokens=21)
    checked = run.record_evaluation("Answer. Cite.", purpose="val", score=0.625)
    now[0] += 90_000_000
    run.record_iteration(second, val=checked, eval_tokens=21, reasoning_tokens=6)

    first_iteration, iteration = _read(recording).iterations
    assert (first_iteration.rewrite, first_iteration.score) == (None, 0.375)
    assert iteration.number == 2
    assert iteration.prompt == "Answer. Cite."
    assert iteration.score == 0.625
    assert iteration.val is not None
    assert iteration.val.score == 0.625
    assert first_iteration.train.scores_by_metric == {"rouge": 0.375}
    assert iteration.rewrite is not None
    assert iteration.rewrite.rewrite == change.number
    assert iteration.rewrite.rationale == "It never cites."
    assert iteration.rewrite.change_summary == "Asked to cite"
    assert iteration.rewrite.history == "(none)"
    assert (iteration.event.eval_tokens, iteration.event.reasoning_tokens) == (21, 6)
    assert iteration.event.elapsed_seconds == pytest.approx(90, abs=1)
    assert iteration.event.timestamp is not None
    (effect,) = _read(recording).effects()
    assert (effect.basis, effect.delta, effect.n) == ("paired", 0.25, 2)


def test_each_call_answers_with_seq_and_leaf_hash(recording: RecordingLedger, run: RunRecorder) -> None:
    acks = [run.record_evaluation("Answer.", score=0.1 * number) for number in range(3)]
    with recording.ledger.recorder.reading() as reader:
        raws = {row.seq: row.raw for row in reader.entries()}
    assert [leaf_hash(raws[ack.seq]) for ack in acks] == [ack.leaf_hash for ack in acks]
    assert [ack.number for ack in acks] == [0, 1, 2]


def test_a_receipt_is_given_on_request(recording: RecordingLedger, run: RunRecorder) -> None:
    ack = run.record_evaluation("Answer.", score=0.5)
    receipt = parse_receipt(recording.receipt(ack.seq))
    with recording.ledger.recorder.reading() as reader:
        raw = next(reader.entries(ack.seq, ack.seq + 1)).raw
    verify_receipt(receipt, leaf_hash(raw), [recording.ledger.verifier_key()], recording.ledger.origin)


def test_no_text_no_secret_and_no_name_stands_in_the_open(recording: RecordingLedger, run: RunRecorder) -> None:
    evaluation = run.record_evaluation("Answer.", samples=_samples(0.5))
    run.record_rewrite(evaluation, "A new prompt text", rationale="A long rationale", change_summary="A summary")
    with recording.ledger.recorder.reading() as reader:
        log = b"".join(row.raw for row in reader.entries())
    for secret in (b"Answer.", b"A new prompt", b"rationale text", b"A summary", b"questions.jsonl", b"optimiser@"):
        assert secret not in log
    stored = b"".join(path.read_bytes() for path in folder_of(recording.ledger).iterdir())
    assert b"sk-very-secret" not in stored
    assert _read(recording).started.config == {
        "temperature": 0.5,
        "reasoning_api_key": {"redacted": "reasoning_api_key"},
    }


def test_the_actor_is_an_alias_that_only_the_key_database_resolves(
    recording: RecordingLedger, run: RunRecorder
) -> None:
    with recording.ledger.recorder.reading() as reader:
        alias = parse_entry(next(reader.stream("run/001")).raw)["meta"]["actor"]
    assert alias.startswith("actor-")
    assert recording.ledger.scopes.name_of(alias) == "optimiser@example.org"


def test_runs_are_numbered_one_after_another(recording: RecordingLedger, run: RunRecorder) -> None:
    second = recording.start_run(strategy="auto", prompt="x", config={})
    assert (run.run, second.run) == ("001", "002")
    assert _read(recording, "002").started.directory == "002_2026-11-22T10-00-00"
    with pytest.raises(Conflict):
        recording.start_run(strategy="auto", prompt="x", config={}, run="002")


def test_a_run_that_ended_and_was_not_sealed_is_sealed_with_the_next_seal(
    recording: RecordingLedger, run: RunRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording.start_run(strategy="iterative", prompt="Answer.", config={})
    with monkeypatch.context() as patch:
        patch.setattr(recording, "seal", lambda runs: None)
        run.fail("stopped")
    assert _types(recording, run.run)[-1] == "run.failed.v1"

    recording.seal()
    recording.seal()

    assert _types(recording, run.run)[-2:] == ["run.failed.v1", "run.sealed.v1"]
    assert _types(recording, "002") == ["run.started.v1"]


def _types(recording: RecordingLedger, run: str) -> list[str]:
    return [recorded.type_name for recorded in recording.read_stream(run)]


def test_a_completed_run_is_sealed_and_signed_and_takes_no_more(recording: RecordingLedger, run: RunRecorder) -> None:
    evaluation = run.record_evaluation("Answer.", score=0.5)
    final = run.record_evaluation("Answer.", purpose="final", score=0.5)
    run.record_iteration(evaluation)
    run.complete(reason="converged", converged=True, best="Answer.", final=final)
    record = _read(recording)
    assert (record.status, record.best_prompt) == ("completed", "Answer.")
    with recording.ledger.recorder.reading() as reader:
        types = [row.type_name for row in reader.entries()]
        latest = reader.latest_checkpoint()
        assert latest is not None
        assert latest[0] == reader.head().size
    assert types[-2:] == ["run.sealed.v1", "projection.sealed.v1"]
    with pytest.raises(Refused, match="has ended"):
        run.record_evaluation("Answer.", score=0.6)


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        (lambda run, ack: run.record_iteration(ack, iteration=1), "iteration_once"),
        (lambda run, ack: run.complete(reason="done", best="never evaluated"), "best_was_evaluated"),
        (lambda run, ack: run.complete_phase(iterations=1), "phase_not_open"),
    ],
)
def test_what_breaks_a_rule_is_refused_and_leaves_nothing(
    recording: RecordingLedger, run: RunRecorder, record: object, rule: str
) -> None:
    evaluation = run.record_evaluation("Answer.", score=0.5)
    run.record_iteration(evaluation)
    size = recording.ledger.recorder.max_notification_id()
    with pytest.raises(Refused) as refused:
        record(run, evaluation)  # type: ignore[operator]
    assert refused.value.rule == rule
    assert recording.ledger.recorder.max_notification_id() == size


def test_phases_are_recorded_with_their_iterations(recording: RecordingLedger, run: RunRecorder) -> None:
    run.start_phase("structural")
    evaluation = run.record_evaluation("Answer.", score=0.5)
    run.record_iteration(evaluation)
    run.complete_phase(iterations=1, score_before=0.4, score_after=0.5)
    record = _read(recording)
    assert record.iterations[0].event.phase == 1
    assert [(phase.axis, phase.score_after) for phase in record.phases] == [("structural", 0.5)]


def test_an_exception_in_the_block_of_a_run_is_recorded_as_its_failure(recording: RecordingLedger) -> None:
    with pytest.raises(ZeroDivisionError), recording.start_run(strategy="iterative", prompt="x", config={}):
        raise ZeroDivisionError("no samples")
    failed = _read(recording).failed
    assert failed is not None
    assert failed.reason == "ZeroDivisionError"
    assert not isinstance(failed.message, Withheld)
    assert "no samples" in str(failed.message)


def test_a_prompt_of_two_megabytes_is_taken(recording: RecordingLedger, run: RunRecorder) -> None:
    text = "Ärger 😀 " * 200_000
    run.record_evaluation(text, score=0.5)
    assert _read(recording).prompts[1] == text


def test_a_lone_surrogate_is_refused_and_the_run_goes_on(recording: RecordingLedger, run: RunRecorder) -> None:
    with pytest.raises((Malformed, Refused)):
        run.record_evaluation("broken \ud800", score=0.5)
    run.record_evaluation("whole", score=0.5)
    assert len(_read(recording).evaluations) == 1


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_no_number_is_refused(run: RunRecorder, score: float) -> None:
    with pytest.raises(Refused, match="finite"):
        run.record_evaluation("Answer.", score=score)


def test_threads_record_side_by_side(recording: RecordingLedger, run: RunRecorder) -> None:
    def record(worker: int) -> None:
        for number in range(10):
            run.record_evaluation(f"prompt {worker} {number}", score=0.5)

    threads = [threading.Thread(target=record, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record_ = _read(recording)
    assert [found.evaluation for found in record_.evaluations] == list(range(60))
    assert len(set(record_.prompts)) == 61


def test_two_recorders_of_one_run_do_not_tread_on_each_other(recording: RecordingLedger, run: RunRecorder) -> None:
    other = recording.resume_run("001")
    run.record_evaluation("one", score=0.1)
    ack = other.record_evaluation("two", score=0.2)
    again = run.record_evaluation("two", score=0.3)
    assert (ack.number, again.number) == (1, 2)
    assert _read(recording).prompts == ["Answer.", "one", "two"]


def test_a_run_that_was_never_started_cannot_be_resumed(recording: RecordingLedger) -> None:
    with pytest.raises(Refused, match="not on this ledger"):
        recording.resume_run("404")


def test_processes_number_their_runs_without_a_double(tmp_path: Path) -> None:
    folder, keys = tmp_path / "ledger", tmp_path / "keys"
    open_ledger(folder, keys=keys, create=True).close()
    script = (
        "import sys; from affidavit.api.record import open_ledger\n"
        "with open_ledger(sys.argv[1], keys=sys.argv[2]) as ledger:\n"
        "    for _ in range(5): ledger.start_run(strategy='iterative', prompt='x', config={})\n"
    )
    command = [sys.executable, "-c", script, str(folder), str(keys)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    with open_ledger(folder, keys=keys) as ledger, ledger.ledger.recorder.reading() as reader:
        assert reader.streams("run") == [f"run/{number:03d}" for number in range(1, 16)]


def test_processes_record_whole_runs_side_by_side(tmp_path: Path) -> None:
    """Each seals its runs and the shared views; afterwards everything replays."""
    folder, keys = tmp_path / "ledger", tmp_path / "keys"
    open_ledger(folder, keys=keys, create=True).close()
    script = (
        "import sys; from affidavit.api.record import open_ledger\n"
        "with open_ledger(sys.argv[1], keys=sys.argv[2]) as ledger:\n"
        "    for _ in range(3):\n"
        "        with ledger.start_run(strategy='iterative', prompt='x', config={}) as run:\n"
        "            first = run.record_evaluation('x', score=0.5)\n"
        "            run.record_iteration(first)\n"
        "            run.complete(reason='done', best='x')\n"
    )
    command = [sys.executable, "-c", script, str(folder), str(keys)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    with open_for_reading(folder, keys) as ledger, ledger.views() as connection:
        assert [line.status for line in list_runs(connection, ledger.size)] == ["completed"] * 9
        against = Against(
            scopes=open_scopes(ledger.place, keys, ledger.reader.origin())[0], check_projections=check_seals
        )
        verdict = audit(ledger.reader, REGISTRY, against)
    assert (verdict.verdict, verdict.damage) == ("ok", [])
    assert {"sealed", "projections"} <= set(verdict.checked)


def test_an_acknowledgement_of_another_run_or_kind_is_refused(recording: RecordingLedger, run: RunRecorder) -> None:
    other = recording.start_run(strategy="iterative", prompt="x", config={})
    theirs = other.record_evaluation("x", score=0.5)
    ours = run.record_evaluation("Answer.", score=0.5)
    change = run.record_rewrite(ours, "Answer!", rationale="r")
    for wrong in (theirs, change):
        with pytest.raises(Refused) as refused:
            run.record_iteration(wrong)
        assert refused.value.rule == "ack_of_this_run"


def test_run_ids_that_differ_in_case_only_are_refused(recording: RecordingLedger) -> None:
    recording.start_run(strategy="iterative", prompt="x", config={}, run="X1")
    with pytest.raises(Refused, match="in case only"):
        recording.start_run(strategy="iterative", prompt="x", config={}, run="x1")


def test_a_clock_that_steps_back_gives_no_negative_time(
    recording: RecordingLedger, run: RunRecorder, now: list[int]
) -> None:
    now[0] -= 3_600_000_000
    first = run.record_evaluation("Answer.", score=0.5)
    run.record_iteration(first)
    (iteration,) = _read(recording).iterations
    assert iteration.event.elapsed_seconds == 0


def test_closing_twice_is_closing(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger", keys=tmp_path / "keys", create=True)
    ledger.close()
    ledger.close()


def test_closing_brings_the_views_up_to_date_and_signs(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger", keys=tmp_path / "keys", create=True) as ledger:
        ledger.start_run(strategy="iterative", prompt="x", config={})
    assert (tmp_path / "ledger" / "views.db").is_file()
    with open_ledger(tmp_path / "ledger", keys=tmp_path / "keys") as ledger, ledger.ledger.recorder.reading() as reader:
        latest = reader.latest_checkpoint()
        assert latest is not None
        assert latest[0] == 2


def test_events_of_a_run_decode_to_what_was_recorded(recording: RecordingLedger, run: RunRecorder) -> None:
    def events() -> Iterator[Event]:
        with recording.ledger.recorder.reading() as reader:
            for recorded in recording.ledger.event_reader(reader).stream("run/001"):
                assert isinstance(recorded.event, Event)
                yield recorded.event

    run.record_evaluation("Answer.", samples=_samples(0.1, 0.30000000000000004))
    evaluation = list(events())[1]
    assert evaluation.disagreement() is None
    assert evaluation.model_dump()["detail_mean"] == 0.2
