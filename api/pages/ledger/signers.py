"""Which entries say who signs this log, for whoever checks a page: the checker proves them, and trusts none of this."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from ....ledger.folds.identity import LEDGER_STREAM
from ..frame import VisitDep

router = APIRouter(include_in_schema=False)


@router.get("/ledger/signers.txt")
def list_signers(visit: VisitDep) -> Response:
    """The seqs of the entries of stream ``ledger``, one a line: docs/format.md, "Who signs"."""
    with visit.service.ledger.recorder.reading() as reader:
        lines = [f"{row.seq}\n" for row in reader.stream(LEDGER_STREAM)]
    return Response("".join(lines), media_type="text/plain; charset=utf-8")
