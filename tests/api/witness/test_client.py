"""Asking witnesses: real ones, dead ones, and some that lie."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from affidavit.api.settings import cosigners
from affidavit.api.witness.client import WitnessClient
from affidavit.domain.errors import Refused
from affidavit.ledger.errors import Malformed, Unavailable
from affidavit.ledger.tlog.cosignature import add_signatures, cosign, open_cosigned
from affidavit.ledger.tlog.note import ML_DSA_44_COSIGNATURE, print_vkey
from affidavit.ledger.tlog.policy import Policy, parse_policy
from affidavit.ledger.tlog.private_key import NotePrivateKey
from affidavit.ledger.tlog.witness import Collected

from .conftest import SmallLog, Start, witness_key

LOG = SmallLog()
VKEY = print_vkey(LOG.key)
KEY = witness_key("witness.example/a")
NOBODY = "http://127.0.0.1:9"  # the discard port, where nothing listens

Answer = tuple[int, dict[str, str], bytes]


def policy(*witnesses: tuple[NotePrivateKey, str], quorum: str = "any") -> Policy:
    lines = [f"log {VKEY}"]
    names = [f"w{n}" for n in range(len(witnesses))]
    for name, (key, url) in zip(names, witnesses, strict=True):
        lines.append(f"witness {name} {print_vkey(key.verifier_key)} {url}".rstrip())
    return parse_policy("\n".join([*lines, f"group all {quorum} {' '.join(names)}", "quorum all", ""]))


def collect(client: WitnessClient, size: int, log: SmallLog = LOG) -> Collected:
    return client.collect(log.note(size), log.head(size), lambda old: log.prove(old, size))


def is_met(client: WitnessClient, size: int, collected: Collected) -> bool:
    note = add_signatures(LOG.note(size), collected.lines)
    keys = [witness.key for witness in client.policy.witnesses]
    found = open_cosigned(note, [LOG.key], keys, LOG.name)
    return client.policy.is_met([each.key for each in found.cosignatures])


@contextmanager
def answering(answer: Callable[[bytes], Answer]) -> Iterator[str]:
    """A server that answers each POST as ``answer`` says; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, headers, body = answer(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_two_of_two_then_one_dies(start: Start) -> None:
    one, two = start("witness.example/1", [VKEY]), start("witness.example/2", [VKEY])
    client = WitnessClient(policy((one.key, one.url), (two.key, two.url + "/"), quorum="all"))
    for size in (3, 7, 7):
        collected = collect(client, size)
        assert (len(collected.lines), dict(collected.failures)) == (2, {})
        assert is_met(client, size, collected)

    two.process.terminate()
    two.process.wait()
    collected = collect(client, 9)
    assert len(collected.lines) == 1
    assert dict(collected.failures) == {"w1": "not reached: ConnectError"}
    assert not is_met(client, 9, collected)
    assert not collected.contradictions


def test_a_client_that_knows_nothing_learns_the_size_and_proves_from_there(start: Start) -> None:
    witness = start("witness.example/1", [VKEY])
    assert witness.add(LOG.body(0, 4)).status_code == 200
    asked: list[int] = []

    def prove(old: int) -> list[bytes]:
        asked.append(old)
        return LOG.prove(old, 9)

    collected = WitnessClient(policy((witness.key, witness.url))).collect(LOG.note(9), LOG.head(9), prove)
    assert len(collected.lines) == 1
    assert asked == [4]


def test_a_witness_that_saw_more_or_another_history_says_so(start: Start) -> None:
    witness = start("witness.example/1", [VKEY])
    client = WitnessClient(policy((witness.key, witness.url)))
    assert len(collect(client, 9).lines) == 1

    for asking in (client, WitnessClient(client.policy)):  # the second has not seen the 9 itself
        behind = collect(asking, 5)
        assert behind.lines == ()
        assert behind.contradictions["w0"].startswith("rollback: it has cosigned size 9")
        forked = collect(asking, 12, SmallLog(history="forged", branch=6))
        assert forked.contradictions["w0"].startswith("fork: ")
        assert forked.failures == forked.contradictions
    assert len(collect(client, 12).lines) == 1


def _line(key: NotePrivateKey, size: int = 3) -> bytes:
    return cosign(LOG.head(size), key, 1_795_341_600).encode()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, {}, _line(witness_key("witness.example/b"))), "no line by"),
        ((200, {}, _line(KEY, 4)), "is wrong"),
        ((200, {}, b""), "does not begin"),
        ((200, {}, b"<html>\n"), "does not begin"),
        ((200, {}, _line(KEY) * 1000), "more than 65536 bytes"),
        ((200, {"Content-Encoding": "gzip"}, b"\x1f\x8b\x08"), "control character"),
        ((302, {"Location": "http://127.0.0.1:9/add-checkpoint"}, b""), "status 302"),
        ((403, {}, b"who\x1b[31m\nare you"), "status 403: who [31m are you"),
        ((409, {}, b"2\n"), "status 409"),
        ((409, {"Content-Type": "text/x.tlog.size"}, b"-1\n"), "status 409"),
        ((409, {"Content-Type": "text/x.tlog.size"}, b"2\n"), "status 409"),
        ((500, {}, b""), "status 500"),
    ],
)
def test_what_is_no_cosignature_of_this_checkpoint_is_no_line(answer: Answer, said: str) -> None:
    with answering(lambda body: answer) as url:
        collected = collect(WitnessClient(policy((KEY, url))), 3)
    assert collected.lines == ()
    assert said in collected.failures["w0"]
    assert not collected.contradictions


