"""Two servers over one database both append, sign and publish; one is killed while it signs, and comes back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from affidavit.ledger.application import Ledger
from affidavit.ledger.audit.audit import Against, audit
from affidavit.ledger.store.place import Place
from affidavit.ledger.tlog.checkpoint import Checkpoint, claimed_checkpoint
from affidavit.ledger.tlog.note import print_vkey
from affidavit.ledger.tlog.witness import parse_add_checkpoint
from affidavit.projections.registry import REGISTRY
from affidavit.tests.stores import POSTGRESQL

from .http.conftest import a_request
from .test_every_store import On, address_of
from .test_serve_commands import _free_port
from .witness.conftest import witness_key

WAIT = 60


class Seen:
    """A witness who cosigns nothing, and keeps what each server shows; something may happen before it answers."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, Checkpoint]] = []
        self.before_answer: dict[str, Callable[[], object]] = {}
        self.changed = threading.Condition()

    def show(self, who: str, body: bytes) -> None:
        with self.changed:
            self.shown.append((who, claimed_checkpoint(parse_add_checkpoint(body).note)))
            happening = self.before_answer.pop(who, None)
            if happening is not None:
                happening()
            self.changed.notify_all()

    def wait_for(self, holds: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(holds, timeout=WAIT)

    def wait_past(self, who: str, size: int) -> None:
        """Until it has shown a checkpoint of more entries."""
        self.wait_for(lambda: self.largest(who) > size)

    def largest(self, who: str) -> int:
        return max((shown.size for name, shown in self.shown if name == who), default=0)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def address(seen: Seen) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.show(self.path.split("/")[1], self.rfile.read(int(self.headers["Content-Length"])))
            with suppress(OSError):  # who asked may be dead by now
                self.send_error(503)

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


class Serving:
    """A server in a process of its own, with its own copy of the keys."""

    def __init__(self, name: str, place: Place, folder: Path, witness: str, key: str) -> None:
        self.name, self.keys = name, folder / f"keys-{name}"
        shutil.copytree(folder / "keys", self.keys)
        policy = folder / f"policy-{name}"
        policy.write_text(
            f"witness w {print_vkey(witness_key('w.example').verifier_key)} {witness}/{name}\nquorum none\n"
        )
        self._port = _free_port()
        self._command = [sys.executable, "-m", "affidavit.api.cli", "--ledger", address_of(place)]
        self._command += ["serve", "--port", str(self._port), "--drain-seconds", "0"]
        self._environment = {**os.environ, "AFFIDAVIT_KEYS": str(self.keys), "AFFIDAVIT_WITNESS_POLICY": str(policy)}
        self._headers = {"Authorization": f"Bearer {key}"}
        self.published: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, env=self._environment, stdout=subprocess.PIPE, text=True)

    def wait(self) -> None:
        """Until it serves."""
        assert self.process is not None
        assert self.process.stdout is not None
        while not self.process.stdout.readline().startswith("serving"):
            assert self.process.poll() is None

    def publish(self) -> None:
        request_id = f"{self.name}-{len(self.published)}"
        url = f"http://127.0.0.1:{self._port}/api/publish_interaction"
        answer = httpx2.post(url, json=a_request(request_id), headers=self._headers, timeout=WAIT)
        assert answer.status_code == 200, answer.text
        self.published.append(request_id)

    def end(self, *, kill: bool = False) -> None:
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(timeout=WAIT)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


@contextmanager
def running(*servers: Serving) -> Iterator[None]:
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait()
        yield
    finally:
        for server in servers:
            server.end()


@pytest.mark.stores(POSTGRESQL[-1])
def test_a_server_that_is_killed_while_it_signs_leaves_one_log_and_the_other_goes_on(
    place: Place, tmp_path: Path, seen: Seen, address: str
) -> None:
    key = On(tmp_path, place).json("keys", "create", "--scope", "publish")["token"]
    one, other = servers = [Serving(name, place, tmp_path, address, key) for name in ("one", "other")]
    with running(*servers):
        for server in servers:  # one after the other: who finds all of it signed shows nothing
            server.publish()
            seen.wait_past(server.name, 0)

        def killed() -> None:
            assert one.process is not None
            one.process.kill()

        # It has signed and remembers that, and dies before it publishes, with the lock in its hands.
        with seen.changed:
            seen.before_answer["one"] = killed
        one.publish()
        seen.wait_for(lambda: not seen.before_answer)
        one.end(kill=True)
        unpublished = seen.largest("one")
        other.publish()
        seen.wait_past("other", unpublished)

        # Behind the other by now, it takes over what that has published, and signs on.
        one.start()
        one.wait()
        before = seen.largest("other")
        one.publish()
        seen.wait_past("one", before)

        # Both at once, and one of them killed wherever it is.
        publishing = threading.Thread(target=other.publish)
        publishing.start()
        one.publish()
        one.end(kill=True)
        publishing.join(timeout=WAIT)
        other.publish()

    for server in servers:
        with Ledger(place, server.keys, REGISTRY, sign_in_background=False) as ledger:
            signed = ledger.sign()
            assert ledger.keys.signed() == signed
    with place.snapshot() as reader:
        notes = dict(reader.checkpoints())
        roots = {size: reader.frontier_at(size).root() for size in range(1, reader.head().size + 1)}
        requests = [row.stream for row in reader.entries() if row.type_name.startswith("request.published")]
        verdict = audit(reader, REGISTRY, Against(pinned=[*notes.values()], signed=signed))
    for checkpoint in (*(shown for _, shown in seen.shown), *map(claimed_checkpoint, notes.values())):
        assert (checkpoint.origin, checkpoint.root) == (signed.origin, roots[checkpoint.size])
    assert max(notes) == len(roots) == signed.size
    assert (verdict.verdict, verdict.damage) == ("ok", [])
    assert len(requests) == sum(len(server.published) for server in servers)
