"""The import of a reflex tree: each run becomes one stream, in one commit, once.

A run is recorded whole or not at all, so that an import which is killed leaves a ledger that can go on;
importing again records what is missing and adds nothing for what is there. What was recorded is never
overwritten: files that changed since are a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ....domain.errors import Refused
from ....domain.event import Event, Meta, NewEvent, Recorded
from ....domain.optimization.events import RunImported, RunStarted
from ....domain.optimization.run import decide
from ....ledger.application import Ledger
from ....ledger.errors import Malformed
from ....ledger.events import ImportCompleted
from ...settings import recorder_name
from .defects import find_defects
from .documents import RunDocuments, look_for_keys, read_documents
from .events import SYSTEM, RunEvents
from .files import RUNS, RunFolder, list_runs, read_run
from .findings import Finding, count_kinds, finding
from .story import RunStory, tell

Outcome = Literal["recorded", "unchanged", "not_recorded"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ImportedRun:
    """What became of one run directory. ``events`` were recorded in stream ``run/<run>`` by this import."""

    run: str
    directory: str
    outcome: Outcome
    events: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did. ``stream`` is where ``import.completed`` was recorded, None where it was already.

    ``findings`` are all of them: those of the tree, then those of each run.
    """

    runs: tuple[ImportedRun, ...]
    findings: tuple[Finding, ...]
    files: int
    stream: str | None

    @property
    def events(self) -> int:
        """How many events this import added, ``import.completed`` among them."""
        return sum(run.events for run in self.runs) + (self.stream is not None)

    @property
    def added(self) -> tuple[str, ...]:
        """The ids of the runs that this import recorded."""
        return tuple(run.run for run in self.runs if run.outcome == "recorded")

    @property
    def unchanged(self) -> tuple[str, ...]:
        """The ids of the runs that were recorded before, from the same files."""
        return tuple(run.run for run in self.runs if run.outcome == "unchanged")

    def counts(self) -> dict[str, int]:
        """Kind of finding to how many."""
        return count_kinds(self.findings)

    def as_json(self) -> dict[str, Any]:
        return {
            "runs": [
                {"run": run.run, "directory": run.directory, "outcome": run.outcome, "events": run.events}
                for run in self.runs
            ],
            "files": self.files,
            "events": self.events,
            "import": self.stream,
            "counts": self.counts(),
            "findings": [found.as_json() for found in self.findings],
        }


def import_reflex(ledger: Ledger, path: Path, on_progress: Progress | None = None) -> ImportReport:
    """Record every run of the ``.reflex`` root ``path``, which holds ``runs/``.

    Hostile or damaged files become findings. Raises ``Unavailable`` where there is no tree to read or the
    disk does not serve, ``Conflict`` where somebody else records the same run at the same time.
    """
    return _Import(ledger, path).run(on_progress)


