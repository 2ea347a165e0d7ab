"""Verdicts as a reader looks at them: both answers, what the judge saw, who stood first, who won, and why.

Texts stay what they are: open, or ``Withheld`` where they are closed or erased.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from ...domain.evaluation.events import InteractionPublished, ShadowJudged, Speaker
from ...domain.evaluation.prompts import SHADOW_PROMPTS
from ...domain.evaluation.shadow import is_served_first, position_seed
from ...domain.event import Recorded, Withheld
from ...ledger.store.opening import EventReader
from ..simulated import is_simulated
from .effective import VERDICT_COUNTS
from .graded import has, of_texts
from .newest import Key, newest, newest_of
from .segments import LOST, SIGNIFICANT, TIED, Segments
from .trend import outcome_of

NamesOf = Callable[[Iterable[str]], dict[str, str | None]]
Text = str | Withheld | None
Outcome = Literal["win", "tie", "loss"]

SHOWN_TURNS = 30
"""Earlier turns of the request that are shown beside a verdict of a version that judges with them."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A turn before the one that was judged."""

    seq: int
    speaker: Speaker
    content: Text


@dataclass(frozen=True, slots=True)
class Position:
    """How chance placed the answers. ``seed`` and ``bit`` are None where nobody recorded them, as for an import.

    ``follows`` says whether the seed, computed again from the turn's leaf hash, the version and the job, is the one
    recorded and puts the answers where the verdict says that they stood; None where it cannot be computed.
    """

    served_first: bool
    seed: str | None
    bit: int | None
    follows: bool | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One verdict with its texts. ``outcome`` is the served answer's; ``at`` is when it was recorded.

    ``judged_at`` is in microseconds since 1970. ``session_name`` is None where it is erased or closed.
    ``counts`` says whether it is the one of its turn and version that figures are computed from.
    """

    seq: int
    at: str
    stream: str
    judged_at: int
    outcome: str
    significant: bool
    version: str
    model: str | None
    simulated: bool
    made: str
    job: str | None
    prompt_digest: str | None
    call: int | None
    position: Position
    turn: int | None
    turn_hash: str | None
    session: str | None
    session_name: str | None
    source: str
    agent_version: str
    asked: Text
    served: Text
    shadow: Text
    rationale: Text
    suspicions: dict[str, list[str]]
    counts: bool


@dataclass(frozen=True, slots=True)
class VerdictPage:
    """A page of verdicts that count, newest first. ``older`` is where to go on; ``exhausted`` as in ``Newest``."""

    verdicts: tuple[Verdict, ...]
    older: Key | None
    exhausted: bool


def list_verdicts(
    views: Connection,
    events: EventReader,
    size: int,
    *,
    version: str,
    names_of: NamesOf,
    outcome: Outcome | None = None,
    significant: bool = False,
    source: str | None = None,
    before: Key | None = None,
    limit: int = 25,
) -> VerdictPage:
    """Verdicts under one version, never mixed with another's, narrowed as asked."""

    def chosen(segments: Segments) -> NDArray[np.bool_]:
        return _chosen(segments, version, source, outcome, significant=significant)

    page = newest(views, "judged", size, chosen=chosen, before=before, limit=limit)
    sources = {int(row["seq"]): texts[int(row["source"])] for row, texts in page.rows}
    verdicts = _opened(views, events, size, list(sources), names_of, sources)
    return VerdictPage(tuple(verdicts), page.older, page.exhausted)


def newest_disagreements(
    views: Connection,
    events: EventReader,
    size: int,
    loaded: Segments,
    *,
    version: str,
    source: str | None,
    names_of: NamesOf,
    limit: int,
) -> list[Verdict]:
    """Of verdicts that are loaded the newest that found the shadow significantly better, under one version."""
    rows = newest_of(loaded.rows[_chosen(loaded, version, source, "loss", significant=True)], limit)
    sources = {int(row["seq"]): loaded.texts[int(row["source"])] for row in rows}
    return _opened(views, events, size, list(sources), names_of, sources)


