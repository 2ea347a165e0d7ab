"""Driving runs: what recording costs a run whose model takes 50 ms, and how fast a recorded run replays."""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from statistics import median

from affidavit.api.drive.run_loop import drive
from affidavit.api.drive.run_replay import replay
from affidavit.api.models.chat import Exchange, Prepared
from affidavit.api.optimize.plan import Plan, make_plan
from affidavit.api.optimize.running import Provenance, start
from affidavit.api.record import RecordingLedger
from affidavit.bench.recording import bare_table, commit_each
from affidavit.bench.rows import Bench, Row
from affidavit.bench.windows import Side, interleave, median_of, timed
from affidavit.domain.model_calls import Ask
from affidavit.domain.optimization.conversation import Calls, Question, Script
from affidavit.domain.optimization.dataset import DataRow, Dataset
from affidavit.domain.optimization.options import Options
from affidavit.domain.optimization.script import optimise
from affidavit.ledger.application import Ledger

WORKERS = 4
ANSWER_SECONDS = 0.05
_TEXT = "Answer from the sources that are given, cite each of them, and say so where they do not suffice. " * 4


class SlowModel:
    """Answers anything after ``seconds``, with a text of its own for each question."""

    model = "bench/model"

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds

    def prepare(self, ask: Ask) -> Prepared:
        document = {"model": self.model, "messages": list(ask.messages), "temperature": ask.temperature}
        if ask.max_tokens is not None:
            document["max_tokens"] = ask.max_tokens
        return Prepared(json.dumps(document), 0, ())

    def send(self, prepared: Prepared) -> Exchange:
        if self._seconds:
            time.sleep(self._seconds)
        mark = hashlib.sha256(prepared.body.encode()).hexdigest()
        said = f"## Summary of change\nCited {mark[:8]}\n\n## Revised prompt\n{_TEXT} Cite {mark}."
        choices = [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}]
        usage = {"prompt_tokens": 200, "completion_tokens": 40, "total_tokens": 240}
        return Exchange("replied", 200, json.dumps({"choices": choices, "usage": usage}))

    def step_down(self, prepared: Prepared, exchange: Exchange) -> bool:
        return False

    def close(self) -> None:
        """Nothing is open."""


def measure_recording(bench: Bench) -> list[Row]:
    """A run with and without its ledger; bare commits of as many bytes, one for each call, are taken off."""
    calls = bench.sizes.calls
    model = SlowModel(ANSWER_SECONDS)
    with bench.ledgers.create("recorded") as ledger, closing(bare_table(bench.folder / "bare-calls.db")) as bare:
        record = _recording(RecordingLedger(ledger), model, calls)
        record()
        raws, seqs = _bytes_per_call(ledger, calls), count()
        seconds = interleave(
            {
                "recorded": record,
                "unrecorded": _asking(model, calls),
                "bare": lambda: timed(lambda: commit_each(bare, raws, seqs)),
            },
            bench.sizes.windows,
        )
    costs = [
        (recorded - unrecorded - commits) / unrecorded
        for recorded, unrecorded, commits in zip(*seconds.values(), strict=True)
    ]
    return [
        Row(
            "recording",
            f"recording of a run, {WORKERS} calls of {1000 * ANSWER_SECONDS:.0f} ms at once, less bare commits",
            "of its time",
            median_of(costs),
            0.02,
            "at most",
            beside={f"seconds_{name}": median(taken) for name, taken in seconds.items()},
        )
    ]


def measure_replay(bench: Bench) -> list[Row]:
    """Replay of a whole run from its recorded replies, requests and facts compared."""
    rows = bench.sizes.replayed // 20
    plan = _plan(rows, iterations=18)  # with the baseline and the final score: 20 evaluations
    with bench.ledgers.create("replayed") as ledger:
        recording = RecordingLedger(ledger)
        run = start(recording, plan, Provenance())
        model = SlowModel()
        models = {"bench/model": model, "reasoner": model}
        drive(ledger, run, optimise(plan.task(), plan.strategies), models, max_workers=WORKERS)
        found: list[int] = []

        def side() -> float:
            with ledger.recorder.reading() as reader:
                begun = time.perf_counter()
                report = replay(ledger.event_reader(reader), run, lambda: optimise(plan.task(), plan.strategies))
                taken = time.perf_counter() - begun
            assert report.identical
            found.append(report.calls)
            return taken

        seconds = interleave({"replay": side}, bench.sizes.long_windows)["replay"]
    return [
        Row(
            "replay",
            f"replay of a run with {found[0]:,} calls",
            "calls/s",
            median_of([found[0] / taken for taken in seconds]),
            5000.0,
            beside={"seconds": median(seconds)},
        )
    ]


def _plan(rows: int, iterations: int) -> Plan:
    """A plan whose every evaluation is of all ``rows``; no score ends it."""
    samples = tuple(
        DataRow(id=str(n), messages=({"role": "user", "content": f"{_TEXT} Question {n}?"},), ideal="Yes.")
        for n in range(rows)
    )
    options = Options(
        strategy="iterative",
        models=(SlowModel.model,),
        metrics=("exact",),
        max_iterations=iterations,
        threshold=1.0,
        train_ratio=1.0,
        max_workers=WORKERS,
    )
    return make_plan(options, Dataset(samples), _TEXT)


def _questions(calls: int) -> tuple[Question, ...]:
    return tuple(
        Question(
            SlowModel.model,
            "train",
            Ask("eval.train", ({"role": "user", "content": f"{_TEXT} {n}?"},), temperature=0.0, max_tokens=64),
        )
        for n in range(calls)
    )


def _recording(recording: RecordingLedger, model: SlowModel, calls: int) -> Side:
    def script() -> Script:
        yield Calls(_questions(calls))

    def record() -> float:
        run = recording.start_run(strategy="bench", prompt=_TEXT, config={}).run
        return timed(lambda: drive(recording.ledger, run, script(), {SlowModel.model: model}, max_workers=WORKERS))

    return record


def _asking(model: SlowModel, calls: int) -> Side:
    """The same calls, as many at once, and nothing kept."""

    def ask() -> float:
        def send(question: Question) -> Exchange:
            return model.send(model.prepare(question.ask))

        with ThreadPoolExecutor(WORKERS) as pool:
            return timed(lambda: list(pool.map(send, _questions(calls))))

    return ask


def _bytes_per_call(ledger: Ledger, calls: int) -> list[bytes]:
    """What a call adds to the ledger: its two entries, and what they seal."""
    with ledger.recorder.reading() as reader:
        size = reader.head().size
        entries = sum(len(row.raw) for row in reader.entries(size - 2 * calls))
    model = SlowModel()
    prepared = model.prepare(_questions(1)[0].ask)
    sealed = len(prepared.body) + len(model.send(prepared).body or "")
    return [bytes(entries // calls + sealed)] * calls
