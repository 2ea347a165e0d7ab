"""One entry: the bytes that are stored, what they say, how they are chained, and the way from them to a signed root."""

from __future__ import annotations

import json
from dataclasses import dataclass
from inspect import getdoc
from typing import Any

from fastapi import APIRouter
from markupsafe import Markup
from pydantic_core import to_jsonable_python
from starlette.responses import Response

from ....domain.errors import Refused
from ....domain.event import Event, Withheld
from ....ledger.entries.entry import NO_ENTRY, Entry, StoredEntry, parse_entry
from ....ledger.entries.mapper import scope_of
from ....ledger.errors import LedgerError, VerificationError
from ....ledger.publishing.proving import prove_entry, with_entry
from ....ledger.publishing.published import open_published
from ....ledger.store.folding import read_identity
from ....ledger.store.opening import EventReader
from ....ledger.store.reader import LedgerReader
from ....ledger.tlog.hashing import leaf_hash
from ....ledger.tlog.note import print_vkey
from ....ledger.tlog.proof import verify_inclusion
from ....ledger.tlog.receipt import print_receipt
from ....ledger.tlog.route import Step, trace_path
from ....ledger.tlog.tiles import TILE_WIDTH, tile_nodes, tile_path
from ....ledger.tlog.tree import prove_inclusion
from ...http.errors import Problem
from ...moment import Moment
from ..asked import Whole
from ..charts.merkle import draw_path
from ..frame import VisitDep
from .rows import CATEGORIES, about

router = APIRouter(include_in_schema=False)

_LONGEST = 20_000
"""Characters of one value that a page shows."""

