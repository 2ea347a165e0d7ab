"""Every file operation of append, checkpoint and rotation fails once, or is the last one before a kill.

Debian's ``strace`` makes the nth call of one kind fail with EIO or ENOSPC, or answers it with SIGKILL, for every n that
there is. One log lives through all of it: what was acknowledged stays, it verifies, and no two views of it are signed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.entries.entry import parse_entry
from affidavit.ledger.events import ProjectionSealed
from affidavit.ledger.store.folding import read_identity
from affidavit.ledger.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.tree import Frontier
from affidavit.projections.registry import REGISTRY

FAILS_AT = 150
"""The call that strace lets fail; before its work a victim makes calls to nowhere until the one meant is this one."""

TAKES_SPACE = ("write", "pwrite64", "ftruncate")
CALLS = (*TAKES_SPACE, "fsync", "fdatasync", "rename", "unlink")
FAULTS = {"EIO": "error=EIO", "ENOSPC": "error=ENOSPC", "SIGKILL": "signal=KILL"}

# It tells what it did by writev, which does not fail here. A second attempt in the same process finds what the
# first one left.
VICTIM = """
import os, sys
from pathlib import Path
from affidavit.domain.errors import AffidavitError
from affidavit.domain.event import Meta, NewEvent
from affidavit.domain.optimization.events import SourceKept
from affidavit.ledger.application import Ledger
from affidavit.projections.registry import REGISTRY

fails_at, folder, keys, acknowledged = int(sys.argv[1]), *map(Path, sys.argv[2:5])
(folder.parent / "nowhere").touch()
nowhere = os.open(folder.parent / "nowhere", os.O_RDWR)
told = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
event = SourceKept(name="n", content="text")

def use_up(call, count):
    away = folder.parent / "away"
    for _ in range(count):
        match call:
            case "write": os.write(nowhere, b"x")
            case "pwrite64": os.pwrite(nowhere, b"x", 0)
            case "fsync": os.fsync(nowhere)
            case "fdatasync": os.fdatasync(nowhere)
            case "ftruncate": os.ftruncate(nowhere, 0)
            case "rename" | "unlink":
                try:
                    os.rename(away, away) if call == "rename" else os.unlink(away)
                except FileNotFoundError:
                    pass

def record(ledger, count):
    with ledger.recorder.reading() as reader:
        stream = f"test/{reader.head().size}"
    for place in ledger.record(*(NewEvent(stream, n, event, Meta()) for n in range(count))):
        os.writev(told, [b"%d %s\\n" % (place.seq, place.leaf_hash.hex().encode())])

def work():
    with Ledger(folder, keys, REGISTRY, sign_in_background=False) as ledger:
        for step in (lambda: record(ledger, 2), ledger.sign, lambda: ledger.rotate_key(2), lambda: record(ledger, 3)):
            try:
                step()
            except AffidavitError:
                step()

def attempt():
    try:
        work()
    except AffidavitError:
        work()

for line in sys.stdin:
    call, nth = line.split()
    child = os.fork()
    if child == 0:
        use_up(call, fails_at - int(nth))
        try:
            attempt()
        except BaseException:
            import traceback
            os.writev(2, [traceback.format_exc().encode()])
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    os.writev(1, [b"%d\\n" % os.waitstatus_to_exitcode(status)])
"""


class Victim:
    """A process that does its work again and again under strace, each time with another call that fails."""

    def __init__(self, fault: str, folder: Path) -> None:
        self.calls = TAKES_SPACE if fault == "ENOSPC" else CALLS
        self.acknowledged = folder / "acknowledged"
        self.acknowledged.touch()
        log = folder / "strace"
        log.touch()
        self.log = log.open(errors="replace")
        strace = ["strace", "-f", "-qqq", f"--output={log}", f"--trace={','.join(self.calls)}"]
        if fault != "SIGKILL":
            strace.append("--seccomp-bpf")  # nothing else stops it; a signal would not arrive
        strace += [f"--inject={call}:{FAULTS[fault]}:when={FAILS_AT}" for call in self.calls]
        paths = (folder / "ledger", folder / "keys", self.acknowledged)
        self.process = subprocess.Popen(
            [*strace, sys.executable, "-B", "-c", VICTIM, str(FAILS_AT), *map(str, paths)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, call: str, nth: int) -> tuple[bool, int]:
        """Whether there was a call to fail, and the exit code: the negative number of the signal, if there was one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{call} {nth}\n")
        self.process.stdin.flush()
        left = int(self.process.stdout.readline())
        return left == -signal.SIGKILL or "(INJECTED)" in self.log.read(), left

    def close(self) -> None:
        self.process.communicate(timeout=60)
        self.log.close()


