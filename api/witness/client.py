"""Asking witnesses: a checkpoint goes to all of a policy's witnesses at once, and their cosignatures come back.

Nothing that a witness does raises: one that is dead, slow, or lies gives no line, and a reason instead. A line that
it gives is checked before it is taken, since a wrong one would spoil the checkpoint for every reader. No redirects
are followed, nothing comes from the environment, and a witness has five seconds.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from queue import Empty, SimpleQueue

import httpx2

from ...domain.errors import Refused
from ...ledger.errors import LedgerError, Malformed, VerificationError
from ...ledger.tlog.checkpoint import Checkpoint, parse_number
from ...ledger.tlog.cosignature import verify_cosignature
from ...ledger.tlog.note import VerifierKey, parse_signature
from ...ledger.tlog.policy import Policy
from ...ledger.tlog.witness import (
    INCONSISTENT,
    OTHER_SIZE,
    AddCheckpoint,
    Collected,
    print_add_checkpoint,
)
from .server import ADD_CHECKPOINT, SIZE_TYPE

TIMEOUT = 5.0
"""Seconds that one witness has for one answer."""

_MAX_ANSWER = 64 * 1024
_LONGEST_SHOWN = 200
_HEADERS = {"Content-Type": "text/plain; charset=utf-8", "Accept-Encoding": "identity", "User-Agent": "affidavit"}


@dataclass(frozen=True, slots=True)
class _Reply:
    """What one address answered; without a ``status`` nothing did, and ``text`` says why."""

    status: int | None
    text: str
    kind: str = ""


class WitnessClient:
    """The witnesses of ``policy``; with ``required``, nothing is published without their quorum.

    Safe from threads. ``Refused`` (``address_readable``) where a witness's address is none, (``witness_address``)
    where no witness has one.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        required: bool = False,
        timeout: float = TIMEOUT,
    ) -> None:
        self.policy = policy
        self.required = required
        self._timeout = timeout
        # Two keys at one address are one witness, which is asked once.
        self._addresses = {_checked(each.name, each.url) for each in policy.witnesses if each.url is not None}
        if not self._addresses:
            raise Refused("witness_address", "the witness policy: no witness in it has an address to be asked at")
        self._mutex = threading.Lock()
        self._sizes: dict[tuple[str, str], int] = {}
        """By address and origin: the size that it has, as far as we know."""
        self._asking: set[str] = set()

    def collect(self, note: bytes, checkpoint: Checkpoint, prove: Callable[[int], Sequence[bytes]]) -> Collected:
        """Show every witness the checkpoint; see ``Cosigners``."""
        replies: dict[str, _Reply] = {}
        asked = {url: self._known_size(url, checkpoint) for url in self._addresses}
        shown: dict[str, int] = {}  # the size that each was last asked to build on
        for _ in range(2):  # a witness that has another size says so, and is asked once more, from there
            bodies = {url: _body(note, checkpoint, old, prove) for url, old in asked.items()}
            replies |= self._ask(bodies)
            shown |= asked
            asked = {}
            for url in bodies:
                size = _other_size(replies[url])
                if size is not None and size <= checkpoint.size:
                    asked[url] = size
            if not asked:
                break
        return self._judge(replies, shown, checkpoint)

    def _known_size(self, url: str, checkpoint: Checkpoint) -> int:
        with self._mutex:
            size = self._sizes.get((url, checkpoint.origin), 0)
        return size if size <= checkpoint.size else 0

    def _ask(self, bodies: Mapping[str, bytes]) -> dict[str, _Reply]:
        """Post each body to its address, all at once; what has not answered in time is left behind."""
        arrived: SimpleQueue[tuple[str, _Reply]] = SimpleQueue()
        replies = dict.fromkeys(bodies, _Reply(None, f"no answer within {self._timeout:g} s"))
        with self._mutex:
            free = bodies.keys() - self._asking  # one that is still at an earlier answer must not pile up threads
            self._asking |= free
        for url in free:
            # Daemons: one that trickles its answer must not hold up the end of the process.
            threading.Thread(target=self._post, args=(url, bodies[url], arrived), daemon=True).start()
        end = time.monotonic() + self._timeout
        for _ in free:
            try:
                url, reply = arrived.get(timeout=max(0.0, end - time.monotonic()))
            except Empty:
                break
            replies[url] = reply
        return replies

    def _post(self, url: str, body: bytes, arrived: SimpleQueue[tuple[str, _Reply]]) -> None:
        try:
            reply = _exchange(url, body, self._timeout)
        except httpx2.TimeoutException:
            reply = _Reply(None, f"no answer within {self._timeout:g} s")
        except Exception as error:  # whatever it is, it must not leave the log waiting
            reply = _Reply(None, f"not reached: {type(error).__name__}")
        with self._mutex:
            self._asking.discard(url)
        arrived.put((url, reply))

    def _judge(self, replies: Mapping[str, _Reply], shown: Mapping[str, int], checkpoint: Checkpoint) -> Collected:
        lines: list[str] = []
        failures: dict[str, str] = {}
        contradictions: dict[str, str] = {}
        for witness in self.policy.witnesses:
            if witness.url is None:
                failures[witness.name] = "the policy has no address for it"
                continue
            url = witness.url.rstrip("/")
            reply = replies[url]
            reason = _contradiction(reply, shown[url], checkpoint)
            if reason is not None:
                contradictions[witness.name] = failures[witness.name] = reason
            elif reply.status != 200:
                failures[witness.name] = _failure(reply)
            else:
                try:
                    lines.append(_line_of(witness.key, reply.text, checkpoint))
                except LedgerError as error:
                    failures[witness.name] = str(error)
                else:
                    with self._mutex:
                        self._sizes[url, checkpoint.origin] = checkpoint.size
        return Collected(tuple(lines), failures, contradictions)


