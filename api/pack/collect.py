"""Gathering evidence from a ledger: which entries, which disclosures, and the proofs that they need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ...domain.errors import Refused
from ...domain.evaluation.events import InteractionPublished, SessionGraded, ShadowJudged
from ...domain.event import Event, OpaqueEvent
from ...domain.model_calls import EVENTS as MODEL_EVENTS
from ...ledger.entries.entry import Entry, StoredEntry, format_at, parse_entry
from ...ledger.entries.mapper import scope_of
from ...ledger.entries.seal import open_disclosure
from ...ledger.errors import NotNow
from ...ledger.events import ReviewSigned
from ...ledger.evidence.evidence import EarlierCheckpoint, Evidence, EvidenceEntry, EvidenceRange, encode_base64url
from ...ledger.folds.anchors import ANCHOR_STREAM, Anchor
from ...ledger.folds.erasures import ERASURE_STREAM
from ...ledger.folds.identity import LEDGER_STREAM
from ...ledger.store.folding import read_anchors, read_identity
from ...ledger.store.place import Place
from ...ledger.store.reader import LedgerReader
from ...ledger.tlog.checkpoint import claimed_checkpoint
from ...ledger.tlog.multiproof import prove_leaves
from ...ledger.tlog.note import print_vkey
from ...ledger.tlog.tiles import tile_nodes
from ...ledger.tlog.tree import ReadNode, prove_consistency
from ...projections.evaluation.windows import OverviewRequest
from ..reading import OpenLedger, parse_window
from ..reviews import STREAM as REVIEW_STREAM
from .content import reviews_range
from .window_page import EVALUATION_TYPES, asked_before, window_events, window_request

MOST_ENTRIES = 50_000
"""Entries that one pack carries at most: above that a browser takes too long, and an export serves better."""

_LAST_SECOND = 253_402_300_799
"""The end of the year 9999, past which a time has no form here."""

_BODIES = frozenset(event.type_name for event in MODEL_EVENTS)


@dataclass(frozen=True, slots=True)
class Selection:
    """What goes into a pack: seqs, those whose sealed fields are disclosed, and the range that it speaks for."""

    about: dict[str, str]
    first: int
    stop: int
    seqs: frozenset[int]
    disclosed: frozenset[int]


def require_subject(run: str | None, start: str | None, end: str | None) -> None:
    """``Refused`` (``pack_subject``) unless a pack is asked for of a run, or of a window."""
    if (run is not None) == (start is not None or end is not None):
        raise Refused("pack_subject", "pack: expected a run, or a window from a time to a time, and not both")


def as_published(ledger: OpenLedger) -> OpenLedger:
    """The ledger as of its newest published checkpoint; ``NotNow`` where there is none."""
    latest = ledger.reader.latest_checkpoint()
    if latest is None:
        raise NotNow("no checkpoint is published yet; `affidavit seal` signs one")
    return replace(ledger, size=latest[0], root=ledger.root_at(latest[0]))


def count_tail(ledger: OpenLedger, run: str | None, start: str | None, end: str | None, size: int) -> int:
    """How many entries behind the first ``size`` belong in a pack of the run, or of the window as people write it.

    Of a window they are its turns, verdicts and grades; of any pack what speaks of keys, erasures, anchors and reviews.
    """
    reader = ledger.reader
    if run is not None and not reader.next_pos(f"run/{run}"):
        return 0
    streams = [*_streams_beside(run), *([] if run is None else [f"run/{run}"])]
    count = sum(reader.events_before(each, ledger.size) - reader.events_before(each, size) for each in streams)
    if run is None:
        request = window_request(_window(start, end))
        newer = ledger.events.events(size, ledger.size, EVALUATION_TYPES)
        count += sum(_lies_within(recorded.event, request) for recorded in newer)
    return count


def select_asked(
    ledger: OpenLedger, run: str | None, start: str | None, end: str | None, *, calls: bool, content: bool
) -> Selection:
    """A run, or the window between two times as people write them; ``Refused`` where they do not read."""
    require_subject(run, start, end)
    if run is not None:
        return select_run(ledger, run, calls=calls, content=content)
    about = _window(start, end)
    return select_window(ledger, about["from"], about["to"], content=content)


def _window(start: str | None, end: str | None) -> dict[str, str]:
    first, last = parse_window(start, end)
    if first > last:
        raise Refused("window_valid", f"the window from {start}: it is after its end")
    if last > _LAST_SECOND:
        raise Refused("window_valid", f"the window to {last}: it is after the year 9999")
    return {"from": format_at(first * 1_000_000), "to": format_at(last * 1_000_000)}


def select_run(ledger: OpenLedger, run: str, *, calls: bool, content: bool) -> Selection:
    """A run, whole: every entry of its stream. The bodies of its model calls are disclosed only with ``calls``."""
    record = ledger.run(run, ledger.size)
    rows = list(ledger.reader.stream(f"run/{run}", ledger.size))
    shown = (row.seq for row in rows if content and (calls or row.type_name not in _BODIES))
    return Selection(
        {"run": run},
        record.started_seq,
        record.last_seq + 1,
        frozenset(row.seq for row in rows),
        frozenset(shown),
    )


def select_window(ledger: OpenLedger, start: str, end: str, *, content: bool) -> Selection:
    """An evaluation window: every entry about evaluation, because the figures follow from all of them.

    Texts are disclosed of the verdicts and grades of the window, and of the turns that they are about. ``Refused``
    (``window_recorded``) where there is nothing to show of the window, (``pack_size``) before too much is read.
    """
    about = {"from": start, "to": end}
    events = ledger.events
    seqs = ledger.reader.seqs_of_types(sorted(EVALUATION_TYPES), ledger.size, MOST_ENTRIES + 1)
    if not seqs:
        raise Refused("window_recorded", "the ledger holds nothing about evaluation")
    if len(seqs) > MOST_ENTRIES:
        raise _too_large(f"more than {MOST_ENTRIES}")
    request = window_request(about)
    if not any(_lies_within(recorded.event, request) for recorded in events.events(0, ledger.size, EVALUATION_TYPES)):
        raise Refused("window_recorded", f"the window from {start} to {end}: it holds no turn, verdict or grade")
    shown: set[int] = set()
    for recorded in window_events(events, request, ledger.size) if content else ():
        shown.add(recorded.seq)
        turn = (
            events.event(recorded.event.turn)
            if isinstance(recorded.event, ShadowJudged) and recorded.event.turn
            else None
        )
        if turn is not None and isinstance(turn.event, InteractionPublished):
            asked = asked_before(events, turn)
            shown |= {turn.seq, *([] if asked is None else [asked.seq])}
    return Selection(about, seqs[0], seqs[-1] + 1, frozenset(seqs), frozenset(shown))


def collect_evidence(ledger: OpenLedger, selection: Selection, recorder: str, at: str, policy: str | None) -> Evidence:
    """The evidence for a selection, under the newest checkpoint that is published.

    ``NotNow`` where none covers it; ``Refused`` (``pack_size``) where it is too much for one file.
    """
    reader = ledger.reader
    latest = reader.latest_checkpoint()
    rows = {row.seq: row for row in _accompanying(reader, selection, ledger.size)}
    last = max(rows)
    if latest is None or latest[0] <= last:
        raise NotNow(f"no published checkpoint covers entry {last} yet; `affidavit seal` signs one")
    size, note = latest
    if len(rows) > MOST_ENTRIES:
        raise _too_large(str(len(rows)))
    nodes = tile_nodes(size, reader.hashes)
    disclosures = _disclosures(ledger, [rows[seq] for seq in sorted(rows)], selection)
    seqs = sorted(rows)
    return Evidence(
        about=selection.about,
        recorder=recorder,
        at=at,
        vkey=print_vkey(read_identity(reader, size).keys_at(size)[-1]),
        checkpoint=note.decode(),
        range=_range(reader, selection, size, nodes),
        entries=tuple(EvidenceEntry(seq, rows[seq].raw.decode(), disclosures.get(seq, {})) for seq in seqs),
        proof=tuple(prove_leaves(seqs, size, nodes)),
        anchors=tuple(_earlier(ledger.place, reader, selection, _reviewed(rows.values(), selection), size, nodes)),
        policy=policy,
    )


def _too_large(found: str) -> Refused:
    return Refused("pack_size", f"{found} entries, at most {MOST_ENTRIES} fit one pack; export the log instead")


def _lies_within(event: Event | OpaqueEvent, request: OverviewRequest) -> bool:
    """Whether a turn, a verdict or a grade is of the window, by the time that the figures go by."""
    if isinstance(event, ShadowJudged):
        at = event.judged_at // 1_000_000
    elif isinstance(event, SessionGraded):
        at = event.started_at
    elif isinstance(event, InteractionPublished):
        at = event.created_at
    else:
        return False
    return request.from_ts <= at <= request.to_ts


def _accompanying(reader: LedgerReader, selection: Selection, size: int) -> Iterable[StoredEntry]:
    """The rows of a selection, and of all that speaks of them: keys, erasures, anchors, reviews."""
    for row in reader.entries(selection.first, selection.stop):
        if row.seq in selection.seqs:
            yield row
    for seq in sorted(seq for seq in selection.seqs if not selection.first <= seq < selection.stop):
        yield from reader.entries(seq, seq + 1)
    for stream in _streams_beside(selection.about.get("run")):
        yield from reader.stream(stream, size)


def _streams_beside(run: str | None) -> list[str]:
    """The streams that speak of whatever a pack is about, and of the run that it is of."""
    about_run = [] if run is None else [f"{REVIEW_STREAM}/{run}"]
    return [LEDGER_STREAM, ERASURE_STREAM, ANCHOR_STREAM, "witnesses", REVIEW_STREAM, *about_run]


def _disclosures(ledger: OpenLedger, rows: Sequence[StoredEntry], selection: Selection) -> dict[int, dict[str, str]]:
    """Field to disclosure, of the chosen entries and of reviews of them; none of what is erased or has no key here."""
    found: dict[int, dict[str, str]] = {}
    if ledger.scopes is None:
        return found
    origin = ledger.reader.origin().encode()
    for row in rows:
        entry = parse_entry(row.raw)
        if row.seq not in selection.disclosed and not _is_review(entry, selection):
            continue
        cipher = ledger.scopes.cipher(scope_of(entry["meta"], entry["stream"])) if entry["sealed"] else None
        if cipher is None:
            continue
        boxes = ledger.reader.boxes_of([row.seq]).get(row.seq, {})
        found[row.seq] = {
            name: encode_base64url(open_disclosure(cipher, boxes[name], name, digest, origin))
            for name, digest in sorted(entry["sealed"].items())
            if name in boxes
        }
    return found


def _is_review(entry: Entry, selection: Selection) -> bool:
    """Whether an entry is a review of what is selected."""
    return entry["type"] == ReviewSigned.type_name and reviews_range(
        entry["data"], selection.about, selection.first, selection.stop
    )


def _range(reader: LedgerReader, selection: Selection, size: int, nodes: ReadNode) -> EvidenceRange:
    def prove(end: int) -> tuple[bytes, ...]:
        return tuple(prove_consistency(end, size, nodes)) if 0 < end < size else ()

    first, stop = selection.first, selection.stop
    return EvidenceRange(
        first,
        stop,
        reader.frontier_at(first).root(),
        reader.frontier_at(stop).root(),
        prove(first),
        prove(stop),
    )


def _reviewed(rows: Iterable[StoredEntry], selection: Selection) -> list[int]:
    """The sizes of the checkpoints that reviewers of the selection had before them."""
    entries = (parse_entry(row.raw) for row in rows if row.type_name == ReviewSigned.type_name)
    return [entry["data"]["size"] for entry in entries if _is_review(entry, selection)]


def _earlier(
    place: Place, reader: LedgerReader, selection: Selection, reviewed: Iterable[int], size: int, nodes: ReadNode
) -> Iterable[EarlierCheckpoint]:
    """Earlier checkpoints that say something of the selection, oldest first.

    They are those that bound the range in time, with their tokens; for each later key the first in which the key before
    vouches for it; and those of the sizes ``reviewed``, as far as they were published.
    """
    notes = dict(reader.checkpoints())
    found: dict[int, bytes | None] = dict.fromkeys(each for each in reviewed if each in notes and each < size)
    for signer in read_identity(reader, size).ranges[1:]:
        found |= dict.fromkeys([each for each in sorted(notes) if signer.named_by < each < size][:1])
    for anchor in _bounding(read_anchors(reader, size), selection):
        token, note = place.token(anchor.size), notes.get(anchor.size)
        if note is not None and token is not None and claimed_checkpoint(note).root == anchor.root:
            found[anchor.size] = token
    for each in sorted(found):
        proof = prove_consistency(each, size, nodes) if each < size else ()
        yield EarlierCheckpoint(notes[each].decode(), found[each], tuple(proof))


def _bounding(anchors: Sequence[Anchor], selection: Selection) -> Iterable[Anchor]:
    """The anchors within a range, the last before it and the first behind it."""
    before = [anchor for anchor in anchors if anchor.size <= selection.first]
    behind = [anchor for anchor in anchors if anchor.size > selection.stop]
    within = [anchor for anchor in anchors if selection.first < anchor.size <= selection.stop]
    return [*before[-1:], *within, *behind[:1]]
