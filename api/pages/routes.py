"""Every page, in one list."""

from __future__ import annotations

from fastapi import APIRouter

from . import assets, login
from .evaluation import comparisons, jobs, judges, overview, sessions
from .ledger import (
    anchors,
    changes,
    checkpoints,
    entries,
    erasures,
    imports,
    log,
    signers,
    streams,
    verification,
    witnesses,
)
from .reviews import handing_in, listing, packs, signing
from .runs import calls, iteration, run, run_list

ROUTERS: tuple[APIRouter, ...] = tuple(
    module.router
    for module in (
        assets,
        login,
        run_list,
        run,
        iteration,
        calls,
        overview,
        comparisons,
        sessions,
        jobs,
        judges,
        log,
        entries,
        streams,
        checkpoints,
        witnesses,
        anchors,
        erasures,
        imports,
        verification,
        changes,
        signers,
        listing,
        signing,
        handing_in,
        packs,
    )
)
