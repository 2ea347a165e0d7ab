"""Whoever is interrupted while appending, wherever that is, leaves the ledger to the others."""

from __future__ import annotations

import dis
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import CodeType, FrameType
from typing import Any

import pytest

from affidavit.ledger.application import Acknowledged, Ledger
from affidavit.ledger.errors import Conflict, OutcomeUnknown
from affidavit.ledger.store import recorder
from affidavit.ledger.store.recorder import ChainingRecorder
from affidavit.tests.ledger.store.noting import check, noted

CODES = tuple(
    method.__code__
    for method in (
        ChainingRecorder.append,
        ChainingRecorder._commit_waiting,
        ChainingRecorder._hand_on,
        recorder._Appender.__init__,
        recorder._Appender.wait,
        recorder._Appender.wake,
    )
)
_AFTER = {"CALL", "CALL_FUNCTION_EX", "JUMP_BACKWARD", "RESUME"}
"""After these the interpreter looks whether a signal has come; 3.11 to 3.13 agree on them."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_ASLEEP_SECONDS", 0.01)


class Interrupter:
    """Interrupts this thread at the n-th moment in the code of appending at which a signal could."""

    def __init__(self, n: int) -> None:
        self.left = n
        self._names: dict[CodeType, dict[int, str]] = {
            code: {each.offset: each.opname for each in dis.get_instructions(code)} for code in CODES
        }
        self._last: dict[FrameType, int] = {}

    def __enter__(self) -> Interrupter:
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _called(self, frame: FrameType, what: str, argument: object) -> Any:
        if frame.f_code not in self._names:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._stepped

    def _stepped(self, frame: FrameType, what: str, argument: object) -> Any:
        if what == "opcode":
            name = self._names[frame.f_code].get(self._last.get(frame, -1), "")
            self._last[frame] = frame.f_lasti
            if name in _AFTER:
                self.left -= 1
                if self.left == 0:
                    sys.settrace(None)
                    raise KeyboardInterrupt
        return self._stepped


def moments(ledger: Ledger) -> Iterator[tuple[int, bool]]:
    """Interrupt an append at each moment in turn, until one is not; whether that was interrupted."""
    for n in range(1, 1000):
        with Interrupter(n) as interrupter, suppress(KeyboardInterrupt):
            ledger.record(noted(0, f"interrupted/{n}"))
        yield n, interrupter.left == 0
        if interrupter.left > 0:
            return
    raise AssertionError("it never ended")


def in_time(ledger: Ledger, stream: str) -> list[Acknowledged]:
    """Append in a thread of its own; it is not waited for without an end."""
    answers: list[Acknowledged] = []
    appending = threading.Thread(target=lambda: answers.extend(ledger.record(noted(0, stream))), daemon=True)
    appending.start()
    appending.join(timeout=30)
    assert not appending.is_alive()
    return answers


def test_wherever_an_append_is_interrupted_the_next_one_is_served(ledger: Ledger) -> None:
    interrupted = 0
    for n, was in moments(ledger):
        interrupted += was
        assert in_time(ledger, f"after/{n}"), n
    assert interrupted > 15
    streams = [event.stream for event in check(ledger)]
    assert len({*streams}) == len(streams)


def test_wherever_a_leader_is_interrupted_those_who_wait_behind_it_are_served(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each learns that it is recorded, or that nobody knows; nobody is told so and is not there, or is there twice."""
    clock = ledger.recorder._clock
    told: dict[str, list[Acknowledged]] = {}
    unknown: list[str] = []
    waiting: list[threading.Thread] = []

    def follow(stream: str) -> None:
        try:
            told[stream] = ledger.record(noted(0, stream))
        except OutcomeUnknown:
            unknown.append(stream)
        except Conflict:
            raise AssertionError(f"{stream} was recorded before") from None

    def come() -> int:
        """While the leader commits, two come after it."""
        if threading.current_thread() is threading.main_thread():
            for _ in range(2):
                waiting.append(threading.Thread(target=follow, args=(f"behind/{len(waiting)}",), daemon=True))
                waiting[-1].start()
            while len(ledger.recorder._waiting) < 2:
                threading.Event().wait(0.0001)
        return clock()

    monkeypatch.setattr(ledger.recorder, "_clock", come)
    for _, _ in moments(ledger):
        for thread in waiting:
            thread.join(timeout=30)
            assert not thread.is_alive()
    counts = [event.stream for event in check(ledger)]
    assert len({*counts}) == len(counts)
    assert {*told} <= {*counts}
    assert len(told) + len(unknown) == len(waiting)
