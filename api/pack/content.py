"""What a pack shows: everything computed from the evidence, and from nothing else, before it takes a form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...domain.evaluation.events import SessionGraded, ShadowJudged
from ...domain.event import Recorded, Withheld
from ...ledger.entries.review import verify_statement
from ...ledger.errors import LedgerError, VerificationError
from ...ledger.events import ReviewSigned
from ...ledger.evidence.evidence import Evidence
from ...ledger.folds.identity import Identity
from ...ledger.store.folding import read_identity
from ...ledger.tlog.checkpoint import claimed_checkpoint
from ...ledger.tlog.note import encode_base64, parse_vkey
from ...projections.runs.calls_account import account_lines
from ...projections.simulated import is_simulated, simulated_models
from .carried import CarriedEvents, carried_events
from .run_page import RunPage, run_page
from .window_page import WindowPage, window_page

_GAPS_SHOWN = 40
_SEED_BYTES = 8


@dataclass(frozen=True, slots=True)
class SignedBy:
    """Who signed a statement, and when by their own clock."""

    signer: str
    at: str


@dataclass(frozen=True, slots=True)
class ShownReview:
    """A review as it is carried. ``problem`` says in what its signature does not verify."""

    seq: int
    event: ReviewSigned
    subject: str
    statement: SignedBy | None
    why: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class PageContent:
    """What every form of a pack shows; of ``run`` and ``window`` it has one. ``gaps`` are in words."""

    title: str
    origin: str
    size: int
    root: str
    simulated: list[str]
    run: RunPage | None
    window: WindowPage | None
    account: list[str]
    reviews: list[ShownReview]
    disclosed: int
    gaps: str
    gap_count: int
    positions_missing: list[str]
    tokens: int
    listed: list[dict[str, Any]]


def page_content(evidence: Evidence) -> PageContent:
    """What the pack of ``evidence`` shows.

    ``LedgerError`` or ``Refused`` where the entries carried are not those of what it is about.
    """
    checkpoint = claimed_checkpoint(evidence.checkpoint.encode())
    with carried_events(evidence, checkpoint.size) as events:
        run: RunPage | None = None
        window: WindowPage | None = None
        if "run" in evidence.about:
            seed = int.from_bytes(evidence.range.root_stop[:_SEED_BYTES], "big")
            run = run_page(events, evidence.about["run"], seed)
        else:
            window = window_page(events, evidence.about, checkpoint.size, checkpoint.root)
        gaps, gap_count = _gaps(evidence)
        return PageContent(
            title=f"Run {evidence.about['run']}" if run else "Evaluation window",
            origin=checkpoint.origin,
            size=checkpoint.size,
            root=encode_base64(checkpoint.root),
            simulated=simulated_models(run.record) if run else _simulated_judges(window) if window else [],
            run=run,
            window=window,
            account=account_lines(run.document["calls"]) if run else [],
            reviews=_reviews(events, evidence, read_identity(events.reader, checkpoint.size)),
            disclosed=sum(len(item.disclosures) for item in evidence.entries),
            gaps=gaps,
            gap_count=gap_count,
            positions_missing=_missing_positions(evidence),
            tokens=sum(earlier.token is not None for earlier in evidence.anchors),
            listed=[{**item.parsed(), "leaf": item.leaf.hex()} for item in evidence.entries],
        )


def _gaps(evidence: Evidence) -> tuple[str, int]:
    """The seqs of the range that are not carried, in words, and how many there are."""
    missing: list[list[int]] = []
    at, count = evidence.range.first, 0
    inside = [item.seq for item in evidence.entries if evidence.range.first <= item.seq < evidence.range.stop]
    for seq in [*inside, evidence.range.stop]:
        if seq > at:
            missing.append([at, seq - 1])
            count += seq - at
        at = seq + 1
    told = ", ".join(f"{first}" if first == last else f"{first}–{last}" for first, last in missing[:_GAPS_SHOWN])
    return told + (" and more" if len(missing) > _GAPS_SHOWN else ""), count


def _missing_positions(evidence: Evidence) -> list[str]:
    """Stretches of positions of a carried stream that are not carried, in words; a run's stream begins at 0."""
    ends = {f"run/{evidence.about['run']}": -1} if "run" in evidence.about else {}
    found = []
    for item in evidence.entries:
        entry = item.parsed()
        stream, pos = entry["stream"], entry["pos"]
        if pos > ends.get(stream, pos - 1) + 1:
            found.append(f"positions {ends[stream] + 1} to {pos - 1} of stream {stream}")
        ends[stream] = pos
    return found


def reviews_range(data: Mapping[str, Any], about: Mapping[str, str], first: int, stop: int) -> bool:
    """Whether a review with these open fields is of the run in question, or of entries in ``first <= seq < stop``."""
    if data.get("run") is not None:
        return bool(data["run"] == about.get("run"))
    return bool(data.get("first", stop) < stop and first <= data.get("last", -1))


def _reviews(events: CarriedEvents, evidence: Evidence, identity: Identity) -> list[ShownReview]:
    found = []
    for item in evidence.entries:
        entry = item.parsed()
        if entry["type"] == ReviewSigned.type_name and reviews_range(
            entry["data"], evidence.about, evidence.range.first, evidence.range.stop
        ):
            recorded = events.event(item.seq)
            if recorded is not None and isinstance(recorded.event, ReviewSigned):
                found.append(_review(recorded, recorded.event, identity))
    return found


def _review(recorded: Recorded, event: ReviewSigned, identity: Identity) -> ShownReview:
    if isinstance(event.statement, Withheld) or isinstance(event.vkey, Withheld):
        return ShownReview(recorded.seq, event, _subject(event), None, "not in this file, or erased", None)
    try:
        key = parse_vkey(event.vkey)
        statement = verify_statement(event.statement.encode(), key)
        if statement.origin != identity.origin_at(statement.size):
            raise VerificationError(f"it is about the log {statement.origin!r}")
    except LedgerError as error:
        return ShownReview(recorded.seq, event, _subject(event), None, "it does not verify", str(error))
    return ShownReview(recorded.seq, event, str(statement.subject), SignedBy(key.name, statement.at), "", None)


def _subject(event: ReviewSigned) -> str:
    if event.run is None:
        return f"entries {event.first} {event.last}"
    return f"run {event.run}" if event.iteration is None else f"iteration {event.run} {event.iteration}"


def _simulated_judges(window: WindowPage) -> list[str]:
    """The simulated judges whose verdicts and grades the window shows."""
    judged = (*(shown.recorded for shown in window.verdicts), *window.grades)
    models = {item.event.model for item in judged if isinstance(item.event, ShadowJudged | SessionGraded)}
    return sorted(model for model in models if model is not None and is_simulated(model))
