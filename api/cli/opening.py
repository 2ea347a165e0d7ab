"""Opening the ledger that the command line and the environment name, to append to it."""

from __future__ import annotations

from ...ledger.application import Edge, Ledger
from ...ledger.watching import Watch, unwatched
from ...projections.registry import REGISTRY
from ..settings import cosigners, keys_root, ledger_place


def open_for_writing(given: str | None, *, background: bool = False, watch: Watch = unwatched) -> Ledger:
    """The ledger, with the witnesses that are configured. It signs when it is closed, in the ``background`` before."""
    return Ledger(
        ledger_place(given),
        keys_root(),
        REGISTRY,
        edge=Edge(watch=watch),
        sign_in_background=background,
        cosigners=cosigners(),
    )
