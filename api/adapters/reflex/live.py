"""One run that reflex drives: what its stream holds so far, and what each further save adds to it.

A save is recorded as the file itself, after redaction, and as the events of a run that the file stands for, in one
commit. Those events are the importer's (``RunEvents``), made one save at a time: what a later file would tell, such as
the prompt that a structural round arrived at, is recorded when that file comes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ....domain.errors import Refused
from ....domain.event import Event, NewEvent, Recorded
from ....domain.optimization.events import (
    IterationCompleted,
    PromptEvaluated,
    RewriteProposed,
    RunStarted,
)
from ....domain.optimization.foreign import FileSaved, IterationRewritten, IterationSaved, Recordings
from ....domain.optimization.run import RunState, evolve
from ....domain.registry import invalid_is_refused
from ....ledger.errors import Conflict
from ...record import RecordingLedger
from .documents import Document, RunDocuments, look_for_keys, read_documents
from .events import RunEvents
from .files import RawRun
from .findings import Finding, count_kinds
from .replies import winner_of
from .story import STRATEGIES, Iteration, Phase, RunStory, tell

_CONFLICT_TRIES = 20
_LOG = "run.log.jsonl"

Build = Callable[[], list[Event]]


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A file as it is kept, and what was found in reading it."""

    document: Document
    findings: tuple[Finding, ...]


class LiveRun:
    """A run as far as its stream has been read. Append from one thread at a time."""

    def __init__(self, recording: RecordingLedger, run: str, directory: str) -> None:
        self.run = run
        self.directory = directory
        self._recording = recording
        self._reset()

    def read(self) -> None:
        """Read what others have added, or everything anew where an append failed half-way."""
        if self._stale:
            self._reset()
        ledger = self._recording.ledger
        with ledger.recorder.reading() as reader:
            for recorded in ledger.event_reader(reader).stream(f"run/{self.run}", start=self._next_pos):
                self._see(recorded)

    def append(self, build: Build, recording: int | None) -> None:
        """Record what ``build`` makes of the run as it now stands, all or nothing, durable on return.

        ``recording`` is the caller's, None for one that holds none. ``Refused`` where another goes on with the run.
        """
        for _ in range(_CONFLICT_TRIES):
            self.read()
            self.recordings.require(self.run, recording)
            self._stale = True  # building changes the state, so until it is durable nothing here counts
            with invalid_is_refused():
                events = build()
            stream, meta = f"run/{self.run}", self._recording.meta
            try:
                self._recording.ledger.record(
                    *(NewEvent(stream, pos, event, meta) for pos, event in enumerate(events, start=self._next_pos))
                )
            except Conflict:
                continue
            for event in events:
                self._keep(event)
            self._next_pos += len(events)
            self._stale = False
            return
        raise Refused("stream_contended", f"run {self.run}: other writers took the place {_CONFLICT_TRIES} times")

    def first(self, events: list[Event]) -> None:
        """Record the first events of a run that does not exist yet. ``Conflict`` where it does."""
        self._stale = True
        stream, meta = f"run/{self.run}", self._recording.meta
        self._recording.ledger.record(*(NewEvent(stream, pos, event, meta) for pos, event in enumerate(events)))

    def clean(self, path: str, content: Any) -> Cleaned:
        """A file's JSON or text without secrets, numbers and characters that JSON does not have, and too deep nesting.

        ``Refused`` where nothing readable is left.
        """
        read = read_documents(self.directory, self.run, RawRun({path: _print(path, content)}))
        document = read.documents[path]
        if document.value is None:
            raise Refused("file_unreadable", f"run {self.run}: {path}: expected JSON that reflex could read back")
        return Cleaned(document, (*read.findings, *look_for_keys(read)))

    def story(self, *new: Document) -> RunStory:
        """What all files tell, with ``new`` ones in place of those of the same name."""
        known = {**self.documents, **{document.path: document for document in new}}
        return tell(RunDocuments(self.directory, self.run, known))

    def revision(self, path: str) -> int:
        return self._revisions.get(path, 0)

    def _reset(self) -> None:
        self.state = RunState()
        self.recordings = Recordings()
        self.started: RunStarted | None = None
        self.documents: dict[str, Document] = {}
        self.saved: dict[int, IterationSaved] = {}
        """The newest save of each iteration."""
        self.prompts: dict[str, int] = {}
        self.trained: dict[int, int] = {}
        self.made: dict[int, int] = {}
        self._revisions: dict[str, int] = {}
        self._next_pos = 0
        self._stale = False

    def _see(self, recorded: Recorded) -> None:
        self._next_pos = recorded.pos + 1
        event = recorded.event
        if not isinstance(event, Event):
            return
        evolve(self.state, event)
        match event:
            case RunStarted():
                self.prompts[str(event.system_prompt)] = 0
            case PromptEvaluated() if event.system_prompt is not None:
                self.prompts[str(event.system_prompt)] = event.prompt
            case RewriteProposed() if event.prompt is not None:
                if event.system_prompt is not None:
                    self.prompts[str(event.system_prompt)] = event.prompt
                self.made[event.prompt] = event.rewrite
            case IterationCompleted():
                self.trained[event.iteration] = event.evaluation
        self._keep(event)

    def _keep(self, event: Event) -> None:
        self.recordings.apply(event)
        if isinstance(event, RunStarted):
            self.started = event
        if not isinstance(event, FileSaved):
            return
        self._revisions[event.name] = event.revision + 1
        self.documents[event.name] = Document(event.name, event.content, None, 0)
        if isinstance(event, IterationSaved):
            self.saved[event.iteration] = event
        if isinstance(event, IterationRewritten) and event.evaluation is not None:
            self.trained[event.iteration] = event.evaluation