def _chosen(
    segments: Segments, version: str, source: str | None, outcome: Outcome | None, *, significant: bool
) -> NDArray[np.bool_]:
    rows = segments.rows
    mask: NDArray[np.bool_] = of_texts(rows["version"], segments.texts, [version])
    if source is not None:
        mask &= of_texts(rows["source"], segments.texts, [source])
    if significant:
        mask &= has(rows, SIGNIFICANT)
    match outcome:
        case "win":
            mask &= ~has(rows, LOST) & ~has(rows, TIED)
        case "tie":
            mask &= has(rows, TIED)
        case "loss":
            mask &= has(rows, LOST)
    return mask


def read_verdict(
    views: Connection, events: EventReader, size: int, seq: int, names_of: NamesOf
) -> tuple[Verdict, tuple[Spoken, ...]] | None:
    """The verdict recorded at ``seq``, and the earlier turns that the judge saw with it; None where none is there."""
    if not 0 <= seq < size:
        return None
    found = _opened(views, events, size, [seq], names_of, {})
    if not found:
        return None
    (verdict,) = found
    prompt = SHADOW_PROMPTS.get(verdict.version)
    earlier: Sequence[Spoken] = ()
    if verdict.turn is not None and prompt is not None and prompt.transcript:
        earlier = _earlier(views, events, size, verdict.turn, users_only=False, limit=SHOWN_TURNS)[::-1]
    return verdict, tuple(earlier)


def verdicts_of_turn(views: Connection, events: EventReader, size: int, turn: int, names_of: NamesOf) -> list[Verdict]:
    """Every verdict on a turn, of each version and job, in the order in which they were recorded."""
    rows = views.exec_driver_sql("SELECT seq FROM verdicts WHERE turn = ? AND seq < ? ORDER BY seq", (turn, size))
    return _opened(views, events, size, [row[0] for row in rows], names_of, {})


def judged_versions(views: Connection, size: int) -> list[str]:
    """The versions that gave a verdict, by name, "" where verdicts name none; as many steps through the index as
    there are versions."""
    rows = views.exec_driver_sql(
        "WITH RECURSIVE v(version) AS (SELECT (SELECT min(version) FROM verdicts) UNION ALL "
        "SELECT (SELECT min(version) FROM verdicts n WHERE n.version > v.version) FROM v WHERE v.version IS NOT NULL) "
        "SELECT version FROM v WHERE version IS NOT NULL "
        "AND EXISTS (SELECT 1 FROM verdicts f WHERE f.version = v.version AND f.seq < ?)",
        (size,),
    )
    nameless = views.exec_driver_sql("SELECT 1 FROM verdicts WHERE version IS NULL AND seq < ? LIMIT 1", (size,))
    return [*([""] if nameless.first() else []), *(row[0] for row in rows)]


def newest_verdict(views: Connection, size: int, version: str) -> int | None:
    """The seq of the verdict under a version of the judge's prompt that was judged last."""
    row = views.exec_driver_sql(
        "SELECT seq FROM verdicts WHERE version = ? AND seq < ? ORDER BY judged_at DESC LIMIT 1", (version, size)
    ).first()
    return None if row is None else int(row[0])


def _opened(
    views: Connection,
    events: EventReader,
    size: int,
    seqs: Sequence[int],
    names_of: NamesOf,
    sources: dict[int, str],
) -> list[Verdict]:
    found = []
    for seq in seqs:
        recorded = events.event(seq)
        if recorded is not None and isinstance(recorded.event, ShadowJudged):
            found.append((recorded, recorded.event))
    names = names_of({judged.session for _, judged in found if judged.session is not None})
    counting = _counting(views, size, seqs)
    return [
        _verdict(views, events, size, recorded, judged, names, sources, counts=recorded.seq in counting)
        for recorded, judged in found
    ]