def may_trace() -> bool:
    try:
        probe = subprocess.run(["strace", "-qqq", "-e", "trace=none", "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return probe.returncode == 0


@pytest.fixture
def victim(request: pytest.FixtureRequest, tmp_path: Path, made_once: Path) -> Iterator[Victim]:
    if not may_trace():
        pytest.skip("strace is not here, or may not trace")
    for name in ("ledger", "keys"):
        shutil.copytree(made_once / name, tmp_path / name)
    victim = Victim(request.param, tmp_path)
    yield victim
    victim.close()


@pytest.mark.parametrize("victim", FAULTS, indirect=True)
@pytest.mark.long
def test_no_fault_of_a_file_operation_loses_or_signs_what_it_should_not(victim: Victim, tmp_path: Path) -> None:
    signed: dict[int, bytes] = {}
    for call in victim.calls:
        for nth in range(1, FAILS_AT):
            place = f"{call} {nth}"
            failed, left = victim.run(call, nth)
            assert left in (0, -signal.SIGKILL), place
            require_sound(tmp_path, victim.acknowledged, signed, place)
            if not failed:
                break
        assert nth > 1, f"{call} is never called"
    assert len(signed) > 100


def require_sound(folder: Path, acknowledged: Path, signed: dict[int, bytes], place: str) -> None:
    """The log goes on and verifies, has all that was acknowledged, and is one with every view that was ever signed."""
    told = dict(line.split() for line in acknowledged.read_text().splitlines())
    (state_file,) = (folder / "keys").glob("*/signed")
    left = parse_checkpoint(state_file.read_text())  # signed, and perhaps never published
    with Ledger(folder / "ledger", folder / "keys", REGISTRY, sign_in_background=False) as ledger:
        event = ProjectionSealed(name="n", version=1, upto=0, digest="0" * 64)
        ledger.record(NewEvent(f"sound/{place.replace(' ', '-')}", 0, event, Meta()))
        ledger.sign()
        state = ledger.keys.signed()
        with ledger.recorder.reading() as reader:
            rows, head, boxes = list(reader.entries()), reader.head(), sum(1 for _ in reader.boxes())
            identity, notes = read_identity(reader), reader.checkpoints()
    leaves = [leaf_hash(row.raw) for row in rows]
    entries = [parse_entry(row.raw) for row in rows]
    roots = [Frontier().root()]
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
        roots.append(frontier.root())
    assert {seq: leaves[int(seq)].hex() for seq in told} == told, place
    assert [entry["prev"] for entry in entries[1:]] == [leaf.hex() for leaf in leaves[:-1]], place
    assert (head.size, head.root()) == (len(leaves), roots[-1]), place
    assert boxes == sum(bool(entry["sealed"]) for entry in entries), place
    assert roots[left.size] == left.root, place
    assert state == Checkpoint(ledger.origin, len(leaves), roots[-1]), place
    for size, note in notes:
        if size not in signed:
            for key in identity.keys_at(size):  # all that must have signed it
                opened = open_checkpoint(note, [key], ledger.origin)
                assert opened == Checkpoint(ledger.origin, size, signed.setdefault(size, opened.root)), place
    assert signed == {size: roots[size] for size, _ in notes}, place
    live = [signer.key for signer in identity.ranges if signer.last is None or signer.last > len(leaves)]
    names = {f"signing-{key.key_id.hex()}.pem" for key in live[1:]}
    names |= {"master.key", "signed", "signing.lock", "signing.pem"}
    assert set(os.listdir(ledger.keys.path)) - {"signed.new"} == names, place
