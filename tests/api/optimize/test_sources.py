"""Where thresholds, answers, strategies, metrics and addresses come from."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import httpx2
import pytest

from affidavit.api.optimize import registered
from affidavit.api.optimize.connecting import Addresses, endpoints, open_models
from affidavit.api.optimize.given import Given, plan_from, read_verdict_results
from affidavit.domain.errors import Refused
from affidavit.domain.optimization.conversation import Complete, Conversation, Score
from affidavit.domain.optimization.options import Options
from affidavit.domain.optimization.study import Study

from .conftest import MODELS, AtCall, Shell

DATA = ("data.jsonl", "prompt.md")


def interrupt() -> None:
    raise KeyboardInterrupt


def once(study: Study) -> Conversation:
    """A strategy that scores the initial prompt and stops."""
    (scored,) = yield Score((study.start,))
    yield Complete(scored)


class Short:
    """A metric that likes short answers and looks at no reference."""

    needs_reference = False

    def __call__(self, response: str, ideal: str) -> float:
        return 1 / (1 + len(response.split()))


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A strategy and a metric, as installed packages would register them."""
    found = {
        registered.STRATEGIES_GROUP: [
            EntryPoint("once", f"{__name__}:once", registered.STRATEGIES_GROUP),
            EntryPoint("twice", "one:a", registered.STRATEGIES_GROUP),
            EntryPoint("twice", "another:a", registered.STRATEGIES_GROUP),
            EntryPoint("broken", "no_such_module_anywhere:a", registered.STRATEGIES_GROUP),
            EntryPoint("auto", "usurper:auto", registered.STRATEGIES_GROUP),
        ],
        registered.METRICS_GROUP: [EntryPoint("short", f"{__name__}:short", registered.METRICS_GROUP)],
    }
    loaded = {"once": once, "short": Short()}
    monkeypatch.setattr(registered, "entry_points", lambda group: found[group])
    load = EntryPoint.load
    monkeypatch.setattr(EntryPoint, "load", lambda point: loaded.get(point.name) or load(point))


