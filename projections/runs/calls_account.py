"""What a run's model calls cost: sums over the calls that its stream records, by purpose, model, iteration and phase.

A call is one question, and each attempt of it a request of its own. Tokens are as the server counted them, prompt and
completion apart, and every attempt's count: what a failed attempt used was paid for too. An attempt whose server
counted nothing is unknown, not 0, and so is one that was never answered: a process that is killed has such calls in
flight, and that a later attempt of the same call is answered does not tell what the first one cost.

Replies that a branch is fed from its parent were bought there. They are no calls of the branch, and cost nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NamedTuple

from ...domain.event import Recorded
from ...domain.model_calls import ModelAnswered, ModelRequested
from ...domain.optimization.events import RunPlanned, RunStarted
from ..text_table import aligned
from .view import called

Dimension = Literal["purpose", "model", "iteration", "phase"]
DIMENSIONS: tuple[Dimension, ...] = ("purpose", "model", "iteration", "phase")
NOT_ASKED = "(an answer without its request)"
"""Stands as the model where a stream holds an answer and not what was asked."""

_COLUMNS = ("calls", "retries", "failed", "prompt", "completion", "not counted", "in flight")


Called = Sequence[Any]
"""A request or an answer: the values of the view's columns from ``requested`` on."""


class Place(NamedTuple):
    """What a call counts towards. None where the request does not say: a baseline belongs to no iteration."""

    purpose: str | None
    model: str
    iteration: int | None
    phase: int | None


@dataclass(slots=True)
class Tally:
    """Counts of some calls.

    ``calls`` are questions, ``retries`` the attempts beyond the first of each, ``gave_up`` the calls that ended in
    failure. ``not_counted`` are answered attempts for which the server gave no count, or only one of the two;
    a request that it refused by its status counts as free. ``in_flight`` are attempts without an answer.
    """

    calls: int = 0
    retries: int = 0
    gave_up: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    not_counted: int = 0
    in_flight: int = 0

    @property
    def tokens(self) -> int:
        """Everything that was counted: a lower bound unless ``is_whole``."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def unknown(self) -> int:
        """Attempts whose cost is not known."""
        return self.not_counted + self.in_flight

    @property
    def is_whole(self) -> bool:
        """Whether the server counted every attempt."""
        return self.unknown == 0

    def add(self, other: Tally) -> None:
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_json(self) -> dict[str, Any]:
        """The counts as JSON data, the attempts and the sum of tokens among them."""
        return {**asdict(self), "attempts": self.calls + self.retries, "tokens": self.tokens, "is_whole": self.is_whole}


_COUNTS = tuple(count.name for count in fields(Tally))


@dataclass(slots=True)
class CallsAccount:
    """The account of one run, folded from its stream in order. Sealed bodies are not looked at.

    ``fed_until`` is the iteration up to which a branch is fed the replies of ``fed_from``.
    """

    fed_from: str | None = None
    fed_until: int | None = None
    _tallies: dict[Place, Tally] = field(default_factory=dict)
    _asked: set[tuple[str, int]] = field(default_factory=set)
    _open: dict[tuple[str, int, int], Place] = field(default_factory=dict)

    def apply(self, recorded: Recorded) -> None:
        """Fold in one event of the run; those that are no calls change nothing."""
        match recorded.event:
            case ModelRequested() | ModelAnswered() as event:
                self.count([called(event)])
            case RunStarted() as event:
                self.fed_from = event.parent_run
            case RunPlanned() as event:
                self.fed_until = event.branch_after

    @property
    def has_calls(self) -> bool:
        return bool(self._tallies)

    def places(self) -> Iterator[tuple[Place, Tally]]:
        """The finest counts, in order of each place's first request."""
        return iter(self._tallies.items())

    def total(self) -> Tally:
        """The counts of all calls."""
        total = Tally()
        for tally in self._tallies.values():
            total.add(tally)
        return total

    def by(self, dimension: Dimension) -> dict[Any, Tally]:
        """The counts by one dimension; each call is in exactly one.

        Iterations and phases ascend, behind None for what belongs to none; the others are in order of first request.
        """
        found: dict[Any, Tally] = {}
        for place, tally in self._tallies.items():
            found.setdefault(getattr(place, dimension), Tally()).add(tally)
        if dimension in ("iteration", "phase"):
            return dict(sorted(found.items(), key=lambda item: item[0] or 0))
        return found

    def as_json(self) -> dict[str, Any] | None:
        """The account as JSON data; None where the run's stream records no call."""
        if not self.has_calls:
            return None
        groups = {
            f"by_{dimension}": [{dimension: value, **tally.as_json()} for value, tally in self.by(dimension).items()]
            for dimension in DIMENSIONS
        }
        return {"total": self.total().as_json(), **groups, "fed_from_parent": self._fed()}

    def text(self) -> str:
        """The account as tables for people, and in words what is unknown."""
        return "\n".join(account_lines(self.as_json()))

    def _fed(self) -> dict[str, Any] | None:
        if self.fed_from is None or self.fed_until is None:
            return None
        return {"run": self.fed_from, "up_to_iteration": self.fed_until}

    def count(self, calls: Iterable[Called]) -> None:
        """Fold in requests and answers as the view of runs has them, in order."""
        for requested, site, occurrence, attempt, *place, prompt, completion, not_counted, gave_up in calls:
            if requested:
                self._request(Place(*place), site, occurrence, attempt)
                continue
            tally = self._answered(site, occurrence, attempt)
            tally.prompt_tokens += prompt
            tally.completion_tokens += completion
            tally.not_counted += not_counted
            tally.gave_up += gave_up

    def _request(self, place: Place, site: str, occurrence: int, attempt: int) -> None:
        tally = self._tallies.get(place)
        if tally is None:
            tally = self._tallies[place] = Tally()
        call = (site, occurrence)
        if call in self._asked:
            tally.retries += 1
        else:
            self._asked.add(call)
            tally.calls += 1
        tally.in_flight += 1
        self._open[site, occurrence, attempt] = place

    def _answered(self, site: str, occurrence: int, attempt: int) -> Tally:
        """The counts of the request that is answered."""
        place = self._open.pop((site, occurrence, attempt), None)
        if place is None:
            tally = self._tallies.setdefault(Place(None, NOT_ASKED, None, None), Tally())
            tally.calls += 1
        else:
            tally = self._tallies[place]
            tally.in_flight -= 1
        return tally


