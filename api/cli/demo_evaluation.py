"""The second half of ``affidavit demo``: an agent's sessions, published and judged on this machine.

The sessions are made up, and the judge is a stand-in that knows nothing; both are said wherever they show. What is
real is everything between: the server, the client, the judging of each turn, the ledger and the statistics.
"""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..client import AffidavitClient, ApiError
from ..models.standin import LABEL, StandInJudge
from .output import say

SESSIONS = 300
HOLDOUT = 0.3
WITH, WITHOUT = "prod_with_reflexio", "prod_without_reflexio"
_TOPICS = (
    ("parcel", "Where is my parcel?", "Your parcel is with the carrier and arrives tomorrow before noon."),
    (
        "refund",
        "How do I get a refund for a broken lamp?",
        "Send a photo of the broken lamp; the refund comes in 3 days.",
    ),
    ("invoice", "I need the invoice of May again.", "The invoice of May is under Orders, Invoices; I sent you a copy."),
    ("address", "Can I change the address of an order?", "Yes: the address can change until the order is packed."),
    ("login", "My login does not work.", "Reset the login under Account; the link is valid for one hour."),
)
_VAGUE = ("Please contact support.", "I am not sure.", "It depends.", "Somebody will look into that soon.")
_PATIENCE = 600
"""Seconds within which everything must have been judged."""


def run_sessions(folder: Path, environment: Mapping[str, str], ledger: str) -> None:
    """Serve the ledger, publish made-up sessions, have them judged by the stand-in, and stop the server."""
    token = _command(environment, folder, "--ledger", ledger, "keys", "create", "--scope", "admin").split()[0]
    with (
        StandInJudge() as judge,
        _serving(folder, {**environment, **_judged_by(judge)}, ledger) as address,
        AffidavitClient(address, token) as client,
    ):
        _wait(client.health)
        client.publish_rules(
            [{"rule": topic, "title": f"About a {topic}", "text": answer} for topic, _, answer in _TOPICS]
        )
        client.declare_assignment(
            unit="session",
            shares={WITH: 1 - HOLDOUT, WITHOUT: HOLDOUT},
            mechanism="random",
            since=int(time.time()),
            note="made-up sessions of a demonstration",
        )
        answers = client.publish_interactions(_sessions())
        say(f"{sum(bool(answer.get('success')) for answer in answers[:-1])} made-up sessions published over HTTP")
        now = int(time.time())
        job = client.regenerate_evaluations(now - 86_400, now + 1)["job_id"]
        _wait(lambda: _is_judged(client, job))
        found = client.get_regeneration(job)
        say(f"judged by {judge.model}: {LABEL}; {found['completed']} sessions graded, {found['failed']} not")


def _sessions() -> Iterator[dict[str, Any]]:
    """Sessions of one turn, sometimes two; with rules the agent mostly answers, without it is mostly vague."""
    rng = random.Random(8128)
    for number in range(SESSIONS):
        source = WITHOUT if rng.random() < HOLDOUT else WITH
        turns: list[dict[str, Any]] = []
        for topic, question, answer in rng.sample(_TOPICS, rng.choice((1, 1, 2))):
            vague = rng.choice(_VAGUE)
            served = answer if rng.random() < (0.8 if source == WITH else 0.3) else vague
            turns.append({"role": "User", "content": question})
            turns.append(
                {
                    "role": "Agent",
                    "content": served,
                    "shadow_content": vague if rng.random() < 0.7 else answer,
                    "citations": [{"kind": "agent_playbook", "real_id": topic, "title": f"About a {topic}"}]
                    if source == WITH
                    else [],
                }
            )
        yield {
            "user_id": f"user-{rng.randrange(120)}",
            "session_id": f"session-{number:03}",
            "interactions": turns,
            "source": source,
            "agent_version": "v1",
            "evaluation_only": source == WITHOUT,
        }


def _is_judged(client: AffidavitClient, job: str) -> bool:
    waiting = client.evaluation_health()
    return client.get_regeneration(job)["status"] != "running" and not waiting.get("pending_turns")


def _judged_by(judge: StandInJudge) -> dict[str, str]:
    return {"AFFIDAVIT_JUDGE_BASE_URL": judge.base_url, "AFFIDAVIT_JUDGE_MODEL": judge.model}


@contextmanager
def _serving(folder: Path, environment: Mapping[str, str], ledger: str) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "affidavit.api.cli", "--ledger", ledger, "serve", "--port", str(port)]
    server = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(60)


def _command(environment: Mapping[str, str], folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "affidavit.api.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


def _wait(done: Any) -> None:
    """Ask until it is so; the server may still be starting."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            if done():
                return
        except ApiError as error:
            if error.status not in (0, 503):
                raise
        if time.monotonic() > deadline:
            say("the demonstration server did not finish in time")
            sys.exit(1)
        time.sleep(0.1)