_LINE = 120


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event. ``digest`` stands for a sealed one; ``total`` is its length where it is cut."""

    name: str
    value: str | Withheld
    digest: str | None = None
    total: int | None = None
    is_block: bool = False


@dataclass(frozen=True, slots=True)
class Proof:
    """The way from an entry to the root of a checkpoint, verified."""

    size: int
    root: bytes
    steps: list[Step]
    picture: Markup
    bundle: str


@router.get("/ledger/entries/{seq}")
def show_entry(visit: VisitDep, seq: Whole, under: Whole | None = None) -> Response:
    with visit.moment() as moment:
        reader = moment.events.reader
        row = _row(moment, seq)
        leaf = leaf_hash(row.raw)
        entry, problem = _parsed(row)
        before = next(reader.entries(seq - 1, seq), None) if seq else None
        after = next(reader.entries(seq + 1, seq + 2), None) if seq + 1 < moment.size else None
        proof, why_not = _proof(reader, row, moment.size, under)
        first = reader.next_checkpoint(seq + 1)
        fields, unread, meaning = _fields(moment.events, entry) if entry is not None else ([], None, "")
        meta = entry["meta"] if entry is not None else {}
        return visit.render(
            "ledger/entry.html",
            moment,
            title=f"Entry {seq}",
            seq=seq,
            row=row,
            entry=entry,
            meta=meta,
            actor=moment.names_of([meta["actor"]]).get(meta["actor"]) if "actor" in meta else None,
            scope=scope_of(meta, row.stream) if entry is not None and entry["sealed"] else None,
            problem=problem or unread,
            meaning=meaning,
            category=CATEGORIES.get(row.stream.partition("/")[0]),
            about=about(row.stream),
            stored=row.raw.decode(errors="replace"),
            leaf=leaf.hex(),
            is_leaf_stored=leaf == row.leaf,
            chained=_chained(entry, before),
            followed=_chained(_parsed(after)[0], row) if after is not None else None,
            fields=fields,
            proof=proof,
            why_not=why_not,
            first_signed=first[0] if first is not None and first[0] <= moment.size else None,
            vkey=print_vkey(read_identity(reader).key),
            last=moment.size - 1,
        )


@router.get("/ledger/entries/{seq}/raw")
def download_entry(visit: VisitDep, seq: Whole) -> Response:
    """The stored bytes, and nothing else."""
    with visit.moment() as moment:
        row = _row(moment, seq)
    return attached(row.raw, f"entry-{seq}.json", "application/octet-stream")


@router.get("/ledger/entries/{seq}/receipt")
def download_receipt(visit: VisitDep, seq: Whole) -> Response:
    """The receipt under the newest checkpoint, with the entry in it, as ``affidavit receipt`` writes it."""
    with visit.moment() as moment:
        _row(moment, seq)
        reader = moment.events.reader
        receipt = prove_entry(reader, seq)
        if receipt is not None:
            receipt = with_entry(receipt, reader)
    if receipt is None:
        raise Problem(404, "receipt_made", f"entry {seq}: no published checkpoint covers it yet; try again in a moment")
    return attached(print_receipt(receipt), f"entry-{seq}.tlog-proof", "text/plain; charset=utf-8")


def attached(content: bytes, name: str, media_type: str) -> Response:
    """A file to keep. ``name`` is of letters that a header can hold."""
    return Response(content, headers={"Content-Disposition": f'attachment; filename="{name}"'}, media_type=media_type)


def _row(moment: Moment, seq: int) -> StoredEntry:
    if not 0 <= seq < moment.size:
        raise Refused("entry_known", f"entry {seq}: the log has {moment.size} entries, from 0 on")
    for row in moment.events.reader.entries(seq, seq + 1):
        return row
    raise VerificationError(f"entry {seq}: expected to find it, found none; verify the ledger")


def _parsed(row: StoredEntry | None) -> tuple[Entry | None, str | None]:
    """The entry of a row, or why its bytes are none."""
    if row is None:
        return None, None
    try:
        return parse_entry(row.raw), None
    except LedgerError as error:
        return None, str(error)


def _chained(entry: Entry | None, before: StoredEntry | None) -> bool:
    """Whether an entry names the leaf hash of the one before it."""
    previous = NO_ENTRY if before is None else leaf_hash(before.raw)
    return entry is not None and entry["prev"] == previous.hex()


def _fields(events: EventReader, entry: Entry) -> tuple[list[Field], str | None, str]:
    """What an entry says, field by field, why its sealed fields do not read, and what such an event means."""
    fields = [_field(name, value) for name, value in entry["data"].items()]
    event, problem = None, None
    try:
        recorded = events.event(entry["seq"])
        event = None if recorded is None else recorded.event
    except (LedgerError, Refused) as error:
        problem = str(error)
    for name, digest in entry["sealed"].items():
        value = getattr(event, name, None) if isinstance(event, Event) else Withheld(digest)
        fields.append(_field(name, Withheld(digest) if value is None else value, digest))
    meaning = (getdoc(type(event)) or "").partition("\n\n")[0] if isinstance(event, Event) else ""
    return fields, problem, " ".join(meaning.replace("``", "").split())


def _field(name: str, value: Any, digest: str | None = None) -> Field:
    if isinstance(value, Withheld):
        return Field(name, value, digest)
    plain = to_jsonable_python(value, fallback=str)
    is_text = isinstance(plain, str)
    text = plain if is_text else json.dumps(plain, ensure_ascii=False)
    if not is_text and len(text) > _LINE:
        text = json.dumps(plain, ensure_ascii=False, indent=2)
    is_block = "\n" in text or len(text) > _LINE or (is_text and digest is not None)
    return Field(name, text[:_LONGEST], digest, len(text) if len(text) > _LONGEST else None, is_block)


def _proof(reader: LedgerReader, row: StoredEntry, size: int, under: int | None) -> tuple[Proof | None, str | None]:
    """The proof under the checkpoint of size ``under``, else the newest up to ``size``; or why there is none."""
    newest = reader.newest_checkpoints(size if under is None else min(under, size), 1)
    if under is not None and (not newest or newest[0][0] != under):
        return None, f"no checkpoint of size {under} is published"
    if not newest or newest[0][0] <= row.seq:
        return None, "no signed checkpoint covers it yet: it is in the tail. The next checkpoint will."
    covered, note = newest[0]
    try:
        checkpoint = open_published(reader, covered, note)
        path = prove_inclusion(row.seq, covered, tile_nodes(covered, reader.hashes))
        leaf = leaf_hash(row.raw)
        verify_inclusion(row.seq, covered, leaf, path, checkpoint.root)
    except (LedgerError, ValueError) as error:
        return None, f"it cannot be proven from what is stored: {error}. Verify the ledger."
    steps = trace_path(row.seq, covered, leaf, path)
    width = min(TILE_WIDTH, covered - row.seq // TILE_WIDTH * TILE_WIDTH)
    bundle = "/" + tile_path("entries", row.seq // TILE_WIDTH, width)
    return Proof(covered, checkpoint.root, steps, draw_path(row.seq, covered, leaf, steps), bundle), None
