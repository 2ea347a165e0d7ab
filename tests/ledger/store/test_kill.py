"""A process is killed in the middle of making, appending and signing; what was acknowledged is there.

The moments are drawn with a fixed seed, as the number of calls into C (writes, syncs, renames, commits) after
which the process kills itself with SIGKILL, so that a failure can be repeated.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.entries.entry import parse_entry
from affidavit.ledger.events import ProjectionSealed
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.projections.registry import REGISTRY
from affidavit.tests.trees import root_of

VICTIM = """
import os, signal, sys
from pathlib import Path
from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.domain.optimization.events import SourceKept
from affidavit.projections.registry import REGISTRY

action, folder, keys, acknowledged = sys.argv[1], *map(Path, sys.argv[2:])
event = SourceKept(name="n", content="text")

def work():
    if action == "create":
        Ledger.create(folder, keys, REGISTRY, sign_in_background=False).close()
        return
    with Ledger(folder, keys, REGISTRY, sign_in_background=False) as ledger:
        with ledger.recorder.reading() as reader:
            stream = f"test/{reader.head().size}"
        file = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for pos in range(0, 100, 50):
            for place in ledger.record(*(NewEvent(stream, pos + n, event, Meta()) for n in range(50))):
                os.write(file, b"%d %s\\n" % (place.seq, place.leaf_hash.hex().encode()))
            ledger.sign()

def run(cut):
    calls = 0
    def count(frame, what, argument):
        nonlocal calls
        if what == "c_call":
            calls += 1
            if calls == cut:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(count)
    work()
    sys.setprofile(None)
    return calls

for line in sys.stdin:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"%d" % run(int(line)))
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status)
    print("killed" if killed else os.read(reading, 20).decode() or "failed", flush=True)
    os.close(reading)
"""


class Victim:
    """Runs the work in a process of its own, which ends after ``cut`` calls; 0 lets it finish."""

    def __init__(self, action: str, folder: Path) -> None:
        self.acknowledged = folder / "acknowledged"
        paths = (folder / "ledger", folder / "keys", self.acknowledged)
        self.process = subprocess.Popen(
            [sys.executable, "-c", VICTIM, action, *map(str, paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, cut: int) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{cut}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def cuts(self, count: int, calls: int) -> list[int]:
        return sorted(random.Random(7).sample(range(1, calls), count))


@pytest.fixture
def victim(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Victim]:
    victim = Victim(request.param, tmp_path)
    yield victim
    victim.process.communicate(timeout=60)


@pytest.mark.parametrize("victim", ["append"], indirect=True)
def test_a_ledger_survives_a_kill_while_appending_and_signing(victim: Victim, tmp_path: Path) -> None:
    folder, keys = tmp_path / "ledger", tmp_path / "keys"
    Ledger.create(folder, keys, REGISTRY, sign_in_background=False).close()
    calls = int(victim.run(0))
    for cut in victim.cuts(14, calls):
        assert victim.run(cut) == "killed", cut
        acknowledged = dict(line.split() for line in victim.acknowledged.read_text().splitlines())
        with Ledger(folder, keys, REGISTRY, sign_in_background=False) as again:
            with again.recorder.reading() as reader:
                rows, head = list(reader.entries()), reader.head()
                events = list(again.event_reader(reader).events(head.size - 3))
                boxes = sum(1 for _ in reader.boxes())
            leaves = [leaf_hash(row.raw) for row in rows]
            assert {seq: leaves[int(seq)].hex() for seq in acknowledged} == acknowledged
            assert [parse_entry(row.raw)["prev"] for row in rows[1:]] == [leaf.hex() for leaf in leaves[:-1]]
            assert (head.size, head.root()) == (len(rows), root_of(leaves))
            assert (head.size - 1) % 50 == 0  # a batch is there whole or not at all
            assert boxes == head.size - 1  # and its sealed content with it
            assert len(events) == 3
            assert again.sign().size == head.size
    assert len(acknowledged) > 200


@pytest.mark.parametrize("victim", ["create"], indirect=True)
def test_a_ledger_that_was_killed_while_being_made_is_there_whole_or_not_at_all(victim: Victim, tmp_path: Path) -> None:
    folder, keys = tmp_path / "ledger", tmp_path / "keys"
    calls = int(victim.run(0))
    folder.rename(tmp_path / "first")
    for cut in [*victim.cuts(8, calls), calls - 20]:
        assert victim.run(cut) == "killed" or folder.exists(), cut
        if not folder.exists():
            Ledger.create(folder, keys, REGISTRY, sign_in_background=False).close()
        with Ledger(folder, keys, REGISTRY, sign_in_background=False) as ledger:
            event = ProjectionSealed(name="n", version=1, upto=0, digest="0" * 64)
            assert ledger.record(NewEvent("test/1", 0, event, Meta()))[0].seq == 1
            assert ledger.sign().size == 2
        folder.rename(tmp_path / f"made-{cut}")
