"""Fetching a log's resources by HTTP from whoever serves them, who is not trusted.

No redirects are followed, nothing comes from the environment, each answer is bounded in bytes, also once it is
unpacked, and in time, and what a server says in a refusal is not shown. A server that asks to come later is heeded, up
to a bound.
"""

from __future__ import annotations

import ssl
import time
import zlib
from collections.abc import Callable

import httpx2

from ...domain.errors import Refused
from ...ledger.errors import Unavailable, VerificationError
from ...ledger.publishing.static_log import CHECKPOINT

SECONDS = 30.0
"""How long one answer may take until its last byte has come; each wait for a part of its head may last as long."""

_TRIES = 5
_MOST_WAIT = 60.0
_FIRST_WAIT = 0.5
_BUSY = (429, 500, 502, 503, 504)
_GZIP = 16 + zlib.MAX_WBITS


class HttpSource:
    """The log at ``url``, the prefix of ``checkpoint`` and ``tile/…``. Safe from threads. Close it.

    ``api_key`` is for a log that is not public. ``wait`` is told how many seconds to wait before asking again, and is
    true where there is no more asking. ``Refused`` (``address_readable``) where the address is none.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        seconds: float = SECONDS,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._url = _checked(url)
        self._seconds = seconds
        self._wait = wait
        headers = {"Accept-Encoding": "gzip, identity", "User-Agent": "affidavit-mirror"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        self._client = httpx2.Client(
            headers=headers, timeout=seconds, trust_env=False, verify=ssl.create_default_context()
        )

    def get(self, name: str, most: int) -> bytes | None:
        """A resource of at most so many bytes; None where the server says that there is none.

        ``Unavailable`` where it is not served, now or ever; ``VerificationError`` where it is longer.
        """
        problem, stated = "", 0.0
        for number in range(_TRIES):
            if problem:
                if self._wait(max(stated, _FIRST_WAIT * 2**number)):
                    raise Unavailable(f"{self._url}/{name}: {problem}; it was given up")
                stated = 0.0
            try:
                found = self._ask(name, most)
            except httpx2.TimeoutException:
                problem = f"no answer within {self._seconds:g} s"
            except httpx2.ConnectError as error:  # what the machine here says, nothing of the server's
                problem = f"not reached: {error}"
            except httpx2.HTTPError as error:
                problem = f"not reached: {type(error).__name__}"
            else:
                if not isinstance(found, _Busy):
                    return found
                problem, stated = f"status {found.status}", found.seconds
        raise Unavailable(f"{self._url}/{name}: {problem}, {_TRIES} times")

    def close(self) -> None:
        self._client.close()

    def _ask(self, name: str, most: int) -> bytes | _Busy | None:
        end = time.monotonic() + self._seconds
        # A cache on the way must ask whether there is a newer checkpoint: an older one would look like a rollback.
        headers = {"Cache-Control": "no-cache"} if name == CHECKPOINT else {}
        where = f"{self._url}/{name}"
        with self._client.stream("GET", where, headers=headers) as response:
            status = response.status_code
            if status == 404:
                return None
            if status in _BUSY:
                return _Busy(status, response.headers.get("retry-after", ""))
            if status != 200:
                why = "; redirects are not followed" if 300 <= status < 400 else ""
                if status in (401, 403):
                    why = "; a log that is not public wants a key with the scope read in AFFIDAVIT_API_KEY"
                raise Unavailable(f"{where}: expected status 200, found {status}{why}")
            unpack = _unpacking(where, response.headers.get("content-encoding", "identity"))
            received = bytearray()
            for part in response.iter_raw():  # as they come: whoever sends a byte at a time must not make it last
                received += unpack(part, most + 1 - len(received))
                if len(received) > most:
                    raise VerificationError(f"{where}: expected at most {most} bytes, found more")
                if time.monotonic() > end:
                    raise httpx2.ReadTimeout("too slow")
        return bytes(received)


def _unpacking(where: str, encoding: str) -> Callable[[bytes, int], bytes]:
    """What makes of each part of a body what was packed in it, of which so many bytes are wanted at most.

    A log may pack its bundles whether that was asked for or not (C2SP tlog-tiles).
    """
    if encoding.lower() == "identity":
        return lambda part, most: part
    if encoding.lower() != "gzip":
        raise Unavailable(f"{where}: expected no encoding, or gzip, found {encoding[:40]!r}")
    packed = zlib.decompressobj(_GZIP)

    def unpack(part: bytes, most: int) -> bytes:
        try:
            return packed.decompress(part, most)
        except zlib.error as error:
            raise VerificationError(f"{where}: its gzip does not read") from error

    return unpack


class _Busy:
    """A server that may serve later."""

    def __init__(self, status: int, retry_after: str) -> None:
        self.status = status
        stated = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
        self.seconds = min(stated, _MOST_WAIT)


def _checked(url: str) -> str:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        parsed = httpx2.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.query or parsed.fragment:
        raise Refused("address_readable", "URL: expected http(s)://HOST[:PORT]/PATH without credentials or query")
    return url.rstrip("/")
