"""Having checkpoints stamped: what is asked, what is kept, what is recorded, and what is not."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from shutil import which

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from starlette.testclient import TestClient

from affidavit.api import anchoring
from affidavit.api.anchoring import Anchoring, Authority, anchor_now, open_authority, scheduled
from affidavit.api.cli.anchor_commands import anchor_ledger, list_anchors
from affidavit.api.http.app import create_app, open_service
from affidavit.domain.errors import Refused
from affidavit.domain.event import Meta, NewEvent
from affidavit.ledger.application import Ledger, system_clock
from affidavit.ledger.audit.anchors import check_anchors
from affidavit.ledger.entries.entry import parse_entry
from affidavit.ledger.errors import LedgerError, Malformed, Unavailable, UnsupportedFormat, VerificationError
from affidavit.ledger.events import ClockSteppedBack
from affidavit.ledger.folds.anchors import Anchor
from affidavit.ledger.store.folding import read_anchors, read_identity
from affidavit.ledger.store.sqlite.reader import open_snapshot
from affidavit.ledger.store.sqlite.tokens import anchor_path, stored_token
from affidavit.ledger.tlog.timestamp import imprint
from affidavit.projections.registry import REGISTRY
from affidavit.tests.authority import Answer, serving
from affidavit.tests.authority import Authority as Stamping
from affidavit.tests.folders import folder_of

HOUR = 3_600_000_000


@pytest.fixture
def stamping(now: list[int]) -> Stamping:
    return Stamping(lambda: now[0])


def record(ledger: Ledger) -> None:
    with ledger.recorder.reading() as reader:
        pos = reader.next_pos("filler")
    ledger.record(NewEvent("filler", pos, ClockSteppedBack(behind=1.0), Meta()))


def damage(ledger: Ledger, root: bytes) -> list[str]:
    with ledger.recorder.reading() as reader:
        anchors, notes = read_anchors(reader), dict(reader.checkpoints())
        ats = {row.seq: parse_entry(row.raw)["at"] for row in reader.entries()}
        keys_at = read_identity(reader).keys_at
    report = check_anchors(
        anchors, lambda size: stored_token(folder_of(ledger), size), notes.get, keys_at, [root], ats.__getitem__
    )
    assert report.unchecked == ()
    return [found.kind for found in report.damage]


def recorded(ledger: Ledger) -> list[int]:
    """The sizes that are anchored."""
    with ledger.recorder.reading() as reader:
        return [anchor.size for anchor in read_anchors(reader)]


def test_an_anchor_is_kept_and_recorded(ledger: Ledger, stamping: Stamping) -> None:
    record(ledger)
    with serving(stamping.reply) as url:
        anchor = anchor_now(ledger, Authority(url, (stamping.root_pem,)))

    token = stored_token(folder_of(ledger), 2)
    assert token is not None
    assert (anchor.seq, anchor.size, anchor.authority) == (2, 2, "127.0.0.1")
    assert anchor.token_sha256 == sha256(token).hexdigest()
    assert recorded(ledger) == [2]
    assert damage(ledger, stamping.root_pem) == []
    assert [path.name for path in (folder_of(ledger) / "anchors").iterdir()] == ["2.tsr"]


def test_without_roots_an_answer_is_held_against_the_request(ledger: Ledger, stamping: Stamping) -> None:
    with serving(stamping.reply) as url:
        assert anchor_now(ledger, Authority(url)).size == 1
    of_another_hash = serving(lambda request: stamping.stamp(sha256(request).digest()))
    with of_another_hash as url, pytest.raises(VerificationError, match="expected"):
        anchor_now(ledger, Authority(url))
    assert recorded(ledger) == [1]


def _signed_by_nobody(stamping: Stamping, request: bytes) -> bytes:
    stamping.key = Stamping(stamping.clock).key
    return stamping.reply(request)


def _for_another_purpose(stamping: Stamping, request: bytes) -> bytes:
    return Stamping(stamping.clock, usage=[ExtendedKeyUsageOID.SERVER_AUTH]).reply(request)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (_signed_by_nobody, "signature is wrong"),
        (_for_another_purpose, "time stamping"),
        (lambda stamping, request: _another_nonce(stamping, request), "nonce"),
    ],
)
def test_without_roots_an_answer_must_hold_under_the_certificate_that_it_carries(
    ledger: Ledger, stamping: Stamping, reply: Callable[[Stamping, bytes], bytes], said: str
) -> None:
    with serving(lambda request: reply(stamping, request)) as url, pytest.raises(VerificationError, match=said):
        anchor_now(ledger, Authority(url))
    assert recorded(ledger) == []


def _another_nonce(stamping: Stamping, request: bytes) -> bytes:
    return stamping.reply(request[:-8] + bytes([request[-8] ^ 1]) + request[-7:])


def _another_authority(stamping: Stamping, request: bytes) -> bytes:
    return Stamping(stamping.clock).reply(request)


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        (Stamping.refuse, VerificationError, "127.0.0.1: timestamp: not granted but rejected: no time today"),
        (_another_nonce, VerificationError, "nonce"),
        (_another_authority, VerificationError, "no chain to a pinned root"),
        (lambda *_: b"junk", Malformed, "127.0.0.1"),
        (lambda *_: (500, {}, b""), Unavailable, "expected status 200, found 500"),
        (lambda *_: (302, {"Location": "http://127.0.0.1:9/"}, b""), Unavailable, "expected status 200, found 302"),
        (lambda *_: b"\x30" * (anchoring.MAX_BYTES + 1), Unavailable, "longer than 262144 bytes"),
    ],
)
def test_what_does_not_hold_is_neither_kept_nor_recorded(
    ledger: Ledger,
    stamping: Stamping,
    reply: Callable[[Stamping, bytes], bytes | Answer],
    error: type[LedgerError],
    said: str,
) -> None:
    with serving(lambda request: reply(stamping, request)) as url, pytest.raises(error, match=said):
        anchor_now(ledger, Authority(url, (stamping.root_pem,)))
    assert recorded(ledger) == []
    assert not (folder_of(ledger) / "anchors").exists()


def test_nobody_there_is_said(ledger: Ledger) -> None:
    with serving(lambda _: b"") as url:
        pass
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1: it does not answer"):
        anchor_now(ledger, Authority(url))


@pytest.mark.parametrize("off", [HOUR, -HOUR])
def test_clocks_too_far_apart_are_said_and_nothing_is_recorded(ledger: Ledger, now: list[int], off: int) -> None:
    """Recorded, it would be damage for ever."""
    stamping = Stamping(lambda: now[0] + off)
    with serving(stamping.reply) as url, pytest.raises(Unavailable, match="the clocks differ"):
        anchor_now(ledger, Authority(url, (stamping.root_pem,)))
    assert recorded(ledger) == []
    assert not (folder_of(ledger) / "anchors").exists()


def test_anchors_hold_across_a_rotation_of_the_log_s_key(ledger: Ledger, stamping: Stamping) -> None:
    with serving(stamping.reply) as url:
        authority = Authority(url, (stamping.root_pem,))
        anchor_now(ledger, authority)
        ledger.rotate_key(overlap=1)
        for _ in range(4):
            anchor_now(ledger, authority)
    with ledger.recorder.reading() as reader:
        keys = [len(read_identity(reader).keys_at(size)) for size in recorded(ledger)]
    assert (keys[0], max(keys), keys[-1]) == (1, 2, 1), "before, with both keys, and with the new one alone"
    assert damage(ledger, stamping.root_pem) == []


def test_a_token_that_a_crash_left_is_taken_up(ledger: Ledger, stamping: Stamping) -> None:
    ledger.sign()
    with ledger.recorder.reading() as reader:
        (_, note) = reader.latest_checkpoint() or (0, b"")
    path = anchor_path(folder_of(ledger), 1)
    path.parent.mkdir()
    path.write_bytes(stamping.stamp(imprint(note, ledger.verifier_key())))

    with serving(stamping.reply) as url:
        assert anchor_now(ledger, Authority(url, (stamping.root_pem,))).size == 1
    assert stamping.asked == 0
    assert damage(ledger, stamping.root_pem) == []


@pytest.mark.parametrize("pinned", [True, False])
def test_what_lies_in_the_place_of_a_token_and_does_not_hold_is_put_aside(
    ledger: Ledger, stamping: Stamping, pinned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A restored log publishes another checkpoint of a size that was stamped before."""
    path = anchor_path(folder_of(ledger), 1)
    path.parent.mkdir()
    for found in (b"junk", stamping.stamp(sha256(b"of entries that are lost").digest())):
        path.write_bytes(found)
        with serving(stamping.reply) as url:
            anchor = anchor_now(ledger, Authority(url, (stamping.root_pem,) if pinned else ()))
        assert recorded(ledger)[-1] == anchor.size
        path.unlink(missing_ok=True)
        record(ledger)
        ledger.sign()
        with ledger.recorder.reading() as reader:
            path = anchor_path(folder_of(ledger), reader.head().size)
    aside = [each.read_bytes() for each in path.parent.iterdir() if not each.name.endswith(".tsr")]
    assert sorted(aside)[-1] == b"junk"
    assert len(aside) == 2
    assert "1.tsr" in caplog.text


