"""What an agent publishes: which entries carry content, who speaks in them, and the events that one request becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Refused
from ..event import Event
from .events import Citation, InteractionPublished, RequestPublished, Speaker

MAX_OPEN_BYTES = 60_000
"""How long the citations of one turn may be: with the rest of its open part they must fit an entry."""

_AGENT = frozenset({"agent", "assistant"})
_SYSTEM = frozenset({"system", "tool", "internal"})
_TEXTS = ("content", "shadow_content", "expert_content")
_CARRIES = ("interacted_image_url", "image_encoding", "tools_used", "citations", "retrieved_learnings")


@dataclass(frozen=True, slots=True)
class Publication:
    """One request as it arrived: ``sent`` and ``turns`` are the caller's own words, defaults left out.

    ``turns`` are the entries that carry content, in order; ``dropped`` more did not. ``requested_at`` is seconds
    since 1970.
    """

    user_id: str
    session_id: str
    request_id: str
    source: str
    agent_version: str
    evaluation_only: bool
    requested_at: int
    sent: Mapping[str, Any]
    turns: Sequence[Mapping[str, Any]]
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Aliases:
    """The aliases under which a request's user, session and own id stand in the log."""

    user: str
    session: str
    request: str


def speaker_of(role: str) -> Speaker:
    """Who speaks under a role, however it is spelled; whoever is neither agent nor system is a user."""
    plain = role.strip().lower()
    return "agent" if plain in _AGENT else "system" if plain in _SYSTEM else "user"


def carries_content(entry: Mapping[str, Any]) -> bool:
    """Whether an entry says anything; blanks alone say nothing."""
    if entry.get("user_action", "none") != "none":
        return True
    return any(entry.get(name, "").strip() for name in _TEXTS) or any(entry.get(name) for name in _CARRIES)


def publish(publication: Publication, aliases: Aliases) -> list[Event]:
    """The events of one request: its envelope, then its turns.

    ``Refused`` (``entry_fits``), naming the field, where a turn cites more than an entry holds.
    """
    envelope = RequestPublished(
        request=aliases.request,
        user=aliases.user,
        session=aliases.session,
        source=publication.source,
        agent_version=publication.agent_version,
        evaluation_only=publication.evaluation_only,
        requested_at=publication.requested_at,
        interactions=len(publication.turns),
        dropped=publication.dropped,
        sent=dict(publication.sent),
    )
    turns = [_turn(publication, aliases, index, turn) for index, turn in enumerate(publication.turns)]
    return [envelope, *turns]


def _turn(publication: Publication, aliases: Aliases, index: int, turn: Mapping[str, Any]) -> InteractionPublished:
    return InteractionPublished(
        request=aliases.request,
        session=aliases.session,
        index=index,
        created_at=turn.get("created_at", publication.requested_at),
        speaker=speaker_of(turn.get("role", "User")),
        has_shadow=bool(turn.get("shadow_content")),
        citations=_citations(index, turn.get("citations", ())),
        turn=dict(turn),
    )


def _citations(index: int, cited: Sequence[Mapping[str, Any]]) -> tuple[Citation, ...]:
    found = tuple(Citation(kind=item["kind"], rule=item["real_id"], title=item.get("title", "")) for item in cited)
    # A control character takes six bytes in an entry, any other at most four; 64 are for names and quotes.
    if sum(64 + 6 * (len(item.rule) + len(item.title)) for item in found) > MAX_OPEN_BYTES:
        longest = sum(len(item.model_dump_json()) + 1 for item in found)
        if longest > MAX_OPEN_BYTES:
            raise Refused(
                "entry_fits",
                f"interaction_data_list[{index}].citations: {longest} bytes of kinds, ids and titles, "
                f"at most {MAX_OPEN_BYTES} fit an entry",
            )
    return found
