"""``make demo-live``: what the last part of ``make demo`` shows, with real small models on this machine.

Its only argument is the folder that ``prepare.py`` filled. Each run has a folder of its own there; its ledger stays.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from affidavit.api.cli.demo_optimization import show_killed_run
from affidavit.api.cli.demo_steps import Steps

TARGET, REASONER = "smollm2-135m", "qwen2.5-coder-1.5b"
SETTINGS = (
    *("--strategy", "iterative", "--max-iterations", "3"),
    *("--metric", "rouge", "--train-split", "0.34", "--val-split", "0"),
    *("--max-tokens", "48", "--max-workers", "1"),
)
PATIENCE = 300
"""Seconds within which a model must have been loaded."""


def main() -> None:
    """Serve both models, and show a run that is killed half-way."""
    folder = Path(sys.argv[1]).resolve()
    scratch = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
    for name in ("calls.jsonl", "prompt.md"):
        shutil.copy(folder / name, scratch)
    began = time.monotonic()
    print(
        "Loading two models; the run then takes minutes: about 28 answers of the small one, three of the other.",
        flush=True,
    )
    with serving(folder, "target", TARGET) as target, serving(folder, "reasoner", REASONER) as reasoner:
        run = Steps(scratch)
        asked = ("calls.jsonl", "prompt.md", *SETTINGS, "-m", f"local/{TARGET}")
        addresses = ("--base-url", target, "--reasoning-base-url", reasoner)
        show_killed_run(run, ".affidavit", (*asked, "--reasoning-model", f"local/{REASONER}"), addresses)
    print(f"\n{time.monotonic() - began:.0f} s in all. The ledger stays in {scratch / '.affidavit'}")


@contextmanager
def serving(folder: Path, file: str, name: str) -> Iterator[str]:
    """A model served on loopback; its base URL, once it is loaded."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).with_name("serve.py")
    command = [str(folder / "venv" / "bin" / "python"), str(script), str(folder / f"{file}.gguf"), name, str(port)]
    with (folder / f"{file}.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until_loaded(server, f"http://127.0.0.1:{port}/health", folder / f"{file}.log")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


def wait_until_loaded(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Ask until the server says that it is ready; exits where it ended, or takes too long."""
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    sys.exit(f"the model was not loaded; {log} says why")


if __name__ == "__main__":
    main()
