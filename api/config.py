"""The configuration on the ledger: what is in force, and changing it.

A change is the whole configuration again, as one event at the end of the stream ``config``. Whoever changes it
says which one it has seen: where another change came between, ``Conflict``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..domain.evaluation.config import EvaluationConfig
from ..domain.evaluation.events import ConfigChanged
from ..domain.event import Meta, NewEvent
from ..domain.redaction import redact
from ..ledger.application import Acknowledged, Ledger
from ..ledger.store.opening import EventReader
from .settings import recorder_name

STREAM = "config"


class Snapshot(NamedTuple):
    """A configuration with every field, and the position that the next change of it takes."""

    document: dict[str, Any]
    next_pos: int


def read_config(events: EventReader, before: int | None = None) -> Snapshot:
    """The configuration in force over the first ``before`` entries; the defaults where there is none."""
    document: dict[str, Any] = {}
    next_pos = 0
    reader = events.reader
    count = reader.next_pos(STREAM) if before is None else reader.events_before(STREAM, before)
    for recorded in events.stream(STREAM, before, max(0, count - 1)):
        next_pos = recorded.pos + 1
        found = recorded.event
        if isinstance(found, ConfigChanged):
            document = found.document if isinstance(found.document, dict) else {}
    return Snapshot(EvaluationConfig.model_validate(document).as_json(), next_pos)


def current_config(ledger: Ledger) -> EvaluationConfig:
    """The configuration in force now."""
    with ledger.recorder.reading() as reader:
        return EvaluationConfig.model_validate(read_config(ledger.event_reader(reader)).document)


def change_config(
    ledger: Ledger, seen: Snapshot, document: dict[str, Any], *, actor: str | None = None
) -> Acknowledged:
    """Put ``document`` in force, as whoever ``seen`` the one before it wants; ``Conflict`` where that is over.

    Secrets are redacted first. pydantic's ``ValidationError`` where a field is out of bounds.
    """
    config = EvaluationConfig.model_validate(redact(document).value)
    whole = config.as_json()
    grading = config.agent_success_config
    event = ConfigChanged(
        changed=tuple(
            sorted(name for name in whole.keys() | seen.document.keys() if whole.get(name) != seen.document.get(name))
        ),
        shadow_comparison_judge_prompt_version=config.shadow_comparison_judge_prompt_version,
        eval_sample_n_per_stratum=config.eval_sample_n_per_stratum,
        eval_concurrency_limit=config.eval_concurrency_limit,
        sampling_rate=None if grading is None else grading.sampling_rate,
        evaluation_only_sampling_rate=None if grading is None else grading.evaluation_only_sampling_rate,
        document=whole,
    )
    meta = Meta(recorder=recorder_name())
    if actor is not None:
        meta["actor"] = actor
    return ledger.record(NewEvent(STREAM, seen.next_pos, event, meta))[0]
