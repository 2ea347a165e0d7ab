"""Several processes write one ledger at once; all that was acknowledged is there, in one chain and tree."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

from affidavit.ledger.application import Ledger
from affidavit.ledger.entries.entry import parse_entry
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.tests.stores import every_store
from affidavit.tests.trees import root_of

PROCESSES, OWN, SHARED = 3, 20, 10

WRITER = """
import pickle, sys
from pathlib import Path
from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger
from affidavit.ledger.errors import Conflict
from affidavit.ledger.events import ProjectionSealed
from affidavit.projections.registry import REGISTRY

place, keys, name, own, shared = sys.argv[1:]
event = ProjectionSealed(name=name, version=1, upto=0, digest="0" * 64)

def acknowledge(places):
    for place in places:
        print(place.seq, place.leaf_hash.hex())

with Ledger(pickle.loads(bytes.fromhex(place)), Path(keys), REGISTRY, sign_in_background=False) as ledger:
    sys.stdin.readline()  # all begin together
    for pos in range(int(own)):
        acknowledge(ledger.record(NewEvent(f"own/{name}", pos, event, Meta())))
    done, pos = 0, 0
    while done < int(shared):
        try:
            acknowledge(ledger.record(NewEvent("shared/1", pos, event, Meta())))
            done += 1
            pos += 1
        except Conflict as conflict:
            pos = conflict.found
    ledger.sign()
"""


@every_store
def test_what_processes_append_at_once_is_one_log(ledger: Ledger, tmp_path: Path) -> None:
    place = pickle.dumps(ledger.place).hex()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, place, str(tmp_path / "keys"), str(n), str(OWN), str(SHARED)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(PROCESSES)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    acknowledged: dict[int, str] = {}
    for writer in writers:
        output, _ = writer.communicate(timeout=120)
        assert writer.returncode == 0
        lines = [line.split() for line in output.splitlines()]
        assert len(lines) == OWN + SHARED
        acknowledged |= {int(seq): leaf for seq, leaf in lines}
    assert len(acknowledged) == PROCESSES * (OWN + SHARED)

    with ledger.recorder.reading() as reader:
        rows, head = list(reader.entries()), reader.head()
        checkpoint = reader.latest_checkpoint()
    leaves = [leaf_hash(row.raw) for row in rows]
    entries = [parse_entry(row.raw) for row in rows]
    assert {seq: leaves[seq].hex() for seq in acknowledged} == acknowledged
    assert [entry["prev"] for entry in entries] == ["00" * 32, *(leaf.hex() for leaf in leaves[:-1])]
    assert (head.size, head.root()) == (len(leaves), root_of(leaves))
    counts = Counter(entry["stream"] for entry in entries)
    assert counts["shared/1"] == PROCESSES * SHARED
    for stream, count in counts.items():
        assert [entry["pos"] for entry in entries if entry["stream"] == stream] == list(range(count))
    assert checkpoint is not None
    assert checkpoint[0] == len(leaves) == ledger.sign().size
