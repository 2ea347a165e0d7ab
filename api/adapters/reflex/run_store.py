"""A drop-in for ``aevyra_reflex.run_store.RunStore`` 0.2.0 that records into a ledger what the optimiser saves.

::

    with RunStore(".affidavit") as store:
        PromptOptimizer(config)….run(prompt, run_store=store)

    with RunStore(".affidavit") as store:          # after a crash
        PromptOptimizer(config)….run(prompt, run_store=store, resume_run=store.find_incomplete_run())

Classes, methods and defaults have the peer's names and meaning, so that its optimiser works on it unchanged. Nothing
of the peer is imported and nothing is written beside the ledger. Four things differ:

* Nothing is overwritten. A second save of a file is another event; ``load_…`` gives the newest, as the peer would.
* There is no ``running`` file with a process id. ``mark_running`` opens a recording, ``mark_done`` closes it, and only
  the newest recording of a run goes on: another process that takes a run up leaves both visible, and stops the older.
* Secrets are taken out before anything is kept, so what is loaded has ``{"redacted": …}`` in their place.
* ``load_iterations`` gives ``change_summary`` and ``elapsed_seconds`` back, which the peer's files leave out.

Every other method reads and writes the ledger, and raises what the ledger raises (``AffidavitError``).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, Self

from ....domain.errors import Refused
from ....domain.event import Event, Withheld
from ....domain.optimization.events import RunStarted
from ....domain.optimization.foreign import (
    CheckpointSaved,
    FileSaved,
    IterationRewritten,
    IterationSaved,
    LogSaved,
    RecordingClosed,
)
from ....ledger.errors import Conflict
from ....projections.directories.directory import build_run_directory
from ....projections.directories.reflex import reflex_list_row
from ....projections.runs.record import RunRecord
from ...record import RecordingLedger, open_ledger
from ...run_store import RunSummary
from .files import ITERATIONS, KNOWN
from .live import Build, Cleaned, LiveEvents, LiveRun, file_saved

SYSTEM = "aevyra-reflex"
_CONFIG, _BASELINE, _CHECKPOINT, _RESULT = "config.json", "baseline.json", "checkpoint.json", "result.json"
_BEST, _LOG, _ERROR, _RUNNING = "best_prompt.md", "run.log.jsonl", "error.txt", "running"
_ITERATION_FILE = re.compile(rf"{ITERATIONS}/[0-9]{{3,18}}\.json")
_OPTIONAL: tuple[tuple[str, Any], ...] = tuple(
    (f"{prefix}best_val_{name}", default)
    for prefix in ("", "global_")
    for name, default in (("prompt", None), ("score", -1.0), ("iter", 0))
)
"""What a checkpoint has only once it is known, with what stands for not known."""


@dataclass
class IterationState:
    """One iteration. Tokens are this iteration's; ``elapsed_seconds`` is since the run began, over all sessions."""

    iteration: int
    system_prompt: str
    score: float
    scores_by_metric: dict[str, float] = field(default_factory=dict)
    reasoning: str = ""
    eval_tokens: int = 0
    reasoning_tokens: int = 0
    change_summary: str = ""
    val_score: float | None = None
    is_full_eval: bool = False
    elapsed_seconds: float = 0.0
    timestamp: str = ""


@dataclass
class CheckpointState:
    """What the optimiser resumes from."""

    run_id: str
    initial_prompt: str
    current_prompt: str
    completed_iterations: int
    best_prompt: str
    best_score: float
    score_trajectory: list[float] = field(default_factory=list)
    previous_reasoning: str = ""
    strategy_state: dict[str, Any] = field(default_factory=dict)
    baseline: dict[str, Any] | None = None
    best_val_prompt: str | None = None
    best_val_score: float = -1.0
    best_val_iter: int = 0
    global_best_val_prompt: str | None = None
    global_best_val_score: float = -1.0
    global_best_val_iter: int = 0
    accumulated_duration_seconds: float = 0.0
    timestamp: str = ""


class SavedIteration(Protocol):
    """An iteration as the caller has it: this module's ``IterationState`` or the peer's."""

    iteration: int
    system_prompt: str
    score: float
    scores_by_metric: dict[str, float]
    reasoning: str
    eval_tokens: int
    reasoning_tokens: int
    change_summary: str
    val_score: float | None
    is_full_eval: bool
    elapsed_seconds: float
    timestamp: str


