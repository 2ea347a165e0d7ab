"""What is wrong is said before anything is paid for, and nothing is recorded of it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest

from affidavit.api.models.sandbox import SandboxTransport

from .conftest import MODELS, Shell

DATA = ("data.jsonl", "prompt.md")
ROW = '{"messages": [{"role": "user", "content": "Hello"}], "ideal": "Good day"}'
PIPELINE = "def pipeline_fn(prompt, input):\n    return input\n"
FILES: dict[str, str | bytes] = {
    "broken.jsonl": f"{ROW}\n{ROW}\n{{oops\n",
    "labelless.jsonl": f'{ROW}\n{{"messages": [{{"role": "user", "content": "Hello"}}]}}\n',
    "bare.jsonl": '{"messages": [{"role": "user", "content": "Hello"}]}\n' * 4,
    "twice.jsonl": '{"id": "a", "messages": [{"role": "user", "content": "x"}], "ideal": "y"}\n' * 2,
    "empty.jsonl": "\n",
    "empty.md": " \n",
    "latin.md": b"Gr\xfc\xdfe",
    "criteria.md": "Be kind.",
    "pipeline.py": PIPELINE,
    "raises.py": "raise RuntimeError('no such thing')\n",
    "nothing.py": "x = 1\n",
    "inputs.json": '["one", "two", "three"]',
    "no_metrics.json": '{"metrics": [], "models": {}}',
    "other_metric.json": '{"metrics": ["bleu"], "models": {"a/b": {"bleu_mean": 0.5}}}',
    "no_means.json": '{"metrics": ["rouge"], "models": {"a/b": {"rouge_mean": null}}}',
    "no_models.json": '{"metrics": ["rouge"], "models": {}}',
}
CASES = [
    ((), "DATASET: expected the file of a data set"),
    (("data.jsonl",), "PROMPT: expected the file of the initial prompt"),
    (("absent.jsonl", "prompt.md"), "absent.jsonl: No such file"),
    (("data.jsonl", "absent.md"), "absent.md: No such file"),
    (("broken.jsonl", "prompt.md"), "broken.jsonl, line 3"),
    (("labelless.jsonl", "prompt.md"), "1 of 2 rows have none: 2"),
    (("twice.jsonl", "prompt.md"), "line 2: expected another id than line 1"),
    (("empty.jsonl", "prompt.md"), "expected at least one record"),
    (("data.jsonl", "empty.md"), "empty.md: expected text, found none"),
    (("data.jsonl", "latin.md"), "latin.md: expected UTF-8, found byte 0xfc"),
    ((*DATA, "-m", "sandbox/nobody"), "model sandbox/nobody: expected one that"),
    ((*DATA, "-m", "nobody"), "expected PROVIDER/MODEL"),
    ((*DATA, "-m", "openai/gpt-4o"), "expected an API key in the environment variable OPENAI_API_KEY"),
    ((*DATA, "-m", "sandbox/target", "-m", "sandbox/target"), "--model sandbox/target, sandbox/target: expected each"),
    ((*DATA, "--target", "sandbox/nobody"), "model sandbox/nobody"),
    ((*DATA, "--judge", "sandbox/nobody"), "model sandbox/nobody"),
    ((*DATA, "--reasoning-model", "sandbox/nobody"), "model sandbox/nobody"),
    ((*DATA, "-s", "magic"), "strategy 'magic': expected one of auto, fewshot, iterative, pdo, structural"),
    ((*DATA, "--metric", "taste"), "metric 'taste': expected one of bleu, exact, rouge"),
    ((*DATA, "--metric", "rouge", "--metric", "rouge"), "found rouge again"),
    ((*DATA, "--strategy-option", "max_phases=0"), "option max_phases"),
    ((*DATA, "--strategy-option", "nonsense=1"), "option nonsense"),
    ((*DATA, "--strategy-option", "nonsense"), "expected NAME=JSON"),
    ((*DATA, "-s", "fewshot", "--strategy-option", "max_phases=1"), "strategy fewshot: it has no options"),
    (("bare.jsonl", "prompt.md", "-s", "fewshot", "--judge", "sandbox/judge"), "its examples need references"),
    ((*DATA, "--judge-criteria", "criteria.md"), "--judge-criteria: expected --judge"),
    ((*DATA, "--judge", "sandbox/judge", "--judge-criteria", "empty.md"), "empty.md: expected text"),
    ((*DATA, "--judge-base-url", "http://127.0.0.1:1/v1"), "--judge-base-url: this run has no judge"),
    ((*DATA, "--target", "sandbox/target", "--verdict-results", "no_metrics.json"), "--target and --verdict-results"),
    ((*DATA, "--verdict-results", "absent.json"), "absent.json: No such file"),
    ((*DATA, "--verdict-results", "criteria.md"), "criteria.md: expected JSON"),
    ((*DATA, "--verdict-results", "no_metrics.json"), "metric rouge, which scores this run, found none"),
    ((*DATA, "--verdict-results", "other_metric.json"), "metric rouge, which scores this run, found bleu"),
    ((*DATA, "--verdict-results", "no_models.json"), "expected a model with rouge_mean"),
    ((*DATA, "--verdict-results", "no_means.json"), "expected a model with rouge_mean"),
    ((*DATA, "--threshold", "1.5"), "--threshold 1.5: expected less than or equal to 1"),
    ((*DATA, "--threshold", "nan"), "--threshold nan"),
    ((*DATA, "--train-split", "0"), "--train-split 0: expected greater than 0"),
    ((*DATA, "--train-split", "1.1"), "--train-split 1.1"),
    ((*DATA, "--val-split", "-0.1"), "--val-split -0.1"),
    ((*DATA, "--val-split", "0.7"), "--val-split 0.7: expected less than 0.65, the share"),
    ((*DATA, "--train-split", "1", "--val-split", "0.2"), "--val-split: with --train-split 1 nothing is held out"),
    ((*DATA, "--val-split", "0", "--early-stopping-patience", "2"), "--early-stopping-patience: it looks at"),
    ((*DATA, "--early-stopping-patience", "-1"), "--early-stopping-patience -1"),
    ((*DATA, "--batch-size", "-1"), "--batch-size -1"),
    ((*DATA, "--full-eval-steps", "-1", "--batch-size", "2"), "--full-eval-steps -1"),
    ((*DATA, "--full-eval-steps", "2"), "--full-eval-steps: expected --batch-size"),
    ((*DATA, "--eval-runs", "0"), "--eval-runs 0"),
    ((*DATA, "--max-iterations", "-1"), "--max-iterations -1"),
    ((*DATA, "--max-workers", "0"), "--max-workers 0"),
    ((*DATA, "--tries", "0"), "--tries 0"),
    ((*DATA, "--max-tokens", "0"), "--max-tokens 0"),
    ((*DATA, "--eval-temperature", "-1"), "--eval-temperature -1"),
    ((*DATA, "--reasoning-temperature", "3"), "--reasoning-temperature 3"),
    ((*DATA, "--inputs-file", "inputs.json"), "--inputs-file: expected --pipeline-file"),
    ((*DATA, "--pipeline-file", "pipeline.py", "--inputs-file", "inputs.json"), "a pipeline takes --inputs-file"),
    ((*DATA, "--input-field", "question"), "'question'"),
    ((*DATA, "-o", "absent/best.md"), "absent/best.md: expected a file that can be written"),
    ((*DATA, "--run-dir", ".reflex"), "No such option: --run-dir"),
    ((*DATA, "--wandb"), "No such option: --wandb"),
    ((*DATA, "--base-url", "http://127.0.0.1:1/v1"), "the sandbox runs in this process"),
    (
        (*DATA, "--target", "local/good", "--base-url", "http://127.0.0.1:1/v1"),
        "model local/good: no answer from http://127.0.0.1:1/v1",  # and the sandbox is given none
    ),
    ((*DATA, "--resume"), "no ledger"),
]
PIPELINE_CASES = [
    (("--pipeline-file", "pipeline.py"), "--pipeline-file: expected --inputs-file"),
    (("--pipeline-file", "absent.py", "--inputs-file", "inputs.json"), "absent.py: No such file"),
    (("--pipeline-file", "raises.py", "--inputs-file", "inputs.json"), "RuntimeError: no such thing"),
    (("--pipeline-file", "nothing.py", "--inputs-file", "inputs.json"), "expected a function pipeline_fn"),
    (("--pipeline-file", "pipeline.py", "--inputs-file", "inputs.json"), "3 of 3 rows have none"),
    (
        ("--pipeline-file", "pipeline.py", "--inputs-file", "inputs.json", "-m", "sandbox/target"),
        "--model: the pipeline",
    ),
    (
        ("--pipeline-file", "pipeline.py", "--inputs-file", "inputs.json", "--input-field", "question"),
        "--input-field: the inputs of a pipeline have no fields",
    ),
]


@pytest.fixture
def filled(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A folder with the files above; a call to a model fails the test."""
    for name, content in FILES.items():
        (shell.folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    answer = SandboxTransport.handle_request

    def listed_only(self: SandboxTransport, request: httpx2.Request) -> httpx2.Response:
        assert request.method == "GET", "something was paid for"
        return answer(self, request)

    monkeypatch.setattr(SandboxTransport, "handle_request", listed_only)
    return shell


@pytest.mark.parametrize(("arguments", "said"), CASES, ids=[said for _, said in CASES])
def test_what_is_wrong_is_said_and_nothing_recorded(filled: Shell, arguments: tuple[str, ...], said: str) -> None:
    models = [word for word in ("-m", "--reasoning-model") if word not in arguments]
    given = [word for name in models for word in (name, "sandbox/target" if name == "-m" else "sandbox/reasoner")]
    told = filled("optimize", *arguments, *given, code=2)
    assert said in told.err
    assert "Traceback" not in told.err
    assert not filled.has_ledger


@pytest.mark.parametrize(("arguments", "said"), PIPELINE_CASES, ids=[said for _, said in PIPELINE_CASES])
def test_what_is_wrong_with_a_pipeline(filled: Shell, arguments: tuple[str, ...], said: str) -> None:
    told = filled("optimize", "prompt.md", *arguments, "--reasoning-model", "sandbox/reasoner", code=2)
    assert said in told.err
    assert not filled.has_ledger


def test_a_model_must_be_named(filled: Shell) -> None:
    assert "--model: expected the model" in filled("optimize", *DATA, code=2).err
    assert not filled.has_ledger


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("resume", "009"), "run '009' is not on this ledger"),
        (("resume", "001"), "run 001: it is completed, there is nothing to resume"),
        (("branch", "009", "1"), "run '009' is not on this ledger"),
        (("branch", "001", "9"), "run 001, iteration 9: its iterations are 1 to 2"),
        (("branch", "001", "1", "--max-iterations", "1"), "nothing left to do"),
        (("branch", "001", "1", "-s", "magic"), "strategy 'magic'"),
        (("branch", "001", "1", "--strategy-option", "x=1"), "strategy iterative: it has no options, found x"),
        (("branch", "001", "1", "--threshold", "7"), "--threshold 7"),
        (("branch", "001", "1", "--metric", "exact"), "No such option: --metric"),
        (("branch", "001", "0"), "ITERATION"),
        (("replay", "009"), "run '009' is not on this ledger"),
        (("reproduce", "009"), "run '009' is not on this ledger"),
        (("reproduce", "001", "--margin", "0"), "--margin 0"),
        (("explain", "009"), "run '009' is not on this ledger"),
        (("explain", "001", "--prices", "prompt.md"), "price table prompt.md: expected JSON"),
        (("explain", "001", "--as-of", "99999"), "entry 99999"),
    ],
)
def test_bad_requests_about_a_run_add_nothing(finished: Shell, arguments: tuple[str, ...], said: str) -> None:
    size = finished("log", "--json").json["size"]
    assert said in finished(*arguments, code=2).err
    assert finished("log", "--json").json["size"] == size