def test_a_registered_strategy_and_metric_run_and_replay(shell: Shell, offered: None) -> None:
    rows = [json.loads(line) for line in (shell.folder / "data.jsonl").read_text().splitlines()]
    (shell.folder / "bare.jsonl").write_text("".join(json.dumps({"messages": row["messages"]}) + "\n" for row in rows))
    shell("optimize", "bare.jsonl", "prompt.md", *MODELS, "-s", "once", "--metric", "short")
    record = shell.record("001")
    assert (record.status, record.started.metrics, len(record.iterations)) == ("completed", ("short",), 1)
    assert record.planned is not None
    assert isinstance(record.planned.sources, dict)
    assert {"strategy/once", "metric/short"} <= record.planned.sources.keys()
    assert shell("replay", "001", "--json").json["identical"] is True


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("twice", "each register one of this name"),
        ("broken", "no_such_module_anywhere:a: ModuleNotFoundError"),
        ("absent", "expected one of auto, broken, fewshot, iterative, once, pdo, structural, twice"),
    ],
)
def test_what_is_registered_badly_is_refused(offered: None, name: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        registered.find_strategies([name])


def test_a_built_in_name_cannot_be_taken(offered: None) -> None:
    assert registered.find_strategies(["auto"])["auto"].__module__.startswith("affidavit.")


def test_a_threshold_from_verdict_results_is_the_best_models_by_the_runs_own_metrics(shell: Shell) -> None:
    models = {"a/low": {"rouge_mean": 0.5}, "b/best": {"rouge_mean": 0.75}, "c/none": {"rouge_mean": None}}
    (shell.folder / "results.json").write_text(json.dumps({"metrics": ["bleu", "rouge"], "models": models}))
    told = shell.optimize("iterative", "--verdict-results", "results.json")
    assert "threshold 0.7500: b/best's, by rouge" in told.out
    started = shell.record("001").started
    assert started.threshold == 0.75
    assert isinstance(started.config, dict)
    assert started.config["threshold_from"]["model"] == "b/best"
    assert started.config["optimizer_config"]["target_source"] == "verdict_json"


def test_several_metrics_are_averaged_as_the_run_averages_them(tmp_path: Path) -> None:
    models = {"a/whole": {"rouge_mean": 0.5, "bleu_mean": 0.25}, "b/half": {"rouge_mean": 0.9}}
    (tmp_path / "results.json").write_text(json.dumps({"metrics": ["rouge", "bleu"], "models": models}))
    found = read_verdict_results(tmp_path / "results.json", ["rouge", "bleu"])
    assert (found["model"], found["score"]) == ("a/whole", 0.375)


def test_targets_are_benchmarked_and_a_threshold_stands_before_them(shell: Shell) -> None:
    shell.optimize("iterative", "--target", "sandbox/target")
    assert "the best target model's score" in shell("explain", "001").out
    told = shell.optimize("iterative", "--target", "sandbox/target", "--threshold", "0.9")
    assert "--target is not looked at" in told.out
    assert shell("explain", "002", "--json").json["targets"] == []


def test_a_judge_scores_alone_or_beside_a_metric(shell: Shell) -> None:
    (shell.folder / "criteria.md").write_text("The answer is one line.")
    shell.optimize("iterative", "--judge", "sandbox/judge", "--judge-criteria", "criteria.md")
    shell.optimize("iterative", "--judge", "sandbox/judge", "--metric", "exact")
    assert shell.record("001").started.metrics == ("llm_judge",)
    assert shell.record("002").started.metrics == ("exact_match", "llm_judge")
    purposes = {row["purpose"] for row in shell("explain", "001", "--json").json["calls"]["by_purpose"]}
    assert {"judge", "reasoning", "baseline"} <= purposes
    assert shell("replay", "001", "--json").json["identical"] is True


PIPELINE = """
class Trace:
    def __init__(self, output):
        self.nodes = [type("Node", (), {"name": "only", "input": "", "output": output})]

def pipeline_fn(prompt, input):
    if input == "fail":
        raise ValueError("no")
    return Trace(input) if input == "trace" else f"{prompt} {input}"
"""


def test_a_pipeline_stands_in_the_models_place(shell: Shell, at_call: AtCall) -> None:
    (shell.folder / "mine.py").write_text(PIPELINE)
    (shell.folder / "inputs.json").write_text(json.dumps(["one", "trace", "fail", {"a": 1}, "five", "six"]))
    flags = ("--judge", "sandbox/judge", "--reasoning-model", "sandbox/reasoner", "-s", "iterative")
    small = ("--max-iterations", "1", "--pipeline-file", "mine.py")
    at_call(3, interrupt)
    stopped = shell("optimize", "prompt.md", *small, "--inputs-file", "inputs.json", *flags, code=130)
    assert "--pipeline-file mine.py" in stopped.err
    assert "give --pipeline-file" in shell("resume", "001", code=2).err
    shell("resume", "001", "--pipeline-file", "mine.py")
    record = shell.record("001")
    samples = [sample for found in record.evaluations if isinstance(found.samples, tuple) for sample in found.samples]
    assert {sample.reason for sample in samples if sample.failed} == {"pipeline_error"}
    assert any(sample.response.startswith("=== AGENT TRACE ===") for sample in samples)
    assert shell("replay", "001", "--json").json["identical"] is True

    (shell.folder / "mine.py").write_text(PIPELINE + "\n")
    told = shell("reproduce", "001", "--pipeline-file", "mine.py", code=2)
    assert "run 001 was begun with other bytes" in told.err


def server(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, json={"data": [{"id": "m"}, {"id": "r"}]})


OPTIONS = Options(models=("local/m",), reasoning_model="openai/r")
SOMEWHERE = Addresses("http://somewhere.example/v1", "http://elsewhere.example/v1", reasoning_api_key="key")


def test_addresses_of_the_record_are_compared_and_never_used() -> None:
    called: list[str] = []

    def listening(request: httpx2.Request) -> httpx2.Response:
        called.append(str(request.url))
        return server(request)

    transport = httpx2.MockTransport(listening)
    with open_models(OPTIONS, SOMEWHERE, transport=transport, environ={}) as models:
        known = endpoints(models)
    assert known == {"local/m": "http://somewhere.example/v1", "reasoner": "http://elsewhere.example/v1"}
    called.clear()
    for addresses, said in (
        (Addresses(), "found it at http://somewhere.example/v1.*give --base-url"),
        (Addresses(SOMEWHERE.base_url, reasoning_api_key="key"), "found it at http://elsewhere.*--reasoning-base-url"),
    ):
        with (
            pytest.raises(Refused, match=said),
            open_models(OPTIONS, addresses, known=known, transport=transport, environ={}),
        ):
            pass
    assert called == []
    moved = Addresses("http://new.example/v1", "http://elsewhere.example/v1", reasoning_api_key="key")
    with open_models(OPTIONS, moved, known=known, transport=transport, environ={}) as models:
        assert endpoints(models)["local/m"] == "http://new.example/v1"


def test_w22_no_key_is_recorded(shell: Shell, monkeypatch: pytest.MonkeyPatch, at_call: AtCall) -> None:
    at_call(5, interrupt)
    told = shell.optimize("iterative", "--reasoning-api-key", "sk-very-secret-key", code=130)
    assert "sk-very-secret-key" not in told.out + told.err
    assert "--reasoning-api-key as before" in told.err
    shell("resume", "001", "--reasoning-api-key", "sk-very-secret-key")
    assert "sk-very-secret-key" not in repr([recorded.event for recorded in shell.events("001")])
    assert not any(b"sk-very-secret-key" in path.read_bytes() for path in shell.folder.rglob("*") if path.is_file())


def test_settings_that_are_not_given_are_the_options_defaults(shell: Shell) -> None:
    asked = plan_from(
        Given(prompt=shell.folder / "prompt.md", dataset=shell.folder / "data.jsonl", settings={"models": ("a/b",)})
    )
    assert asked.plan.options == Options(models=("a/b",))


def test_the_help_names_the_defaults_that_hold() -> None:
    """What stands in brackets is written by hand, so that the help needs no model of the options."""
    from affidavit.api.cli import run_options

    options: dict[str, Any] = Options(models=("a/b",)).model_dump()
    shown = {
        "MaxIterations": "max_iterations",
        "Threshold": "threshold",
        "MaxWorkers": "max_workers",
        "Tries": "tries",
        "TrainSplit": "train_ratio",
        "ValSplit": "val_ratio",
        "BatchSize": "batch_size",
        "FullEvalSteps": "full_eval_steps",
        "EvalRuns": "eval_runs",
        "Patience": "early_stopping_patience",
        "EvalTemperature": "eval_temperature",
        "MaxTokens": "max_tokens",
        "Seed": "seed",
        "Strategy": "strategy",
        "ReasoningModel": "reasoning_model",
    }
    for name, field in shown.items():
        (given,) = getattr(run_options, name).__metadata__
        value = options[field]
        assert (
            f"[default: {value:g}]" in given.help if isinstance(value, float) else f"[default: {value}]" in given.help
        )
