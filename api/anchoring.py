"""Having checkpoints stamped by a timestamp authority (RFC 3161): now, or on a schedule.

Sign → ask → verify → the token is durable in its place → ``anchor.recorded``. A crash leaves at most
a token that no entry names; whoever anchors that size next takes it up. What the log's own times would contradict
is not recorded: it would be damage for ever.

No redirects are followed, nothing comes from the environment (no proxies, no netrc), an answer is cut off at
``MAX_BYTES``, the whole exchange at ``TIMEOUT`` seconds.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2

from ..domain.errors import AffidavitError, Refused
from ..domain.event import Meta, NewEvent
from ..ledger.application import Ledger
from ..ledger.audit.anchors import ALLOWED_SKEW_US, check_times
from ..ledger.entries.entry import format_at, parse_entry
from ..ledger.errors import Conflict, LedgerError, NotNow, Unavailable, UnsupportedFormat
from ..ledger.events import AnchorRecorded
from ..ledger.folds.anchors import ANCHOR_STREAM, Anchor
from ..ledger.store.folding import read_anchors
from ..ledger.store.reader import LedgerReader
from ..ledger.tlog.checkpoint import claimed_checkpoint
from ..ledger.tlog.timestamp import (
    Timestamp,
    build_request,
    imprint,
    verify_signature_alone,
    verify_token,
)
from .given_files import read_certificates
from .settings import recorder_name
from .telling import print_error, told

MAX_BYTES = 262_144
TIMEOUT = 10.0
DEFAULT_EVERY = 3600
TRY_AGAIN_AFTER = 60
"""Seconds after a failed attempt; sooner where the schedule says so."""

_HEADERS = {
    "Content-Type": "application/timestamp-query",
    "Accept": "application/timestamp-reply",
    "Accept-Encoding": "identity",
}
_LATELY = 20
"""How many positions back an anchor of the same size may stand that another process has just recorded."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A timestamp authority at ``url``. Its answers are verified under ``roots`` (PEM); without, under the certificate
    that each carries, so that whose they are is not known.
    """

    url: str
    roots: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        try:
            url = httpx2.URL(self.url)
        except httpx2.InvalidURL:
            url = httpx2.URL()  # what it says of the address may hold a password
        if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.fragment:
            raise Refused(
                "address_readable", "the timestamp authority: expected http(s)://HOST[:PORT]/PATH without credentials"
            )

    @property
    def host(self) -> str:
        return httpx2.URL(self.url).host

    def ask(self, request: bytes) -> bytes:
        """Send a request and return the answer as it came; ``NotNow`` where none comes."""
        end = time.monotonic() + TIMEOUT
        try:
            with (
                closing(httpx2.Client(headers=_HEADERS, timeout=TIMEOUT, trust_env=False)) as client,
                client.stream("POST", self.url, content=request) as response,
            ):
                return self._read(response, end)
        except httpx2.TimeoutException as error:
            raise self._failed(f"no answer within {TIMEOUT:.0f} seconds") from error
        except httpx2.HTTPError as error:
            raise self._failed(f"it does not answer ({type(error).__name__})") from error

    def _read(self, response: httpx2.Response, end: float) -> bytes:
        if response.status_code != 200:
            raise self._failed(f"expected status 200, found {response.status_code}")
        received = bytearray()
        for chunk in response.iter_raw():  # as they come: a chunk that fills slowly would not be looked at
            received += chunk
            if len(received) > MAX_BYTES:
                raise self._failed(f"its answer is longer than {MAX_BYTES} bytes")
            if time.monotonic() > end:
                raise self._failed(f"its answer took longer than {TIMEOUT:.0f} seconds")
        return bytes(received)

    def verify(self, response: bytes, hashed: bytes, nonce: int | None) -> Timestamp:
        """What it says of ``hashed``; raises as ``verify_token`` does."""
        if self.roots:
            return verify_token(response, hashed, self.roots, nonce)
        return verify_signature_alone(response, hashed, nonce)

    def _failed(self, why: str) -> NotNow:
        return NotNow(f"timestamp authority {self.host}: {why}")


def open_authority(url: str, ca: Path | None) -> Authority:
    """The authority at ``url``, its roots from the PEM file ``ca`` where that is given."""
    if ca is None:
        return Authority(url)
    return Authority(url, (read_certificates(ca),))


def anchor_now(ledger: Ledger, authority: Authority) -> Anchor:
    """Sign what is there, have the checkpoint stamped, and record it; the anchor once it is durable.

    ``Unavailable`` where the authority does not answer, or the clocks differ too far; ``VerificationError`` or
    ``Malformed`` where its answer does not hold. Nothing is recorded then.
    """
    ledger.sign()
    while True:
        with ledger.recorder.reading() as reader:
            latest = reader.latest_checkpoint()
            pos = reader.next_pos(ANCHOR_STREAM)
            known = read_anchors(reader, start=max(0, pos - _LATELY))
        if latest is None:
            raise NotNow("no checkpoint is signed yet")
        size, note = latest
        for anchor in known:
            if anchor.size == size:
                return anchor  # another process was faster
        response, stamp = _stamped(ledger, authority, size, note)
        checkpoint = claimed_checkpoint(note)
        event = AnchorRecorded(
            size=size,
            root=checkpoint.root.hex(),
            token=sha256(response).hexdigest(),
            time=format_at(stamp.time_us),
            authority=authority.host,
        )
        with suppress(Conflict):
            ledger.record(NewEvent(ANCHOR_STREAM, pos, event, Meta(recorder=recorder_name())))
            with ledger.recorder.reading() as reader:
                return read_anchors(reader, start=pos)[0]


def _stamped(ledger: Ledger, authority: Authority, size: int, note: bytes) -> tuple[bytes, Timestamp]:
    """The token of a checkpoint, verified and durable: the one that lies there already, else a new one."""
    place = ledger.place
    stored = f"{place}: the time token of {size} entries"
    hashed = imprint(note, ledger.verifier_key())
    while True:
        nonce = None
        response = place.token(size)
        if response is None:
            nonce = secrets.randbits(64)
            response = authority.ask(build_request(hashed, nonce))
        try:
            stamp = authority.verify(response, hashed, nonce)
        except LedgerError as error:
            where = f"timestamp authority {authority.host}" if nonce is not None else stored
            if nonce is None and not isinstance(error, UnsupportedFormat):
                # It does not hold, and no entry names it: the log was restored, say.
                logging.getLogger(__name__).warning("%s: %s; %s", stored, error, place.put_token_aside(size))
                continue
            raise type(error)(f"{where}: {error}") from error
        _require_plausible(ledger, size, stamp)
        if nonce is None or place.keep_token(size, response):
            return response, stamp
        if place.token(size) is None:
            raise Unavailable(f"{stored}: one is there, and cannot be read")


def _require_plausible(ledger: Ledger, size: int, stamp: Timestamp) -> None:
    """What would be recorded now must not be outside of its own bounds."""
    with ledger.recorder.reading() as reader:
        last = recorded_at(reader, size - 1)
    would_be = Anchor(size, ledger.now(), size, b"", "", format_at(stamp.time_us), "")
    if check_times(would_be, stamp, lambda _: last):
        raise NotNow(
            f"the clocks differ by more than {ALLOWED_SKEW_US // 1_000_000} seconds: entry {size - 1} is of {last}, "
            f"here it is {would_be.at}, by the timestamp authority {would_be.time}"
        )


def first_not_anchored(newest: Anchor) -> int:
    """The first entry, perhaps one to come, that the newest anchor does not cover, but for the one that records it."""
    return newest.size + 1 if newest.size == newest.seq else newest.size


def recorded_at(reader: LedgerReader, seq: int) -> str:
    """When an entry that is there was recorded, as it says."""
    (row,) = reader.entries(seq, seq + 1)
    return parse_entry(row.raw)["at"]


class Anchoring:
    """Has the ledger stamped every ``every`` seconds, on a thread of its own, while something new is in it.

    An attempt that fails is logged and stands in ``status`` until one succeeds; the next is made a minute later, or
    when it is due.
    """

    def __init__(self, ledger: Ledger, authority: Authority, every: float = DEFAULT_EVERY) -> None:
        self._ledger = ledger
        self.authority = authority
        self._every = every
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name="affidavit-anchoring", daemon=True)
        self._mutex = threading.Lock()
        self._last: Anchor | None = None
        self._problem: str | None = None
        self._failures = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; an attempt that is under way is finished first."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def run(self, on_anchor: Callable[[Anchor], object] | None = None) -> None:
        """Anchor at once and then on schedule, until stopped. ``on_anchor`` is told of each."""
        while not self._stopping.is_set():
            anchor = self.run_once()
            if anchor is not None and on_anchor is not None:
                on_anchor(anchor)
            self._stopping.wait(self._every if self._problem is None else min(self._every, TRY_AGAIN_AFTER))

    def run_once(self) -> Anchor | None:
        """Anchor if something is new; None where nothing is, or it failed."""
        try:
            anchor = anchor_now(self._ledger, self.authority) if self._is_due() else None
        except AffidavitError as error:
            self._fail(error)
            return None
        except Exception as error:  # a failure of one attempt must not end the schedule
            self._fail(error)
            return None
        with self._mutex:
            self._problem = None
            self._last = anchor or self._last
        return anchor

    def status(self) -> dict[str, Any]:
        """For people who run it: the last anchor of this process, how often it failed, what is wrong now."""
        with self._mutex:
            return {
                "authority": self.authority.host,
                "every_seconds": self._every,
                "anchored_entries": None if self._last is None else self._last.size,
                "last_anchor": None if self._last is None else self._last.at,
                "failures": self._failures,
                "problem": self._problem,
            }

    def _is_due(self) -> bool:
        """Whether there is an entry that the newest anchor does not cover, other than the one that records it."""
        with self._ledger.recorder.reading() as reader:
            newest = read_anchors(reader, start=max(0, reader.next_pos(ANCHOR_STREAM) - 1))
            return not newest or first_not_anchored(newest[0]) < reader.head().size

    def _fail(self, error: Exception) -> None:
        logging.getLogger(__name__).warning("anchoring failed: %s", print_error(error))
        with self._mutex:
            self._problem = told(error)
            self._failures += 1


def scheduled(ledger: Ledger) -> Anchoring | None:
    """The schedule that the environment sets, None where it names no authority.

    ``AFFIDAVIT_TSA`` is its address, ``AFFIDAVIT_TSA_CA`` a PEM file of its roots, ``AFFIDAVIT_ANCHOR_SECONDS`` how
    often. ``Refused`` where one of them is not readable.
    """
    url, ca = os.environ.get("AFFIDAVIT_TSA"), os.environ.get("AFFIDAVIT_TSA_CA")
    if not url:
        return None
    return Anchoring(ledger, open_authority(url, Path(ca) if ca else None), anchor_seconds())


def anchor_seconds() -> int:
    """How many seconds lie between two stamps of the schedule. ``Refused`` where the setting is not readable."""
    given = os.environ.get("AFFIDAVIT_ANCHOR_SECONDS")
    if not given:
        return DEFAULT_EVERY
    if not (given.isascii() and given.isdigit() and int(given[:10]) > 0 and len(given) < 10):
        raise Refused("setting_readable", f"AFFIDAVIT_ANCHOR_SECONDS={given!r}: expected a whole number, 1 or more")
    return int(given)
