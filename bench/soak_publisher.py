"""A client of the soak: publishes until its input ends, and writes down what it was told.

``python -m affidavit.bench.soak_publisher NAME SEED URL…``. On its output a line for each request: ``ack ID SEQ LEAF``
once it is acknowledged, ``left ID`` where it was given up before, which says nothing of whether it is recorded.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Sequence

from affidavit.api.client import AffidavitClient, ApiError

THREADS = 3
_PASSING = frozenset({0, 429, 502, 503, 504})
_PAUSE_SECONDS = 0.15
_GIVEN_UP = 0.1
_TIMEOUT_SECONDS = 60.0


class Publisher:
    """One of its threads: every request has an id of its own, with which it is sent until it is acknowledged."""

    def __init__(self, name: str, seed: str, urls: Sequence[str], ended: threading.Event) -> None:
        self._name = name
        self._chance = random.Random(seed)
        self._clients = [AffidavitClient(url, tries=1, timeout=_TIMEOUT_SECONDS) for url in urls]
        self._ended = ended

    def run(self) -> None:
        sent = 0
        while not self._ended.is_set():
            self._publish(f"{self._name}-{sent}")
            sent += 1
            self._ended.wait(self._chance.random() * _PAUSE_SECONDS)

    def _publish(self, request_id: str) -> None:
        user = f"u{self._chance.randrange(50)}"
        shadow = {"shadow_content": "I do not know."} if self._chance.random() < 1 / 3 else {}
        turns = [
            {"role": "User", "content": f"Where is my parcel {request_id}?"},
            {"role": "Agent", "content": "Your parcel is in Bern.", **shadow},
        ]
        while True:
            client = self._chance.choice(self._clients)
            try:
                told = client.publish_interaction(user, turns, f"{user}-s", source="soak", request_id=request_id)
            except ApiError as error:
                if error.status not in _PASSING:
                    raise
                _say(f"again {error.status}")
                if self._chance.random() < _GIVEN_UP:
                    _say(f"left {request_id}")
                    return
                self._ended.wait(self._chance.random())
            else:
                _say(f"ack {request_id} {told['seq']} {told['leaf_hash']}")
                return


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    name, seed, *urls = sys.argv[1:]
    ended = threading.Event()
    publishers = [Publisher(f"{name}{n}", f"{seed}/{name}{n}", urls, ended) for n in range(THREADS)]
    failed: list[BaseException] = []

    def run(publisher: Publisher) -> None:
        try:
            publisher.run()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(publisher,)) for publisher in publishers]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


if __name__ == "__main__":
    main()
