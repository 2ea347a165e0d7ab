"""``affidavit serve`` and ``affidavit rules publish``."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ...domain.errors import Refused
from ...domain.evaluation.events import RulePublished
from ...domain.event import NewEvent
from ...ledger.application import Edge, Ledger
from ...ledger.tlog.witness import Cosigners
from ...projections.registry import REGISTRY
from ..http.access import is_loopback
from ..http.app import open_service
from ..http.limits import Limits
from ..http.schemas import Rule, RulesRequest
from ..http.service import ack
from ..keyring import Keyring
from ..many.front import Front
from ..many.listed import Listed, read_listed
from ..many.tenant import Tenant
from ..many.working import Working, at_work, settings_of
from ..models.settings import judge_model
from ..settings import cosigners
from ..telemetry import logs
from ..telemetry.logs import LogFormat
from ..telemetry.telemetry import Telemetry, spans_from_environment
from ..workers.settings import WorkerSettings
from .opening import open_for_writing
from .output import print_json, say
from .serving import run_server

if TYPE_CHECKING:
    from ..telemetry.spans import Spans

_CLOSE_SECONDS = 60
_LOG = logging.getLogger("affidavit.many")


def serve(
    given: str | None,
    host: str,
    port: int,
    requests_per_minute: int,
    max_body_bytes: int,
    model: str | None,
    base_url: str | None,
    *,
    public_log: bool = False,
    log_format: LogFormat = LogFormat.TEXT,
    access_log: bool = False,
    drain_seconds: int = 0,
) -> None:
    """Serve the pages and the HTTP API until interrupted; requests that are being answered are finished.

    With a judge's model the judges work in this process, too; with ``public_log`` everybody may read the log itself.
    ``Refused`` (``key_needed``) where other machines could call and no key was made; ``setting_readable`` where the
    environment says no number.
    """
    logs.install(log_format, access=access_log)
    limits = _limits(max_body_bytes, requests_per_minute)
    workers = WorkerSettings.from_environment()
    chat = judge_model(model, base_url)
    with ExitStack() as opened:
        telemetry = Telemetry(requests_at_once=limits.requests_at_once, spans=spans_from_environment())
        opened.callback(telemetry.close)
        ledger = opened.enter_context(open_for_writing(given, background=True, watch=telemetry.watch))
        keyring = Keyring(ledger.keys.path)
        if not (is_loopback(host) or public_log) and not any(key.revoked_at is None for key in keyring.every()):
            raise Refused(
                "key_needed", f"--host {host}: other machines could call; `affidavit keys create --scope …` makes a key"
            )
        settings = settings_of(limits, workers.org, public_log=public_log)
        working = opened.enter_context(at_work(ledger, settings, telemetry, workers, chat))
        anchoring = working.anchoring
        say(f"ledger   {ledger.place}")
        say(f"judge    {chat.model if chat is not None else 'none'}")
        say(f"witness  {_told(cosigners())}")
        say(f"anchors  {anchoring.authority.host if anchoring is not None else 'none'}")
        run_server(working.app, host, port, "serving", stopping=telemetry.stopping, drain_seconds=drain_seconds)


def serve_many(
    path: Path,
    host: str,
    port: int,
    requests_per_minute: int,
    max_body_bytes: int,
    model: str | None,
    base_url: str | None,
    *,
    log_format: LogFormat = LogFormat.TEXT,
    access_log: bool = False,
    drain_seconds: int = 0,
) -> None:
    """Serve the ledgers that a file lists, each to whoever shows a key of it, until interrupted.

    What is given counts for the ledgers whose tables say nothing else. One that does not open is tried again while the
    others are served.
    """
    logs.install(log_format, access=access_log)
    listed = read_listed(path, _limits(max_body_bytes, requests_per_minute), model, base_url)
    workers = WorkerSettings.from_environment()
    for each in listed:  # before anything is opened: what cannot ever be right
        judge_model(each.model, each.base_url)
    with ExitStack() as opened:
        spans = spans_from_environment()
        if spans is not None:
            opened.callback(spans.close)
        stopping = threading.Event()
        tenants = [Tenant(each, partial(_opened, workers, spans, stopping)) for each in listed]
        opened.callback(_close, tenants)
        for tenant in tenants:
            tenant.start()
            say(f"ledger   {tenant.listed.name}  {tenant.listed.place}")
        say(f"witness  {_told(cosigners())}")
        front = Front(tenants, stopping)
        run_server(front, host, port, "serving", stopping=stopping, drain_seconds=drain_seconds, ledgers=len(tenants))


@contextmanager
def _opened(
    workers: WorkerSettings, spans: Spans | None, stopping: threading.Event, listed: Listed
) -> Iterator[Working]:
    """One ledger of many, open, and at work."""
    telemetry = Telemetry(requests_at_once=listed.limits.requests_at_once, spans=spans, ledger=listed.name)
    telemetry.stopping = stopping
    own = replace(workers, org=listed.organisation)
    settings = settings_of(listed.limits, listed.organisation, public_log=listed.public_log, let_local=False)
    with (
        Ledger(listed.place, listed.keys, REGISTRY, edge=Edge(watch=telemetry.watch), cosigners=cosigners()) as ledger,
        at_work(ledger, settings, telemetry, own, judge_model(listed.model, listed.base_url)) as working,
    ):
        yield working


def _close(tenants: Sequence[Tenant]) -> None:
    """Close all at once: one whose database does not answer must not keep the others open."""
    for tenant in tenants:
        tenant.stop()
    until = time.monotonic() + _CLOSE_SECONDS
    for tenant in tenants:
        if not tenant.join(max(0.0, until - time.monotonic())):
            _LOG.warning("ledger %s: not closed; what was acknowledged is durable", tenant.listed.name)


def _told(asked: Cosigners | None) -> str:
    """Whose cosignatures are asked for, in words."""
    if asked is None:
        return "none"
    return f"quorum {asked.policy.quorum}, {'fail-closed' if asked.required else 'fail-open'}"


def _limits(body_bytes: int, requests_per_minute: int) -> Limits:
    """The limits that options set, and those that the environment does."""
    defaults = Limits()
    return Limits(
        body_bytes=body_bytes,
        batch_bytes=int(_setting("AFFIDAVIT_MAX_BATCH_BYTES", defaults.batch_bytes)),
        batch_lines=int(_setting("AFFIDAVIT_MAX_BATCH_LINES", defaults.batch_lines)),
        body_seconds=_setting("AFFIDAVIT_BODY_SECONDS", defaults.body_seconds),
        batch_seconds=_setting("AFFIDAVIT_BATCH_SECONDS", defaults.batch_seconds),
        requests_per_minute=requests_per_minute,
        requests_at_once=int(_setting("AFFIDAVIT_REQUESTS_AT_ONCE", defaults.requests_at_once)),
    )


def _setting(name: str, default: float) -> float:
    given = os.environ.get(name)
    if not given:
        return default
    if not (given.isascii() and given.isdigit() and 0 < int(given) < 10**12):
        raise Refused("setting_readable", f"{name}={given!r}: expected a whole number, 1 or more")
    return int(given)


def publish_rules(given: str | None, path: Path, as_json: bool) -> None:
    """Publish the rules of a file: a JSON object, list or ``{"rules": […]}``, or one object a line."""
    events = [RulePublished(**rule.model_dump()) for rule in _read_rules(path)]
    with open_for_writing(given) as ledger, open_service(ledger) as service:
        recorded = service.append_all([NewEvent(f"rule/{event.rule}", 0, event, service.meta()) for event in events])
    published = [(event.rule, found) for event, found in zip(events, recorded, strict=True)]
    if as_json:
        print_json({"rules": [{"rule": rule, **ack(found)} for rule, found in published]})
        return
    for rule, found in published:
        say(f"entry {found.seq}  {rule}")


def _read_rules(path: Path) -> list[Rule]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("file_readable", f"{path}: {error}") from error
    try:
        try:
            document = json.loads(text)
        except ValueError:
            document = [json.loads(line) for line in text.splitlines() if line.strip()]
        if isinstance(document, dict) and "rules" not in document:
            document = [document]
        return RulesRequest.model_validate(document if isinstance(document, dict) else {"rules": document}).rules
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Refused("rule_invalid", f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except ValueError as error:
        raise Refused("file_readable", f"{path}: expected JSON, or JSON lines: {error}") from error
