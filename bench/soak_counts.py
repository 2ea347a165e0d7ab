"""What the clients of a soak were told, and whether the ledger holds exactly that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from affidavit.domain.evaluation.events import InteractionPublished, RequestPublished, ShadowJudged, ShadowUndecided
from affidavit.ledger.application import Ledger
from affidavit.ledger.events import ErasureExecuted
from affidavit.ledger.store.opening import EventReader
from affidavit.ledger.store.place import Place
from affidavit.ledger.store.reader import LedgerReader
from affidavit.projections.registry import REGISTRY


@dataclass
class Told:
    """The requests by their ids: where the acknowledged ones are, which were given up; how often one was sent again."""

    acknowledged: dict[str, tuple[int, str]] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    again: Counter[str] = field(default_factory=Counter)

    def read(self, lines: Iterable[str]) -> None:
        for line in lines:
            match line.split():
                case ["ack", request_id, seq, leaf]:
                    self.acknowledged[request_id] = (int(seq), leaf)
                case ["left", request_id]:
                    self.left.add(request_id)
                case ["again", status]:
                    self.again[status] += 1
                case _:
                    raise ValueError(f"expected a publisher's line, found {line!r}")


@dataclass(frozen=True, slots=True)
class Turns:
    """The seqs of turns that have a shadow, and of those that were judged, the latter as often as they were."""

    shadowed: set[int]
    judged: Counter[int | None]
    undecided: int


def read_turns(reader: LedgerReader) -> Turns:
    shadowed: set[int] = set()
    judged: Counter[int | None] = Counter()
    undecided = 0
    types = {each.type_name for each in (InteractionPublished, ShadowJudged, ShadowUndecided)}
    for found in EventReader(reader, REGISTRY).events(types=types):
        match found.event:
            case InteractionPublished(has_shadow=True):
                shadowed.add(found.seq)
            case ShadowJudged(turn=turn):
                judged[turn] += 1
            case ShadowUndecided():
                undecided += 1
    return Turns(shadowed, judged, undecided)


def all_judged(place: Place) -> bool:
    with place.beside() as reader:
        turns = read_turns(reader)
    return turns.shadowed <= turns.judged.keys()


def require_counts(ledger: Ledger, told: Told, erased: list[str]) -> dict[str, int]:
    """The figures of a soak; ``RuntimeError`` says what does not add up. Nobody appends meanwhile."""
    with ledger.recorder.reading() as reader:
        size = reader.head().size
        leaves = {row.seq: row.leaf.hex() for row in reader.entries()}
        published: dict[str, int] = {}
        executed = 0
        for found in ledger.event_reader(reader).events(types={RequestPublished.type_name, ErasureExecuted.type_name}):
            if isinstance(found.event, RequestPublished):
                published[found.event.request] = found.seq
            else:
                executed += 1
        turns = read_turns(reader)
    names = ledger.names_of(published)
    recorded = Counter(name for name in names.values() if name is not None)
    places = {name: published[alias] for alias, name in names.items() if name is not None}
    unnamed = len(published) - recorded.total()
    twice = [name for name, count in recorded.items() if count > 1]
    lost = [
        name for name, (seq, leaf) in told.acknowledged.items() if places.get(name) != seq or leaves.get(seq) != leaf
    ]
    strange = recorded.keys() - told.acknowledged.keys() - told.left
    still_known = [user for user in erased if ledger.find_aliases("user", user)]
    wrong = {
        "recorded more than once": twice,
        "acknowledged, and not there": lost,
        "there, and sent by nobody": sorted(strange),
        "erased, and still known": still_known,
        "requests whose names are erased, against erased people": [] if unnamed == len(erased) else [str(unnamed)],
        "erasures on the log, against erased people": [] if executed == len(erased) else [str(executed)],
        "turns judged other than once": sorted(
            str(turn) for turn in turns.shadowed | turns.judged.keys() if turns.judged[turn] != 1
        ),
        "turns judged that have no shadow": sorted(str(turn) for turn in turns.judged.keys() - turns.shadowed),
    }
    if any(wrong.values()):
        raise RuntimeError("; ".join(f"{what}: {len(which)} ({which[:5]})" for what, which in wrong.items() if which))
    return {
        "entries": size,
        "publishes acknowledged": len(told.acknowledged),
        "publishes given up": len(told.left),
        "of these recorded": len(recorded.keys() & told.left),
        "sent again": told.again.total(),
        "people erased": len(erased),
        "turns judged": len(turns.shadowed),
        "judgings undecided on the way": turns.undecided,
    }
