"""Who vouches for the log: its own keys, and the witnesses that it asks."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter
from starlette.responses import Response

from ....ledger.audit.quorum import counted
from ....ledger.audit.witnesses import read_declarations
from ....ledger.store.folding import read_identity
from ....ledger.tlog.note import ML_DSA_44_COSIGNATURE, print_vkey
from ....ledger.tlog.policy import NO_QUORUM, Policy, print_policy
from ...moment import Moment
from ..frame import Figure, VisitDep
from .checkpoints import CheckpointRow, read_rows

router = APIRouter(include_in_schema=False)

LOOKED_AT = 25
"""How many checkpoints, the newest, are looked at for cosignatures."""


@dataclass(frozen=True, slots=True)
class WitnessRow:
    """A witness of the policy: the newest checkpoint that it cosigned, when, and how many of those looked at."""

    name: str
    key_name: str
    vkey: str
    algorithm: str
    size: int | None
    time: int | None
    cosigned: int


@router.get("/ledger/witnesses")
def show_witnesses(visit: VisitDep) -> Response:
    with visit.moment() as moment:
        reader = moment.events.reader
        declarations = [each for each in read_declarations(reader)[0] if each.seq < moment.size]
        declared = declarations[-1] if declarations else None
        rows = read_rows(reader, reader.newest_checkpoints(moment.size, LOOKED_AT))
        rows = [row for row in rows if row.opened is not None]
        policy = declared.policy if declared is not None else None
        return visit.render(
            "ledger/witnesses.html",
            moment,
            title="Witnesses",
            figures=_figures,
            declarations=list(reversed(declarations)),
            declared=declared,
            policy=policy,
            policy_text=None if policy is None else print_policy(policy),
            has_quorum=policy is not None and policy.quorum != NO_QUORUM,
            group=next((group for group in policy.groups if group.name == policy.quorum), None) if policy else None,
            rows=[] if policy is None else _witness_rows(policy, rows),
            looked_at=len(rows),
            newest=rows[0].size if rows else None,
            lacking=None if policy is None or not rows else _lacking(policy, rows[0], visit.now),
            met=None
            if policy is None
            else next((row.size for row in rows if not _lacking(policy, row, visit.now)), None),
        )


@router.get("/ledger/keys")
def show_keys(visit: VisitDep) -> Response:
    with visit.moment() as moment:
        reader = moment.events.reader
        identity = read_identity(reader, moment.size)
        return visit.render(
            "ledger/keys.html",
            moment,
            title="Keys",
            identity=identity,
            ranges=[(each, print_vkey(each.key)) for each in reversed(identity.ranges)],
            vkey=print_vkey(identity.key),
        )


def _witness_rows(policy: Policy, rows: list[CheckpointRow]) -> list[WitnessRow]:
    found = []
    for witness in policy.witnesses:
        cosigned = [
            (row.size, each.time)
            for row in rows
            if row.opened is not None
            for each in row.opened.cosignatures
            if each.key == witness.key
        ]
        size, time = cosigned[0] if cosigned else (None, None)
        algorithm = "ML-DSA-44" if witness.key.algorithm == ML_DSA_44_COSIGNATURE else "Ed25519"
        vkey = print_vkey(witness.key)
        found.append(WitnessRow(witness.name, witness.key.name, vkey, algorithm, size, time, len(cosigned)))
    return found


def _lacking(policy: Policy, row: CheckpointRow, now: int) -> str:
    """How far a checkpoint is from the quorum, in words; empty where it has it."""
    if row.opened is None:
        return "its signatures do not verify"
    return policy.lacking(each.key for each in counted(row.opened, now).cosignatures)


def _figures(moment: Moment) -> list[Figure]:
    reader = moment.events.reader
    declared = [each for each in read_declarations(reader)[0] if each.seq < moment.size]
    rows = read_rows(reader, reader.newest_checkpoints(moment.size, 1))
    cosigned = len(rows[0].opened.cosignatures) if rows and rows[0].opened is not None else 0
    mode = "none declared" if not declared else "fail-closed" if declared[-1].required else "fail-open"
    return [Figure("mode", mode), Figure("cosignatures under the newest checkpoint", str(cosigned))]
