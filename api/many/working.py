"""One ledger at work: its application, and what is done for it in the background while that is served."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from fastapi import FastAPI

from ...ledger.application import Ledger
from ..anchoring import Anchoring, scheduled
from ..following import Following
from ..http.app import create_app, open_service
from ..http.limits import Limits
from ..http.service import Settings
from ..keyring import Keyring
from ..models.chat import ChatModel
from ..moment import LiveLedger
from ..pages.warming import Warming
from ..retention import Retention
from ..telemetry.telemetry import Telemetry
from ..workers.judges import Judges
from ..workers.settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class Working:
    """A ledger that is served."""

    app: FastAPI
    keyring: Keyring
    anchoring: Anchoring | None


def settings_of(limits: Limits, organisation: str, *, public_log: bool, let_local: bool = True) -> Settings:
    """Settings, the version of an agent that names none as the environment says it."""
    version = os.environ.get("REFLEXIO_AGENT_VERSION") or "agent-v0"
    return Settings(limits, organisation, version, public_log=public_log, let_local=let_local)


@contextmanager
def at_work(
    ledger: Ledger, settings: Settings, telemetry: Telemetry, workers: WorkerSettings, chat: ChatModel | None
) -> Iterator[Working]:
    """Serve a ledger that the caller opened and will close; where ``chat`` is a judge's model, judge for it, too.

    ``chat`` is closed at the end.
    """
    with ExitStack() as opened:
        live = opened.enter_context(closing(LiveLedger(ledger)))
        following = Following(live)
        opened.callback(following.stop)
        following.start()
        judges: Judges | None = None
        if chat is not None:
            opened.enter_context(closing(chat))
            judges = Judges(live, chat, settings=workers)
            opened.callback(judges.stop)
            judges.start()
        anchoring = scheduled(ledger)
        if anchoring is not None:
            opened.callback(anchoring.stop)
            anchoring.start()
        service = opened.enter_context(open_service(ledger, settings, live=live, judges=judges, anchoring=anchoring))
        retention = Retention(ledger, service.publisher.forget)
        opened.callback(retention.stop)
        retention.start()
        warming = Warming(service)
        opened.callback(warming.stop)
        warming.start()
        yield Working(create_app(service, telemetry=telemetry), service.keyring, anchoring)
