"""A ledger and its witnesses: what is published with them, without them, and against them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from affidavit.api.witness.client import WitnessClient
from affidavit.domain.evaluation.events import RulePublished
from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.errors import QuorumNotMet
from affidavit.ledger.tlog.cosignature import CosignedCheckpoint, open_cosigned
from affidavit.ledger.tlog.note import print_vkey
from affidavit.ledger.tlog.policy import Policy, parse_policy
from affidavit.projections.registry import REGISTRY

from .conftest import RunningWitness, Start


def policy(vkey: str, *witnesses: RunningWitness) -> Policy:
    lines = [f"log {vkey}"]
    lines += [f"witness w{n} {print_vkey(each.key.verifier_key)} {each.url}" for n, each in enumerate(witnesses, 1)]
    names = " ".join(f"w{n}" for n in range(1, len(witnesses) + 1))
    return parse_policy("\n".join([*lines, f"group all all {names}", "quorum all", ""]))


@contextmanager
def opened(folder: Path, edge: Edge, cosigners: WitnessClient) -> Iterator[Ledger]:
    with Ledger(
        folder / "ledger", folder / "keys", REGISTRY, edge=edge, sign_in_background=False, cosigners=cosigners
    ) as ledger:
        yield ledger


def record(ledger: Ledger, rule: str) -> None:
    ledger.record(NewEvent(f"rule/{rule}", 0, RulePublished(rule=rule, text="x"), Meta()))


def published(ledger: Ledger, rules: Policy) -> CosignedCheckpoint:
    with ledger.recorder.reading() as reader:
        latest = reader.latest_checkpoint()
    assert latest is not None
    keys = [witness.key for witness in rules.witnesses]
    return open_cosigned(latest[1], [ledger.verifier_key()], keys, ledger.origin)


def met(ledger: Ledger, rules: Policy) -> tuple[int, bool]:
    """The size that was published last, and whether it has the quorum."""
    found = published(ledger, rules)
    return found.checkpoint.size, rules.is_met(each.key for each in found.cosignatures)


def test_fail_open_goes_on_and_fail_closed_waits(ledger: Ledger, tmp_path: Path, edge: Edge, start: Start) -> None:
    vkey = print_vkey(ledger.verifier_key())
    one, two = start("witness.example/1", [vkey]), start("witness.example/2", [vkey])
    rules = policy(vkey, one, two)
    ledger.close()

    with opened(tmp_path, edge, WitnessClient(rules)) as open_one:
        open_one.sign()
        size, both = met(open_one, rules)
        assert both
        two.process.terminate()
        two.process.wait()
        record(open_one, "a")
        assert open_one.sign().size == size + 1
        assert met(open_one, rules) == (size + 1, False)

    with opened(tmp_path, edge, WitnessClient(rules, required=True)) as closed:
        record(closed, "b")
        with pytest.raises(QuorumNotMet, match="without w2"):
            closed.sign()
        assert met(closed, rules) == (size + 1, False), "nothing new was published"
        with pytest.raises(QuorumNotMet):
            closed.receipt(size + 2)

    back = policy(vkey, one, start("witness.example/2", [vkey]))
    with opened(tmp_path, edge, WitnessClient(back, required=True)) as again:
        again.sign()
        assert met(again, back) == (size + 3, True)
        again.receipt(size + 2)


def test_a_rollback_of_database_and_keys_together_gets_no_cosignature(
    ledger: Ledger, tmp_path: Path, edge: Edge, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Who restores both has nothing here that remembers; the witness does."""
    vkey = print_vkey(ledger.verifier_key())
    rules = policy(vkey, start("witness.example/1", [vkey]))
    ledger.close()
    with opened(tmp_path, edge, WitnessClient(rules)) as before:
        before.sign()
    for name in ("ledger", "keys"):
        shutil.copytree(tmp_path / name, tmp_path / "backup" / name)
    with opened(tmp_path, edge, WitnessClient(rules)) as gone:
        record(gone, "a")
        record(gone, "b")
        gone.sign()
        size, is_met = met(gone, rules)
        assert is_met

    with opened(tmp_path / "backup", edge, WitnessClient(rules)) as restored:
        record(restored, "c")
        restored.sign()
        assert met(restored, rules) == (size - 1, False)
        assert f"rollback: it has cosigned size {size}" in caplog.text
        record(restored, "d")
        restored.sign()
        assert met(restored, rules) == (size, False)
        record(restored, "e")
        restored.sign()
        assert met(restored, rules) == (size + 1, False)
        assert "fork: it has cosigned a head that" in caplog.text

    with (
        opened(tmp_path / "backup", edge, WitnessClient(rules, required=True)) as required,
        pytest.raises(QuorumNotMet, match="fork"),
    ):
        required.sign()
