"""Checkpoints: what the log has signed, who cosigned it, and that each extends the one before."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from ....ledger.audit.witnesses import read_declarations
from ....ledger.errors import LedgerError
from ....ledger.folds.anchors import ANCHOR_STREAM, Anchor
from ....ledger.folds.identity import Identity
from ....ledger.publishing.proving import prove_extension
from ....ledger.store.folding import read_anchors, read_identity
from ....ledger.store.reader import LedgerReader
from ....ledger.tlog.cosignature import CosignedCheckpoint, open_cosigned
from ....ledger.tlog.note import VerifierKey, parse_note
from ...anchoring import recorded_at
from ...http.errors import Problem
from ...moment import Moment
from ..asked import Whole
from ..formats import num
from ..frame import Figure, VisitDep
from .entries import attached

router = APIRouter(include_in_schema=False)

PAGE = 25


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A published checkpoint. ``opened`` is what its signatures say, ``problem`` why they do not verify.

    ``unknown`` counts the lines of the note under keys that the log does not name.
    """

    size: int
    note: bytes
    last_at: str | None
    opened: CosignedCheckpoint | None
    problem: str | None
    unknown: int
    anchor: Anchor | None = None

    @property
    def key_ids(self) -> str:
        """The log's keys that signed it."""
        return "" if self.opened is None else ", ".join(key.key_id.hex() for key in self.opened.log_keys)


@dataclass(frozen=True, slots=True)
class Consistency:
    """That a smaller tree is the beginning of a larger one: the hashes that show it, or why they do not."""

    older: int
    newer: int
    hashes: list[str]
    problem: str | None


@router.get("/ledger/checkpoints")
def list_checkpoints(visit: VisitDep, below: Whole | None = None) -> Response:
    """Published checkpoints of sizes below ``below``, the largest first, ``PAGE`` at a time; any number is taken."""
    with visit.moment() as moment:
        reader = moment.events.reader
        most = moment.size if below is None else min(below - 1, moment.size)
        found = reader.newest_checkpoints(most, PAGE + 1)
        rows = read_rows(reader, found[:PAGE])
        newest = reader.newest_checkpoints(moment.size, 1)
        return visit.render(
            "ledger/checkpoints.html",
            moment,
            title="Checkpoints",
            figures=_figures,
            rows=rows,
            size=moment.size,
            signed=newest[0][0] if newest else None,
            newest=visit.here(below=None) if below is not None else None,
            older=visit.here(below=rows[-1].size) if len(found) > PAGE else None,
        )


@router.get("/ledger/checkpoints/{size}")
def show_checkpoint(visit: VisitDep, size: Whole) -> Response:
    with visit.moment() as moment:
        reader = moment.events.reader
        note = _note(moment, size)
        (row,) = read_rows(reader, [(size, note)])
        before = reader.newest_checkpoints(size - 1, 1)
        after = reader.next_checkpoint(size + 1)
        newest = reader.newest_checkpoints(moment.size, 1)[0]
        others = {
            "before": _consistency(reader, before[0][0], size) if before else None,
            "newest": _consistency(reader, size, newest[0]) if newest[0] > size else None,
        }
        root = None if row.opened is None else row.opened.checkpoint.root
        return visit.render(
            "ledger/checkpoint.html",
            moment,
            title=f"Checkpoint of size {num(size)}",
            row=row,
            size=size,
            printed=note.decode(errors="replace"),
            root=root,
            is_root=root is not None and reader.frontier_at(size).root() == root,
            before=before[0][0] if before else None,
            after=after[0] if after is not None and after[0] <= moment.size else None,
            newest=newest[0],
            consistency=others,
        )


@router.get("/ledger/checkpoints/{size}/note")
def download_checkpoint(visit: VisitDep, size: Whole) -> Response:
    """The signed note, to keep out of the operator's reach."""
    with visit.moment() as moment:
        note = _note(moment, size)
    return attached(note, f"checkpoint-{size}.txt", "text/plain; charset=utf-8")


def read_rows(reader: LedgerReader, checkpoints: list[tuple[int, bytes]]) -> list[CheckpointRow]:
    """Checkpoints with their signatures checked under the keys that the log names, largest first."""
    if not checkpoints:
        return []
    identity = read_identity(reader)
    witnesses = [each.key for declared in read_declarations(reader)[0] for each in declared.policy.witnesses]
    anchors = _anchors(reader, checkpoints[-1][0], checkpoints[0][0])
    return [
        _row(reader, size, note, identity, list(dict.fromkeys(witnesses)), anchors.get(size))
        for size, note in checkpoints
    ]


def _row(
    reader: LedgerReader,
    size: int,
    note: bytes,
    identity: Identity,
    witnesses: list[VerifierKey],
    anchor: Anchor | None,
) -> CheckpointRow:
    opened: CosignedCheckpoint | None = None
    problem, unknown = None, 0
    try:
        opened = open_cosigned(note, identity.keys_at(size), witnesses, identity.origin_at(size))
        known = len(opened.log_keys) + len(opened.cosignatures) + len(opened.unsupported)
        unknown = len(parse_note(note).signatures) - known
        if opened.checkpoint.size != size:
            problem = f"it says size {opened.checkpoint.size}"
            opened = None
    except LedgerError as error:
        problem = str(error)
    last_at = recorded_at(reader, size - 1) if size else None
    return CheckpointRow(size, note, last_at, opened, problem, unknown, anchor)


def _anchors(reader: LedgerReader, least: int, most: int) -> dict[int, Anchor]:
    """The anchors of checkpoints of sizes ``least`` to ``most``. Their sizes never fall along their stream."""
    positions = range(reader.next_pos(ANCHOR_STREAM))

    def size_at(pos: int) -> int:
        return next((anchor.size for anchor in read_anchors(reader, reader.seq_of(ANCHOR_STREAM, pos) + 1, pos)), 0)

    found: dict[int, Anchor] = {}
    start = bisect_left(positions, least, key=size_at)
    for pos in range(start, min(start + 2 * PAGE, len(positions))):
        for anchor in read_anchors(reader, reader.seq_of(ANCHOR_STREAM, pos) + 1, pos):
            if anchor.size > most:
                return found
            found.setdefault(anchor.size, anchor)
    return found


def _note(moment: Moment, size: int) -> bytes:
    found = moment.events.reader.newest_checkpoints(size, 1) if 0 <= size <= moment.size else []
    if not found or found[0][0] != size:
        raise Problem(404, "checkpoint_known", f"no checkpoint of size {size} is published")
    return found[0][1]


def _consistency(reader: LedgerReader, older: int, newer: int) -> Consistency:
    try:
        path = prove_extension(reader, older, newer)
    except (LedgerError, ValueError) as error:
        return Consistency(older, newer, [], str(error))
    return Consistency(older, newer, [each.hex() for each in path], None)


def _figures(moment: Moment) -> list[Figure]:
    newest = moment.events.reader.newest_checkpoints(moment.size, 1)
    return [Figure("size of the newest checkpoint", num(newest[0][0]) if newest else "none")]
