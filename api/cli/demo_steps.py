"""Commands of a demonstration, run as a user would: each is printed, then its output; one that goes wrong ends all."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from .output import say


class Steps:
    """Runs ``affidavit`` commands in ``folder``, with keys of their own.

    ``names`` are printed in place of arguments that mean nothing to a reader, such as long paths.
    """

    def __init__(self, folder: Path, names: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._names = names or {}
        self.environment = {**os.environ, "AFFIDAVIT_KEYS": str(folder / "keys")}
        self.environment.pop("AFFIDAVIT_LEDGER", None)

    def step(self, *arguments: str, expected: int = 0) -> None:
        """Run a command to its end; anything but the ``expected`` exit code ends the demonstration."""
        self._run(self._begin(arguments), expected)

    def script(self, path: Path, *arguments: str, expected: int = 0) -> None:
        """As ``step``, for a program in Python that is not this one."""
        say(f"\n$ python3 {path.name} {shlex.join(arguments)}")
        sys.stdout.flush()
        self._run([sys.executable, str(path), *arguments], expected)

    def killed(self, *arguments: str, at: str) -> None:
        """Run a command and kill it (SIGKILL) when it prints a line that begins with ``at``."""
        environment = {**self.environment, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(
            self._begin(arguments),
            cwd=self._folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(at):
                    process.kill()
                say(line.rstrip("\n"))
        if process.returncode != -signal.SIGKILL:
            _end(f"expected that it is killed after {at!r}, found exit code {process.returncode}")
        say("Killed (SIGKILL).")

    def _run(self, command: Sequence[str], expected: int) -> None:
        code = subprocess.run(command, cwd=self._folder, env=self.environment, check=False).returncode
        if code != expected:
            _end(f"expected exit code {expected}, found {code}")

    def _begin(self, arguments: Sequence[str]) -> list[str]:
        say(f"\n$ affidavit {shlex.join(self._names.get(argument, argument) for argument in arguments)}")
        sys.stdout.flush()
        return [sys.executable, "-m", "affidavit.api.cli", *arguments]


def _end(message: str) -> NoReturn:
    say(message)
    sys.exit(1)