class RunStore:
    """The runs of a ledger, under the interface of the peer's store.

    ``root`` is a ledger that is open for recording, or the folder of one, made where there is none; a ledger that was
    opened here is closed with the store. ``keys`` names the folder of key folders, as for ``open_ledger``.
    """

    def __init__(self, root: RecordingLedger | str | Path = ".affidavit", *, keys: str | Path | None = None) -> None:
        self._owned = not isinstance(root, RecordingLedger)
        self.recording = root if isinstance(root, RecordingLedger) else open_ledger(root, keys=keys, create=True)
        self.root = Path(str(self.recording.ledger.place))

    def create_run(
        self,
        config: Mapping[str, Any],
        dataset_path: str,
        prompt_path: str,
        initial_prompt: str,
        branched_from: Mapping[str, Any] | None = None,
    ) -> Run:
        """Start the run with the next number. ``branched_from`` is ``{"run_id": …, "iteration": …}``."""
        while True:
            run_id = self._next_run()
            timestamp = self.recording.ledger.now()[:19].replace(":", "-")
            document = {
                "run_id": run_id,
                "timestamp": timestamp,
                "dataset_path": str(dataset_path),
                "prompt_path": str(prompt_path),
                "initial_prompt": initial_prompt,
                "optimizer_config": dict(config),
            }
            if branched_from:
                document["branched_from"] = dict(branched_from)
            run = Run(self.recording, run_id, f"{run_id}_{timestamp}", recorded_here=True)
            try:
                run._start(document)
            except Conflict:
                continue  # another process took the number
            return run

    def get_run(self, run_id: str) -> Run | None:
        """The run of this id, exactly as it stands: ``"001"``."""
        ledger = self.recording.ledger
        with ledger.recorder.reading() as reader:
            events = [it.event for it in islice(ledger.event_reader(reader).stream(f"run/{run_id}"), 2)]
        if not events or not isinstance(events[0], RunStarted):
            return None
        began_here = len(events) == 2 and isinstance(events[1], FileSaved)
        return Run(self.recording, run_id, events[0].directory, recorded_here=began_here)

    def get_latest_run(self) -> Run | None:
        """The run with the highest number, which after 999 is 1000."""
        return next(self._newest_first(), None)

    def find_incomplete_run(self, dataset_path: str | None = None, model: str | None = None) -> Run | None:
        """The newest run that was recorded through such a store, has a checkpoint and no result.

        ``dataset_path`` is compared as an absolute path; ``model`` only where the run names its models.
        """
        for run in self._newest_first():
            if not run.recorded_here or not run.has_checkpoint or run.is_complete:
                continue
            config = run.load_config()
            stored = config.get("dataset_path") or ""
            if dataset_path and (not isinstance(stored, str) or _absolute(stored) != _absolute(dataset_path)):
                continue
            models = config.get("optimizer_config", {}).get("_cli_models", [])
            if model and models and model not in models:
                continue
            return run
        return None

    def list_runs(self) -> list[RunSummary]:
        """Every run of the ledger by number, also those that were imported or recorded another way."""
        return [run.summary() for run in reversed(list(self._newest_first()))]

    def close(self) -> None:
        """Close the ledger if the store has opened it."""
        if self._owned:
            self.recording.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _names(self) -> list[str]:
        with self.recording.ledger.recorder.reading() as reader:
            return [stream.removeprefix("run/") for stream in reader.streams("run")]

    def _next_run(self) -> str:
        return f"{max((int(name) for name in self._names() if name.isdecimal()), default=0) + 1:03d}"

    def _newest_first(self) -> Iterator[Run]:
        for name in sorted(self._names(), key=lambda name: (int(name) if name.isdecimal() else 0, name), reverse=True):
            run = self.get_run(name)
            if run is not None:
                yield run