def account_lines(document: dict[str, Any] | None) -> list[str]:
    """The JSON form of an account as tables for people, and in words what is unknown."""
    if document is None:
        return ["no calls are recorded"]
    lines = []
    for dimension in DIMENSIONS:
        found = document[f"by_{dimension}"]
        if dimension == "phase" and all(row["phase"] is None for row in found):
            continue
        rows = [("none" if row[dimension] is None else row[dimension], *_cells(row)) for row in found]
        lines += [*aligned((dimension, *_COLUMNS), rows, right=_COLUMNS), ""]
    total = document["total"]
    lines += aligned(("total", *_COLUMNS), [("", *_cells(total))], right=_COLUMNS)
    lines += _caveats(total["in_flight"], total["not_counted"])
    fed = document["fed_from_parent"]
    if fed is not None:
        lines.append(
            f"replies up to iteration {fed['up_to_iteration']} were fed from run {fed['run']}: "
            "they are in its account and cost nothing here"
        )
    return lines


def _caveats(in_flight: int, not_counted: int) -> list[str]:
    """What the counts leave out, in words; empty where they are whole."""
    found = []
    if in_flight:
        found.append(f"{_attempts(in_flight)} in flight, never answered: the cost is not known")
    if not_counted:
        found.append(f"{_attempts(not_counted)} without a token count from the server: the cost is not known")
    if found:
        found.append("the token counts are therefore lower bounds")
    return found


def _attempts(count: int) -> str:
    return "1 attempt" if count == 1 else f"{count} attempts"


def _cells(tally: dict[str, Any]) -> tuple[int, ...]:
    return tuple(tally[name] for name in _COUNTS)
