"""Opening the ledger that the command line and the environment name, to append to it."""

from __future__ import annotations

from ...ledger.application import Ledger
from ...projections.registry import REGISTRY
from ..settings import cosigners, keys_root, ledger_place


def open_for_writing(given: str | None, *, background: bool = False) -> Ledger:
    """The ledger, with the witnesses that are configured. It signs when it is closed, in the ``background`` before."""
    return Ledger(ledger_place(given), keys_root(), REGISTRY, sign_in_background=background, cosigners=cosigners())
