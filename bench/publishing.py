"""Publishing over HTTP: 16 clients at once against a real server, beside bare commits of the same machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from itertools import count
from statistics import median
from threading import Thread
from uuid import uuid4

from affidavit.bench.recording import bare_table, commit_each
from affidavit.bench.rows import Bench, Row
from affidavit.bench.windows import Side, interleave, median_of, ratios, timed
from affidavit.ledger.application import Ledger
from affidavit.projections.registry import REGISTRY

CLIENTS = 16
BATCH = 100
_ENTRY = b"x" * 500


def measure_publish(bench: Bench) -> list[Row]:
    """Single interactions and requests of 100, as multiples of bare commits in the same window."""
    folder = bench.folder / "publish"
    Ledger.create(folder / "ledger", folder / "keys", REGISTRY, sign_in_background=False).close()
    singles, batches = bench.sizes.published, max(1, bench.sizes.published // 40)
    with ExitStack() as opened:
        port = opened.enter_context(serving(folder))
        bare = opened.enter_context(closing(bare_table(folder / "bare.db")))
        clients = [opened.enter_context(closing(HTTPConnection("127.0.0.1", port))) for _ in range(CLIENTS)]
        seqs = count()
        seconds = interleave(
            {
                "singles": _publishing(clients, singles, 1),
                "batches": _publishing(clients, batches, BATCH),
                "bare": lambda: timed(lambda: commit_each(bare, [_ENTRY] * 1000, seqs)),
            },
            bench.sizes.long_windows,
        )
    one = [taken / 1000 for taken in seconds["bare"]]
    per_single = [taken / (CLIENTS * singles) for taken in seconds["singles"]]
    per_turn = [taken / (CLIENTS * batches * BATCH) for taken in seconds["batches"]]
    bare_rate = {"bare_per_second": 1 / median(one)}
    return [
        Row("publish", f"single interactions published over HTTP by {CLIENTS} clients, against bare commits", "×",
            median_of(ratios(per_single, one)), 1.0, beside={"per_second": 1 / median(per_single), **bare_rate}),
        Row("publish_batches", f"interactions in requests of {BATCH}, {CLIENTS} clients, against bare commits", "×",
            median_of(ratios(per_turn, one)), 20.0, beside={"per_second": 1 / median(per_turn), **bare_rate}),
    ]  # fmt: skip


def _publishing(clients: list[HTTPConnection], requests: int, turns: int) -> Side:
    def publish() -> float:
        work = [[_body(turns) for _ in range(requests)] for _ in clients]
        failed: list[str] = []
        threads = [
            Thread(target=_send, args=(client, bodies, failed)) for client, bodies in zip(clients, work, strict=True)
        ]

        def run() -> None:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        taken = timed(run)
        if failed:
            raise RuntimeError(f"{len(failed)} publishes failed: {failed[0]}")
        return taken

    return publish


def _send(client: HTTPConnection, bodies: list[bytes], failed: list[str]) -> None:
    for body in bodies:
        client.request("POST", "/api/publish_interaction", body, {"Content-Type": "application/json"})
        answer = client.getresponse()
        text = answer.read()
        if answer.status != 200 or b'"success":true' not in text:
            failed.append(f"{answer.status} {text[:200]!r}")


def _body(turns: int) -> bytes:
    entry = {"role": "Agent", "content": "Your parcel arrives tomorrow before noon. " * 6}
    request = {
        "user_id": f"user-{uuid4().int % 1000}",
        "session_id": f"session-{uuid4().hex[:8]}",
        "interaction_data_list": [entry] * turns,
        "source": "prod_with_reflexio",
    }
    return json.dumps(request).encode()


@contextmanager
def serving(folder: os.PathLike[str]) -> Iterator[int]:
    """A server, in a process of its own, over the ledger in ``folder/ledger`` with its keys beside it; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    environment = {**os.environ, "AFFIDAVIT_KEYS": os.path.join(folder, "keys")}
    for name in ("AFFIDAVIT_JUDGE_MODEL", "AFFIDAVIT_JUDGE_BASE_URL"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "affidavit.api.cli", "--ledger", os.path.join(folder, "ledger"), "serve"]
    command += ["--port", str(port), "--requests-per-minute", "100000000"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        _wait(lambda: _answers(port))
        yield port
    finally:
        server.terminate()
        server.wait(60)


def _answers(port: int) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as client:
        try:
            client.request("GET", "/health")
            return client.getresponse().status == 200
        except OSError:
            return False


def _wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError("the server did not start")
        time.sleep(0.1)
