"""``affidavit judge``: judge what waits on the ledger, once or from now on."""

from __future__ import annotations

import signal
import threading
from contextlib import closing

from ...domain.errors import Refused
from ..models.settings import judge_model
from ..moment import LiveLedger
from ..workers.judges import Item, Judges
from ..workers.judging import Outcome
from ..workers.settings import WorkerSettings
from .opening import open_for_writing
from .output import say

UNDECIDED = 3
"""Exit code of ``--once`` where something was left without a verdict."""


def judge(given: str | None, once: bool, model: str | None, base_url: str | None) -> int:
    """Judge turns, grade sessions and work through regenerations; the exit code.

    With ``once`` until nothing waits, else until interrupted. 0: all that waited has its verdict. 3: with ``once``,
    something ended undecided or still waits, which the output says.
    """
    chat = judge_model(model, base_url)
    if chat is None:
        raise Refused(
            "judge_configured",
            "no judge: give --model and --base-url, or set AFFIDAVIT_JUDGE_MODEL and AFFIDAVIT_JUDGE_BASE_URL",
        )
    with (
        closing(chat),
        open_for_writing(given, background=True) as ledger,
        closing(LiveLedger(ledger)) as live,
    ):
        judges = Judges(
            live, chat, settings=WorkerSettings.from_environment(), on_outcome=None if once else _print_outcome
        )
        say(f"judge    {chat.model}")
        if not once:
            return _until_interrupted(judges)
        try:
            done = judges.run_once()
        finally:
            judges.stop()
    say(f"turns    {done.turns} judged, {done.turns_undecided} undecided")
    say(f"sessions {done.sessions} graded, {done.sessions_undecided} undecided")
    if done.jobs:
        say(f"jobs     {done.jobs} ended")
    if done.waiting:
        say(f"waiting  {done.waiting}; they are judged when `affidavit judge` runs again")
    if done.problem:
        say(f"problem  {done.problem}")
    return UNDECIDED if done.turns_undecided or done.sessions_undecided or done.waiting or done.problem else 0


def _until_interrupted(judges: Judges) -> int:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    judges.start()
    say("judging what comes; Ctrl-C stops it")
    shown: str | None = None
    try:
        while not stop.wait(1.0):
            problem = judges.problem
            if problem != shown:
                say(f"problem: {problem}" if problem else "no problem any more")
                shown = problem
    finally:
        judges.stop()
    return 0


def _print_outcome(item: Item, outcome: Outcome) -> None:
    subject = f"turn {item.turn}" if item.session is None else item.session
    why = f" ({outcome.reason})" if outcome.reason else ""
    say(f"{subject}: {outcome.kind}{why}" + (f", entry {outcome.seq}" if outcome.seq is not None else ""))
