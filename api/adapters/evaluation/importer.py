"""The import of evaluation data: every row becomes an event with its own id and time, once.

Rows are recorded in batches; a request is recorded whole or not at all. An import that is killed goes on where it
stopped, and importing again adds nothing. What the ledger says otherwise than the file stays, as a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from ....domain.evaluation.events import (
    Citation,
    InteractionPublished,
    RequestPublished,
    SessionGraded,
    ShadowJudged,
)
from ....domain.evaluation.publication import speaker_of
from ....domain.event import Event, Meta, NewEvent
from ....domain.redaction import redact
from ....domain.registry import invalid_is_refused
from ....ledger.application import Ledger
from ...config import change_config, read_config
from ...scoring import score_event
from ..file_import import BATCH, EvaluationImport, FileImport, ImportedFile, Progress, same
from .rows import EvaluationFile, InteractionRow, RequestRow, ResultRow, ScoreRow, VerdictRow, open_file

SYSTEM = "reflexio"
FINDINGS: dict[str, str] = {
    "interaction_without_request": "it names a request that the file does not have; not recorded",
    "request_differs": "the ledger has this request or its turns otherwise; they stay as they were",
    "request_id_taken": "another user has published under this request id; neither it nor its turns were recorded",
    "result_differs": "the ledger has this result otherwise; it stays as it was",
    "verdict_differs": "the ledger has this verdict otherwise; it stays as it was",
    "verdict_of_other_session": "its interaction is of another session than it names; counted under the one it names",
    "verdict_without_turn": "its interaction is not in the file; recorded without one",
}
"""Every kind of finding, and what it means."""

_VERDICTS = "import/verdicts"
"""The stream of verdicts that name no turn of this ledger."""


def import_evaluation(ledger: Ledger, path: Path, on_progress: Progress | None = None) -> EvaluationImport:
    """Record every row of an evaluation file (rows.py says of what form).

    The file is checked whole first: where a row is not as expected this raises ``Refused`` and records nothing.
    """
    with open_file(path) as file:
        return _Import(ledger, file, path.name, on_progress).run()


class _Import(FileImport):
    system = SYSTEM
    completed = "import/evaluation"
    finding_meanings = FINDINGS

    def __init__(self, ledger: Ledger, file: EvaluationFile, name: str, on_progress: Progress | None) -> None:
        super().__init__(ledger, ImportedFile(name, file.sha256, file.bytes), file.counts)
        self._file = file
        self._on_progress = on_progress
        self._done = 0

    def run(self) -> EvaluationImport:
        self._refuse_the_erased()
        self._configure()
        self._file.db.execute("CREATE TABLE turns (id TEXT PRIMARY KEY, seq INTEGER, session TEXT, user TEXT)")
        self._record_all(self._file.requests(), self._request)
        if orphans := self._file.orphans():
            self._find("interaction_without_request", "interactions", orphans)
        self._record_all(self._file.results(), self._result)
        self._record_all(self._file.verdicts(), self._verdict)
        self._record_all(self._file.scores(), self._score)
        self._complete()
        return self._report

    def _configure(self) -> None:
        found = self._file.config()
        if found is None:
            return
        with self._ledger.recorder.reading() as reader:
            seen = read_config(self._ledger.event_reader(reader))
        if {**seen.document, **redact(found).value} != seen.document:
            change_config(self._ledger, seen, {**seen.document, **found})
            self._report.events += 1

    def _record_all(self, rows: Iterable[Any], events_of: Callable[[Any], list[NewEvent]]) -> None:
        source = iter(rows)
        while batch := list(islice(source, BATCH)):
            with self._ledger.naming():
                new = [event for row in batch for event in events_of(row)]
            for event, recorded in zip(new, self._ledger.record(*new), strict=True):
                if isinstance(event.event, InteractionPublished):
                    self._remember(event.event, recorded.seq, event.meta)
            self._report.events += len(new)
            self._done += len(batch)
            if self._on_progress is not None:
                self._on_progress(self._done, sum(self._report.rows.values()))

    def _request(self, row: tuple[RequestRow, list[InteractionRow]]) -> list[NewEvent]:
        request, turns = row
        known = self._ledger.find_aliases("request", request.request_id)
        user, session = self._session(request.user_id, request.session_id)
        if known and known[0][1] != f"user/{user}":
            self._find("request_id_taken", f"request {request.request_id}")
            return []
        alias = known[0][0] if known else self._ledger.alias("request", request.request_id, under=f"user/{user}")
        stream = f"request/{alias}"
        sent = request.model_dump(mode="json")
        with invalid_is_refused():
            events: list[Event] = [
                RequestPublished(
                    request=alias,
                    user=user,
                    session=session,
                    source=request.source,
                    agent_version=request.agent_version,
                    evaluation_only=request.evaluation_only,
                    requested_at=request.created_at,
                    interactions=len(turns),
                    imported=True,
                    sent=sent,
                ),
                *(_interaction(alias, session, index, turn) for index, turn in enumerate(turns)),
            ]
        if self._next(stream):
            self._compare(stream, events, request.request_id)
            return []
        return self._placed(stream, events, user)

    def _result(self, row: ResultRow) -> list[NewEvent]:
        user, session = self._session(row.user_id, row.session_id)
        stream = f"session/{session}"
        known = {
            "user_id",
            "session_id",
            "agent_version",
            "is_success",
            "failure_type",
            "evaluation_name",
            "created_at",
        }
        known |= {"number_of_correction_per_session", "user_turns_to_resolution", "is_escalated", "result_id"}
        with invalid_is_refused():
            event = SessionGraded(
                session=session,
                agent_version=row.agent_version,
                evaluation_name=row.evaluation_name,
                success=row.is_success,
                failure_type=row.failure_type,
                corrections=row.number_of_correction_per_session,
                turns=row.user_turns_to_resolution,
                escalated=row.is_escalated,
                started_at=row.created_at,
                made="import",
                result_id=row.result_id,
                detail=row.model_dump(mode="json", exclude=known),
            )
        if self._has(stream, event, "result_differs", "result_id"):
            return []
        return self._placed(stream, [event], user)

    def _verdict(self, row: VerdictRow) -> list[NewEvent]:
        turn, session, user = self._turn_of(row)
        stream = _VERDICTS if turn is None else f"shadow/{turn}"
        detail: dict[str, Any] = {"comparison_reason": row.comparison_reason, "interaction_id": row.interaction_id}
        if session is None or self._ledger.name_of(session) != row.session_id:
            detail["session_id"] = row.session_id
        with invalid_is_refused():
            event = ShadowJudged(
                turn=turn,
                session=session,
                agent_version=row.agent_version,
                reflexio_is_request_1=row.reflexio_is_request_1,
                better=row.better_request,
                significant=row.is_significantly_better,
                judged_at=_microseconds(row.created_at),
                made="import",
                verdict_id=row.verdict_id,
                detail={**detail, **(row.model_extra or {})},
            )
        # Without its turn it may have been imported before, and the turn since.
        if self._has(stream, event, "verdict_differs", "verdict_id") or (
            turn is not None and self._has(_VERDICTS, event, "verdict_differs", "verdict_id")
        ):
            return []
        return self._placed(stream, [event], user, row.judge_prompt_version)

    def _turn_of(self, row: VerdictRow) -> tuple[int | None, str | None, str | None]:
        """(seq, session, user) of a verdict: of its turn, and of the session that it names, where that is another."""
        sessions = self._ledger.find_aliases("session", row.session_id)
        turn = self._file.db.execute(
            "SELECT seq, session, user FROM turns WHERE id=?", (row.interaction_id,)
        ).fetchone()
        if turn is None:
            self._find("verdict_without_turn", f"verdict {row.verdict_id}")
        elif turn[1] not in {alias for alias, _ in sessions}:
            self._find("verdict_of_other_session", f"verdict {row.verdict_id}")
        else:
            return turn[0], turn[1], turn[2]
        alias, scope = sessions[0] if sessions else (None, "")
        return None if turn is None else turn[0], alias, scope.removeprefix("user/") or None

    def _score(self, row: ScoreRow) -> list[NewEvent]:
        new = score_event(
            self._ledger,
            0,
            source=row.source,
            source_run_id=row.source_run_id,
            session_id=row.session_id,
            scorer=row.scorer_name,
            value=row.value,
            scored_at=row.ts,
            more=row.model_extra,
        )
        return self._new_score(new)

    def _compare(self, stream: str, events: list[Event], request_id: str) -> None:
        """A request that is on the ledger already: it stays as it is, and what differs is a finding."""
        recorded = self._recorded(stream)
        for found in recorded:
            if isinstance(found.event, InteractionPublished):
                self._remember(found.event, found.seq, found.meta)
        earlier = [found.event for found in recorded]
        if len(earlier) == len(events) and all(map(same, earlier, events)):
            self._report.unchanged += len(events)
        else:
            self._find("request_differs", f"request {request_id}")

    def _remember(self, event: InteractionPublished, seq: int, meta: Meta) -> None:
        if event.interaction_id is not None:
            known = (str(event.interaction_id), seq, event.session, meta.get("scope", "").removeprefix("user/"))
            self._file.db.execute("INSERT OR REPLACE INTO turns VALUES (?, ?, ?, ?)", known)

    def _session(self, user_id: str, session_id: str) -> tuple[str, str]:
        user = self._ledger.alias("user", user_id)
        return user, self._ledger.alias("session", session_id, under=f"user/{user}")


def _interaction(request: str, session: str, index: int, turn: InteractionRow) -> InteractionPublished:
    return InteractionPublished(
        request=request,
        session=session,
        index=index,
        created_at=turn.created_at,
        speaker=speaker_of(turn.role),
        has_shadow=bool(turn.shadow_content),
        citations=tuple(Citation(kind=cited.kind, rule=cited.real_id, title=cited.title) for cited in turn.citations),
        interaction_id=turn.interaction_id,
        turn=turn.model_dump(mode="json"),
    )


def _microseconds(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
