"""What goes over the wire: the peer's requests, as lax as it takes them, and ours.

Unknown keys are ignored, but for the configuration. Numbers and booleans may come as text. Integers stay within
what every JSON reader takes exactly.
"""

from __future__ import annotations

import ipaddress
import json
import math
import socket
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from ...domain.errors import Refused
from ...domain.evaluation.events import CitationKind
from ...projections.evaluation.windows import MAX_TIME
from ..reading import parse_time

MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 32
MAX_TEXT = 1_000_000
MAX_LEARNINGS = 1000
MAX_RULE_BYTES = 60_000
"""How long a rule may be as JSON: with the rest it must fit an entry."""

_METADATA = frozenset(map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254")))

NonEmpty = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Id = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4096)]
Integer = Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)]
Seconds = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Window = Annotated[int, Field(ge=0, le=MAX_TIME)]
Source = Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9._:-]{0,127})?$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


def require_plain(value: Any) -> Any:
    """JSON that can be kept exactly: not too deep, no infinity, no integer that some reader would round.

    ``ValueError`` where it cannot.
    """
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        below: list[Any] = []
        for item in level:
            if type(item) is int and abs(item) > MAX_INTEGER:
                raise ValueError(f"integers must be within ±{MAX_INTEGER}")
            if type(item) is float and not math.isfinite(item):
                raise ValueError("numbers must be finite")
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
        level = below
    return value


def _moment(value: datetime) -> datetime:
    """A time without a zone is UTC; the peer reads it in its server's own zone, which no client can know."""
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time lies beyond the years 1 to 9999") from None


