"""The weaknesses under "Reproducibility and secrets": what is kept, and what never is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from affidavit.api.http.app import create_app, open_service
from affidavit.api.models.chat import Exchange
from affidavit.api.models.sandbox import SANDBOX_URL, SandboxTransport, sandbox_dataset
from affidavit.api.optimize.plan import read_plan
from affidavit.domain.optimization.events import RunPlanned
from affidavit.ledger.application import Ledger

from .conftest import PROMPT, Bench, Shell, calls_of, plan_of, watched

# W21: what a configuration lacks.


def test_w21_all_that_a_run_depends_on_is_in_its_plan(shell: Shell) -> None:
    (shell.folder / "criteria.txt").write_text("Agreement with the reference.", encoding="utf-8")
    shell.optimize(
        *("--metric", "rouge", "--metric", "exact", "--judge", "sandbox/judge", "--judge-criteria", "criteria.txt"),
        *("--seed", "7", "--eval-temperature", "0.5", "--max-iterations", "1"),
    )
    with shell.bench() as bench:
        planned = bench.record("001").planned
        config = bench.record("001").started.config
    assert isinstance(planned, RunPlanned)
    assert isinstance(planned.options, dict)
    asked = {
        "metrics": ["rouge", "exact"],
        "judge": "sandbox/judge",
        "judge_criteria": "Agreement with the reference.",
        "models": ["sandbox/target"],
        "reasoning_model": "sandbox/reasoner",
        "eval_temperature": 0.5,
        "split_seed": 42,
        "seed": 7,
    }
    assert {name: planned.options[name] for name in asked} == asked
    assert planned.rows == sandbox_dataset(8)
    assert isinstance(planned.split, dict)
    assert sorted(place for places in planned.split.values() for place in places) == list(range(8))
    assert {"affidavit", "python"} < set(planned.versions)
    assert isinstance(planned.sources, dict)
    assert "domain/optimization/script.py" in planned.sources
    assert isinstance(config, dict)
    assert set(config["endpoints"]) == {"sandbox/target", "reasoner", "judge"}


def test_w21_a_resumed_run_goes_by_its_recorded_plan_alone(shell: Shell) -> None:
    shell("init")
    with shell.bench() as bench:
        bench.stopped(plan_of(), answers=5)
        size = len(bench.stored().entries)
        before = read_plan(bench.recording.read_stream, "001")
    for flag, value in (("--metric", "bleu"), ("--max-iterations", "9"), ("--judge", "sandbox/judge"), ("-s", "pdo")):
        told = shell.optimize("--resume-from", "001", flag, value, code=2)
        assert "goes on as it was begun" in told
    (shell.folder / "data.jsonl").write_text(json.dumps(sandbox_dataset(9)[8]) + "\n", encoding="utf-8")
    assert "begun with other rows" in shell.optimize("--resume-from", "001", code=2)
    with shell.bench() as bench:
        assert len([row for row in bench.stored().entries if row.stream == "run/001"]) <= size
    (shell.folder / "data.jsonl").unlink()
    (shell.folder / "prompt.txt").unlink()
    shell("resume", "001")
    with shell.bench() as bench:
        record = bench.record("001")
        assert read_plan(bench.recording.read_stream, "001") == before
        assert record.status == "completed"
        assert record.started.metrics == ("rouge",)
        assert bench.replayed("001").identical


# W22: keys.

ENVIRONMENT_KEY = "sk-environment-0123456789abcdef"
FLAG_KEY = "sk-flag-0123456789abcdef"
PASSWORD = "hunter2hunter2"


class Echoing(ThreadingHTTPServer):
    """The simulated models behind a port; every fourth request is refused with the key that it came with."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: set[str] = set()
        self.asked = 0
        self.mutex = threading.Lock()
        self.models = SandboxTransport()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def answer(self, body: bytes, key: str) -> tuple[int, bytes]:
        with self.mutex:
            self.seen.add(key)
            self.asked += 1
            refused = self.asked % 4 == 0
        if refused:
            return 400, json.dumps({"error": {"message": f"Incorrect API key provided: {key}"}}).encode()
        answered = self.models.handle_request(httpx2.Request("POST", f"{SANDBOX_URL}/chat/completions", content=body))
        return answered.status_code, answered.read()


