"""``affidavit mirror``: follow a log by its static files, and serve what was taken."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...domain.errors import Refused
from ...ledger.audit.verdict import EXIT_CODES
from ...ledger.errors import LedgerError, Malformed, QuorumNotMet, SigningRefused, VerificationError
from ...ledger.publishing.static_log import ExportedLog
from ...ledger.tlog.checkpoint import Checkpoint
from ...ledger.tlog.note import print_vkey
from ...ledger.tlog.private_key import NotePrivateKey
from ..given_files import read_policy
from ..mirror.cosigning import MirrorCosigner
from ..mirror.following import CompleteNote, Contradiction, Followed, RequireNote, follow_log
from ..mirror.quorum import requiring_quorum
from ..mirror.server import MirrorApp
from ..mirror.source import HttpSource
from ..witness.store import WitnessStore
from .output import base64, print_json, progress, safe, say
from .serving import run_server
from .witness_commands import Logs, read_cosigner, read_listen, read_logs

API_KEY = "AFFIDAVIT_API_KEY"
_END_SECONDS = 10.0
_FAILED = 2


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command was given."""

    url: str | None
    folder: Path
    vkeys: Sequence[str] = ()
    policy: Path | None = None
    keys: Sequence[Path] = ()
    state: Path | None = None
    every: float | None = None
    serve: str | None = None


def mirror(asked: Asked, as_json: bool) -> int:
    """Follow a log once, or until interrupted; return the exit code.

    ``Refused`` where the options do not fit each other, or an address or a key is none.
    """
    stop = threading.Event()
    if asked.url is None:
        if asked.serve is None or asked.every is not None or asked.keys or asked.vkeys or asked.policy is not None:
            raise Refused("mirror_options", "without a URL there is only --serve: what lies in the folder is served")
        ExportedLog(asked.folder)  # without a checkpoint there would be nothing to serve
        return _serve(asked.folder, asked.serve, None, stop)
    if not asked.vkeys and asked.policy is None:
        raise Refused("mirror_options", "give the log's key with --vkey or --policy: without one nothing is verified")
    if asked.serve is not None and asked.every is None:
        raise Refused("mirror_options", "--serve with a URL takes --every: a mirror that is served goes on following")
    logs = read_logs(asked.vkeys, asked.policy)
    keys = [read_cosigner(path) for path in asked.keys]
    with ExitStack() as opened:
        source = opened.enter_context(closing(HttpSource(asked.url, os.environ.get(API_KEY), wait=stop.wait)))
        complete = opened.enter_context(_cosigning(asked, keys, quiet=as_json)) if keys else None
        require = None
        if asked.policy is not None:
            own = [key.verifier_key for key in keys]
            require = requiring_quorum(read_policy(asked.policy), logs.keys_of, own, time.time)
        opened.callback(stop.set)  # who fetches ahead must not go on waiting for the server
        following = _Following(source, asked.folder, logs, complete, require, stop, as_json)
        every = asked.every
        if every is None:
            return following.once()
        if asked.serve is None:
            return following.repeat(every)
        return _serve(asked.folder, asked.serve, lambda: following.repeat(every), stop)


class _Following:
    def __init__(
        self,
        source: HttpSource,
        folder: Path,
        logs: Logs,
        complete: CompleteNote | None,
        require: RequireNote | None,
        stop: threading.Event,
        as_json: bool,
    ) -> None:
        self._source = source
        self._folder = folder
        self._logs = logs
        self._complete = complete
        self._require = require
        self._stop = stop
        self._json = as_json

    def once(self) -> int:
        try:
            followed = self._follow()
        except Contradiction as found:
            return self._tell_contradiction(found)
        except (VerificationError, Malformed, QuorumNotMet) as error:
            print(f"affidavit: {safe(str(error))}", file=sys.stderr)
            return EXIT_CODES["not_proven" if isinstance(error, QuorumNotMet) else "damaged"]
        self._tell(followed)
        return 0

    def repeat(self, seconds: float) -> int:
        """Again and again. What may pass is told and tried again; a contradiction ends it."""
        last: Checkpoint | None = None
        while not self._stop.is_set():
            try:
                followed = self._follow()
            except Contradiction as found:
                return self._tell_contradiction(found)
            except SigningRefused as error:
                print(f"affidavit: {safe(str(error))}", file=sys.stderr)
                return EXIT_CODES[error.kind]
            except LedgerError as error:
                print(f"affidavit: {safe(str(error))}", file=sys.stderr, flush=True)
            else:
                if last is None or followed.checkpoint != last:
                    self._tell(followed)
                last = followed.checkpoint
            self._stop.wait(seconds)
        return 0

    def _follow(self) -> Followed:
        with progress("mirroring", quiet=self._json) as on_progress:
            return follow_log(
                self._source,
                self._folder,
                self._logs.keys_of,
                self._complete,
                on_progress,
                require=self._require,
                wait=self._stop.wait,
            )

    def _tell(self, followed: Followed) -> None:
        head, new = followed.checkpoint, followed.checkpoint.size - followed.before
        if self._json:
            print_json({"origin": head.origin, "size": head.size, "root": base64(head.root), "new": new})
        else:
            say(f"mirrored {head.size} entries of {head.origin}, {new} of them new, root {base64(head.root)}")

    def _tell_contradiction(self, found: Contradiction) -> int:
        kept = [str(path) for path in found.kept]
        if self._json:
            print_json({"verdict": found.kind, "detail": str(found), "kept": kept})
        else:
            say(str(found))
            for path in kept:
                say(f"kept     {path}")
        return EXIT_CODES[found.kind]


@contextmanager
def _cosigning(asked: Asked, keys: Sequence[NotePrivateKey], *, quiet: bool) -> Iterator[CompleteNote]:
    state = asked.state or asked.keys[0].with_name(f"{asked.keys[0].name}.state")
    with closing(WitnessStore(state, keys, time.time)) as store:
        for key in () if quiet else keys:
            say(f"key      {print_vkey(key.verifier_key)}")
        yield MirrorCosigner(store, [key.verifier_key for key in keys]).complete


def _serve(folder: Path, listen: str, follow: Callable[[], int] | None, stop: threading.Event) -> int:
    """Serve the folder until interrupted, or until following ends; the exit code."""
    host, port = read_listen(listen, "--serve")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # from before the follower may end the server with it
    ended: list[int] = []

    def run() -> None:
        assert follow is not None
        code = _FAILED
        try:
            code = follow()
        finally:
            ended.append(code)
            if not stop.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    follower = None if follow is None else threading.Thread(target=run, name="affidavit-mirror", daemon=True)
    with closing(MirrorApp(folder)) as app, suppress(KeyboardInterrupt):
        try:
            if follower is not None:
                follower.start()
            run_server(app, host, port, "mirror")
        finally:
            stop.set()
            if follower is not None:
                follower.join(_END_SECONDS)  # what it was at, it goes on with the next time
    return ended[0] if ended else 0
