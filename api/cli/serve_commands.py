"""``affidavit serve`` and ``affidavit rules publish``."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, closing
from pathlib import Path

from pydantic import ValidationError

from ...domain.errors import Refused
from ...domain.evaluation.events import RulePublished
from ...domain.event import NewEvent
from ...ledger.tlog.witness import Cosigners
from ..anchoring import scheduled
from ..http.access import is_loopback
from ..http.app import create_app, open_service
from ..http.limits import Limits
from ..http.schemas import Rule, RulesRequest
from ..http.service import Settings, ack
from ..keyring import Keyring
from ..models.settings import judge_model
from ..moment import LiveLedger
from ..pages.warming import Warming
from ..retention import Retention
from ..settings import cosigners
from ..workers.judges import Judges
from ..workers.settings import WorkerSettings
from .opening import open_for_writing
from .output import print_json, say
from .serving import run_server


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
) -> None:
    """Serve the pages and the HTTP API until interrupted; requests that are being answered are finished.

    With a judge's model the judges work in this process, too; with ``public_log`` everybody may read the log itself.
    ``Refused`` (``key_needed``) where other machines could call and no key was made; ``setting_readable`` where the
    environment says no number.
    """
    limits = _limits(max_body_bytes, requests_per_minute)
    workers = WorkerSettings.from_environment()
    chat = judge_model(model, base_url)
    with ExitStack() as opened:
        ledger = opened.enter_context(open_for_writing(given, background=True))
        keyring = Keyring(ledger.keys.path)
        if not (is_loopback(host) or public_log) and not any(key.revoked_at is None for key in keyring.every()):
            raise Refused(
                "key_needed", f"--host {host}: other machines could call; `affidavit keys create --scope …` makes a key"
            )
        live = opened.enter_context(closing(LiveLedger(ledger)))
        judges: Judges | None = None
        if chat is not None:
            opened.enter_context(closing(chat))
            judges = Judges(live, chat, settings=workers)
            opened.callback(judges.stop)
            judges.start()
        settings = Settings(
            limits,
            organisation=workers.org,
            agent_version=os.environ.get("REFLEXIO_AGENT_VERSION") or "agent-v0",
            public_log=public_log,
        )
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
        say(f"ledger   {ledger.place}")
        say(f"judge    {chat.model if chat is not None else 'none'}")
        say(f"witness  {_told(cosigners())}")
        say(f"anchors  {anchoring.authority.host if anchoring is not None else 'none'}")
        run_server(create_app(service), host, port, "serving")


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
