"""Do the readers of the real aevyra-reflex give the same answers on a rebuilt tree as on the original?

    PEER_PYTHON tests/peers/check_reflex_profile.py REBUILT [ORIGINAL [EXPECTED]]

Run by a Python that has aevyra-reflex 0.2.0; it needs nothing of Affidavit. REBUILT and ORIGINAL are
``.reflex`` roots, EXPECTED holds answers of the same readers that were kept as files. With REBUILT alone it only
asks that every reader accepts the tree. An answer may differ in one way: where the original has a secret
in clear, the rebuilt tree has ``{"redacted": <field>}``. Exit status 1 where anything else differs.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from http.server import ThreadingHTTPServer
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import urlopen

PEER = "0.2.0"
PLACES = ("run_dir", "dataset")
"""Answers that name a place on this machine; compared by their last part."""


def main(rebuilt: Path, original: Path | None = None, expected: Path | None = None) -> int:
    if version("aevyra-reflex") != PEER:
        sys.exit(f"aevyra-reflex is {version('aevyra-reflex')}, expected {PEER}")
    found = answers(rebuilt)
    problems: list[str] = []
    redacted: list[str] = []
    if original is not None:
        compare(answers(original), found, "", problems, redacted)
    if expected is not None:
        compare(kept_answers(expected), only_kept(found), "expected", problems, redacted)
    for problem in problems:
        print(f"differs  {problem}")
    for place in redacted:
        print(f"redacted {place}")
    count = sum(1 for _ in leaves(found))
    print(f"{len(found['list_runs'])} runs, {count} values, {len(problems)} differ, {len(redacted)} redacted")
    return 1 if problems else 0


def answers(root: Path) -> dict[str, Any]:
    """Everything that the peer's readers say of a tree, by reader and run."""
    peer = import_module("aevyra_reflex.run_store")
    store = peer.RunStore(root)
    summaries = [asdict(summary) for summary in store.list_runs()]
    runs = {summary["run_id"]: store.get_run(summary["run_id"]) for summary in summaries}
    return {
        "list_runs": [at_home(summary, root) for summary in summaries],
        "latest": store.get_latest_run().run_id,
        "runs": {run_id: read(run) for run_id, run in runs.items()},
        "api": dict(api(store, list(runs), root)),
    }


def read(run: Any) -> dict[str, Any]:
    checkpoint = run.load_checkpoint()
    return {
        "config": run.load_config(),
        "baseline": run.load_baseline(),
        "iterations": [asdict(iteration) for iteration in run.load_iterations()],
        "checkpoint": None if checkpoint is None else asdict(checkpoint),
        "result": run.load_result(),
        "log": run.load_log(),
        "rewrite_log": None if checkpoint is None else rewrite_log(checkpoint),
        "is_complete": run.is_complete,
    }


def rewrite_log(checkpoint: Any) -> dict[str, Any] | None:
    """The log as the peer shows it to its reasoning model. A reader of text cannot show what is withheld."""
    entries = checkpoint.strategy_state.get("rewrite_log")
    if entries is None:
        return None
    text = import_module("aevyra_reflex.agent")._format_rewrite_log(entries)
    return {"entries": entries, "text": text}


def api(store: Any, run_ids: list[str], root: Path) -> Iterator[tuple[str, Any]]:
    """The JSON that the peer's dashboard serves of a tree."""
    dashboard = import_module("aevyra_reflex.dashboard.server")
    handler = type("Handler", (dashboard._DashboardHandler,), {"store": store, "log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        paths = ["", *(f"/{run}{below}" for run in run_ids for below in ("", "/iterations"))]
        paths += [f"/{run}/iterations/1" for run in run_ids if store.get_run(run).load_iterations()]
        for path in paths:
            with urlopen(f"http://127.0.0.1:{server.server_port}/api/runs{path}") as response:
                yield f"/api/runs{path}", at_home(json.load(response), root)
    finally:
        server.shutdown()
        server.server_close()


def at_home(answer: Any, root: Path) -> Any:
    """An answer with the places in it told from the tree's root, and no process id taken for a run of it."""
    if isinstance(answer, list):
        return [at_home(item, root) for item in answer]
    if not isinstance(answer, dict):
        return answer
    told = {name: Path(item).name if name in PLACES else at_home(item, root) for name, item in answer.items()}
    if (root / "runs" / str(told.get("run_dir")) / "running").exists() and told.get("status") == "running":
        told["status"] = "interrupted"  # the sentinel names a process that was of another machine
        told.update({"is_running": False} if "is_running" in told else {})
    return told


def kept_answers(expected: Path) -> dict[str, Any]:
    def load(name: str) -> Any:
        return json.loads((expected / name).read_text(encoding="utf-8"))

    return {
        "list_runs": [at_home(summary, Path()) for summary in load("list_runs.json")],
        "load_iterations": load("load_iterations.json"),
        "rewrite_log": load("rewrite_log.json"),
    }


def only_kept(found: dict[str, Any]) -> dict[str, Any]:
    runs = found["runs"]
    return {
        "list_runs": found["list_runs"],
        "load_iterations": {run: told["iterations"] for run, told in runs.items()},
        "rewrite_log": {run: told["rewrite_log"] for run, told in runs.items() if told["rewrite_log"] is not None},
    }


def compare(original: Any, rebuilt: Any, place: str, problems: list[str], redacted: list[str]) -> None:
    if isinstance(original, dict) and isinstance(rebuilt, dict) and original.keys() == rebuilt.keys():
        for name in original:
            compare(original[name], rebuilt[name], f"{place}/{name}", problems, redacted)
    elif isinstance(original, list) and isinstance(rebuilt, list) and len(original) == len(rebuilt):
        for index, pair in enumerate(zip(original, rebuilt, strict=True)):
            compare(*pair, f"{place}/{index}", problems, redacted)
    elif isinstance(original, str) and rebuilt == {"redacted": place.rpartition("/")[2]}:
        redacted.append(place)
    elif original != rebuilt or type(original) is not type(rebuilt):
        problems.append(f"{place}: original {json.dumps(original)[:120]}, rebuilt {json.dumps(rebuilt)[:120]}")


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    else:
        yield value


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    if not 1 <= len(paths) <= 3:
        sys.exit(__doc__)
    sys.exit(main(*paths))