class Run:
    """One run. Safe from threads; each handle records for itself, from ``mark_running`` to ``mark_done``.

    ``recorded_here`` says whether it was started through such a store; only then can more be recorded of it.
    """

    def __init__(self, recording: RecordingLedger, run_id: str, directory: str, *, recorded_here: bool) -> None:
        self.run_id = run_id
        self.recorded_here = recorded_here
        self._ledger = recording
        self._live = LiveRun(recording, run_id, directory)
        self._mutex = threading.RLock()
        self._recording: int | None = None
        self.run_dir = RunPath(self, PurePosixPath())
        self.iterations_dir = self.run_dir / ITERATIONS
        self.config_path = self.run_dir / _CONFIG
        self.baseline_path = self.run_dir / _BASELINE
        self.checkpoint_path = self.run_dir / _CHECKPOINT
        self.result_path = self.run_dir / _RESULT
        self.best_prompt_path = self.run_dir / _BEST
        self.log_path = self.run_dir / _LOG
        self.running_path = self.run_dir / _RUNNING

    @property
    def is_complete(self) -> bool:
        return self.result_path.exists()

    @property
    def is_running(self) -> bool:
        """Whether a recording of the run is open. One that was killed stays open until the run is taken up."""
        if not self.recorded_here:
            return False
        with self._mutex:
            self._live.read()
            return self._live.recordings.open is not None

    @property
    def has_checkpoint(self) -> bool:
        return self.checkpoint_path.exists()

    def mark_running(self) -> None:
        """Open the next recording of the run. A recording that was open is superseded, and refused from here on."""
        with self._mutex:
            self._require_ours()
            self._live.read()
            self._live.append(lambda: [self._live.recordings.open_next(SYSTEM)], self._live.recordings.open)
            self._recording = self._live.recordings.count

    def mark_done(self) -> None:
        """Close the recording, if this handle has one."""
        with self._mutex:
            number, self._recording = self._recording, None
            if number is None:
                return
            reason = "completed" if self.is_complete else "failed" if _ERROR in self._live.documents else "stopped"
            self._append(lambda: [RecordingClosed(recording=number, reason=reason)], number)

    def load_config(self) -> dict[str, Any]:
        return self._load(_CONFIG) or {}

    def save_baseline(self, baseline: Mapping[str, Any]) -> None:
        """Record the baseline evaluation; the time of saving is added."""
        document = {**baseline, "timestamp": self._now()}
        baseline_prompt = self._inherited_prompt()

        def build(cleaned: Cleaned) -> list[Event]:
            live = LiveEvents(self._live, self._live.story(cleaned.document), baseline_prompt)
            live.add_baseline()
            return [*live.events, file_saved(FileSaved, self._live, cleaned, live.findings_at(_BASELINE))]

        self._save(_BASELINE, document, build)

    def load_baseline(self) -> dict[str, Any] | None:
        return self._load(_BASELINE)

    def save_iteration(self, state: SavedIteration) -> None:
        """Record a completed iteration: its scores, the iteration, the rewrite that came out of it, and its file.

        A number that was saved before is recorded as ``iteration.rewritten``.
        """
        document = {
            "iteration": state.iteration,
            "system_prompt": state.system_prompt,
            "score": state.score,
            "scores_by_metric": state.scores_by_metric,
            "reasoning": state.reasoning,
            "eval_tokens": state.eval_tokens,
            "reasoning_tokens": state.reasoning_tokens,
            "timestamp": state.timestamp or self._now(),
        }
        if state.val_score is not None:
            document["val_score"] = state.val_score
        if state.is_full_eval:
            document["is_full_eval"] = True
        path = f"{ITERATIONS}/{state.iteration:03d}.json"
        summary, elapsed = state.change_summary or None, state.elapsed_seconds

        def build(cleaned: Cleaned) -> list[Event]:
            live = LiveEvents(self._live, self._live.story(cleaned.document))
            live.add_iteration(state.iteration, summary, elapsed)
            found = live.findings_at(path)
            own = {"iteration": state.iteration, "change_summary": summary, "elapsed_seconds": elapsed}
            again = bool(live.rewritten) or self._live.revision(path) > 0
            kind = IterationRewritten if again else IterationSaved
            return [*live.events, file_saved(kind, self._live, cleaned, found, **own, **live.rewritten)]

        self._save(path, document, build)

    def load_iterations(self) -> list[IterationState]:
        """The newest save of every iteration, by number."""
        found = []
        for _, document in sorted(self._numbered().items()):
            number = document["iteration"]
            saved = self._live.saved.get(number)
            left_out: dict[str, Any] = {}
            if saved is not None and isinstance(saved.change_summary, str):
                left_out["change_summary"] = saved.change_summary
            if saved is not None and saved.elapsed_seconds is not None:
                left_out["elapsed_seconds"] = saved.elapsed_seconds
            known = {name: document[name] for name in IterationState.__dataclass_fields__ if name in document}
            found.append(IterationState(**{**known, **left_out}))
        return found

    def save_checkpoint(self, checkpoint: Any) -> None:
        """Record the state to resume from, given as this module's ``CheckpointState`` or the peer's."""
        document = _checkpoint_document(checkpoint, checkpoint.timestamp or self._now())
        completed = checkpoint.completed_iterations

        def build(cleaned: Cleaned) -> list[Event]:
            return [file_saved(CheckpointSaved, self._live, cleaned, completed_iterations=completed)]

        self._save(_CHECKPOINT, document, build)

    def load_checkpoint(self) -> CheckpointState | None:
        document = self._load(_CHECKPOINT)
        if document is None:
            return None
        return CheckpointState(
            **{name: document[name] for name in CheckpointState.__dataclass_fields__ if name in document}
        )

    def save_log(self, entries: list[dict[str, Any]]) -> None:
        """Record the run's log, whole."""

        def build(cleaned: Cleaned) -> list[Event]:
            return [file_saved(LogSaved, self._live, cleaned, lines=len(cleaned.document.value))]

        self._save(_LOG, entries, build)

    def load_log(self) -> list[dict[str, Any]]:
        return self._files().get(_LOG) or []

    def save_result(self, result: Mapping[str, Any]) -> None:
        """Record the result and the run's end; the time of saving and the run's id are added."""
        self._save_result({**result, "timestamp": self._now(), "run_id": self.run_id})

    def load_result(self) -> dict[str, Any] | None:
        return self._load(_RESULT)

    def summary(self) -> RunSummary:
        """The run as it stands in a list. ``best_score`` is the result's, before its end the checkpoint's."""
        if not self.recorded_here:
            return RunSummary(**reflex_list_row(self._record()))
        files = self._files()
        config, baseline = files.get(_CONFIG) or {}, files.get(_BASELINE) or {}
        checkpoint, result = files.get(_CHECKPOINT), files.get(_RESULT)
        options, branch = config.get("optimizer_config", {}), config.get("branched_from") or {}
        dataset = config.get("dataset_path") or ""
        ended = (checkpoint or {}) if result is None else result
        return RunSummary(
            self.run_id,
            f"runs/{self._live.directory}",
            config.get("timestamp", ""),
            self._status(files),
            options.get("strategy", ""),
            ", ".join(options.get("_cli_models", [])),
            _absolute(dataset) if isinstance(dataset, str) and dataset else dataset,
            baseline.get("mean_score"),
            ended.get("best_score"),
            ((result or {}).get("final") or {}).get("mean_score"),
            (checkpoint or {}).get("completed_iterations", 0) if result is None else len(result.get("iterations", [])),
            (result or {}).get("duration_seconds"),
            branch.get("run_id"),
            branch.get("iteration"),
            options,
        )

    def _status(self, files: Mapping[str, Any]) -> str:
        if _RESULT in files or self._live.state.ended:
            return "completed"
        if self._live.recordings.open is not None:
            return "running"
        return "interrupted" if _CHECKPOINT in files or self._live.recordings.count > 0 else "running"

    def _start(self, document: dict[str, Any]) -> None:
        cleaned = self._live.clean(_CONFIG, document)
        live = LiveEvents(self._live, self._live.story(cleaned.document))
        live.start()
        if not live.events:
            (found,) = live.findings
            raise Refused("event_invalid", f"run {self.run_id}: {found.detail}")
        self._live.first([*live.events, file_saved(FileSaved, self._live, cleaned, live.findings_at(_CONFIG))])

    def _save_result(self, document: Any) -> None:
        def build(cleaned: Cleaned) -> list[Event]:
            live = LiveEvents(self._live, self._live.story(cleaned.document))
            if not self._live.state.ended:
                live.add_result()
            kept = [file_saved(FileSaved, self._live, cleaned, live.findings_at(_RESULT))]
            best = self._checkpoint_best()
            if best is not None and best != cleaned.document.value.get("best_prompt"):
                kept.append(file_saved(FileSaved, self._live, self._live.clean(_BEST, best)))
            return [*live.events, *kept]

        self._save(_RESULT, document, build)

    def _save_error(self, text: str) -> None:
        def build(cleaned: Cleaned) -> list[Event]:
            return [file_saved(FileSaved, self._live, cleaned)]

        self._save(_ERROR, text, build)

    def _checkpoint_best(self) -> str | None:
        checkpoint = self._live.documents.get(_CHECKPOINT)
        best = None if checkpoint is None else checkpoint.value.get("best_prompt")
        return best if isinstance(best, str) else None

    def _save(self, path: str, content: Any, build: Callable[[Cleaned], list[Event]]) -> None:
        with self._mutex:
            self._require_ours()
            cleaned = self._live.clean(path, content)
            self._append(lambda: build(cleaned), self._recording)

    def _append(self, build: Build, recording: int | None) -> None:
        self._live.append(build, recording)
        if self._live.state.ended and self._live.recordings.open is None:
            self._ledger.seal([self.run_id])

    def _require_ours(self) -> None:
        if not self.recorded_here:
            raise Refused("recorded_elsewhere", f"run {self.run_id} was not started through this store")

    def _now(self) -> str:
        return datetime.fromisoformat(self._ledger.ledger.now()).astimezone(UTC).isoformat(timespec="microseconds")

    def _inherited_prompt(self) -> str | None:
        """The prompt that a baseline copied from a parent scored: the initial one of the first run of the line."""
        with self._mutex:
            self._live.read()
        started, seen = self._live.started, {self.run_id}
        while started is not None and started.parent_run is not None and started.parent_run not in seen:
            seen.add(started.parent_run)
            record = self._ledger.read_run(started.parent_run)
            started = None if record is None else record.started
        prompt = None if started is None else started.system_prompt
        return prompt if isinstance(prompt, str) else None

    def _files(self) -> dict[str, Any]:
        """The newest content of every file by path; for a run recorded another way, as rebuilt from its events.

        What was erased is not there.
        """
        if not self.recorded_here:
            files = build_run_directory(self._record(), "reflex-0.2")
            return {path: _parse(path, content.decode()) for path, content in files.items()}
        with self._mutex:
            self._live.read()
            files = {path: document.value for path, document in self._live.documents.items()}
            return {path: content for path, content in files.items() if not isinstance(content, Withheld)}

    def _record(self) -> RunRecord:
        record = self._ledger.read_run(self.run_id)
        if record is None:
            raise Refused("run_not_started", f"run {self.run_id} is not on this ledger")
        return record

    def _load(self, path: str) -> dict[str, Any] | None:
        document = self._files().get(path)
        return document if isinstance(document, dict) else None

    def _numbered(self) -> dict[int, dict[str, Any]]:
        return {
            document["iteration"]: document
            for path, document in self._files().items()
            if _ITERATION_FILE.fullmatch(path) and isinstance(document, dict)
        }