def _as_of(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _require_readable(as_of: str | None) -> str | None:
    if as_of is not None and not (as_of.isascii() and as_of.isdecimal()):
        try:
            parse_time(as_of)
        except Refused as error:
            raise ValueError(str(error)) from None
    return as_of


def _image_url(url: str) -> str:
    if not url:
        return url
    parts = urlsplit(url.replace("\\", "/"))  # as browsers read it
    if parts.scheme == "data":
        return url
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected an http, https or data URL")
    host = unicodedata.normalize("NFKC", unquote(parts.hostname)).rstrip(".").lower()
    if host == "metadata.google.internal" or _is_metadata_address(host):
        raise ValueError("the URL must not name a cloud's metadata endpoint")
    return url


def _is_metadata_address(host: str) -> bool:
    """Whether a host is such an address, in any of the forms that resolvers take: 0xa9fea9fe, ::ffff:a9fe:a9fe."""
    address: ipaddress.IPv4Address | ipaddress.IPv6Address | None
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return False
    if address in _METADATA:
        return True
    return address.version == 6 and (address.ipv4_mapped or ipaddress.IPv4Address(address.packed[-4:])) in _METADATA


def _status(value: object) -> str:
    return "" if value is None else str(value)[:100]


PlainJson = Annotated[dict[str, Any], AfterValidator(require_plain)]
Moment = Annotated[datetime, AfterValidator(_moment)]
AsOf = Annotated[
    Annotated[str, StringConstraints(max_length=64)] | None,
    BeforeValidator(_as_of),
    AfterValidator(_require_readable),
    Field(description="Answer as the ledger stood: all digits is a seq, anything with '-' a time."),
]


class Wire(BaseModel):
    """A request body."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class Read(Wire):
    """A request body that asks for a projection."""

    as_of: AsOf = None


class ToolUsed(Wire):
    tool_name: str
    tool_data: PlainJson = {}
    status: Annotated[str, BeforeValidator(_status)] = ""


class Cited(Wire):
    kind: CitationKind
    real_id: str
    tag: str = ""
    title: str = ""


class Retrieved(Wire):
    kind: Literal["profile", "user_playbook", "agent_playbook"]
    learning_id: Annotated[str, Field(min_length=1, max_length=1000)]
    exposure_receipt: Annotated[str, Field(max_length=8192)] | None = None
    exposure_receipt_digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


class InteractionData(Wire):
    """One entry. Without ``created_at`` it is of the moment when it arrives."""

    created_at: Integer | None = None
    role: Annotated[str, Field(max_length=1000)] = "User"
    content: Annotated[str, Field(max_length=MAX_TEXT)] = ""
    shadow_content: Annotated[str, Field(max_length=MAX_TEXT)] = ""
    expert_content: Annotated[str, Field(max_length=MAX_TEXT)] = ""
    user_action: Literal["click", "scroll", "type", "none"] = "none"
    user_action_description: Annotated[str, Field(max_length=10_000)] = ""
    interacted_image_url: Annotated[str, Field(max_length=2048), AfterValidator(_image_url)] = ""
    image_encoding: Annotated[str, Field(max_length=15_000_000)] = ""
    tools_used: Annotated[list[ToolUsed], Field(max_length=1000)] = []
    citations: Annotated[list[Cited], Field(max_length=1000)] = []
    retrieved_learnings: Annotated[list[Retrieved], Field(max_length=1000)] = []

    @model_validator(mode="after")
    def _require_shape(self) -> Self:
        if self.user_action != "none" and not self.user_action_description:
            raise ValueError("user_action requires a user_action_description")
        if self.interacted_image_url and self.image_encoding:
            raise ValueError("interacted_image_url and image_encoding cannot both be set")
        return self


class PublishRequest(Wire):
    """What one agent hands in at once."""

    request_id: Id | None = None
    user_id: Id
    session_id: Id
    interaction_data_list: Annotated[list[InteractionData], Field(min_length=1, max_length=1000)]
    source: Source = ""
    agent_version: Annotated[str, Field(max_length=1000)] = ""
    evaluation_only: bool = False
    session_finished: bool = False
    skip_aggregation: bool = False
    force_extraction: bool = False
    override_learning_stall: bool = False
    retrieval_experiment_id: NonEmpty | None = None
    retrieval_experiment_arm: Literal["treatment", "holdout"] | None = None

    @model_validator(mode="after")
    def _require_sense(self) -> Self:
        if self.evaluation_only and self.force_extraction:
            raise ValueError("evaluation_only and force_extraction cannot both be true")
        if (self.retrieval_experiment_id is None) != (self.retrieval_experiment_arm is None):
            raise ValueError("retrieval_experiment_id and retrieval_experiment_arm go together")
        if sum(len(entry.retrieved_learnings) for entry in self.interaction_data_list) > MAX_LEARNINGS:
            raise ValueError(f"retrieved_learnings: at most {MAX_LEARNINGS} in one request")
        return self


class GetRequestsRequest(Read):
    user_id: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    source: Source | None = None
    start_time: Moment | None = None
    end_time: Moment | None = None
    top_k: Annotated[int, Field(gt=0, le=1000)] | None = 30
    offset: Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None = 0

    @model_validator(mode="after")
    def _require_order(self) -> Self:
        _require_after(self.start_time, self.end_time)
        return self


class GetInteractionsRequest(Read):
    user_id: str
    start_time: Moment | None = None
    end_time: Moment | None = None
    top_k: Annotated[int, Field(gt=0, le=10_000)] | None = 30
    offset: Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None = 0

    @model_validator(mode="after")
    def _require_order(self) -> Self:
        _require_after(self.start_time, self.end_time)
        return self


class GetResultsRequest(Read):
    limit: Annotated[int, Field(gt=0, le=MAX_INTEGER)] | None = 100
    agent_version: str | None = None
    start_time: Moment | None = None
    end_time: Moment | None = None

    @model_validator(mode="after")
    def _require_order(self) -> Self:
        _require_after(self.start_time, self.end_time)
        return self


class SessionsRequest(Read):
    """The sessions of a window, in pages: what the overview lists whole."""

    from_ts: Window
    to_ts: Window
    source: str | None = None
    limit: Annotated[int, Field(gt=0, le=1000)] = 100
    offset: Annotated[int, Field(ge=0, le=MAX_INTEGER)] = 0

    @model_validator(mode="after")
    def _require_order(self) -> Self:
        if self.from_ts > self.to_ts:
            raise ValueError("from_ts must not be after to_ts")
        return self


class GradeRequest(Wire):
    session_id: NonEmpty
    agent_version: NonEmpty
    evaluation_name: NonEmpty | None = None


class RegenerateRequest(Wire):
    from_ts: Window
    to_ts: Window
    evaluation_name: NonEmpty | None = None

    @model_validator(mode="after")
    def _require_order(self) -> Self:
        if self.from_ts >= self.to_ts:
            raise ValueError("from_ts must be less than to_ts")
        return self


class SessionOutcomeRequest(Wire):
    session_id: str
    outcome: Literal["success", "failure", "unknown"]
    occurred_at: Seconds
    label: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128)] | None = None
    value: Finite | None = None
    metadata: PlainJson | None = None

    @model_validator(mode="after")
    def _require_short(self) -> Self:
        if self.metadata is not None and len(_printed(self.metadata)) > 16 * 1024:
            raise ValueError("metadata must encode to at most 16384 bytes")
        return self


class GetSessionOutcomesRequest(Read):
    session_ids: Annotated[list[str], Field(max_length=100)] | None = None
    user_id: str | None = None
    source: Source | None = None
    outcome: Literal["success", "failure", "unknown"] | None = None
    label: str | None = None
    start_time: Seconds | None = None
    end_time: Seconds | None = None
    top_k: Annotated[int, Field(ge=1, le=1000)] = 100
    offset: Annotated[int, Field(ge=0, le=MAX_INTEGER)] = 0

    @model_validator(mode="after")
    def _require_order(self) -> Self:
        if self.start_time is not None and self.end_time is not None and self.start_time > self.end_time:
            raise ValueError("start_time must be less than or equal to end_time")
        return self


class SearchRequest(Read):
    query: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100_000)]
    top_k: Annotated[int, Field(gt=0, le=100)] | None = 5
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    user_id: Annotated[str, Field(max_length=255)] | None = None
    agent_version: str | None = None
    playbook_name: str | None = None
    source: Source | None = None
    tags: list[str] | None = None
    entity_types: list[str] | None = None
    search_mode: Literal["vector", "fts", "hybrid"] = "hybrid"
    request_id: Annotated[str, Field(max_length=255)] | None = None
    session_id: Annotated[str, Field(max_length=255)] | None = None
    interaction_id: Annotated[int, Field(gt=0, le=MAX_INTEGER)] | None = None


class Rule(Wire):
    """A version of a rule. Its text is open to everybody who holds the ledger."""

    rule: Annotated[str, Field(pattern="^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$")]
    kind: CitationKind = "agent_playbook"
    title: Annotated[str, Field(max_length=1000)] = ""
    text: Annotated[str, Field(max_length=30_000)]
    tags: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=100)] = []
    agent_version: Annotated[str, Field(max_length=1000)] | None = None
    retired: bool = False

    @model_validator(mode="after")
    def _require_short(self) -> Self:
        held = len(self.model_dump_json().encode())
        if held > MAX_RULE_BYTES:
            raise ValueError(f"the rule takes {held} bytes as JSON, at most {MAX_RULE_BYTES} fit an entry")
        return self


class RulesRequest(Wire):
    rules: Annotated[list[Rule], Field(min_length=1, max_length=1000)]

    @model_validator(mode="before")
    @classmethod
    def _take_one(cls, given: Any) -> Any:
        return _listed(given, "rules")


class Score(Wire):
    """One figure of an outside scorer."""

    source: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128)] = "braintrust"
    source_run_id: Id
    session_id: Id | None = None
    scorer_name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
    value: Finite
    ts: Seconds


class ScoresRequest(Wire):
    scores: Annotated[list[Score], Field(min_length=1, max_length=1000)]

    @model_validator(mode="before")
    @classmethod
    def _take_one(cls, given: Any) -> Any:
        return _listed(given, "scores")


class AssignmentRequest(Wire):
    """How sessions are assigned to sources from ``since`` on."""

    unit: Literal["session", "user"]
    shares: Annotated[dict[Source, Annotated[float, Field(gt=0, le=1)]], Field(min_length=1, max_length=100)]
    mechanism: Literal["random", "hash", "other"]
    since: Seconds
    note: Annotated[str, Field(max_length=1000)] = ""

    @model_validator(mode="after")
    def _require_whole(self) -> Self:
        if abs(sum(self.shares.values()) - 1) > 1e-9:
            raise ValueError("shares must sum to 1")
        return self


class ClearUserDataRequest(Wire):
    user_id: str


def _listed(given: Any, name: str) -> Any:
    """A body that is one item alone, as the list of it."""
    return {name: [given]} if isinstance(given, dict) and name not in given else given


def _require_after(start: datetime | None, end: datetime | None) -> None:
    if start is not None and end is not None and end <= start:
        raise ValueError("end_time must be after start_time")


def _printed(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


_PUBLISH_KEYS = frozenset(PublishRequest.model_fields)
_ENTRY_KEYS = frozenset(InteractionData.model_fields) | {"user_id", "session_id"}
_NESTED = {
    "tools_used": frozenset(ToolUsed.model_fields) | {"user_id", "session_id"},
    "citations": frozenset(Cited.model_fields) | {"user_id", "session_id"},
    "retrieved_learnings": frozenset(Retrieved.model_fields) | {"user_id", "session_id"},
}


def publish_warnings(raw: Mapping[str, Any], skipped: list[int]) -> list[str]:
    """What the peer warns of: keys that it does not know, and entries without content."""
    warnings = []
    for index, entry in enumerate(raw["interaction_data_list"]):
        unknown = sorted(_unknown_keys(entry))
        if unknown:
            warnings.append(f"interaction_data_list[{index}]: ignored unrecognised field(s) {_named(unknown)}")
    if len(warnings) > 20:
        warnings[20:] = [f"...and {len(warnings) - 20} more interaction(s) with the same problem"]
    unknown = sorted(raw.keys() - _PUBLISH_KEYS)
    if unknown:
        warnings.append(f"ignored unrecognised field(s) {_named(unknown)}")
    if skipped:
        listed = ", ".join(map(str, skipped[:10])) + ("…" if len(skipped) > 10 else "")
        warnings.append(f"skipped {len(skipped)} empty interaction(s) at index {listed}")
    return warnings


def _unknown_keys(entry: Mapping[str, Any]) -> list[str]:
    unknown = [*(entry.keys() - _ENTRY_KEYS)]
    for name, known in _NESTED.items():
        for index, item in enumerate(entry.get(name, ())):
            unknown += [f"{name}[{index}].{key}" for key in item.keys() - known]
    return unknown


def _named(names: list[str]) -> str:
    shown = ["".join(c if c.isprintable() else "?" for c in name[:64]) for name in names[:5]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f", +{more} more" if more else "")
