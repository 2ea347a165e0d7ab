"""Drive the real aevyra-reflex into a ledger and into its own store, and ask whether both tell the same.

    PEER_PYTHON tests/peers/record_with_reflex.py

Run by a Python that has both aevyra-reflex 0.2.0 (with ``openai``) and Affidavit. Each case runs twice against one
deterministic stub on this machine: once with the peer's own ``RunStore`` on a directory, once with ours on a ledger.
Some cases are killed or fail at a given request and are then resumed. After each, the ledger must verify, the
commands must work on it, and the peer's readers must give the same answers on the rebuilt directory as on its own,
times aside.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from affidavit.api.adapters.reflex.run_store import RunStore
from affidavit.api.reading import open_for_reading

stub_server, peer_readers = import_module("stub_server"), import_module("check_reflex_profile")
SECRET = "sk-not-for-the-ledger-0123456789"
TIMES = {"timestamp", "started_at", "duration_seconds", "accumulated_duration_seconds", "run_dir"}


class Case(NamedTuple):
    """``stop_at`` is the request at which the process is killed or refused, ``rewritten`` how many iterations are saved
    a second time after that."""

    name: str
    strategy: str
    threshold: float = 2.0
    how: str = ""
    stop_at: int = 0
    rewritten: int = 0


CASES = (
    Case("to the end", "iterative"),
    Case("converges", "iterative", threshold=0.9),
    Case("killed in a training evaluation", "iterative", how="kill", stop_at=14),
    Case("refused in a rewrite", "iterative", how="refuse", stop_at=17),
    Case("to the end", "structural"),
    Case("killed in the third round", "structural", how="kill", stop_at=70, rewritten=2),
    Case("to the end", "auto"),
    Case("killed", "auto", how="kill", stop_at=90),
)


def main() -> int:
    if version("aevyra-reflex") != peer_readers.PEER:
        sys.exit(f"aevyra-reflex is {version('aevyra-reflex')}, expected {peer_readers.PEER}")
    differing = 0
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "sums.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in stub_server.rows(10)))
        for number, case in enumerate(CASES):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            calls = drive(case, folder, data)
            problems = check(case, folder)
            if calls[0] != calls[1]:
                problems.append(f"{calls[0]} requests with the peer's store, {calls[1]} with ours")
            for problem in problems:
                print(f"differs  {case.strategy}, {case.name}: {problem}")
            print(f"{case.strategy}, {case.name}: {calls[1]} requests, {len(problems)} differ")
            differing += len(problems)
    return 1 if differing else 0


def drive(case: Case, folder: Path, data: Path) -> list[int]:
    """Run a case with each store, in processes of their own; how many requests each made."""
    process: subprocess.Popen[bytes] | None = None
    asked = 0

    def before(number: int) -> None:
        if number - asked != case.stop_at:
            return
        if case.how == "refuse":
            raise stub_server.Refuse("refused on purpose")
        assert process is not None
        process.kill()
        process.wait()

    environment = {**os.environ, "AFFIDAVIT_KEYS": str(folder / "keys"), "PYTHONUTF8": "1", "PYTHONHASHSEED": "0"}
    requests = []
    with stub_server.StubServer(before) as stub:
        for store in ("native", "ledger"):
            command = [sys.executable, __file__, "worker", store, str(folder), str(data), stub.base_url]
            for attempt in ("first", "resume") if case.how else ("first",):
                output = folder / f"{store}-{attempt}.txt"
                with output.open("wb") as said:
                    process = subprocess.Popen(
                        [*command, case.strategy, str(case.threshold), attempt],
                        env=environment,
                        stdout=said,
                        stderr=subprocess.STDOUT,
                    )
                    code = process.wait()
                stops = {"kill": -signal.SIGKILL, "refuse": 1}
                if code != (0 if attempt == "resume" else stops.get(case.how, 0)):
                    sys.exit(f"{case}: {store}: exit code {code}\n{output.read_text()[-3000:]}")
            requests.append(stub.requests - asked)
            asked = stub.requests
    return requests


def work(store: str, folder: str, data: str, base_url: str, strategy: str, threshold: str, attempt: str) -> None:
    """One session of the peer's optimiser, as its users write it."""
    reflex, verdict = import_module("aevyra_reflex"), import_module("aevyra_verdict")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    config = reflex.OptimizerConfig(
        strategy=strategy,
        max_iterations=5,
        score_threshold=float(threshold),
        reasoning_model="stub-reasoner",
        reasoning_provider="openai",
        reasoning_api_key=SECRET,
        reasoning_base_url=base_url,
        max_workers=1,
        train_ratio=0.7,
        val_ratio=0.2,
        early_stopping_patience=0,
    )
    optimizer = reflex.PromptOptimizer(config)
    optimizer.set_dataset(verdict.Dataset.from_jsonl(data))
    optimizer.add_provider("openai", "stub-target", api_key=SECRET, base_url=base_url)
    optimizer.add_metric(verdict.RougeScore())
    if store == "native":
        runs: Any = import_module("aevyra_reflex.run_store").RunStore(Path(folder) / "native" / ".reflex")
        session(optimizer, runs, data, attempt)
        return
    with RunStore(Path(folder) / "ledger") as ours:
        session(optimizer, ours, data, attempt)