class _Handler(BaseHTTPRequestHandler):
    server: Echoing
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(404, f"no list for {self.headers['Authorization']}".encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(*self.server.answer(body, self.headers["Authorization"].removeprefix("Bearer ")))

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def echoing() -> Iterator[Echoing]:
    with Echoing() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_w22_a_key_is_in_no_file_and_no_output(shell: Shell) -> None:
    shell.environment = {"LOCAL_API_KEY": ENVIRONMENT_KEY, "OPENAI_API_KEY": ENVIRONMENT_KEY}
    with echoing() as server:
        shell(
            "optimize",
            *("data.jsonl", "prompt.txt", "-m", "local/sandbox/target", "--base-url", server.url),
            *("--reasoning-model", "openai/sandbox/reasoner", "--reasoning-base-url", server.url),
            *("--reasoning-api-key", FLAG_KEY, "--results-json", "results.json", "--verbose"),
            *("-s", "structural", "--max-iterations", "2"),
        )
    asked = ("optimize", "data.jsonl", "prompt.txt", "-m", "local/x", "--reasoning-model", "openai/y")
    for flag in ("--base-url", "--reasoning-base-url"):
        assert "without credentials" in shell(*asked, flag, f"http://user:{PASSWORD}@127.0.0.1:1/v1", code=2)
    assert server.seen == {ENVIRONMENT_KEY, FLAG_KEY}
    for command in ("explain", "show", "history", "replay"):
        shell(command, "001", "--json")
    shell("runs")
    shell("log", "--json")
    shell("rebuild", "--to", "built")
    with shell.bench() as bench:
        assert [line.stream for line in bench.stored().entries if line.stream == "run/002"] == []
        opened = [repr(found) for found in bench.events("001")]
        refused = [answer for _, answer in calls_of(bench.events("001")) if answer and answer.outcome == "refused"]
    assert refused
    assert all("Incorrect API key provided" in str(answer.body) for answer in refused)
    written = [path.read_bytes() for path in shell.folder.rglob("*") if path.is_file()]
    for secret in (ENVIRONMENT_KEY, FLAG_KEY, PASSWORD):
        assert not any(secret.encode() in content for content in written)
        assert not any(secret in text for text in (*shell.told, *opened))


# W23: code that others name.

PIPELINE = """
from pathlib import Path
Path(__file__).with_name("imported").touch()
def pipeline_fn(prompt, given):
    return f"{given}: {len(prompt)}"
"""
PLACES = {"path", "file", "folder", "directory", "url", "uri", "host", "module", "import", "model", "command", "script"}
PLACES |= {"pipeline", "strategy", "provider", "endpoint"}
STORED_ONLY = {"interacted_image_url"}
"""A property of an interaction: kept as text, never fetched."""


def test_w23_no_route_takes_a_file_a_module_or_a_models_address(ledger: Ledger) -> None:
    with open_service(ledger) as service:
        document = create_app(service).openapi()
    found = set(_names(document["paths"])) | set(_names(document["components"]["schemas"]))
    assert {"user_id", "interaction_data_list", "as_of"} < found
    assert {name for name in found if PLACES & set(name.lower().split("_"))} == STORED_ONLY


def test_w23_no_page_from_elsewhere_can_start_or_write_anything(ledger: Ledger, tmp_path: Path) -> None:
    pipeline = tmp_path / "pipeline.py"
    pipeline.write_text(PIPELINE)
    body = {"pipeline_file": str(pipeline), "dataset_path": "d", "prompt": "p", "model": "sandbox/target"}
    with open_service(ledger) as service:
        app = create_app(service)
        token, _ = service.keyring.create(("admin", "publish", "review", "read"), "test", "2026-11-22T10:00:00+00:00")
        client = TestClient(app, base_url="http://127.0.0.1:8128", client=("127.0.0.1", 40_000))
        with ledger.recorder.reading() as reader:
            size = reader.head().size
        writing = [
            (method.upper(), path)
            for path, methods in app.openapi()["paths"].items()
            for method in methods
            if method in ("post", "put", "patch", "delete")
        ]
        assert len(writing) > 10
        for method, path in writing:
            for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
                answer = client.request(method, path, json=body, headers=headers)
                assert answer.status_code == 401
                assert not any(name.startswith("access-control") for name in answer.headers)
        for path in ("/api/jobs/start", "/api/jobs/branch", "/api/runs"):
            assert client.post(path, json=body).status_code in (404, 405)
        known = {"Authorization": f"Bearer {token}"}
        for path in ("/api/set_config", "/api/update_config"):
            refused = client.post(path, json={"pipeline_file": str(pipeline)}, headers=known)
            assert refused.status_code == 422
            assert "pipeline_file" in refused.text
        with ledger.recorder.reading() as reader:
            assert reader.head().size == size
    assert not (tmp_path / "imported").exists()


def test_w23_a_pipeline_is_imported_only_where_the_command_line_names_it(shell: Shell) -> None:
    (shell.folder / "pipeline.py").write_text(PIPELINE)
    (shell.folder / "inputs.json").write_text(json.dumps([f"question {number}" for number in range(6)]))
    shell(
        *("optimize", "prompt.txt", "--pipeline-file", "pipeline.py", "--inputs-file", "inputs.json"),
        *("--judge", "sandbox/judge", "--reasoning-model", "sandbox/reasoner", "-s", "iterative"),
        *("--max-iterations", "1"),
    )
    imported = shell.folder / "imported"
    assert imported.exists()
    imported.unlink()
    for command in ("replay", "explain", "show", "history"):
        shell(command, "001")
    shell("verify")
    assert "give --pipeline-file" in shell("reproduce", "001", code=2)
    assert "give --pipeline-file" in shell("branch", "001", "1", "--max-iterations", "3", code=2)
    assert not imported.exists()


def _names(node: object) -> Iterator[str]:
    """The names of parameters and properties below ``node``."""
    if isinstance(node, list):
        for item in node:
            yield from _names(item)
    if isinstance(node, dict):
        if "in" in node and isinstance(node.get("name"), str):
            yield node["name"]
        properties = node.get("properties")
        yield from properties if isinstance(properties, dict) else ()
        for item in node.values():
            yield from _names(item)


# W26: text that is not ASCII.

FOREIGN = "Antworte knapp — für Störungen „sofort“. 日本語 🚑"
COMMANDS = """
import sys
from affidavit.api.cli import main
for command in sys.stdin.read().splitlines():
    sys.argv = ["affidavit", *command.split()]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
"""


def test_w26_text_that_is_not_ascii_is_kept_under_the_c_locale(shell: Shell) -> None:
    rows = [
        {**row, "messages": [{"role": "user", "content": f"{row['messages'][0]['content']} Müller 🚒"}]}
        for row in sandbox_dataset(8)
    ]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (shell.folder / "data.jsonl").write_text(text + "\n", encoding="utf-8")
    (shell.folder / "prompt.txt").write_text(f"{FOREIGN}\n{PROMPT}", encoding="utf-8")
    commands = [
        "optimize data.jsonl prompt.txt -m sandbox/target --reasoning-model sandbox/reasoner -s iterative"
        " --max-iterations 1 --output best.txt --results-json results.json",
        "explain 001",
        "history 001",
        "rebuild --to built",
        "rebuild --to built-as-reflex --profile reflex-0.2",
    ]
    locale = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        input="\n".join(commands).encode(),
        cwd=shell.folder,
        env={**os.environ, **shell.places, **locale},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    built = [path for path in shell.folder.glob("built*/**/*") if path.is_file()]
    texts = {path.relative_to(shell.folder).parts[0] + path.name: path.read_bytes().decode("utf-8") for path in built}
    assert FOREIGN in (shell.folder / "best.txt").read_bytes().decode("utf-8")
    assert FOREIGN in texts["builtbest_prompt.md"]
    assert "Müller 🚒" in texts["builtbaseline.json"]


@pytest.mark.parametrize("where", ["data.jsonl", "prompt.txt", "criteria.txt"])
def test_w26_what_is_no_text_is_refused_before_anything_is_recorded(shell: Shell, where: str) -> None:
    (shell.folder / "criteria.txt").write_bytes(b"Agreement.")
    broken = json.dumps({"messages": [{"role": "user", "content": "half \ud83d"}], "ideal": "x"}).encode()
    (shell.folder / where).write_bytes(broken + b"\n" if where == "data.jsonl" else b"half \xed\xa0\xbd")
    told = shell.optimize("--judge", "sandbox/judge", "--judge-criteria", "criteria.txt", code=2)
    assert where in told
    assert not shell.ledger.exists()


def test_w26_half_a_character_in_a_reply_ends_no_run(bench: Bench) -> None:
    body = json.dumps({"choices": [{"message": {"content": "cut off \ud83d"}}], "usage": {}})

    run = bench.begin(plan_of(rows=6, max_iterations=1))
    bench.go_on(run, wrap={"sandbox/target": watched(lambda _: Exchange("replied", 200, body))})
    assert bench.record(run).status == "completed"
    assert bench.replayed(run).identical
    assert body in [answer.body for _, answer in calls_of(bench.events(run)) if answer is not None]
