"""Recording an optimisation run from Python.

::

    with open_ledger(".affidavit", create=True) as ledger:
        with ledger.start_run(strategy="iterative", prompt="Answer briefly.", config={"seed": 7}) as run:
            run.record_baseline(score=0.41)
            first = run.record_evaluation("Answer briefly.", score=0.34)
            run.record_iteration(first, reasoning_tokens=443)
            change = run.record_rewrite(
                first, "Answer briefly. Cite the source.", rationale="…", change_summary="Asked for a source"
            )
            ...
            run.complete(reason="converged", converged=True, best="Answer briefly. Cite the source.")

Every call is durable and chained when it returns, and answers with its ``seq`` and ``leaf_hash``. The
objects are safe from threads, and several processes may record on one ledger. Leaving the ``with`` block of
a run by an exception records ``run.failed``; leaving that of the ledger signs it.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..domain.errors import Refused
from ..domain.event import Event, Meta, NewEvent, Recorded
from ..domain.optimization.events import (
    IterationCompleted,
    PhaseCompleted,
    PhaseStarted,
    PromptEvaluated,
    Purpose,
    RewriteProposed,
    RunCompleted,
    RunFailed,
    RunPlanned,
    RunStarted,
    Sample,
    SampleSet,
    ScoreKind,
    Split,
    mean_score,
)
from ..domain.optimization.run import RunState, decide, evolve
from ..domain.redaction import redact
from ..domain.registry import invalid_is_refused
from ..ledger.application import Acknowledged, Ledger
from ..ledger.errors import Conflict
from ..ledger.store.reader import LedgerReader
from ..ledger.tlog.checkpoint import Checkpoint
from ..ledger.tlog.note import print_vkey
from ..ledger.tlog.receipt import print_receipt
from ..projections.registry import REGISTRY
from ..projections.runner import VIEWS, catch_up, open_views
from ..projections.runs.record import RunRecord, fold_run
from ..projections.seals import seal_run, seal_view
from .settings import cosigners, keys_root, ledger_place, recorder_name

_CONFLICT_TRIES = 20


@dataclass(frozen=True, slots=True)
class Ack:
    """An event of a run is durable and chained.

    ``kind`` is its stored name, ``number`` that of the evaluation, rewrite, iteration or phase.
    """

    seq: int
    leaf_hash: bytes
    run: str
    kind: str
    number: int


def open_ledger(
    folder: str | Path | None = None,
    *,
    keys: str | Path | None = None,
    create: bool = False,
    name: str = "affidavit",
    actor: str | None = None,
) -> RecordingLedger:
    """Open a ledger for recording, made first where ``create`` says so and there is none.

    ``folder`` is one, or the address of a database (``postgresql://…``); it and ``keys`` default as the command's do.
    ``actor`` is who records; the log shows an alias.
    """
    place = ledger_place(None if folder is None else str(folder))
    root = keys_root(None if keys is None else str(keys))
    if create and not place.exists():
        ledger = Ledger.create(place, root, REGISTRY, name=name, cosigners=cosigners())
    else:
        ledger = Ledger(place, root, REGISTRY, cosigners=cosigners())
    return RecordingLedger(ledger, actor)


class RecordingLedger:
    """A ledger open for recording. Close it, or use it as a context manager."""

    def __init__(self, ledger: Ledger, actor: str | None = None) -> None:
        self.ledger = ledger
        self.meta = Meta(recorder=recorder_name())
        if actor is not None:
            self.meta["actor"] = ledger.alias("actor", actor)

    @property
    def vkey(self) -> str:
        """The public key that this ledger's checkpoints and receipts verify under, as text."""
        return print_vkey(self.ledger.verifier_key())

    def start_run(
        self,
        *,
        strategy: str,
        prompt: str,
        config: Mapping[str, Any],
        run: str | None = None,
        models: Sequence[str] = (),
        reasoning_model: str | None = None,
        metrics: Sequence[str] = (),
        dataset: str | None = None,
        threshold: float | None = None,
        max_iterations: int | None = None,
        split: Split | None = None,
        parent: tuple[str, int] | None = None,
        plan: RunPlanned | None = None,
    ) -> RunRecorder:
        """Start a run with its configuration snapshot and its initial prompt.

        ``run`` is its id, by default the next number. Secrets in ``config`` are redacted before it is
        sealed. ``parent`` is the run and iteration it branches from; ``plan``, for a run that is driven here, goes on
        record in the same commit. ``Conflict`` where the id is taken.
        """
        snapshot = redact(dict(config)).value
        self._require_free_name(run)
        while True:
            name = run or self._next_run()
            now = self.ledger.now()
            with invalid_is_refused():
                event = RunStarted(
                    run=name,
                    directory=f"{name}_{now[:19].replace(':', '-')}",
                    timestamp=_iso(now),
                    strategy=strategy,
                    models=tuple(_without_secret(model) for model in models),
                    reasoning_model=None if reasoning_model is None else _without_secret(reasoning_model),
                    metrics=tuple(metrics),
                    threshold=threshold,
                    max_iterations=max_iterations,
                    split=split,
                    parent_run=None if parent is None else parent[0],
                    parent_iteration=None if parent is None else parent[1],
                    system_prompt=prompt,
                    config=snapshot,
                    dataset=dataset,
                )
            try:
                ack = self._start(f"run/{name}", event, plan)
            except Conflict:
                if run is not None:
                    raise
                continue  # another process took the number
            return RunRecorder(self, name, ack)

    def resume_run(self, run: str) -> RunRecorder:
        """Go on recording a run that has started and not ended. ``Refused`` where there is none."""
        return RunRecorder(self, run, None)

    def read_stream(self, run: str) -> Iterator[Recorded]:
        """A run's events in order, sealed content opened, as of the first one that is read."""
        with self.ledger.recorder.reading() as reader:
            yield from self.ledger.event_reader(reader).stream(f"run/{run}")

    def read_run(self, run: str) -> RunRecord | None:
        """A run as recorded so far, sealed content opened."""
        with self.ledger.recorder.reading() as reader:
            return fold_run(self.ledger.event_reader(reader).stream(f"run/{run}"))

    def seal(self, runs: Sequence[str] | None = None) -> Checkpoint:
        """Seal the views, and the directories of ``runs``, as of now; then sign.

        Without ``runs`` those that have ended and were not sealed: their process died in between. What is as its
        newest seal says is not sealed again.
        """
        with self.ledger.recorder.reading() as reader:
            events = self.ledger.event_reader(reader)
            size = reader.head().size
            named = _ended_unsealed(reader) if runs is None else runs
            seals: dict[str, Event | None] = {
                f"run/{run}": seal_run(events, run, size)
                for run in named
                if self.ledger.scopes.destroyed(f"run/{run}") is None  # of what was erased no directory is sealed
            }
            for view in VIEWS:
                seals[f"projection/{view.name}"] = seal_view(view, events, size)
        for stream, seal in seals.items():
            if seal is not None:
                self._append(stream, seal)
        return self.ledger.sign()

    def receipt(self, seq: int) -> bytes:
        """A ``.tlog-proof`` that entry ``seq`` is in the ledger; signs first where no checkpoint covers it."""
        return print_receipt(self.ledger.receipt(seq))

    def close(self) -> None:
        """Bring the views up to date and sign. Closing twice does nothing more."""
        if self.ledger.closing.is_set():
            return
        try:
            with self.ledger.recorder.reading() as reader, open_views(self.ledger.place) as engine:
                catch_up(engine, self.ledger.event_reader(reader))
        finally:
            self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next_run(self) -> str:
        with self.ledger.recorder.reading() as reader:
            names = [stream.removeprefix("run/") for stream in reader.streams("run")]
        return f"{max((int(name) for name in names if name.isdecimal()), default=0) + 1:03d}"

    def _require_free_name(self, run: str | None) -> None:
        """Run directories must not meet on a disk that takes upper and lower case for the same."""
        if run is None:
            return
        with self.ledger.recorder.reading() as reader:
            for stream in reader.streams("run"):
                name = stream.removeprefix("run/")
                if name != run and name.casefold() == run.casefold():
                    raise Refused("run_name_free", f"run {run!r}: it differs from run {name!r} in case only")

    def _record(self, stream: str, pos: int, event: Event) -> Acknowledged:
        return self.ledger.record(NewEvent(stream, pos, event, self.meta))[0]

    def _start(self, stream: str, *events: Event | None) -> Acknowledged:
        """Record the first events of a stream in one commit."""
        given = [event for event in events if event is not None]
        return self.ledger.record(*(NewEvent(stream, pos, event, self.meta) for pos, event in enumerate(given)))[0]

    def _append(self, stream: str, event: Event) -> None:
        """Record at the end of a stream whose events do not depend on one another."""
        for _ in range(_CONFLICT_TRIES):
            with self.ledger.recorder.reading() as reader:
                pos = reader.next_pos(stream)
            with suppress(Conflict):
                self._record(stream, pos, event)
                return
        raise Refused("stream_contended", f"stream {stream}: other writers took the place {_CONFLICT_TRIES} times")


class RunRecorder:
    """Records one run. Prompts are given as texts; a text that was seen before is the same prompt."""

    def __init__(self, recording: RecordingLedger, run: str, started: Acknowledged | None) -> None:
        self.run = run
        self.started = started
        self._recording = recording
        self._stream = f"run/{run}"
        self._mutex = threading.RLock()
        self._reload()

    def record_baseline(self, prompt: str | None = None, **scored: Any) -> Ack:
        """Record how a prompt, by default the initial one, scores before anything is changed."""
        return self.record_evaluation(self._initial_prompt if prompt is None else prompt, purpose="baseline", **scored)

    def record_evaluation(
        self,
        prompt: str,
        *,
        purpose: Purpose = "train",
        score: float | None = None,
        samples: Sequence[Sample] | None = None,
        scores_by_metric: Mapping[str, float] | None = None,
        kind: ScoreKind = "mean",
        n: int | None = None,
        failed: int | None = None,
        passes: int = 1,
        std: float | None = None,
        sample_set: SampleSet = "whole",
        parent: Ack | None = None,
        tokens: int | None = None,
        elapsed_seconds: float | None = None,
    ) -> Ack:
        """Record that a prompt was scored.

        With ``samples``, n, failures and, where it is not given, the score follow from them: the score is
        the mean over samples whose call did not fail.
        """
        detail = None if samples is None else tuple(samples)
        detail_mean = None if detail is None else mean_score(detail)

        def build(state: RunState) -> Event:
            number, text = self._prompt(prompt)
            return PromptEvaluated(
                evaluation=len(state.evaluations),
                prompt=number,
                purpose=purpose,
                kind=kind,
                score=detail_mean if score is None else score,
                n=n if detail is None else len(detail),
                failed=failed if detail is None else sum(sample.failed for sample in detail),
                passes=passes,
                std=std,
                scores_by_metric=dict(scores_by_metric or {}),
                sample_set=sample_set,
                parent=self._number_of(parent, PromptEvaluated),
                tokens=tokens,
                elapsed_seconds=elapsed_seconds,
                timestamp=_iso(self._recording.ledger.now()),
                detail_mean=detail_mean,
                system_prompt=text,
                samples=detail,
            )

        return self._record(build)

    def record_rewrite(
        self,
        parent: Ack,
        prompt: str,
        *,
        rationale: str,
        change_summary: str = "",
        history: str | None = None,
        axis: str | None = None,
        tokens: int | None = None,
    ) -> Ack:
        """Record a rewrite: the evaluation it started from, the new prompt, why, and the history shown."""

        def build(state: RunState) -> Event:
            number, text = self._prompt(prompt)
            return RewriteProposed(
                rewrite=len(state.rewrites),
                parent=self._required(parent, PromptEvaluated),
                prompt=number,
                axis=axis,
                tokens=tokens,
                timestamp=_iso(self._recording.ledger.now()),
                system_prompt=text,
                rationale=rationale,
                change_summary=change_summary,
                history=history,
            )

        return self._record(build)

    def record_iteration(
        self,
        evaluation: Ack,
        *,
        iteration: int | None = None,
        val: Ack | None = None,
        rewrite: Ack | None = None,
        full_evaluation: bool = False,
        eval_tokens: int = 0,
        reasoning_tokens: int = 0,
        elapsed_seconds: float | None = None,
    ) -> Ack:
        """Record that an iteration is complete: what it scored, and the rewrite that had made its prompt.

        ``iteration`` defaults to the next number, ``rewrite`` to the newest that proposed this prompt, and
        ``elapsed_seconds`` to the time since the run began, by the ledger's clock.
        """

        def build(state: RunState) -> Event:
            now = self._recording.ledger.now()
            return IterationCompleted(
                iteration=max(state.iterations, default=0) + 1 if iteration is None else iteration,
                evaluation=self._required(evaluation, PromptEvaluated),
                val_evaluation=self._number_of(val, PromptEvaluated),
                rewrite=self._made_by(state, evaluation)
                if rewrite is None
                else self._number_of(rewrite, RewriteProposed),
                phase=state.open_phase,
                full_evaluation=full_evaluation,
                eval_tokens=eval_tokens,
                reasoning_tokens=reasoning_tokens,
                elapsed_seconds=self._elapsed(now) if elapsed_seconds is None else elapsed_seconds,
                timestamp=_iso(now),
            )

        return self._record(build)

    def start_phase(self, axis: str) -> Ack:
        """Record that a phase begins; phases count from 1."""
        return self._record(
            lambda state: PhaseStarted(phase=state.phases + 1, axis=axis, timestamp=_iso(self._recording.ledger.now()))
        )

    def complete_phase(
        self,
        *,
        iterations: int,
        score_before: float | None = None,
        score_after: float | None = None,
        converged: bool = False,
        duration_seconds: float | None = None,
    ) -> Ack:
        """Record that the open phase ended."""

        def build(state: RunState) -> Event:
            return PhaseCompleted(
                phase=state.open_phase or state.phases + 1,
                axis=self._axes.get(state.open_phase or 0, ""),
                iterations=iterations,
                score_before=score_before,
                score_after=score_after,
                converged=converged,
                duration_seconds=duration_seconds,
            )

        return self._record(build)

    def complete(
        self,
        *,
        reason: str,
        converged: bool = False,
        best: str | None = None,
        final: Ack | None = None,
        eval_tokens: int | None = None,
        reasoning_tokens: int | None = None,
    ) -> Ack:
        """Record the run's end, seal its directory and sign. ``best`` is a prompt that was evaluated.

        ``final`` is the evaluation of it on held-out samples.
        """

        def build(_: RunState) -> Event:
            now = self._recording.ledger.now()
            return RunCompleted(
                reason=reason,
                converged=converged,
                best=None if best is None else self._prompt(best)[0],
                final_evaluation=self._number_of(final, PromptEvaluated),
                eval_tokens=eval_tokens,
                reasoning_tokens=reasoning_tokens,
                duration_seconds=self._elapsed(now),
                timestamp=_iso(now),
            )

        ack = self._record(build)
        self._recording.seal([self.run])
        return ack

    def fail(self, reason: str, message: str | None = None) -> Ack:
        """Record that the run ended without a result: a reason code, and the whole error."""
        ack = self._record(
            lambda _: RunFailed(reason=reason, message=message, timestamp=_iso(self._recording.ledger.now()))
        )
        self._recording.seal([self.run])
        return ack

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not self._state.ended:
            self.fail(type(error).__name__, "".join(traceback.format_exception(error)))

    def _record(self, build: Callable[[RunState], Event]) -> Ack:
        """Build the event from what is known, and anew where another process recorded in between."""
        with self._mutex:
            for _ in range(_CONFLICT_TRIES):
                with invalid_is_refused():
                    event = decide(self._state, build(self._state))
                try:
                    acknowledged = self._recording._record(self._stream, self._pos, event)
                except Conflict:
                    self._reload()
                    continue
                self._apply(event)
                return Ack(acknowledged.seq, acknowledged.leaf_hash, self.run, event.type_name, _number(event))
        raise Refused("stream_contended", f"run {self.run}: other writers took the place {_CONFLICT_TRIES} times")

    def _reload(self) -> None:
        self._state, self._pos = RunState(), 0
        self._prompts: dict[str, int] = {}
        self._initial_prompt = ""
        self._axes: dict[int, str] = {}
        self._started_at = ""
        ledger = self._recording.ledger
        with ledger.recorder.reading() as reader:
            for recorded in ledger.event_reader(reader).stream(self._stream):
                if isinstance(recorded.event, Event):
                    self._apply(recorded.event)
        if not self._state.started:
            raise Refused("run_not_started", f"run {self.run} is not on this ledger")

    def _apply(self, event: Event) -> None:
        evolve(self._state, event)
        self._pos += 1
        match event:
            case RunStarted():
                self._started_at = event.timestamp
                self._initial_prompt = str(event.system_prompt)
                self._prompts[self._initial_prompt] = 0
            case PromptEvaluated() | RewriteProposed() if event.system_prompt is not None:
                self._prompts[str(event.system_prompt)] = len(self._prompts)
            case PhaseStarted():
                self._axes[event.phase] = event.axis

    def _prompt(self, text: str) -> tuple[int, str | None]:
        """The number of a prompt, with its text where this event is the first to name it."""
        number = self._prompts.get(text)
        return (len(self._prompts), text) if number is None else (number, None)

    def _number_of(self, ack: Ack | None, kind: type[Event]) -> int | None:
        """The number that an acknowledgement stands for; ``Refused`` for one of another run or kind."""
        if ack is not None and (ack.run, ack.kind) != (self.run, kind.type_name):
            raise Refused(
                "ack_of_this_run", f"expected a {kind.type_name} of run {self.run}, found a {ack.kind} of run {ack.run}"
            )
        return None if ack is None else ack.number

    def _required(self, ack: Ack, kind: type[Event]) -> int:
        self._number_of(ack, kind)
        return ack.number

    def _made_by(self, state: RunState, evaluation: Ack) -> int | None:
        prompt = state.evaluations[evaluation.number].prompt
        return next((made.rewrite for made in reversed(state.rewrites) if made.prompt == prompt), None)

    def _elapsed(self, now: str) -> float:
        """Seconds since the run began by the ledger's clock; 0 where that has stepped back behind the start."""
        return max(0.0, (datetime.fromisoformat(now) - datetime.fromisoformat(self._started_at)).total_seconds())


def _ended_unsealed(reader: LedgerReader) -> list[str]:
    """The runs whose last event is their end."""
    ends = (RunCompleted.type_name, RunFailed.type_name)
    found = []
    for stream in reader.streams("run"):
        last = next(reader.stream(stream, start=reader.next_pos(stream) - 1), None)
        if last is not None and last.type_name in ends:
            found.append(stream.removeprefix("run/"))
    return found


def _iso(at: str) -> str:
    return datetime.fromisoformat(at).astimezone(UTC).isoformat(timespec="microseconds")


def _without_secret(name: str) -> str:
    """A model's name stands in the open; one that carries a credential, as a URL may, does not."""
    return "[redacted]" if redact(name).places else name


def _number(event: Event) -> int:
    match event:
        case PromptEvaluated():
            return event.evaluation
        case RewriteProposed():
            return event.rewrite
        case IterationCompleted():
            return event.iteration
        case PhaseStarted() | PhaseCompleted():
            return event.phase
        case _:
            return 0
