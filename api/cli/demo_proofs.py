"""The end of ``affidavit demo``: a receipt, a review and a pack, and two verifiers that agree on them.

The second verifier is ``docs/verify.py`` of the source, which shares no code with this package; an installation without
the source goes without it.
"""

from __future__ import annotations

from pathlib import Path

from ...ledger.store.folding import read_identity
from ...ledger.store.sqlite.reader import open_snapshot
from ...ledger.tlog.note import print_vkey
from .demo_steps import Steps
from .output import say

SECOND_VERIFIER = Path(__file__).resolve().parents[2] / "docs" / "verify.py"
_RUN = "001"
_RECEIPT, _PACK, _FORGED = "entry-5.tlog-proof", "run-001.html", "forged.html"


def run_proofs(run: Steps, folder: Path, ledger: str) -> None:
    """Hand the run in ``ledger`` to a stranger, who checks it; then erase its texts, and check again."""
    on = ("--ledger", ledger)
    say("\nSomebody reviews the run and signs what they think, with a key of their own:")
    run.step("review-key", "ada.key", "--name", "ada.example/review")
    run.step(*on, "review", _RUN, "--verdict", "question", "--note", "Why was 10 enough?", "--key", "ada.key")
    say("\nEvidence for a stranger: a receipt of one entry, and the run in one file that a browser opens:")
    run.step(*on, "receipt", "5", "-o", _RECEIPT)
    run.step(*on, "pack", _RUN, "-o", _PACK)
    with open_snapshot(folder / ledger) as reader:
        vkey = print_vkey(read_identity(reader).key)
    say("\nTwo verifiers that share no code check both, against the key that the stranger was given:")
    for name in (_RECEIPT, _PACK):
        run.step("check", name, "--vkey", vkey)
        _check_apart(run, name, vkey, expected=0)
    say("\nOne digit of a score in the page is changed; both see it:")
    page = (folder / _PACK).read_text(encoding="utf-8")
    (folder / _FORGED).write_text(page.replace('<data value="0.', '<data value="1.', 1), encoding="utf-8")
    run.step("check", _FORGED, "--vkey", vkey, expected=1)
    _check_apart(run, _FORGED, vkey, expected=1)
    say("\nThe texts of the run are erased. No proof breaks: the receipt from before still checks.")
    run.step(*on, "erase", "--run", _RUN, "--reason", "demonstration", "--yes")
    run.step(*on, "verify")
    run.step("check", _RECEIPT, "--vkey", vkey)


def _check_apart(run: Steps, name: str, vkey: str, *, expected: int) -> None:
    if SECOND_VERIFIER.is_file():
        run.script(SECOND_VERIFIER, name, "--vkey", vkey, expected=expected)
    else:
        say("\n(docs/verify.py, the second verifier, comes with the source and is not installed here)")