@dataclass(slots=True)
class _Import:
    ledger: Ledger
    root: Path
    runs: list[ImportedRun] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    """The id in the ledger of each run directory that was seen."""

    def run(self, on_progress: Progress | None) -> ImportReport:
        folders, findings = list_runs(self.root)
        if on_progress is not None:
            on_progress(0, len(folders))
        for done, folder in enumerate(folders, start=1):
            self.runs.append(self._import_run(folder, folders))
            if on_progress is not None:
                on_progress(done, len(folders))
        findings += [found for run in self.runs for found in run.findings]
        stream = self._complete(findings)
        return ImportReport(tuple(self.runs), tuple(findings), len(self.files), stream)

    def _import_run(self, folder: RunFolder, folders: list[RunFolder]) -> ImportedRun:
        documents = read_documents(folder.name, folder.number, read_run(self.root, folder))
        self.files += documents.listing(f"{RUNS}/{folder.name}/")
        run, recorded = self._find_place(folder)
        self.ids[folder.name] = run
        place = documents.place("")
        renamed = [finding("duplicate_run_id", place)] if run != folder.number else []
        if recorded:
            found = self._compare(recorded, documents)
            outcome: Outcome = "not_recorded" if found[1] else "unchanged"
            return ImportedRun(run, folder.name, outcome, 0, (*renamed, *found[0]))
        if not documents.readable():
            found_here = (*renamed, *documents.findings, finding("no_run", place))
            return ImportedRun(run, folder.name, "not_recorded", 0, found_here)
        return self._record(run, documents, renamed, folders)

    def _find_place(self, folder: RunFolder) -> tuple[str, list[Recorded]]:
        """The id that a run directory has or will have in this ledger, and what is recorded under it.

        It is the number in its name, unless another directory has that one: then its whole name.
        """
        recorded = self._stream(f"run/{folder.number}")
        owner = _directory_of(recorded)
        if owner is None or owner == folder.name:
            return folder.number, recorded
        return folder.name, self._stream(f"run/{folder.name}")

    def _compare(self, recorded: list[Recorded], documents: RunDocuments) -> tuple[list[Finding], bool]:
        """The findings of a run that is recorded already, and whether it is another than this one."""
        place = documents.place("")
        if _directory_of(recorded) is None:
            return [finding("run_exists", place)], True
        imported = next((it.event for it in recorded if isinstance(it.event, RunImported)), None)
        if imported is None or not isinstance(imported.detail, dict):
            return [finding("run_erased", place)], True
        before = {item["path"]: item for item in imported.detail["files"]}
        now = {item["path"]: item for item in documents.listing()}
        changed = sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))
        if changed:
            return [finding("source_changed", place, ", ".join(changed))], True
        return [Finding(**told) for told in imported.detail["findings"]], False

    def _record(
        self, run: str, documents: RunDocuments, renamed: list[Finding], folders: list[RunFolder]
    ) -> ImportedRun:
        story = tell(documents)
        parent, baseline_prompt = self._lineage(story, folders)
        built = RunEvents(story, run, parent, baseline_prompt)
        built.build()
        defects = find_defects(story)
        if story.parent is not None and parent is None:
            defects.append(finding("parent_missing", documents.place("config.json")))
        own = [*documents.findings, *look_for_keys(documents), *story.findings, *built.findings, *defects]
        findings = tuple(dict.fromkeys([*renamed, *own]))
        noted = tuple(found for found in findings if found not in renamed)
        try:
            events = [*built.events, decide(built.state, _imported(documents, noted))]
            self._append(f"run/{run}", events)
        except (Refused, Malformed) as error:
            refused = finding("run_not_recorded", documents.place(""), str(error))
            return ImportedRun(run, documents.directory, "not_recorded", 0, (*findings, refused))
        return ImportedRun(run, documents.directory, "recorded", len(events), findings)

    def _lineage(self, story: RunStory, folders: list[RunFolder]) -> tuple[str | None, str | None]:
        """The ledger's id of the run that this one branched from, and the prompt that its inherited
        baseline scored: the initial prompt of the first ancestor that measured one."""
        parent = _folder_of(story, folders)
        if parent is None:
            return None, None
        run = self.ids.get(parent.name) or self._find_place(parent)[0]
        ancestor, seen = parent, {story.documents.directory}
        while ancestor.name not in seen:
            seen.add(ancestor.name)
            told = tell(read_documents(ancestor.name, ancestor.number, read_run(self.root, ancestor)))
            if not told.inherits_baseline:
                return run, told.initial_prompt or None
            above = _folder_of(told, folders)
            if above is None:
                break
            ancestor = above
        return run, None

    def _complete(self, findings: list[Finding]) -> str | None:
        """Record that the tree has been read whole, unless the newest import of it says the same."""
        detail = {
            "runs": [{"run": run.run, "directory": run.directory} for run in self.runs],
            "files": self.files,
            "findings": [found.as_json() for found in findings],
        }
        number = 1
        while events := self._stream(f"import/{number}"):
            for recorded in events:
                if isinstance(recorded.event, ImportCompleted) and recorded.event.detail == detail:
                    return None
            number += 1
        event = ImportCompleted(
            system=SYSTEM,
            runs=sum(run.outcome != "not_recorded" for run in self.runs),
            files=len(self.files),
            findings=count_kinds(findings),
            detail=detail,
        )
        self._append(f"import/{number}", [event])
        return f"import/{number}"

    def _append(self, stream: str, events: Iterable[Event]) -> None:
        meta = Meta(recorder=recorder_name())
        self.ledger.record(*(NewEvent(stream, pos, event, meta) for pos, event in enumerate(events)))

    def _stream(self, stream: str) -> list[Recorded]:
        with self.ledger.recorder.reading() as reader:
            return list(self.ledger.event_reader(reader).stream(stream))


def _imported(documents: RunDocuments, findings: Iterable[Finding]) -> RunImported:
    listing, told = documents.listing(), list(findings)
    return RunImported(
        system=SYSTEM,
        files=len(listing),
        findings=count_kinds(told),
        detail={
            "directory": documents.directory,
            "files": listing,
            "findings": [found.as_json() for found in told],
        },
    )


def _directory_of(recorded: list[Recorded]) -> str | None:
    """The directory that a recorded run was imported from, None where it is no import of this system."""
    first = recorded[0].event if recorded else None
    return first.directory if isinstance(first, RunStarted) and first.imported_from == SYSTEM else None


def _folder_of(story: RunStory, folders: list[RunFolder]) -> RunFolder | None:
    """The directory of the run that this one branched from: the first of that id, as the peer looks it up."""
    if story.parent is None:
        return None
    return next((folder for folder in folders if folder.number == story.parent[0]), None)
