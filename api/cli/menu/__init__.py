"""The commands: their names, options and help, one file for each subject. The order here is that of ``--help``."""

from __future__ import annotations

# isort: off
from . import ledger, proofs, check, pack, review, erasure, keys, witness, mirror, anchor
from . import operations, moving, runs, optimize, evaluation, server
from .app import app

__all__ = [
    "anchor",
    "app",
    "check",
    "erasure",
    "evaluation",
    "keys",
    "ledger",
    "mirror",
    "moving",
    "operations",
    "optimize",
    "pack",
    "proofs",
    "review",
    "runs",
    "server",
    "witness",
]
