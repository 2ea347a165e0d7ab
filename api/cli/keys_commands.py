"""``affidavit keys rotate``: another key that signs."""

from __future__ import annotations

from ..record import open_ledger
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