@pytest.mark.parametrize(
    ("answers", "contradicts"),
    [
        ([b"3\n", b"3\n"], True),
        ([b"3\n", b""], True),
        ([b"2\n", b"2\n"], False),  # another has been faster, or it errs: nothing says that there are two logs
        ([b""], False),
    ],
)
def test_a_conflict_over_the_very_size_that_it_was_to_build_on_is_a_fork(
    answers: list[bytes], contradicts: bool
) -> None:
    """Older witnesses answer 409, and not 422, to another root at the size that they have."""
    left = iter(answers)
    size = {"Content-Type": "text/x.tlog.size"}
    with answering(lambda body: (409, size if (said := next(left)) else {}, said)) as url:
        collected = collect(WitnessClient(policy((KEY, url))), 3)
    assert [said.partition(":")[0] for said in collected.contradictions.values()] == ["fork"] * contradicts
    assert "w0" in collected.failures


def test_other_lines_of_an_answer_are_left_out() -> None:
    other = witness_key("witness.example/b")
    with answering(lambda body: (200, {}, _line(other) + _line(KEY) + _line(KEY))) as url:
        collected = collect(WitnessClient(policy((KEY, url))), 3)
    assert collected.lines == (_line(KEY).decode(),)


def test_two_keys_at_one_address_are_asked_once() -> None:
    pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa", reason="this cryptography has no ML-DSA-44")
    quantum = witness_key("witness.example/q", ML_DSA_44_COSIGNATURE)
    bodies: list[bytes] = []

    def answer(body: bytes) -> Answer:
        bodies.append(body)
        return 200, {}, _line(KEY) + _line(quantum)

    with answering(answer) as url:
        collected = collect(WitnessClient(policy((KEY, url), (quantum, url))), 3)
    assert bodies == [LOG.body(0, 3)]
    assert len(collected.lines) == 2


def test_a_silent_witness_holds_nobody_up_and_is_not_asked_twice_at_once() -> None:
    """It takes the connection and never answers; the other witness's line is there all the same."""
    with socket.create_server(("127.0.0.1", 0)) as silent, answering(lambda body: (200, {}, _line(KEY))) as url:
        silent_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = WitnessClient(policy((KEY, url), (witness_key("witness.example/s"), silent_url)), timeout=0.5)
        collected = collect(client, 3)
        assert collected.lines == (_line(KEY).decode(),)
        assert dict(collected.failures) == {"w1": "no answer within 0.5 s"}


def test_a_witness_that_trickles_its_answer_is_left_behind() -> None:
    release = threading.Event()
    connected = threading.Semaphore(0)

    def trickle(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connected.release()
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not release.wait(0.05):
                connection.sendall(b"X-More: x\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=trickle, args=(listening,))
        thread.start()
        client = WitnessClient(policy((KEY, f"http://127.0.0.1:{listening.getsockname()[1]}")), timeout=0.3)
        for _ in range(2):
            assert dict(collect(client, 3).failures) == {"w0": "no answer within 0.3 s"}
        assert connected.acquire(timeout=10)
        assert not connected.acquire(blocking=False)
        release.set()
        thread.join()


def test_a_policy_needs_an_address_and_a_readable_one() -> None:
    with pytest.raises(Refused, match="no witness in it has an address") as caught:
        WitnessClient(policy((KEY, "")))
    assert caught.value.rule == "witness_address"
    for url in ("ftp://w.example", "http://user:secret@w.example", "w.example", "http://w.example/?q=1"):
        with pytest.raises(Refused) as caught:
            WitnessClient(policy((KEY, url)))
        assert caught.value.rule == "address_readable"
        assert "secret" not in str(caught.value)
    mixed = WitnessClient(policy((KEY, ""), (witness_key("witness.example/b"), NOBODY)))
    assert collect(mixed, 3).failures["w0"] == "the policy has no address for it"


def test_witnesses_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AFFIDAVIT_WITNESS_POLICY", raising=False)
    monkeypatch.delenv("AFFIDAVIT_WITNESS_REQUIRED", raising=False)
    assert cosigners() is None
    monkeypatch.setenv("AFFIDAVIT_WITNESS_REQUIRED", "1")
    with pytest.raises(Refused, match="names no policy"):
        cosigners()

    path = tmp_path / "policy"
    monkeypatch.setenv("AFFIDAVIT_WITNESS_POLICY", str(path))
    with pytest.raises(Unavailable, match="No such file"):
        cosigners()
    path.write_text("quorum some\n")
    with pytest.raises(Malformed, match="policy"):
        cosigners()
    path.write_text(f"log {VKEY}\nwitness w {print_vkey(KEY.verifier_key)} {NOBODY}\nquorum w\n")
    made = cosigners()
    assert made is not None
    assert (made.required, made.policy.quorum) == (True, "w")
    monkeypatch.setenv("AFFIDAVIT_WITNESS_REQUIRED", "")
    made = cosigners()
    assert made is not None
    assert not made.required
    monkeypatch.setenv("AFFIDAVIT_WITNESS_REQUIRED", "yes")
    with pytest.raises(Refused, match="expected 0 or 1"):
        cosigners()
