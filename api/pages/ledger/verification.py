"""Verification: what the server found when it verified its ledger, against what, and how to do without it."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from ....ledger.audit.anchors import print_bounds
from ....ledger.audit.fork import print_fork
from ....ledger.audit.verdict import MEANINGS
from ....ledger.errors import Malformed
from ....ledger.store.folding import read_identity
from ....ledger.tlog.note import print_vkey
from ...http.errors import Problem
from ...verifying import Brought, Verification
from ..frame import VisitDep
from .entries import attached

router = APIRouter(include_in_schema=False)

PATH = "/ledger/verification"
SHOWN = 100
"""How many lines of damage, and of time, a page shows."""

CHECKED = {
    "grammar": "every entry's bytes are one entry of the format, and say of themselves what is stored beside them",
    "chain": "every entry names the leaf hash of the one before; times and positions are in order",
    "tree": "the Merkle tree was built again from the hash of every entry",
    "tiles": "every stored tile of hashes is what the entries give",
    "storage": "the database has a ledger's schema, and SQLite finds every index to be its table's",
    "signatures": "every published checkpoint is signed by the keys of its size, over the root that the entries give",
    "key_pinned": "the log's key is the one that was brought",
    "pinned": "the log begins with the checkpoint that was brought",
    "receipts": "the entries that receipts promised stand in the log",
    "signing_state": "the log begins with what the keys of this machine remember having signed",
    "witnesses": "the newest checkpoint has the quorum of the policy that was brought",
    "freshness": "the quorum is as new as was asked",
    "sealed": "every sealed field opens to what its entry binds, or was erased as the log says; summaries fit detail",
    "projections": "sealed read models and run directories were made again from the entries, and are the same",
    "read_models": "the stored tables that these pages are computed from are what the entries give",
    "time": "timestamp tokens verify under their authorities' roots, and no entry's time contradicts them",
}
NOT_CHECKED = {
    "key_pinned": "is this the log of the key that you know?",
    "fork": "is everybody shown the same log?",
    "rollback": "was the log cut since it was signed?",
    "time": "were the entries written when they say?",
    "unanchored": "entries without a timestamp on one side",
    "unsigned_tail": "entries that no signature covers yet",
    "sealed": "sealed content",
    "projections": "read models and run directories",
    "run_directories": "rebuilt folders of runs",
}


@router.get(PATH)
def show_verification(visit: VisitDep) -> Response:
    verifier = visit.service.verifier
    running, last = verifier.look()
    verdict = None if last is None else last.verdict
    with visit.moment() as moment:
        identity = read_identity(moment.events.reader)
        return visit.render(
            "ledger/verification.html",
            moment,
            title="Verification",
            running=running,
            last=last,
            verdict=verdict,
            alone=verifier.look_alone(),
            against=[] if last is None else _against(last),
            bounds=[] if verdict is None else print_bounds(verdict.bounds, verdict.size)[::-1],
            shown=SHOWN,
            since=0 if verdict is None else moment.size - verdict.size,
            meanings=MEANINGS,
            checked=CHECKED,
            questions=NOT_CHECKED,
            vkey=print_vkey(identity.key),
            problem=None,
            given=Brought(),
        )


@router.post(PATH)
async def start_verification(visit: VisitDep) -> Response:
    """Begin, or look on at one that is under way."""
    form = await visit.form()
    brought = Brought(*(form.get(name, "").strip() for name in ("vkey", "pinned", "policy")))
    verifier = visit.service.verifier
    try:
        await run_in_threadpool(verifier.start, brought)
    except Malformed as error:
        raise Problem(422, "brought_readable", str(error)) from error
    return visit.see(PATH)


@router.get(PATH + "/fork")
def download_fork(visit: VisitDep) -> Response:
    """Two signed checkpoints that show a fork to anybody."""
    _, last = visit.service.verifier.look()
    if last is None or last.verdict is None or last.verdict.fork is None:
        raise Problem(
            404, "fork_known", "the last verification found no two signed checkpoints that contradict each other"
        )
    return attached(print_fork(last.verdict.fork), "fork.json", "application/json")


def _against(last: Verification) -> list[tuple[str, str]]:
    """Against what it was verified: (what, how far that is trusted)."""
    told = []
    if last.brought.vkey:
        told.append(("a vkey that was brought", last.brought.vkey))
    if last.brought.pinned:
        told.append(("a signed checkpoint that was brought", last.brought.pinned))
    if last.brought.policy:
        told.append(("a witness policy that was brought", last.brought.policy))
    return told
