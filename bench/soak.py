"""A soak: everything at once for some minutes, faults among it, and at the end counts that add up exactly.

``python -m affidavit.bench.soak [sqlite|postgresql15|postgresql18]``. Several processes publish over HTTP to two
``affidavit serve``, which judge with the stand-in (simulated); overviews are asked for, people erased, the ledger
verified; servers are killed, and with PostgreSQL the database is killed, starts again, loses its standby for a while,
and fails over to it. ``SOAK_SECONDS`` (120) bounds it, ``SOAK_SEED`` repeats its choices.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count
from pathlib import Path

from affidavit.api.client import AffidavitClient, ApiError
from affidavit.api.models.standin import StandInJudge
from affidavit.api.settings import ledger_place
from affidavit.bench.soak_counts import Told, all_judged, require_counts
from affidavit.ledger.application import Ledger
from affidavit.projections.registry import REGISTRY
from affidavit.tests.servers import Pair

STORES = ("sqlite", "postgresql15", "postgresql18")
SERVERS = PUBLISHERS = 2
_FAULT_SECONDS = (1.0, 5.0)
_START_SECONDS = 120
_SETTLE_SECONDS = 180
_PAUSED_SECONDS = 2.0


class Soak:
    """The processes of a soak, and what was done to them."""

    def __init__(self, address: str, folder: Path, judge: StandInJudge, pair: Pair | None, seed: str) -> None:
        self.address = address
        self.place = ledger_place(address)
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self.erased: list[str] = []
        self.told = Told()
        self._judge = judge
        self._pair = pair
        self._seed = seed
        self._servers: list[subprocess.Popen[bytes] | None] = [None] * SERVERS
        self._ports = [_free_port() for _ in range(SERVERS)]
        self._ended = threading.Event()
        self._quiet = threading.Lock()  # no fault while the ledger is verified
        self._environment = {**os.environ, "AFFIDAVIT_KEYS": str(folder / "keys")}

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self._ports]

    def command(self, *arguments: str) -> str:
        """What the command prints; it has to end well."""
        done = subprocess.run(
            [*self._affidavit(), *arguments], env=self._environment, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(
                f"affidavit {' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done.stdout

    def run(self, seconds: float) -> None:
        """All of it, until that time is over and what was begun is done."""
        with ExitStack() as opened:
            for n in range(SERVERS):
                self._start(n)
            opened.callback(self._end_servers)
            publishers = [self._publish(f"p{n}-") for n in range(PUBLISHERS)]
            for publisher in publishers:
                opened.callback(publisher.kill)
            work = (self._look, self._erase, self._verify_often, self._disturb)
            failed: list[BaseException] = []
            threads = [threading.Thread(target=self._guarded, args=(each, failed)) for each in work]
            for thread in threads:
                thread.start()
            self._ended.wait(seconds)
            self._ended.set()
            for thread in threads:
                thread.join()
            if failed:
                raise failed[0]
            for n, publisher in enumerate(publishers):
                publisher.communicate(timeout=_SETTLE_SECONDS)
                if publisher.returncode:
                    raise RuntimeError(f"publisher {n} ended with {publisher.returncode}")
                self.told.read((self.folder / f"p{n}-told").read_text().splitlines())
            deadline = time.monotonic() + _SETTLE_SECONDS
            while not all_judged(self.place):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"not all is judged {_SETTLE_SECONDS} seconds after the last publish")
                time.sleep(1)

    def _guarded(self, work: Callable[[], None], failed: list[BaseException]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)
            self._ended.set()

    def _look(self) -> None:
        """Overviews, as people ask for them."""
        for n in count():
            if self._ended.wait(0.5):
                return
            with AffidavitClient(self.urls[n % SERVERS], tries=1) as client, suppress(ApiError):
                client.evaluation_health()
                client.get_evaluation_overview(from_ts=0, to_ts=int(time.time()) + 60)
                self.counts["overviews"] += 1

    def _erase(self) -> None:
        """Somebody who is published once, and erased, until both are said to be done."""
        for n in count():
            if self._ended.wait(2.0):
                return
            user = f"gone-{n}"
            turns = [{"role": "User", "content": "Forget me."}, {"role": "Agent", "content": "I shall."}]
            publish = partial(AffidavitClient.publish_interaction, user_id=user, interactions=turns)
            self._until_done(partial(publish, session_id=f"{user}-s", request_id=f"of-{user}"))
            self._until_done(partial(AffidavitClient.clear_user_data, user_id=user))
            self.erased.append(user)

    def _until_done(self, ask: Callable[[AffidavitClient], object]) -> None:
        deadline = time.monotonic() + _SETTLE_SECONDS
        for n in count():
            with AffidavitClient(self.urls[n % SERVERS], tries=1) as client:
                try:
                    ask(client)
                except ApiError as error:
                    if error.status == 500 or time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)
                else:
                    return

    def _verify_often(self) -> None:
        while not self._ended.wait(10.0):
            with self._quiet:
                self.require_verified()
                self.counts["verified"] += 1

    def require_verified(self) -> None:
        verdict = json.loads(self.command("verify", "--json"))
        if verdict["verdict"] != "ok":
            raise RuntimeError(f"verify: {verdict}")

    def _disturb(self) -> None:
        chance = random.Random(f"{self._seed}/faults")
        faults: list[Callable[[random.Random], None]] = [self._kill_server, self._restart_server]
        if self._pair is not None:
            faults += [self._restart_database, self._pause_standby, self._fail_over]
        waiting = list(faults)  # each of them once to begin with, the worst first
        while not self._ended.wait(chance.uniform(*_FAULT_SECONDS)):
            fault = waiting.pop() if waiting else chance.choice(faults)
            with self._quiet:
                fault(chance)
                self.counts[fault.__name__.strip("_").replace("_", " ")] += 1
                self._revive()

    def _kill_server(self, chance: random.Random) -> None:
        n = chance.randrange(SERVERS)
        self._stop(n, signal.SIGKILL)
        self._start(n)

    def _restart_server(self, chance: random.Random) -> None:
        n = chance.randrange(SERVERS)
        self._stop(n, signal.SIGTERM)
        self._start(n)

    def _restart_database(self, _: random.Random) -> None:
        assert self._pair is not None
        self._pair.primary.stop("kill")
        self._pair.primary.start()
        self._pair.wait_for("sync")

    def _fail_over(self, chance: random.Random) -> None:
        assert self._pair is not None
        self._pair.fail_over(chance.choice(("kill", "immediate")))
        self._ended.wait(chance.random())
        self._pair.attach()

    def _pause_standby(self, _: random.Random) -> None:
        assert self._pair is not None
        self._pair.standby.stop("fast")
        self._ended.wait(_PAUSED_SECONDS)
        self._pair.standby.start()
        self._pair.wait_for("sync")

    def _revive(self) -> None:
        """No fault of the database may end a server."""
        for n, server in enumerate(self._servers):
            if server is not None and server.poll() is not None:
                raise RuntimeError(f"server {n} ended with {server.returncode}: {self._log(n)}")

    def _start(self, n: int) -> None:
        command = [*self._affidavit(), "serve", "--port", str(self._ports[n]), "--requests-per-minute", "1000000"]
        command += ["--model", self._judge.model, "--base-url", self._judge.base_url]
        with (self.folder / f"server-{n}.log").open("ab") as log:
            server = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        self._servers[n] = server
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with AffidavitClient(self.urls[n], tries=1, timeout=5) as client, suppress(ApiError):
                client.alive()
                return
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"server {n} did not start: {self._log(n)}")
            time.sleep(0.1)

    def _stop(self, n: int, how: signal.Signals) -> None:
        server = self._servers[n]
        assert server is not None
        server.send_signal(how)
        code = server.wait(_START_SECONDS)
        self._servers[n] = None
        if code not in (0, -signal.SIGKILL):
            raise RuntimeError(f"server {n} ended with {code}: {self._log(n)}")

    def _end_servers(self) -> None:
        for n, server in enumerate(self._servers):
            if server is not None and server.poll() is None:
                self._stop(n, signal.SIGTERM)

    def _publish(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "affidavit.bench.soak_publisher", name, self._seed, *self.urls]
        # Into a file: nobody reads a pipe meanwhile, and one that is full would hold the publisher up.
        with (self.folder / f"{name}told").open("wb") as told:
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=told)

    def _log(self, n: int) -> str:
        return (self.folder / f"server-{n}.log").read_text(errors="replace")[-2000:]

    def _affidavit(self) -> list[str]:
        return [sys.executable, "-m", "affidavit.api.cli", "--ledger", self.address]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def soak(store: str, seconds: float, seed: str) -> dict[str, int]:
    """The figures of one soak; raises where anything does not hold."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="affidavit-soak-")))
        pair = None
        if store != STORES[0]:
            pair = Pair(int(store.removeprefix("postgresql")))
            opened.callback(pair.delete)
        address = str(folder / "ledger") if pair is None else f"{pair.url}&commit_timeout=10"
        judge = opened.enter_context(StandInJudge())
        soaking = Soak(address, folder, judge, pair, seed)
        soaking.command("init")
        scopes = ("--scope", "publish", "--scope", "read", "--scope", "admin")
        os.environ["AFFIDAVIT_API_KEY"] = json.loads(soaking.command("keys", "create", *scopes, "--json"))["token"]
        if pair is not None:
            pair.attach()
        soaking.run(seconds)
        soaking.require_verified()
        with Ledger(soaking.place, folder / "keys", REGISTRY, sign_in_background=False) as ledger:
            figures = require_counts(ledger, soaking.told, soaking.erased)
        soaking.require_verified()
        return {**figures, **dict(sorted(soaking.counts.items()))}


def main() -> None:
    store = sys.argv[1] if len(sys.argv) > 1 else STORES[0]
    if store not in STORES:
        sys.exit(f"expected one of {', '.join(STORES)}, found {store}")
    seconds = float(os.environ.get("SOAK_SECONDS") or 120)
    seed = os.environ.get("SOAK_SEED") or str(random.randrange(10**6))
    print(f"{store}, {seconds:g} seconds, SOAK_SEED={seed}", flush=True)
    started = time.monotonic()
    for what, found in soak(store, seconds, seed).items():
        print(f"{found:>9,}  {what}")
    print(f"verify is ok, and all counts add up, after {time.monotonic() - started:.0f} seconds")


if __name__ == "__main__":
    main()
