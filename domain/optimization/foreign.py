"""What is recorded of a run that another optimiser drives; stream ``run/<id>``, beside the run's own events.

That optimiser saves files and calls hooks. What those say of prompts and scores is recorded as the run's own events
(``events.py``); the files and the other hooks are kept here as they came, after redaction. Nothing is replaced: a file
that is saved again is another event, and the newest is what its system would read.

**Recordings.** Each time a process begins to record a run it opens a recording, and it closes it when it leaves. Only
the newest recording goes on: a run that was killed can be taken up at once, with no process id to guess from, and of
two processes that record one run the older is refused at its next event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from ..errors import Refused
from ..event import Event, Sealed
from ..number import Number
from .events import CODE, SourceKept


class RecordingOpened(Event):
    """A process began to record the run. ``recording`` counts from 1, ``system`` is what optimises.

    ``supersedes`` is the recording that was open until here: its process died, or lives and is refused from now on.
    """

    type_name = "recording.opened.v1"
    recording: int = Field(ge=1)
    system: str = Field(pattern=CODE)
    supersedes: int | None = Field(default=None, ge=1)


class RecordingClosed(Event):
    """The recording's process left the run: ``completed``, ``failed`` (it saved its error) or ``stopped``."""

    type_name = "recording.closed.v1"
    recording: int = Field(ge=1)
    reason: str = Field(pattern=CODE)


class FileSaved(SourceKept):
    """A file was saved: ``name`` is its path below the run's directory, ``content`` its JSON or text.

    ``revision`` counts the saves under this name from 0. ``findings`` counts, by kind, what was taken out or changed
    (``secret_redacted``), and what the run's own events could not say.
    """

    type_name = "file.saved.v1"
    revision: int = Field(ge=0)
    findings: dict[str, int] = Field(default_factory=dict)


class CheckpointSaved(FileSaved):
    """The state that the optimiser would resume from was saved, after ``completed_iterations`` iterations."""

    type_name = "checkpoint.saved.v1"
    completed_iterations: int | None = Field(default=None, ge=0)

    def disagreement(self) -> str | None:
        return _differs(self.content, "completed_iterations", self.completed_iterations)


class LogSaved(FileSaved):
    """The run's log was saved, whole: a list of ``lines`` objects."""

    type_name = "log.saved.v1"
    lines: int = Field(ge=0)

    def disagreement(self) -> str | None:
        if not isinstance(self.content, (list, tuple)) or len(self.content) == self.lines:
            return None
        return f"lines is {self.lines}, the sealed log has {len(self.content)}"


class IterationSaved(FileSaved):
    """An iteration was saved, for the first time under its number; ``iteration.completed`` stands beside it.

    ``change_summary`` and ``elapsed_seconds`` (since the run began) were given too, and are not in the file.
    """

    type_name = "iteration.saved.v1"
    iteration: int = Field(ge=1)
    elapsed_seconds: Number | None = None
    change_summary: Sealed[str] | None = None

    def disagreement(self) -> str | None:
        return _differs(self.content, "iteration", self.iteration)


class IterationRewritten(IterationSaved):
    """An iteration was saved under a number that has one already, as a resumed run may do that starts over.

    The first stands as ``iteration.completed``. ``evaluation``, ``val_evaluation`` and ``rewrite`` are what this one
    scored and which rewrite had made its prompt, None where it could not be recorded.
    """

    type_name = "iteration.rewritten.v1"
    evaluation: int | None = Field(default=None, ge=0)
    val_evaluation: int | None = Field(default=None, ge=0)
    rewrite: int | None = Field(default=None, ge=0)


class HookCalled(SourceKept):
    """The optimiser told of something that no event of a run stands for. ``hook`` is the name of its notification.

    ``name`` is a file name under which the newest of its kind and iteration is rebuilt.
    """

    type_name = "hook.called.v1"
    hook: str = Field(pattern=CODE)
    iteration: int | None = Field(default=None, ge=0)


EVENTS: tuple[type[Event], ...] = (
    RecordingOpened,
    RecordingClosed,
    FileSaved,
    CheckpointSaved,
    LogSaved,
    IterationSaved,
    IterationRewritten,
    HookCalled,
)


@dataclass(slots=True)
class Recordings:
    """The recordings of one run: how many there were, and which is open."""

    count: int = 0
    open: int | None = None

    def apply(self, event: Event) -> None:
        match event:
            case RecordingOpened():
                self.count = self.open = event.recording
            case RecordingClosed() if event.recording == self.open:
                self.open = None

    def open_next(self, system: str) -> RecordingOpened:
        """The event that begins the next recording."""
        return RecordingOpened(recording=self.count + 1, system=system, supersedes=self.open)

    def require(self, run: str, recording: int | None) -> None:
        """Whoever records is the newest recording, or is none while none is open; else ``Refused``."""
        if recording is None:
            if self.open is not None:
                raise Refused("recording_open", f"run {run}: recording {self.open} of it is open, and this is not it")
        elif recording != self.count:
            raise Refused("recording_superseded", f"run {run}: recording {recording} was followed by {self.count}")


def _differs(content: Any, key: str, stated: int | None) -> str | None:
    if stated is None or not isinstance(content, dict) or content.get(key) == stated:
        return None
    return f"{key} is {stated}, the sealed file gives {content.get(key)!r}"
