"""The site under test: the recorded world, served on a free port of this machine, and the pages that it has."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, sleep
from urllib.parse import quote

import httpx2
import uvicorn

from affidavit.api.http.app import create_app
from affidavit.api.http.service import Service
from affidavit.tests.api.pages.world import last_job, seq_of, session_alias
from affidavit.tests.api.pages.world_runs import (
    BETTER,
    BRANCH,
    DRIVEN,
    EMPTY,
    ERASED_RUN,
    FAILED,
    HOSTILE_RUN,
    LONG,
    OPEN,
)
from affidavit.tests.api.pages.world_sessions import HOSTILE_SESSION, SESSION, UNGRADED

_PATIENCE = 30.0


@dataclass(frozen=True)
class Site:
    """A running server. ``service`` is what it works with, ``url`` where it is, without a slash at the end."""

    service: Service
    url: str


@contextmanager
def served(service: Service) -> Iterator[Site]:
    """Serve on a thread until the block is left."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        config = uvicorn.Config(create_app(service), log_level="warning", lifespan="off", access_log=False, ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, name="site", daemon=True)
        thread.start()
        end = monotonic() + _PATIENCE
        while not server.started:
            if monotonic() > end or not thread.is_alive():
                raise RuntimeError("the server does not start")
            sleep(0.01)
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        try:
            _settle(url)
            yield Site(service, url)
        finally:
            server.should_exit = True
            thread.join(_PATIENCE)


def _settle(url: str) -> None:
    """Wait until nothing of the list of runs is still being worked out, so that a page is the same at each look."""
    end = monotonic() + _PATIENCE
    while "still being worked out" in httpx2.get(f"{url}/runs", timeout=_PATIENCE, trust_env=False).text:
        if monotonic() > end:
            raise RuntimeError("the list of runs is never complete")
        sleep(0.1)


Path = Callable[[Service], str]


def _at(path: str) -> Path:
    return lambda _: path


def _session(name: str) -> Path:
    return lambda service: f"/evaluation/sessions/{session_alias(service, name)}"


def _entry(stream: str, type_name: str | None = None) -> Path:
    return lambda service: f"/ledger/entries/{seq_of(service, stream, type_name)}"


def _call(service: Service) -> str:
    return f"/runs/{DRIVEN}/calls/{seq_of(service, f'run/{DRIVEN}', 'model.requested.v1')}"


def _first_checkpoint(service: Service) -> str:
    with service.ledger.recorder.reading() as reader:
        return f"/ledger/checkpoints/{next(iter(reader.checkpoints()))[0]}"


def _set(label: str, *sources: str) -> str:
    return "set=" + quote(f"{label}:{','.join(sources)}")


PAGES: dict[str, Path] = {
    "runs": _at("/runs"),
    "runs-filtered": _at("/runs?status=completed&strategy=iterative"),
    "runs-none": _at("/runs?q=nothing-has-this-name"),
    "lineage": _at("/runs/lineage/branch-2"),
    "run": _at(f"/runs/{BETTER}"),
    "run-against": _at(f"/runs/{BETTER}?against=even"),
    "run-driven": _at(f"/runs/{DRIVEN}"),
    "run-branch": _at(f"/runs/{BRANCH}"),
    "run-imported": _at("/runs/002"),
    "run-long": _at(f"/runs/{LONG}"),
    "run-open": _at(f"/runs/{OPEN}"),
    "run-empty": _at(f"/runs/{EMPTY}"),
    "run-failed": _at(f"/runs/{FAILED}"),
    "run-erased": _at(f"/runs/{ERASED_RUN}"),
    "run-hostile": _at(f"/runs/{HOSTILE_RUN}"),
    "run-unknown": _at("/runs/nothing-has-this-name"),
    "baseline": _at(f"/runs/{BETTER}/iterations/0"),
    "iteration": _at(f"/runs/{BETTER}/iterations/3"),
    "iteration-against": _at(f"/runs/{BETTER}/iterations/5?against=1"),
    "iteration-driven": _at(f"/runs/{DRIVEN}/iterations/2"),
    "iteration-erased": _at(f"/runs/{ERASED_RUN}/iterations/2"),
    "iteration-hostile": _at(f"/runs/{HOSTILE_RUN}/iterations/2"),
    "calls": _at(f"/runs/{DRIVEN}/calls"),
    "calls-none": _at(f"/runs/{BETTER}/calls"),
    "call": _call,
    "evaluation": _at("/evaluation"),
    "evaluation-source": _at("/evaluation?source=prod_with_reflexio&days=7"),
    "evaluation-sets": _at(
        f"/evaluation?{_set('with', 'prod_with_reflexio')}&{_set('without', 'prod_without_reflexio')}"
    ),
    "evaluation-empty": _at("/evaluation?from=2020-01-01&to=2020-01-31"),
    "comparisons": _at("/evaluation/comparisons"),
    "disagreements": _at("/evaluation/disagreements"),
    "undecided": _at("/evaluation/undecided"),
    "sessions": _at("/evaluation/sessions"),
    "session": _session(SESSION),
    "session-ungraded": _session(UNGRADED),
    "session-hostile": _session(HOSTILE_SESSION),
    "jobs": _at("/evaluation/jobs"),
    "job": lambda service: f"/evaluation/jobs/{last_job(service)}",
    "judges": _at("/evaluation/judges"),
    "ledger": _at("/ledger"),
    "ledger-filtered": _at("/ledger?type=review.signed.v1"),
    "entry": _entry(f"run/{BETTER}"),
    "entry-hostile": _entry(f"run/{HOSTILE_RUN}", "rewrite.proposed.v1"),
    "entry-erased": _entry(f"run/{ERASED_RUN}"),
    "entry-first": _at("/ledger/entries/0"),
    "streams": _at("/ledger/streams"),
    "stream": _at(f"/ledger/streams/run/{BETTER}"),
    "checkpoints": _at("/ledger/checkpoints"),
    "checkpoint": _first_checkpoint,
    "witnesses": _at("/ledger/witnesses"),
    "anchors": _at("/ledger/anchors"),
    "erasures": _at("/ledger/erasures"),
    "imports": _at("/ledger/imports"),
    "verification": _at("/ledger/verification"),
    "changes": _at("/ledger/changes?since=2000"),
    "reviews": _at("/reviews"),
    "review": _at(f"/reviews/new?run={BETTER}"),
    "review-range": _at("/reviews/new?first=100&last=199"),
    "review-upload": _at("/reviews/upload"),
    "login": _at("/login"),
    "runs-past": _at("/runs?as_of=1600"),
    "run-past": lambda service: f"/runs/{LONG}?as_of={seq_of(service, f'run/{LONG}') + 60}",
    "evaluation-past": _at("/evaluation?as_of=900"),
    "ledger-past": _at("/ledger?as_of=900"),
}
"""Every page once, and some in each state that they have: by name, how its address is found on the world's service."""

REFUSED = {"run-unknown": 404}
"""The pages that are no success, with their status."""

UNSAID = {"login", "run-unknown"}
"""Pages that show nothing of the ledger, and bear no badge."""