class LiveEvents(RunEvents):
    """The events that one more file adds to a run. ``rewritten`` says what an iteration refers to whose number was
    recorded before."""

    def __init__(self, live: LiveRun, story: RunStory, baseline_prompt: str | None = None) -> None:
        super().__init__(story, live.run, None, baseline_prompt)
        self.rewritten: dict[str, Any] = {}
        self._live = live
        self.state = live.state
        self._prompts, self._trained, self._made = live.prompts, live.trained, live.made
        self._change_summaries = {number: saved.change_summary for number, saved in live.saved.items()}
        self._elapsed: dict[int, float] = {}

    def start(self) -> None:
        self._start()

    def add_baseline(self) -> None:
        self._evaluate_baseline()

    def add_iteration(self, number: int, change_summary: str | None, elapsed_seconds: float | None) -> None:
        """The iteration ``number``, with what its file leaves out."""
        self._change_summaries[number] = change_summary
        if elapsed_seconds is not None:
            self._elapsed[number] = elapsed_seconds
        found = next((index for index, it in enumerate(self._story.iterations) if it.number == number), None)
        if found is None:
            raise Refused(
                "iteration_invalid", f"iteration {number}: expected a number from 1 and a prompt that is text"
            )
        self._step(found)

    def add_result(self) -> None:
        """Iterations that only the result tells, the rewrite that the last one left open, and the end."""
        iterations = self._story.iterations
        for index, iteration in enumerate(iterations):
            if iteration.number not in self.state.iterations:
                self._step(index)
        self._settle(len(iterations) - 1, None)
        if self.state.open_phase is not None:
            self._close_phase(self._phase(self.state.open_phase))
        self._pass_phases(len(self._story.phases) + 1)
        self._complete()

    def findings_at(self, path: str) -> Iterable[Finding]:
        """What was found in making these events, and in reading this file."""
        place = self._story.documents.place(path)
        return (*self.findings, *(found for found in self._story.findings if found.place == place))

    def _step(self, index: int) -> None:
        iteration = self._story.iterations[index]
        self._settle(index - 1, iteration)
        phase = self._phase_of(iteration)
        if phase is not None and phase[0] != self.state.open_phase:
            if self.state.open_phase is not None:
                self._close_phase(self._phase(self.state.open_phase))
            self._pass_phases(phase[0])
            self._open_phase(phase)
        self._iterate(iteration, index, None, phase)

    def _pass_phases(self, before: int) -> None:
        """Phases that ended without an iteration, up to phase ``before``."""
        while self.state.phases + 1 < before:
            number = self.state.phases + 1
            phase = self._phase(number)
            if phase is None:
                return
            self._open_phase(phase)
            self._close_phase(phase)
            if self.state.phases < number:
                return  # refused, which is a finding by now

    def _phase(self, number: int) -> tuple[int, Phase] | None:
        phases = self._story.phases
        return (number, phases[number - 1]) if 1 <= number <= len(phases) else None

    def _phase_of(self, iteration: Iteration) -> tuple[int, Phase] | None:
        found = (item for item in enumerate(self._story.phases, start=1) if iteration.number in item[1].numbers)
        return next(found, None)

    def _settle(self, index: int, following: Iteration | None) -> None:
        """The rewrite that came out of an earlier iteration, where it took the next file to know its text."""
        if index < 0:
            return
        iteration = self._story.iterations[index]
        parent, axis = self._trained.get(iteration.number), self._axis(iteration)
        if parent is None or axis == "fewshot" or any(made.parent == parent for made in self.state.rewrites):
            return
        before = self._story.iterations[index - 1] if index else None
        super()._propose(iteration, before, following, self._phase_of(iteration), axis, parent)

    def _propose(
        self,
        iteration: Iteration,
        before: Iteration | None,
        following: Iteration | None,
        phase: tuple[int, Phase] | None,
        axis: str | None,
        parent: int,
    ) -> None:
        if axis in ("iterative", None) or winner_of(iteration.reply) == "current":
            super()._propose(iteration, before, following, phase, axis, parent)

    def _rewrite(
        self, iteration: Iteration, axis: str | None, parent: int, text: str | None, summary: str | None
    ) -> None:
        given = self._change_summaries.get(iteration.number)
        super()._rewrite(iteration, axis, parent, text, given if isinstance(given, str) and given else summary)

    def _axis(self, iteration: Iteration) -> str | None:
        return iteration.axis or (self._story.strategy if self._story.strategy in STRATEGIES else None)

    def _add(self, event_type: type[Event], /, **fields: Any) -> bool:
        if event_type is RunStarted:
            fields["imported_from"] = None  # it is recorded as it happens
        elif event_type is IterationCompleted:
            number = fields["iteration"]
            if number in self.state.iterations:
                self.rewritten = {name: fields[name] for name in ("evaluation", "val_evaluation", "rewrite")}
                return False
            fields["elapsed_seconds"] = self._elapsed.get(number)
        return super()._add(event_type, **fields)


def file_saved(
    kind: type[FileSaved], live: LiveRun, cleaned: Cleaned, found: Iterable[Finding] = (), **fields: Any
) -> FileSaved:
    """The event that keeps a file, with counts of everything found in it."""
    path = cleaned.document.path
    return kind(
        name=path,
        content=cleaned.document.value,
        revision=live.revision(path),
        findings=count_kinds(dict.fromkeys((*cleaned.findings, *found))),
        **fields,
    )


def _print(path: str, content: Any) -> bytes:
    """A file's bytes as reflex writes them, in UTF-8 whatever the locale."""
    if isinstance(content, str):
        return content.encode("utf-8", errors="surrogatepass")
    if path == _LOG:
        return "".join(json.dumps(line, default=str) + "\n" for line in content).encode()
    return json.dumps(content, indent=2, default=str).encode()
