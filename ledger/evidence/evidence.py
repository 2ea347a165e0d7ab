"""Evidence: chosen entries of a log with all that a stranger needs to check them, as one JSON document.

::

    {"format":"affidavit-evidence@v1","about":{"run":"043"},"made":{"recorder":"affidavit 0.1.0","at":"2026-…Z"},
     "vkey":"<the log's key as the maker states it>","checkpoint":"<signed note, with its cosignatures>",
     "range":{"first":12,"stop":97,"root_first":"<b64>","root_stop":"<b64>","proof_first":[],"proof_stop":[]},
     "entries":[{"seq":0,"entry":"<its exact text>","disclosures":{"<field>":"<base64url>"}}],
     "proof":["<b64>"],"anchors":[{"note":"<signed note>","token":"<b64>","proof":["<b64>"]}],
     "policy":"<tlog-policy as the maker states it>","body":"<digest of the page, in hex>"}

One line, in the grammar of entries, so that there is one spelling of it. ``check.py`` checks it;
docs/format.md, "Evidence", is the prose.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..entries import grammar
from ..entries.entry import Entry, parse_entry, require_at
from ..entries.seal import read_disclosure
from ..errors import Malformed, UnsupportedFormat
from ..tlog.checkpoint import decode_hash
from ..tlog.hashing import leaf_hash
from ..tlog.note import decode_base64, encode_base64

FORMAT = "affidavit-evidence@v1"
_KEYS = (
    *("format", "about", "made", "vkey", "checkpoint", "range"),
    *("entries", "proof", "anchors", "policy", "body"),
)
_FAMILY = "affidavit-evidence@"
_MAX_PATH = 64
_is_digest = re.compile(r"[0-9a-f]{64}", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class EvidenceRange:
    """The stretch ``first <= seq < stop`` that the maker shows, with the log's root at both of its ends.

    The proofs are those of RFC 6962 that the checkpoint extends the log of ``first``, and of ``stop``, entries.
    """

    first: int
    stop: int
    root_first: bytes
    root_stop: bytes
    proof_first: tuple[bytes, ...]
    proof_stop: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class EvidenceEntry:
    """An entry as its exact text, and the disclosures of those sealed fields that are shown (base64url)."""

    seq: int
    entry: str
    disclosures: dict[str, str]

    @property
    def raw(self) -> bytes:
        return self.entry.encode()

    @property
    def leaf(self) -> bytes:
        return leaf_hash(self.raw)

    def parsed(self) -> Entry:
        """The entry; raises as ``parse_entry`` does."""
        return parse_entry(self.raw)

    def opened(self) -> dict[str, Any]:
        """Field to value, of what is disclosed. ``VerificationError`` where a disclosure is not of its field.

        That the entry binds it is for ``verify_evidence`` to say.
        """
        return {name: read_disclosure(decode_base64url(text), name) for name, text in self.disclosures.items()}


@dataclass(frozen=True, slots=True)
class EarlierCheckpoint:
    """A checkpoint that the newest one extends, and the timestamp token of it where there is one.

    Without a token it is there to show that an earlier key signed, or to be compared with one that a reader kept.
    """

    note: str
    token: bytes | None
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the maker of a pack hands over; nothing in it is verified.

    ``about`` is ``{"run": name}`` or ``{"from": at, "to": at}``. ``entries`` rise by seq and begin with entry 0.
    ``recorder``, ``at``, ``vkey`` and ``policy`` are what the maker states. ``body`` is the digest (hex) of the
    page that the evidence stands in, docs/format.md, "Page digest"; no signature covers it.
    """

    about: dict[str, str]
    recorder: str
    at: str
    vkey: str
    checkpoint: str
    range: EvidenceRange
    entries: tuple[EvidenceEntry, ...]
    proof: tuple[bytes, ...]
    anchors: tuple[EarlierCheckpoint, ...] = ()
    policy: str | None = None
    body: str | None = None


def print_evidence(evidence: Evidence) -> bytes:
    """Return the one line, without a newline, that ``parse_evidence`` reads."""
    shown = evidence.range
    return grammar.dump(
        {
            "format": FORMAT,
            "about": evidence.about,
            "made": {"recorder": evidence.recorder, "at": evidence.at},
            "vkey": evidence.vkey,
            "checkpoint": evidence.checkpoint,
            "range": {
                "first": shown.first,
                "stop": shown.stop,
                "root_first": encode_base64(shown.root_first),
                "root_stop": encode_base64(shown.root_stop),
                "proof_first": _encode_all(shown.proof_first),
                "proof_stop": _encode_all(shown.proof_stop),
            },
            "entries": [
                {"seq": entry.seq, "entry": entry.entry, "disclosures": entry.disclosures} for entry in evidence.entries
            ],
            "proof": _encode_all(evidence.proof),
            "anchors": [
                {
                    "note": earlier.note,
                    "token": None if earlier.token is None else encode_base64(earlier.token),
                    "proof": _encode_all(earlier.proof),
                }
                for earlier in evidence.anchors
            ],
            "policy": evidence.policy,
            "body": evidence.body,
        }
    )


