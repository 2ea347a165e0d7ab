"""``affidavit`` for a shell, without the time that it takes to start: each command is forked from one process.

``python forked.py SOCKET`` imports every command and serves; the script that ``on_path`` writes hands it its arguments,
folder, environment and open files, and ends as the command ends. What is run is ``main``, as by the installed command.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CLIENT = """#!{python} -SIE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    said = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(said).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(said)
    code = server.recv(4)
sys.exit(int.from_bytes(code, "big") if code else 70)
"""


@contextmanager
def on_path(folder: Path) -> Iterator[Path]:
    """The folder to put first in ``PATH``, while the block is not left."""
    address, names = folder / "commands", folder / "bin"
    names.mkdir()
    script = names / "affidavit"
    script.write_text(_CLIENT.format(python=sys.executable, address=os.fspath(address)), encoding="utf-8")
    script.chmod(0o755)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # a process with threads forks badly
    command = [sys.executable, __file__, os.fspath(address)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            assert server.stdout.readline() == "ready\n", f"{shlex.join(command)} does not start"
            yield names
        finally:
            server.stdin.close()  # which ends it


def _serve(address: str) -> None:
    from affidavit.api import cli

    for found in sorted(Path(cli.__file__).parent.glob("*_commands.py")):
        __import__(f"{cli.__name__}.{found.stem}")
    __import__(f"{cli.__name__}.menu")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that attend
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([door, sys.stdin], [], [])[0]:
            caller, _ = door.accept()
            with caller:
                if os.fork() == 0:
                    door.close()
                    _attend(caller)


def _attend(caller: socket.socket) -> None:
    """Run one command, and tell the caller how it ended; a caller that goes away ends it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, files, _, _ = socket.recv_fds(caller, 4, 3)
    said = b""
    while len(said) < int.from_bytes(length, "big"):
        said += caller.recv(65_536)
    ended, running = os.pipe()
    if (child := os.fork()) == 0:
        os.close(ended)
        caller.close()
        _become(files, *json.loads(said))
    for number in (running, *files):  # the command has them, until it ends
        os.close(number)
    if ended not in select.select([ended, caller.fileno()], [], [])[0]:
        os.kill(child, signal.SIGTERM)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(OSError):
        caller.sendall((code if code >= 0 else 128 - code).to_bytes(4, "big"))
    os._exit(0)


def _become(files: list[int], arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be the command, and end with it."""
    from affidavit.api.cli import main

    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = ["affidavit", *arguments]
    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    _serve(sys.argv[1])
