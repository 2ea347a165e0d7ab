"""Where the master key comes from, if not from the key folder: the environment, or a command that prints it.

``AFFIDAVIT_MASTER_KEY`` holds 64 hex digits; ``AFFIDAVIT_MASTER_KEY_COMMAND`` is a command and its arguments, as a
shell would part them, that prints them: the client of a key management system, say. It is run without a shell.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping

from ..errors import Unavailable

KEY_VARIABLE = "AFFIDAVIT_MASTER_KEY"
COMMAND_VARIABLE = "AFFIDAVIT_MASTER_KEY_COMMAND"

_COMMAND_SECONDS = 30
_HEX = re.compile(r"[0-9A-Fa-f]{64}\n?", re.ASCII)


def master_key_from(environment: Mapping[str, str]) -> bytes | None:
    """The master key that the environment holds or names; None where it does neither.

    ``Unavailable`` where it does both, or what it gives is no key. No message holds any of it.
    """
    text, command = environment.get(KEY_VARIABLE), environment.get(COMMAND_VARIABLE)
    if text and command:
        raise Unavailable(f"master key: expected {KEY_VARIABLE} or {COMMAND_VARIABLE}, found both")
    if text:
        return parse_master_key(text, KEY_VARIABLE)
    return parse_master_key(_run(command), f"what {COMMAND_VARIABLE} prints") if command else None


def parse_master_key(text: str, where: str) -> bytes:
    """Read 64 hex digits, with or without a newline; ``Unavailable`` says how many there were, and not which."""
    if not _HEX.fullmatch(text):
        raise Unavailable(f"master key {where}: expected 64 hex digits, found {len(text.rstrip())} characters")
    return bytes.fromhex(text)


def _run(command: str) -> str:
    try:
        words = shlex.split(command)
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=_COMMAND_SECONDS, check=False
        )
        printed = done.stdout.decode("ascii")
    except OSError as error:
        raise Unavailable(f"master key: {COMMAND_VARIABLE} does not run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"master key: {COMMAND_VARIABLE} took more than {_COMMAND_SECONDS} seconds") from error
    except ValueError as error:  # quotes that do not close, or output that is not ASCII
        raise Unavailable(f"master key: {COMMAND_VARIABLE} is no command, or prints no key") from error
    if done.returncode:
        raise Unavailable(f"master key: {COMMAND_VARIABLE} failed with exit code {done.returncode}")
    return printed