def test_without_the_extra_nothing_is_put_aside(
    ledger: Ledger, stamping: Stamping, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = anchor_path(folder_of(ledger), 1)
    path.parent.mkdir()
    path.write_bytes(b"perhaps a token")
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    with serving(stamping.reply) as url, pytest.raises(UnsupportedFormat, match="timestamps"):
        anchor_now(ledger, Authority(url))
    assert path.read_bytes() == b"perhaps a token"


def test_many_at_once_leave_one_anchor_a_size_and_no_damage(ledger: Ledger, stamping: Stamping) -> None:
    found: list[Anchor] = []
    with serving(stamping.reply) as url:
        authority = Authority(url, (stamping.root_pem,))

        def work() -> None:
            found.extend(anchor_now(ledger, authority) for _ in range(2))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    sizes = recorded(ledger)
    assert len(found) == 6
    assert sizes == sorted(set(sizes)) == sorted({anchor.size for anchor in found})
    assert damage(ledger, stamping.root_pem) == []


@pytest.mark.parametrize("url", ["tsa.example", "ftp://tsa.example/", "http://me:secret@tsa.example/", "http://"])
def test_an_address_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(Refused, match="without credentials") as caught:
        Authority(url)
    assert "secret" not in str(caught.value)


def test_roots_must_be_certificates(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"none\.pem: No such file"):
        open_authority("http://tsa.example/", tmp_path / "none.pem")
    (tmp_path / "some.pem").write_bytes(b"no certificate")
    with pytest.raises(Malformed, match=r"some\.pem: expected certificates in PEM, found none that read$"):
        open_authority("http://tsa.example/", tmp_path / "some.pem")


# On a schedule.


def test_a_schedule_anchors_what_is_new_and_nothing_else(ledger: Ledger, stamping: Stamping) -> None:
    with serving(stamping.reply) as url:
        schedule = Anchoring(ledger, Authority(url, (stamping.root_pem,)))
        first = schedule.run_once()
        assert first is not None
        assert first.size == 1
        assert schedule.run_once() is None, "only the anchor's own entry is new"
        record(ledger)
        second = schedule.run_once()
    assert second is not None
    assert second.size == 3
    status = schedule.status()
    assert (status["anchored_entries"], status["failures"], status["problem"]) == (3, 0, None)


def test_what_came_while_an_anchor_was_made_is_anchored_too(ledger: Ledger, stamping: Stamping) -> None:
    def meanwhile(request: bytes) -> bytes:
        with ledger.recorder.reading() as reader:
            came = reader.next_pos("filler") > 0
        if not came:
            record(ledger)
        return stamping.reply(request)

    with serving(meanwhile) as url:
        schedule = Anchoring(ledger, Authority(url, (stamping.root_pem,)))
        sizes = [anchor.size for anchor in iter(schedule.run_once, None)]
    assert sizes == [1, 3], "entry 1 came between, entry 2 is of the first anchor"


def test_a_failed_attempt_is_seen_and_the_next_is_made(
    ledger: Ledger, stamping: Stamping, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([stamping.refuse, stamping.reply])
    with serving(lambda request: next(answers)(request)) as url:
        schedule = Anchoring(ledger, Authority(url), every=0.01)
        problems = []

        def on_anchor(_: object) -> None:
            problems.append(schedule.status())
            schedule.stop()

        with caplog.at_level(logging.WARNING):
            schedule.run(on_anchor)

    assert "no time today" in caplog.text
    assert (problems[0]["failures"], problems[0]["problem"]) == (1, None)
    assert recorded(ledger) == [1]


def test_what_nobody_foresaw_does_not_end_the_schedule(
    ledger: Ledger, stamping: Stamping, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(anchoring, "anchor_now", broken)
    schedule = Anchoring(ledger, Authority("http://127.0.0.1:9/"))
    assert schedule.run_once() is None
    assert schedule.status()["problem"] == "something failed here; it is in the server's log"
    assert "RuntimeError: broken" in caplog.text


def test_a_schedule_that_never_started_can_be_stopped(ledger: Ledger) -> None:
    Anchoring(ledger, Authority("http://127.0.0.1:9/")).stop()


def test_the_environment_sets_the_schedule(
    ledger: Ledger, stamping: Stamping, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AFFIDAVIT_TSA", raising=False)
    assert scheduled(ledger) is None

    monkeypatch.setenv("AFFIDAVIT_TSA", "http://tsa.example/")
    (tmp_path / "root.pem").write_bytes(stamping.root_pem)
    monkeypatch.setenv("AFFIDAVIT_TSA_CA", str(tmp_path / "root.pem"))
    monkeypatch.setenv("AFFIDAVIT_ANCHOR_SECONDS", "60")
    found = scheduled(ledger)
    assert found is not None
    assert found.authority == Authority("http://tsa.example/", (stamping.root_pem,))
    assert found.status()["every_seconds"] == 60

    for wrong in ("0", "-1", "often", "9" * 10):
        monkeypatch.setenv("AFFIDAVIT_ANCHOR_SECONDS", wrong)
        with pytest.raises(Refused, match="AFFIDAVIT_ANCHOR_SECONDS"):
            scheduled(ledger)


def test_a_server_says_how_its_schedule_does(ledger: Ledger, stamping: Stamping) -> None:
    def health(schedule: Anchoring | None) -> dict[str, object]:
        with open_service(ledger, anchoring=schedule) as service:
            client = TestClient(create_app(service), base_url="http://127.0.0.1", client=("127.0.0.1", 40_000))
            answered: dict[str, object] = client.get("/healthz/anchors").json()
            return answered

    assert health(None)["schedule"] == "off"
    with serving(stamping.refuse) as url:
        schedule = Anchoring(ledger, Authority(url))
        schedule.run_once()
    found = health(schedule)
    assert (found["schedule"], found["failures"], found["last_anchor"]) == ("on", 1, None)
    assert "no time today" in str(found["problem"])


def test_a_served_ledger_is_stamped_on_schedule(own: Path, tmp_path: Path) -> None:
    stamping = Stamping(system_clock)
    asked = threading.Event()

    def reply(request: bytes) -> bytes:
        asked.set()
        return stamping.reply(request)

    (tmp_path / "root.pem").write_bytes(stamping.root_pem)
    with serving(reply) as url:
        environment = {**os.environ, "AFFIDAVIT_TSA": url, "AFFIDAVIT_TSA_CA": str(tmp_path / "root.pem")}
        command = [sys.executable, "-m", "affidavit.api.cli", "--ledger", str(own), "serve", "--port", "0"]
        server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        with server.stdout:
            while not server.stdout.readline().startswith("serving"):
                assert server.poll() is None
            assert asked.wait(60)
            server.send_signal(signal.SIGTERM)
            assert server.wait() == 0

    with open_snapshot(own) as reader:
        assert [(anchor.seq, anchor.size) for anchor in read_anchors(reader)] == [(1, 1)], "what was begun is finished"


# The commands.


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger by the machine's clock, for authorities that have no other."""
    monkeypatch.setenv("AFFIDAVIT_KEYS", str(tmp_path / "own-keys"))
    for name in ("AFFIDAVIT_TSA", "AFFIDAVIT_TSA_CA"):
        monkeypatch.delenv(name, raising=False)
    Ledger.create(tmp_path / "own", tmp_path / "own-keys", REGISTRY, sign_in_background=False).close()
    return tmp_path / "own"


@pytest.fixture
def folder(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AFFIDAVIT_KEYS", str(tmp_path / "keys"))
    for name in ("AFFIDAVIT_TSA", "AFFIDAVIT_TSA_CA"):
        monkeypatch.delenv(name, raising=False)
    return str(folder_of(ledger))


def test_an_authority_must_be_named(folder: str) -> None:
    with pytest.raises(Refused, match="AFFIDAVIT_TSA"):
        anchor_ledger(folder, None, None, None, as_json=False)


CONFIGURATION = """
[req]
distinguished_name = none
[none]
[ca]
basicConstraints = critical,CA:TRUE
[ts]
extendedKeyUsage = critical,timeStamping
[tsa]
default_tsa = local
[local]
serial = ./serial
signer_cert = ./tsa.pem
signer_key = ./tsa.key
certs = ./root.pem
signer_digest = sha256
default_policy = 1.2.3
digests = sha256
accuracy = secs:1
clock_precision_digits = 6
ess_cert_id_alg = sha256
"""


@pytest.fixture
def openssl(tmp_path: Path) -> Callable[[bytes], bytes]:
    """A root and an authority under it, by ``openssl ts``: answers a request."""
    program = which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    home = tmp_path / "openssl"
    home.mkdir()
    (home / "tsa.cnf").write_text(CONFIGURATION)
    new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config tsa.cnf"
    for command in (
        f"req -x509 {new_key} -extensions ca -keyout root.key -out root.pem -subj /CN=Root -days 2",
        f"req {new_key} -keyout tsa.key -out tsa.csr -subj /CN=TSA",
        "x509 -req -in tsa.csr -CA root.pem -CAkey root.key -CAcreateserial -out tsa.pem -days 2 "
        "-extfile tsa.cnf -extensions ts",
    ):
        subprocess.run([program, *command.split()], cwd=home, check=True, capture_output=True)

    def reply(request: bytes) -> bytes:
        (home / "request.tsq").write_bytes(request)
        command = "ts -reply -config tsa.cnf -queryfile request.tsq -out answer.tsr"
        subprocess.run([program, *command.split()], cwd=home, check=True, capture_output=True)
        return (home / "answer.tsr").read_bytes()

    return reply


def test_anchored_at_openssl_and_listed(
    own: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    openssl: Callable[[bytes], bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, root = str(own), tmp_path / "openssl" / "root.pem"

    assert list_anchors(folder, [root], as_json=False) == 0
    assert "nothing was ever anchored" in capsys.readouterr().out
    with serving(openssl) as url:
        anchor_ledger(folder, url, None, None, as_json=False)
        assert "stamped the first 1 entries" in (said := capsys.readouterr().out)
        assert "--ca" in said
        monkeypatch.setenv("AFFIDAVIT_TSA", url)
        anchor_ledger(folder, None, root, None, as_json=True)
        assert json.loads(capsys.readouterr().out)["size"] == 2

    assert list_anchors(folder, [root], as_json=True) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(anchor["seq"], anchor["size"]) for anchor in listed["anchors"]] == [(1, 1), (2, 2)]
    assert [(bound["first"], bound["stop"]) for bound in listed["bounds"]] == [(0, 1), (1, 2), (2, 3)]
    assert (listed["damage"], listed["not_checked"]) == ([], [])

    assert list_anchors(folder, [], as_json=False) == 0
    assert "no root of an authority is pinned" in capsys.readouterr().out

    (junk := tmp_path / "junk.pem").write_bytes(b"no certificate")
    with pytest.raises(Malformed, match=r"junk\.pem: expected certificates"):
        list_anchors(folder, [junk], as_json=False)

    first = anchor_path(own, 1)
    first.write_bytes(first.read_bytes() + b"\x00")
    assert list_anchors(folder, [root], as_json=False) == 1
    assert "damage: tsa_invalid at entry 1" in capsys.readouterr().out
