"""One model behind the OpenAI-compatible server of llama.cpp, on loopback; runs in the environment of ``prepare.py``.

Its arguments are the model's file, the name that it is called by, and the port.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys

CONTEXT = 8192
"""Tokens of a request and its reply together."""
LONGEST_REPLY = 500
"""Tokens, whatever a request asks for: a small model may never come to an end."""


def main() -> None:
    """Serve until told to stop."""
    path, name, port = sys.argv[1:]
    engine = importlib.import_module("xllamacpp")  # by name: it is in that environment only, where no checker looks
    given = engine.CommonParams()
    given.model.path = path
    given.model_alias = {name}
    given.port = int(port)
    given.n_ctx = CONTEXT
    given.n_predict = LONGEST_REPLY
    given.n_parallel = 1
    given.ui = False
    threads = max(1, (os.cpu_count() or 1) - 1)  # threads wait for each other, so they want cores of their own
    given.cpuparams.n_threads = given.cpuparams_batch.n_threads = threads
    server = engine.Server(given)
    print(f"{name} on {server.listening_address}", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