def _exchange(url: str, body: bytes, timeout: float) -> _Reply:
    end = time.monotonic() + timeout
    received = bytearray()
    with (
        httpx2.Client(headers=_HEADERS, timeout=timeout, trust_env=False, verify=_tls()) as client,
        client.stream("POST", url + ADD_CHECKPOINT, content=body) as response,
    ):
        for chunk in response.iter_raw(_MAX_ANSWER):
            received += chunk
            if len(received) > _MAX_ANSWER:
                return _Reply(None, f"its answer has more than {_MAX_ANSWER} bytes")
            if time.monotonic() > end:
                return _Reply(None, f"no answer within {timeout:g} s")
        kind = response.headers.get("content-type", "")
        return _Reply(response.status_code, received.decode(errors="backslashreplace"), kind)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()  # takes some 30 ms, so it is made once


def _body(note: bytes, checkpoint: Checkpoint, old: int, prove: Callable[[int], Sequence[bytes]]) -> bytes:
    proof = prove(old) if 0 < old < checkpoint.size else ()
    return print_add_checkpoint(AddCheckpoint(old, tuple(proof), note))


def _other_size(reply: _Reply) -> int | None:
    """The size that a witness says it has, where it has another than it was asked to build on."""
    if reply.status != OTHER_SIZE or reply.kind.partition(";")[0].strip().lower() != SIZE_TYPE:
        return None
    try:
        return parse_number(reply.text.removesuffix("\n"))
    except Malformed:
        return None


def _contradiction(reply: _Reply, old: int, checkpoint: Checkpoint) -> str | None:
    size = _other_size(reply)
    if size is not None and size > checkpoint.size:
        return f"rollback: it has cosigned size {size} of this log, and was shown size {checkpoint.size}"
    if reply.status == OTHER_SIZE and old == checkpoint.size and size in (None, old):
        # It was asked to build on this very size: older witnesses say so of another root at the size that they have.
        return f"fork: it has cosigned another head of size {checkpoint.size}, as far as its answer tells"
    if reply.status == INCONSISTENT:
        return f"fork: it has cosigned a head that size {checkpoint.size} does not extend: {_shown(reply.text)}"
    return None


def _failure(reply: _Reply) -> str:
    return reply.text if reply.status is None else f"status {reply.status}: {_shown(reply.text)}"


def _shown(text: str) -> str:
    """The beginning of what a stranger said, fit for a line of a log."""
    return "".join(char if char.isprintable() else " " for char in text[:_LONGEST_SHOWN]).strip()


def _line_of(key: VerifierKey, answer: str, checkpoint: Checkpoint) -> str:
    """The first line that ``key`` signed; its other lines, and lines of other keys, are left out."""
    for bare in answer.removesuffix("\n").split("\n"):
        line = f"{bare}\n"
        signature = parse_signature(line)
        if (signature.name, signature.key_id) == (key.name, key.key_id):
            verify_cosignature(checkpoint, key, signature)
            return line
    raise VerificationError(f"its answer has no line by {key.name!r} with ID {key.key_id.hex()}")


def _checked(name: str, url: str) -> str:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        parsed = httpx2.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.query or parsed.fragment:
        raise Refused(
            "address_readable",
            f"the address of witness {name!r}: expected http(s)://HOST[:PORT]/PATH without credentials or query",
        )
    return url.rstrip("/")
