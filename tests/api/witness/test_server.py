"""A real witness in a process of its own: the public vectors, its manners, kills, and callers at once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from affidavit.api.witness.server import MAX_BODY_BYTES, Message, WitnessApp
from affidavit.api.witness.store import WitnessStore
from affidavit.ledger.tlog.checkpoint import Checkpoint
from affidavit.ledger.tlog.cosignature import add_signatures, open_cosigned
from affidavit.ledger.tlog.note import ED25519, VerifierKey, print_vkey
from affidavit.ledger.tlog.witness import state_path

from .conftest import RunningWitness, SmallLog, Start

NAME = "example.com/witness"
LOG = SmallLog()
VKEY = print_vkey(LOG.key)

KILLED_BEFORE_ANSWERING = """
import os, signal
from affidavit.api.cli import main
from affidavit.api.witness.store import WitnessStore

cosign = WitnessStore.cosign

def killed(self, submission):
    cosign(self, submission)
    os.kill(os.getpid(), signal.SIGKILL)

WitnessStore.cosign = killed
main()
"""
KILLED_BEFORE_COMMITTING = """
import os, signal
from affidavit.api.cli import main
from affidavit.api.witness import store

store.add_signatures = lambda note, lines: os.kill(os.getpid(), signal.SIGKILL)
main()
"""


def cosigned(witness: RunningWitness, log: SmallLog, size: int, lines: str) -> Checkpoint:
    """The checkpoint, once the answer is shown to be this witness's cosignature of it."""
    note = add_signatures(log.note(size), lines.splitlines(keepends=True))
    found = open_cosigned(note, [log.key], [witness.key.verifier_key], log.name)
    assert [each.key for each in found.cosignatures] == [witness.key.verifier_key]
    return found.checkpoint


def shown_size(witness: RunningWitness) -> int:
    answer = httpx2.get(f"{witness.url}/{state_path(LOG.name)}", trust_env=False)
    return open_cosigned(answer.content, [LOG.key], [witness.key.verifier_key], LOG.name).checkpoint.size


def test_the_public_vectors_in_order(vectors: Path, start: Start) -> None:
    given = json.loads((vectors / "witness_add_checkpoint.json").read_text())
    log = VerifierKey(given["log_origin"], ED25519, bytes.fromhex(given["log_ed25519_pub_hex"]))
    witness = start(NAME, [print_vkey(log)])
    sizes = []
    for step in given["steps"]:
        answer = witness.add(step["body"].encode())
        # The base64 of that signature is not canonical: a strict reader finds no signature at all.
        expected = 400 if step["name"] == "invalid signature" else step["status"]
        assert answer.status_code == expected, (step["name"], answer.text)
        if expected in (200, 409):
            assert step["body_contains"] in answer.text
        if expected == 200:
            note = add_signatures(step["body"].partition("\n\n")[2].encode(), answer.text.splitlines(keepends=True))
            found = open_cosigned(note, [log], [witness.key.verifier_key], log.name)
            assert len(found.cosignatures) == 1
            sizes.append(found.checkpoint.size)
    assert sizes == [1, 3, 5]


