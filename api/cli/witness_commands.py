"""``affidavit witness key`` and ``affidavit witness serve``."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ...domain.errors import Refused
from ...ledger.tlog.note import ED25519, ED25519_COSIGNATURE, ML_DSA_44_COSIGNATURE, VerifierKey, parse_vkey, print_vkey
from ...ledger.tlog.policy import Policy, PolicyLog
from ...ledger.tlog.private_key import NotePrivateKey, make_private_key, read_private_key, write_private_key
from ..given_files import read_policy
from ..witness.server import WitnessApp
from ..witness.store import WitnessStore
from .output import print_json, say
from .serving import run_server


def make_key(path: Path, name: str, ml_dsa: bool, as_json: bool) -> None:
    """Write a new witness key and show the vkey that others put into their policies."""
    key = make_private_key(name, ML_DSA_44_COSIGNATURE if ml_dsa else ED25519_COSIGNATURE, os.urandom)
    write_private_key(path, key)
    vkey = print_vkey(key.verifier_key)
    if as_json:
        print_json({"vkey": vkey, "file": str(path)})
        return
    say(vkey)


def serve(listen: str, state: Path, key_files: Sequence[Path], vkeys: Sequence[str], policy: Path | None) -> None:
    """Serve a witness until interrupted.

    ``Refused``: ``listen_readable``, ``witness_key`` where a key is no cosigner's, ``log_key`` where a vkey is not a
    log's.
    """
    host, port = read_listen(listen)
    keys = [read_cosigner(path) for path in key_files]
    logs = read_logs(vkeys, policy)
    with closing(WitnessStore(state, keys, time.time)) as store, closing(WitnessApp(store, logs.keys_of)) as app:
        for key in keys:
            say(f"key      {print_vkey(key.verifier_key)}")
        for origin in logs.origins or ["none: every checkpoint is answered 404; --log or --policy names logs"]:
            say(f"log      {origin}")
        run_server(app, host, port, "witness")


class Logs:
    """The logs that a witness cosigns, or a mirror follows, and the keys that they may sign with."""

    def __init__(self, logs: Sequence[PolicyLog]) -> None:
        self._policy = Policy(tuple(logs), (), (), "none")
        self.origins = list(dict.fromkeys(log.key.name for log in logs))

    def keys_of(self, origin: str, size: int) -> list[VerifierKey] | None:
        return self._policy.log_keys(origin, size) if origin in self.origins else None


def read_logs(vkeys: Sequence[str], policy: Path | None) -> Logs:
    """The logs that are named by a key or by a policy; ``Refused`` (``log_key``) where a key is not a log's."""
    keys = [parse_vkey(vkey) for vkey in dict.fromkeys(vkeys)]
    for key in keys:
        if key.algorithm != ED25519:
            raise Refused("log_key", f"log {key.name}: type of the key is {key.algorithm:#04x}, expected 0x01")
    listed = read_policy(policy).logs if policy is not None else ()
    return Logs([*listed, *(PolicyLog(key) for key in keys if key not in {log.key for log in listed})])


def read_cosigner(path: Path) -> NotePrivateKey:
    """A key that cosigns; ``Refused`` (``witness_key``) for any other."""
    key = read_private_key(path)
    if key.algorithm not in (ED25519_COSIGNATURE, ML_DSA_44_COSIGNATURE):
        raise Refused("witness_key", f"key file {path}: type is {key.algorithm:#04x}, expected 0x04 or 0x06")
    return key


def read_listen(listen: str, option: str = "--listen") -> tuple[str, int]:
    """Host and port; ``Refused`` (``listen_readable``)."""
    host, _, port = listen.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise Refused("listen_readable", f"{option} {listen!r}: expected HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)