def _verdict(
    views: Connection,
    events: EventReader,
    size: int,
    recorded: Recorded,
    judged: ShadowJudged,
    names: dict[str, str | None],
    sources: dict[int, str],
    *,
    counts: bool,
) -> Verdict:
    detail: dict[str, Any] = {} if isinstance(judged.detail, Withheld) else judged.detail
    version = recorded.meta.get("judge_prompt_version", "")
    said = None if judged.turn is None else events.event(judged.turn)
    served, shadow, asked = _texts(views, events, size, said)
    leaf = None if judged.turn is None or said is None else events.reader.hashes(0, judged.turn, 1)
    suspicions = detail.get("suspicions")
    return Verdict(
        seq=recorded.seq,
        at=recorded.at,
        stream=recorded.stream,
        judged_at=judged.judged_at,
        outcome=outcome_of(judged.better, judged.reflexio_is_request_1),
        significant=judged.significant,
        version=version,
        model=judged.model,
        simulated=judged.model is not None and is_simulated(judged.model),
        made=judged.made,
        job=judged.job,
        prompt_digest=judged.prompt_digest,
        call=judged.call,
        position=_position(judged, version, leaf),
        turn=judged.turn,
        turn_hash=None if leaf is None else leaf.hex(),
        session=judged.session,
        session_name=None if judged.session is None else names.get(judged.session),
        source=sources[recorded.seq] if recorded.seq in sources else _source(views, size, judged.session),
        agent_version=judged.agent_version,
        asked=asked,
        served=served,
        shadow=shadow,
        rationale=judged.detail if isinstance(judged.detail, Withheld) else detail.get("comparison_reason"),
        suspicions=suspicions if isinstance(suspicions, dict) else {},
        counts=counts,
    )


def _position(judged: ShadowJudged, version: str, leaf: bytes | None) -> Position:
    seed = judged.position_seed
    if seed is None:
        return Position(judged.reflexio_is_request_1, None, None, None)
    follows = None
    if leaf is not None:
        again = position_seed(leaf, version, judged.job)
        follows = again == seed and is_served_first(again) == judged.reflexio_is_request_1
    return Position(judged.reflexio_is_request_1, seed, 0 if is_served_first(seed) else 1, follows)


def _texts(views: Connection, events: EventReader, size: int, recorded: Recorded | None) -> tuple[Text, Text, Text]:
    """The served answer, its shadow, and the user's message before it in the same request."""
    if recorded is None or not isinstance(recorded.event, InteractionPublished):
        return None, None, None
    turn = recorded.event.turn
    asked = next(iter(_earlier(views, events, size, recorded.seq, users_only=True, limit=1)), None)
    said = None if asked is None else asked.content
    if isinstance(turn, Withheld):
        return turn, turn, said
    return turn.get("content") or "", turn.get("shadow_content") or "", said


def _earlier(
    views: Connection, events: EventReader, size: int, turn: int, *, users_only: bool, limit: int
) -> list[Spoken]:
    """The turns with content before ``turn`` in its request, as they were spoken, the last one first."""
    rows = views.exec_driver_sql(
        "SELECT o.seq, o.speaker FROM interactions t JOIN interactions o ON o.request = t.request "
        "WHERE t.seq = :turn AND o.seq < :size AND (o.created_at, o.idx) < (t.created_at, t.idx) "
        + ("AND o.speaker = 'user' " if users_only else "")
        + "ORDER BY o.created_at DESC, o.idx DESC LIMIT :most",
        {"turn": turn, "size": size, "most": limit + SHOWN_TURNS},
    )
    found: list[Spoken] = []
    for seq, speaker in rows:
        recorded = events.event(seq)
        if recorded is None or not isinstance(recorded.event, InteractionPublished):
            continue
        said = recorded.event.turn
        content = said if isinstance(said, Withheld) else str(said.get("content") or "")
        if isinstance(content, Withheld) or content.strip():
            found.append(Spoken(seq, speaker, content))
        if len(found) == limit:
            break
    return found


def _source(views: Connection, size: int, session: str | None) -> str:
    row = views.exec_driver_sql(
        "SELECT source FROM requests WHERE session = ? AND seq < ? ORDER BY requested_at, seq LIMIT 1", (session, size)
    ).first()
    return "" if row is None else str(row[0])


def _counting(views: Connection, size: int, seqs: Sequence[int]) -> set[int]:
    if not seqs:
        return set()
    asked = ", ".join(str(int(seq)) for seq in seqs)
    rows = views.exec_driver_sql(
        f"SELECT t.seq FROM verdicts t WHERE t.seq IN ({asked}) AND t.seq < :size AND {VERDICT_COUNTS}", {"size": size}
    )
    return {row[0] for row in rows}