def session(optimizer: Any, store: Any, data: str, attempt: str) -> None:
    resumed = store.find_incomplete_run(dataset_path=data) if attempt == "resume" else None
    if attempt == "resume" and resumed is None:
        sys.exit("no run to resume was found")
    optimizer.run(stub_server.START, run_store=store, resume_run=resumed)


def check(case: Case, folder: Path) -> list[str]:
    """The ledger verifies, the commands work, nothing secret is there, and both trees read the same."""
    problems: list[str] = []
    rebuilt = folder / "rebuilt"
    reading = [["runs"], ["show", "001"], ["history", "001"]] if case.strategy == "iterative" else []
    for arguments in (["verify"], *reading, ["rebuild", "--to", str(rebuilt), "--profile", "reflex-0.2"]):
        done = affidavit(folder, *arguments)
        if done.returncode != 0:
            problems.append(f"affidavit {' '.join(arguments)}: exit code {done.returncode}: {done.stderr.strip()}")
    if problems:
        return problems
    found: dict[str, Any] = {}
    for root in (folder / "native" / ".reflex", rebuilt):
        found[root.name] = timeless(peer_readers.answers(root))
    redacted: list[str] = []
    peer_readers.compare(found[".reflex"], found["rebuilt"], "", problems, redacted)
    if not redacted or any(not place.endswith("reasoning_api_key") for place in redacted):
        problems.append(f"expected only reasoning_api_key redacted, found {redacted}")
    kept = [path for path in rebuilt.rglob("*") if path.is_file() and SECRET in path.read_text(encoding="utf-8")]
    kept += [path for path in (folder / "ledger").rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    problems += [f"the key stands in {path}" for path in kept]
    with open_for_reading(folder / "ledger", folder / "keys") as ledger:
        types = [recorded.type_name for recorded in ledger.events.stream("run/001")]
    sessions = 2 if case.how else 1
    if types.count("recording.opened.v1") != sessions:
        problems.append(f"expected {sessions} recordings, found {types.count('recording.opened.v1')}")
    if types.count("iteration.rewritten.v1") != case.rewritten:
        problems.append(
            f"expected {case.rewritten} iterations rewritten, found {types.count('iteration.rewritten.v1')}"
        )
    shutil.rmtree(rebuilt, ignore_errors=True)
    return problems


def affidavit(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AFFIDAVIT_KEYS": str(folder / "keys"), "AFFIDAVIT_LEDGER": str(folder / "ledger")}
    command = [sys.executable, "-m", "affidavit.api.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def timeless(answer: Any) -> Any:
    """An answer without what differs between any two runs of one program."""
    if isinstance(answer, dict):
        return {name: timeless(item) for name, item in answer.items() if name not in TIMES}
    return [timeless(item) for item in answer] if isinstance(answer, list) else answer


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(*sys.argv[2:])
    else:
        sys.exit(main())
