"""Commands about the keys that sign and seal: rotation, and going on with an older copy."""

from __future__ import annotations

from ...domain.event import Meta
from ...ledger.continuing import continue_ledger
from ...projections.registry import REGISTRY
from ..record import open_ledger
from ..settings import cosigners, keys_root, ledger_folder, recorder_name
from .output import print_json, say


def rotate_key(given: str | None, overlap: int, as_json: bool) -> None:
    with open_ledger(given) as recording:
        rotated = recording.ledger.rotate_key(overlap, recording.meta)
    if as_json:
        print_json(rotated.model_dump())
        return
    say(f"old vkey {rotated.old}")
    say(f"new vkey {rotated.new}")
    say()
    say(f"Both sign checkpoints of {rotated.first} to {rotated.last} entries, the new key alone those of more.")
    say("Give the new vkey to whoever verifies.")


def reopen_ledger(given: str | None, name: str, reason: str, as_json: bool) -> None:
    continued = continue_ledger(
        ledger_folder(given),
        keys_root(),
        REGISTRY,
        name=name,
        reason=reason,
        meta=Meta(recorder=recorder_name()),
        cosigners=cosigners(),
    )
    if as_json:
        print_json(continued.model_dump())
        return
    say(f"origin    {continued.origin}")
    say(f"vkey      {continued.vkey}")
    say(f"continues {continued.continues}, of which {continued.signed_size} entries were signed")
    say()
    say("The entries that this copy lacks are lost to it. Give the new vkey to whoever verifies.")