def test_an_imported_run_has_no_plan_to_follow(copied: Shell) -> None:
    sample = Path(__file__).resolve().parents[3] / "api" / "demo" / "reflex"
    copied("--ledger", "imported", "init")
    copied("--ledger", "imported", "import", "reflex", str(sample))
    for command in (("resume", "001"), ("replay", "001"), ("branch", "001", "1"), ("reproduce", "001")):
        assert (
            "it was recorded or imported, and not driven here" in copied("--ledger", "imported", *command, code=2).err
        )
    assert "Not recorded" in copied("--ledger", "imported", "explain", "001").out


def test_a_plan_that_cannot_be_opened_is_not_followed(copied: Shell, tmp_path: Path) -> None:
    copied.keys = tmp_path / "no keys"
    assert "run 001: its plan is sealed under a key that is not at hand" in copied("replay", "001", code=2).err


def test_a_run_whose_every_call_fails_ends_as_failed(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """W25: what fails is on record as such, and the exit code says so."""
    answer = SandboxTransport.handle_request

    def refuse(self: SandboxTransport, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(400, json={"error": "no"}) if request.method == "POST" else answer(self, request)

    monkeypatch.setattr(SandboxTransport, "handle_request", refuse)
    told = shell("optimize", *DATA, *MODELS, "--json", code=1)
    assert json.loads(told.out)["stopped"]["reason"] == "baseline_failed"
