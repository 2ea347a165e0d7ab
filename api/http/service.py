"""What the routes work with, and how they answer."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.responses import Response

from ...domain.errors import Refused
from ...domain.event import Event, Meta, NewEvent
from ...ledger.application import Acknowledged, Ledger, system_clock
from ...ledger.errors import Conflict
from ..anchoring import Anchoring
from ..answers import without_nulls
from ..keyring import Keyring
from ..moment import LiveLedger, Moment
from ..publishing import Publisher
from ..settings import recorder_name
from ..verifying import Verifier
from ..workers.judges import Judges
from .access import key_id
from .errors import Problem
from .limits import Limits
from .schemas import AsOf

_TRIES = 20


@dataclass(frozen=True)
class Settings:
    """How a server is set up. ``agent_version`` stands in for one that an agent leaves out.

    ``public_log`` opens the log itself, its checkpoint and tiles, to everybody. ``let_local`` answers callers on this
    machine without a key.
    """

    limits: Limits = field(default_factory=Limits)
    organisation: str = "self-host-org"
    agent_version: str = "agent-v0"
    public_log: bool = False
    let_local: bool = True


@dataclass(frozen=True)
class Service:
    """One ledger, served. ``clock`` gives microseconds since 1970."""

    ledger: Ledger
    live: LiveLedger
    publisher: Publisher
    keyring: Keyring
    settings: Settings
    judges: Judges | None
    verifier: Verifier
    clock: Callable[[], int] = system_clock
    appending: threading.Lock = field(default_factory=threading.Lock)
    anchoring: Anchoring | None = None

    def now(self) -> int:
        """Whole seconds since 1970."""
        return self.clock() // 1_000_000

    def append(self, stream: str, event: Event, meta: Meta) -> Acknowledged:
        """Record at the end of a stream whose events do not depend on one another."""
        return self.append_all([NewEvent(stream, 0, event, meta)])[0]

    def append_all(self, events: Sequence[NewEvent]) -> list[Acknowledged]:
        """Record events, all or none, each at the end of its stream as ``append`` does, whatever its position says."""
        with self.appending:
            for _ in range(_TRIES):
                with self.ledger.recorder.reading() as reader:
                    ends = {event.stream: reader.next_pos(event.stream) for event in events}
                placed = []
                for event in events:
                    placed.append(replace(event, pos=ends[event.stream]))
                    ends[event.stream] += 1
                with suppress(Conflict):  # another process was faster
                    return self.ledger.record(*placed)
        raise Refused("stream_contended", f"stream {events[0].stream}: other writers took the place {_TRIES} times")

    def meta(self, scope: str | None = None, actor: str | None = None) -> Meta:
        """The metadata of what is recorded here."""
        meta = Meta(recorder=recorder_name())
        if scope is not None:
            meta["scope"] = scope
        if actor is not None:
            meta["actor"] = actor
        return meta

    def actor(self, request: Request) -> str | None:
        """The alias of the key that a request came with."""
        known = key_id(request.scope.get("state", {}))
        return None if known is None else self.ledger.alias("actor", f"api-key {known}")

    def aliases(self, kind: str, name: str | None) -> list[str] | None:
        """The aliases of a name that a filter names; None where it names none."""
        return None if name is None else [alias for alias, _ in self.find(kind, name)]

    def find(self, kind: str, name: str) -> list[tuple[str, str]]:
        """(alias, scope) of every alias of a name as it is given, else as publishing would take it, without blanks
        around it: an import keeps ids that publishing does not make."""
        return self.ledger.find_aliases(kind, name) or self.ledger.find_aliases(kind, name.strip())

    def head(self) -> tuple[int, bytes]:
        with self.ledger.recorder.reading() as reader:
            head = reader.head()
            return head.size, head.root()

    @contextmanager
    def moment(self, as_of: str | None = None) -> Iterator[Moment]:
        """The ledger as it stands, or stood."""
        with self.live.moment(as_of) as moment:
            yield moment


async def get_service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(get_service)]
AsOfQuery = Annotated[AsOf, Query(alias="as_of")]


class StrictRequest(Request):
    """Reads JSON as the ledger can keep it: UTF-8, no NaN, no lone surrogate, not too deep, integers exact."""

    async def json(self) -> Any:
        return parse_json(await self.body())


class StrictRoute(APIRoute):
    """A route whose body is read by ``StrictRequest``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return handle_strictly


def parse_json(body: bytes) -> Any:
    """Parse one JSON document; ``json.JSONDecodeError`` where it is none that can be kept."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise json.JSONDecodeError(str(error), "", 0) from error


def invalid_json(error: json.JSONDecodeError) -> RequestValidationError:
    """As FastAPI says that a body is no JSON."""
    told = {"type": "json_invalid", "loc": ("body", error.pos), "msg": "JSON decode error", "input": {}}
    return RequestValidationError([told | {"ctx": {"error": error.msg}}])


def answer(size: int, root: bytes, body: Mapping[str, Any], *, nulls: bool = True, status: int = 200) -> Response:
    """An answer that says from which entries it was computed: in the document and in headers.

    Without ``nulls`` what is None stands nowhere, as the peer answers most questions; what users sent is left whole.
    """
    document = {**(body if nulls else without_nulls(body))}
    document.setdefault("seq", size - 1)
    document |= {"size": size, "root": b64encode(root).decode()}
    headers = {"Affidavit-Seq": str(size - 1), "Affidavit-Size": str(size), "Affidavit-Root": document["root"]}
    try:
        printed = orjson.dumps(document)
    except TypeError:  # an integer of more than 64 bits, which an import may have kept
        printed = json.dumps(document, ensure_ascii=False).encode()
    return Response(printed, status, headers, media_type="application/json")


def ack(acknowledged: Acknowledged) -> dict[str, Any]:
    """An acknowledgement as JSON: the place of the entry and its leaf hash in hex."""
    return {"seq": acknowledged.seq, "leaf_hash": acknowledged.leaf_hash.hex()}


def seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def no_judge() -> Problem:
    """Where no judge's model is configured."""
    return Problem(
        503,
        "no_judge",
        "no judge model is configured here: start the server with --model and --base-url, "
        "or set AFFIDAVIT_JUDGE_MODEL and AFFIDAVIT_JUDGE_BASE_URL",
    )