def test_statuses_types_and_the_state(start: Start) -> None:
    witness = start(NAME, [VKEY])
    state = f"{witness.url}/{state_path(LOG.name)}"
    assert httpx2.get(state, trust_env=False).status_code == 404

    first = witness.add(LOG.body(0, 5))
    assert (first.status_code, first.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert cosigned(witness, LOG, 5, first.text) == LOG.head(5)
    shown = httpx2.get(state, trust_env=False)
    assert shown.content == add_signatures(LOG.note(5), first.text.splitlines(keepends=True))
    assert httpx2.head(state, trust_env=False).headers["content-length"] == str(len(shown.content))

    other = witness.add(LOG.body(3, 8))
    assert (other.status_code, other.text) == (409, "5\n")
    assert other.headers["content-type"] == "text/x.tlog.size"
    fork = SmallLog(history="forged", branch=4)
    assert witness.add(fork.body(5, 5)).status_code == 422
    assert witness.add(fork.body(5, 9)).status_code == 422
    assert witness.add(LOG.body(5, 9)).status_code == 200

    for method, path, status in [
        ("GET", "/add-checkpoint", 405),
        ("POST", f"/{state_path(LOG.name)}", 405),
        ("GET", "/", 404),
        ("GET", f"/{state_path('log.example/2')}", 404),
        ("POST", "/add-checkpoint/", 404),
    ]:
        assert httpx2.request(method, witness.url + path, trust_env=False).status_code == status


def test_a_body_is_not_too_long(start: Start) -> None:
    witness = start(NAME, [VKEY])
    assert witness.add(bytes(MAX_BODY_BYTES)).status_code == 400
    assert witness.add(bytes(MAX_BODY_BYTES + 1)).status_code == 413
    chunked = (bytes(1024) for _ in range(MAX_BODY_BYTES // 1024 + 1))
    answer = httpx2.post(f"{witness.url}/add-checkpoint", content=chunked, trust_env=False, timeout=30)
    assert answer.status_code == 413
    assert witness.add(LOG.body(0, 1)).status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    sent: list[Message] = []
    store = WitnessStore(tmp_path / "w.db", [], lambda: 0)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    with closing(store), closing(WitnessApp(store, lambda origin, size: None, body_seconds=0.05)) as app:
        scope = {"type": "http", "method": "POST", "path": "/add-checkpoint", "headers": []}
        asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


def test_what_an_error_quotes_is_one_short_line(start: Start) -> None:
    witness = start(NAME, [VKEY])
    name = "<script>" + "x" * 10_000
    answer = witness.add(SmallLog(name).body(0, 1))
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(answer.text) < 600


@pytest.mark.parametrize(
    ("program", "size"), [(KILLED_BEFORE_ANSWERING, 3), (KILLED_BEFORE_COMMITTING, None)], ids=["answering", "commit"]
)
def test_a_killed_witness_has_told_nobody_what_it_does_not_remember(
    start: Start, program: str, size: int | None
) -> None:
    killed = start(NAME, [VKEY], program)
    with pytest.raises(httpx2.TransportError):
        killed.add(LOG.body(0, 3))
    assert killed.process.wait() == -9

    witness = start(NAME, [VKEY])
    fork = SmallLog(history="forged", branch=1)
    if size is None:
        assert witness.add(LOG.body(0, 3)).status_code == 200
    else:
        assert witness.add(LOG.body(0, 3)).text == "3\n"
        assert witness.add(fork.body(0, 3)).status_code == 409
    assert witness.add(fork.body(3, 3)).status_code == 422
    assert witness.add(fork.body(3, 4)).status_code == 422
    assert cosigned(witness, LOG, 3, witness.add(LOG.body(3, 3)).text) == LOG.head(3)


def test_callers_at_once_never_get_two_histories(start: Start) -> None:
    """Eight histories of one log race at two processes that share a state; one of them wins, at every size."""
    witnesses = [start(NAME, [VKEY]), start(NAME, [VKEY])]
    histories = [SmallLog(history=f"history {n}") for n in range(8)]
    answers: list[tuple[SmallLog, int]] = []
    begin = threading.Barrier(len(histories))

    def race(number: int) -> None:
        log, old = histories[number], 0
        begin.wait()
        for size in range(1, 13):
            answer = witnesses[(number + size) % 2].add(log.body(old, size))
            if answer.status_code == 200:
                cosigned(witnesses[0], log, size, answer.text)
                answers.append((log, size))
                old = size
            else:
                assert answer.status_code in (409, 422), answer.text

    with ThreadPoolExecutor(len(histories)) as pool:
        for done in [pool.submit(race, number) for number in range(len(histories))]:
            done.result()
    winners = {log.history for log, _ in answers}
    assert len(winners) == 1
    assert [size for _, size in answers] == list(range(1, 13))


def test_callers_with_one_history_never_move_it_back(start: Start) -> None:
    witness = start(NAME, [VKEY])
    sizes: list[int] = []

    def push(steps: Sequence[int]) -> None:
        old = 0
        for size in steps:
            answer = witness.add(LOG.body(min(old, size), size))
            if answer.status_code == 409:
                old = int(answer.text)
            else:
                assert answer.status_code == 200, answer.text
                sizes.append(size)
                old = size

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(push, range(1 + n, 40, 3)) for n in range(4)]:
            done.result()
    assert sizes
    assert shown_size(witness) == max(sizes)


def test_it_ends_when_told_to_and_a_second_one_goes_on(start: Start) -> None:
    witness = start(NAME, [VKEY])
    assert witness.add(LOG.body(0, 2)).status_code == 200
    witness.process.terminate()
    assert witness.process.wait() == 0
    assert shown_size(start(NAME, [VKEY])) == 2
