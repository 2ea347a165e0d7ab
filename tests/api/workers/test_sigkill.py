"""SIGKILL, for real: the command is killed while it judges, again and again, and another run finishes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from affidavit.api.models import standin
from affidavit.domain.evaluation.events import SessionGraded, ShadowJudged
from affidavit.domain.model_calls import ModelAnswered, ModelRequested
from affidavit.ledger.application import Ledger

from .conftest import Court

TURNS = 24
LONG_AGO = 1_600_000_000
KILLED_AT = (4, 24, 60)
"""How many entries the judges have added, all told, when they are killed."""


class Permits:
    """The stand-in judge, which replies only as often as it is allowed to."""

    def __init__(self) -> None:
        self._permits = threading.Semaphore(0)
        self._free = threading.Event()
        self._answer = standin.answer

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        while not self._free.is_set() and not self._permits.acquire(timeout=0.05):
            pass
        return self._answer(request)

    def allow(self, replies: int) -> None:
        self._permits.release(replies)

    def allow_all(self) -> None:
        self._free.set()


@contextmanager
def judging(court: Court, judge: standin.StandInJudge) -> Iterator[subprocess.Popen[str]]:
    """The command at work in a process of its own, which is gone when the block ends."""
    folder = str(court.folder / "ledger")
    command = [sys.executable, "-m", "affidavit.api.cli", "--ledger", folder, "judge", "--once"]
    with subprocess.Popen(
        [*command, "--model", judge.model, "--base-url", judge.base_url],
        env={**os.environ, "AFFIDAVIT_KEYS": str(court.folder / "keys")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_entries(ledger: Ledger, size: int, process: subprocess.Popen[str]) -> None:
    while True:
        with ledger.recorder.reading() as reader:
            if reader.head().size >= size:
                return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)


def test_whenever_the_command_is_killed_each_turn_and_session_ends_with_one_verdict(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is allowed fewer replies than would let it finish, so each kill hits it at work, at whatever it is at."""
    permits = Permits()
    monkeypatch.setattr(standin, "answer", permits)
    with court.reopened() as live, standin.StandInJudge() as judge:
        court.configure(live.ledger, eval_concurrency_limit=4)
        turns = [court.exchange(live.ledger, f"s{number}", at=LONG_AGO) for number in range(TURNS)]
        with live.ledger.recorder.reading() as reader:
            before = reader.head().size
        for added in KILLED_AT:
            with judging(court, judge) as process:
                permits.allow(TURNS // 2)
                wait_for_entries(live.ledger, before + added, process)
                process.kill()
                assert process.wait() == -signal.SIGKILL
        permits.allow_all()
        with judging(court, judge) as process:
            printed, _ = process.communicate(timeout=120)
        assert process.returncode == 0, printed
        verdicts: list[Any] = [found.event for found in court.events(live.ledger, ShadowJudged)]
        grades: list[Any] = [found.event for found in court.events(live.ledger, SessionGraded)]
        asked = Counter(found.stream for found in court.events(live.ledger, ModelRequested))
        answered = Counter(found.stream for found in court.events(live.ledger, ModelAnswered))
    assert sorted(event.turn for event in verdicts) == turns
    assert len({event.session for event in grades}) == len(grades) == TURNS
    assert set(answered.values()) == {1}, "no reply was bought twice"
    assert max(asked.values()) <= len(KILLED_AT) + 1