def parse_evidence(data: bytes) -> Evidence:
    """Read evidence; verifies nothing.

    Raises ``Malformed`` for all that ``print_evidence`` would not have written, ``UnsupportedFormat`` for another
    version.
    """
    value = grammar.load(data)
    named = value.get("format") if type(value) is dict else None
    if named != FORMAT:
        if type(named) is str and named.startswith(_FAMILY):
            raise UnsupportedFormat(f"evidence: format is {named[:80]!r}, this version reads {FORMAT!r}")
        raise Malformed(f"evidence: expected an object with the format {FORMAT!r}")
    found = _object(value, "evidence", _KEYS)
    return Evidence(
        about=_about(found["about"], "about"),
        recorder=_made(found["made"], "made")["recorder"],
        at=found["made"]["at"],
        vkey=_text(found["vkey"], "vkey"),
        checkpoint=_text(found["checkpoint"], "checkpoint"),
        range=_range(found["range"], "range"),
        entries=_entries(found["entries"], "entries"),
        proof=_hashes(found["proof"], "proof"),
        anchors=_anchors(found["anchors"], "anchors"),
        policy=None if found["policy"] is None else _text(found["policy"], "policy"),
        body=None if found["body"] is None else _body(found["body"], "body"),
    )


def encode_base64url(data: bytes) -> str:
    """Return base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64url(text: str) -> bytes:
    """Read base64url; raises ``Malformed`` for all that ``encode_base64url`` would not have written."""
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise Malformed(f"base64url: {text[:80]!r} does not decode") from error
    if encode_base64url(data) != text:
        raise Malformed(f"base64url: {text[:80]!r} is not in canonical form")
    return data


def _object(value: Any, where: str, keys: tuple[str, ...]) -> dict[str, Any]:
    if type(value) is not dict or tuple(value) != keys:
        raise Malformed(f"{where}: expected an object of {', '.join(keys)} in this order")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if type(value) is not list:
        raise Malformed(f"{where}: expected a list")
    return value


def _text(value: Any, where: str) -> str:
    if type(value) is not str:
        raise Malformed(f"{where}: expected text")
    return value


def _integer(value: Any, where: str) -> int:
    if type(value) is not int or value < 0:
        raise Malformed(f"{where}: expected an integer from 0")
    return value


def _about(value: Any, where: str) -> dict[str, str]:
    keys = ("run",) if type(value) is dict and "run" in value else ("from", "to")
    return {key: _text(text, f"{where} {key}") for key, text in _object(value, where, keys).items()}


def _made(value: Any, where: str) -> dict[str, str]:
    found = {key: _text(text, f"{where} {key}") for key, text in _object(value, where, ("recorder", "at")).items()}
    require_at(found["at"])
    return found


def _range(value: Any, where: str) -> EvidenceRange:
    found = _object(value, where, ("first", "stop", "root_first", "root_stop", "proof_first", "proof_stop"))
    first, stop = _integer(found["first"], "range first"), _integer(found["stop"], "range stop")
    if first > stop:
        raise Malformed(f"range: first is {first}, expected at most stop, which is {stop}")
    return EvidenceRange(
        first,
        stop,
        decode_hash(_text(found["root_first"], "range root_first")),
        decode_hash(_text(found["root_stop"], "range root_stop")),
        _path(found["proof_first"], "range proof_first"),
        _path(found["proof_stop"], "range proof_stop"),
    )


def _entries(value: Any, where: str) -> tuple[EvidenceEntry, ...]:
    entries = tuple(_entry(item, f"{where} item {number}") for number, item in enumerate(_list(value, where)))
    if [entry.seq for entry in entries[:1]] != [0]:
        raise Malformed(f"{where}: expected entry 0 first")
    for before, after in pairwise(entries):
        if after.seq <= before.seq:
            raise Malformed(f"{where}: seq {after.seq} stands after {before.seq}, expected them to rise")
    return entries


def _entry(value: Any, where: str) -> EvidenceEntry:
    found = _object(value, where, ("seq", "entry", "disclosures"))
    disclosures = found["disclosures"]
    if type(disclosures) is not dict:
        raise Malformed(f"{where} disclosures: expected an object")
    for name, text in disclosures.items():
        decode_base64url(_text(text, f"{where} disclosure {name!r}"))
    return EvidenceEntry(_integer(found["seq"], f"{where} seq"), _text(found["entry"], f"{where} entry"), disclosures)


def _anchors(value: Any, where: str) -> tuple[EarlierCheckpoint, ...]:
    return tuple(_earlier(item, f"{where} item {number}") for number, item in enumerate(_list(value, where)))


def _earlier(value: Any, where: str) -> EarlierCheckpoint:
    found = _object(value, where, ("note", "token", "proof"))
    token = found["token"]
    return EarlierCheckpoint(
        _text(found["note"], f"{where} note"),
        None if token is None else decode_base64(_text(token, f"{where} token")),
        _path(found["proof"], f"{where} proof"),
    )


def _path(value: Any, where: str) -> tuple[bytes, ...]:
    path = _hashes(value, where)
    if len(path) > _MAX_PATH:
        raise Malformed(f"{where}: expected at most {_MAX_PATH} hashes, found {len(path)}")
    return path


def _hashes(value: Any, where: str) -> tuple[bytes, ...]:
    return tuple(decode_hash(_text(item, f"{where} item {number}")) for number, item in enumerate(_list(value, where)))


def _body(value: Any, where: str) -> str:
    text = _text(value, where)
    if not _is_digest(text):
        raise Malformed(f"{where}: expected 64 lower-case hex digits")
    return text


def _encode_all(hashes: Iterable[bytes]) -> list[str]:
    return [encode_base64(each) for each in hashes]