class RunPath:
    """A place in a run's directory, which there is no directory for: what the peer opens by path is read and
    recorded through it. It is no ``os.PathLike``, so that nothing else can write past the ledger."""

    def __init__(self, run: Run, path: PurePosixPath) -> None:
        self._run = run
        self._path = path

    @property
    def name(self) -> str:
        return self._path.name or self._run._live.directory

    def exists(self) -> bool:
        path = str(self._path)
        if path == _RUNNING:
            return self._run.is_running
        if path == _BEST:
            return self._run._checkpoint_best() is not None or _BEST in self._run._files()
        return path in (".", ITERATIONS) or path in self._run._files()

    def read_text(self, encoding: str | None = None) -> str:
        """The newest content as the peer's file would have it. ``FileNotFoundError`` where nothing was saved."""
        path, files = str(self._path), self._run._files()
        if path == _BEST and path not in files and self._run._checkpoint_best() is not None:
            return str(self._run._checkpoint_best())
        if path not in files:
            raise FileNotFoundError(f"{self}: nothing was saved there")
        content = files[path]
        if path == _LOG:
            return "".join(json.dumps(line) + "\n" for line in content)
        return content if isinstance(content, str) else json.dumps(content, indent=2)

    def write_text(self, text: str, encoding: str | None = None) -> int:
        """Record the file ``error.txt`` or, once more, ``result.json``. ``Refused`` for every other."""
        path = str(self._path)
        if path == _RESULT:
            self._run._save_result(text)
        elif path == _ERROR:
            self._run._save_error(text)
        else:
            what = "its own method records it" if path in KNOWN else "no such file is recorded"
            raise Refused("file_not_recorded", f"{self}: expected {_ERROR} or {_RESULT}; {what}")
        return len(text)

    def __truediv__(self, below: str) -> RunPath:
        return RunPath(self._run, self._path / below)

    def __str__(self) -> str:
        return f"{self._run._ledger.ledger.place}: run/{self._run.run_id}/{self._path}".removesuffix("/.")


def _checkpoint_document(state: Any, timestamp: str) -> dict[str, Any]:
    document = {
        "run_id": state.run_id,
        "initial_prompt": state.initial_prompt,
        "current_prompt": state.current_prompt,
        "completed_iterations": state.completed_iterations,
        "best_prompt": state.best_prompt,
        "best_score": state.best_score,
        "score_trajectory": state.score_trajectory,
        "previous_reasoning": state.previous_reasoning,
        "strategy_state": state.strategy_state,
        "baseline": state.baseline,
        "accumulated_duration_seconds": state.accumulated_duration_seconds,
        "timestamp": timestamp,
    }
    for name, unknown in _OPTIONAL:
        value = getattr(state, name)
        if value is not None and (unknown is None or value > unknown):
            document[name] = value
    return document


def _parse(path: str, text: str) -> Any:
    if path == _LOG:
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text) if path.endswith(".json") else text


def _absolute(path: str) -> str:
    return str(Path(path).resolve())
