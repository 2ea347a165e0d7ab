"""Record the real ``gepa.optimize`` into a ledger, and ask whether the history is what gepa did.

    PEER_PYTHON tests/peers/record_with_gepa.py
    PEER_PYTHON tests/peers/record_with_gepa.py hooks FILE

The second form writes what gepa tells its callbacks to a file, which tests/api/adapters/test_gepa.py plays again.
Run by a Python that has both gepa 0.1.4 and Affidavit. The adapter and the reflection model are code of this file, so
that nothing is asked of a network and every run is the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from affidavit.api.adapters.gepa import GepaRecorder, RecordingStopped, render_candidate
from affidavit.api.reading import open_for_reading
from affidavit.api.record import open_ledger
from affidavit.domain.errors import Refused
from affidavit.domain.optimization.foreign import HookCalled

PEER = "0.1.4"
WORDS = ("brief", "exact", "polite", "plain")
EXAMPLES = [{"question": f"Question {number}?", "wants": WORDS[number % 4]} for number in range(8)]


class Adapter:
    """Scores a candidate by the wanted words that it holds."""

    propose_new_texts = None

    def evaluate(self, batch: list[Any], candidate: dict[str, str], capture_traces: bool = False) -> Any:
        text = " ".join(candidate.values())
        outputs = [f"An answer that is {item['wants'] if item['wants'] in text else 'bad'}." for item in batch]
        scores = [float(item["wants"] in text) for item in batch]
        traces = [{"input": item, "output": output} for item, output in zip(batch, outputs, strict=True)]
        batch_type = import_module("gepa.core.adapter").EvaluationBatch
        return batch_type(outputs=outputs, scores=scores, trajectories=traces if capture_traces else None)

    def make_reflective_dataset(
        self, candidate: dict[str, str], evaluated: Any, components: list[str]
    ) -> dict[str, list[dict[str, Any]]]:
        told = [
            {
                "Inputs": trace["input"]["question"],
                "Generated Outputs": trace["output"],
                "Feedback": f"Want: {trace['input']['wants']}.",
            }
            for trace in evaluated.trajectories
        ]
        return dict.fromkeys(components, told)


def reflect(prompt: str | list[dict[str, Any]]) -> str:
    """Adds the next word that is wanted and that the prompt has not yet, or none."""
    text = str(prompt)
    known = [word for word in WORDS if f"Be {word}." in text]
    added = next((word for word in WORDS if word not in known and f"Want: {word}." in text), "nothing")
    return "```\n" + " ".join(["Answer."] + [f"Be {word}." for word in [*known, added]]) + "\n```"


def optimise(seed: dict[str, str], recorder: Any, **options: Any) -> Any:
    gepa = import_module("gepa")
    return gepa.optimize(
        seed_candidate=seed,
        trainset=EXAMPLES[:4],
        valset=EXAMPLES,
        adapter=Adapter(),
        reflection_lm=reflect,
        reflection_minibatch_size=2,
        callbacks=[recorder],
        logger=import_module("gepa.logging.logger").StdOutLogger() if "-v" in sys.argv else _Silent(),
        seed=7,
        **{"max_metric_calls": 90, **options},
    )


class Seed:
    """Always starts from the seed, so that there are siblings to merge."""

    def select_candidate_idx(self, state: Any) -> int:
        return 0


class _Silent:
    def log(self, message: str) -> None:
        """Nothing."""


def main() -> int:
    if version("gepa") != PEER:
        sys.exit(f"gepa is {version('gepa')}, expected {PEER}")
    with tempfile.TemporaryDirectory() as scratch:
        held = 0
        for name, seed, options in (
            ("one component", {"prompt": "Answer."}, {}),
            (
                "two components, merges",
                {"system": "Be polite.", "style": "Freely."},
                {"use_merge": True, "candidate_selection_strategy": Seed()},
            ),
        ):
            held += check(name, Path(scratch) / name.replace(" ", "-"), seed, options)
        held += check_failure(Path(scratch) / "failure")
    print(f"gepa {version('gepa')} on Python {sys.version.split()[0]}: {held} checks hold")
    return 0


def check(name: str, folder: Path, seed: dict[str, str], options: dict[str, Any]) -> int:
    holds = Checks(name)
    spy = Spy()
    with open_ledger(folder / "ledger", keys=folder / "keys", create=True) as ledger:
        with GepaRecorder(ledger, valset=EXAMPLES, metrics=["wanted"], config={"api_key": "sk-secret"}) as recorder:
            result = optimise(seed, Both(spy, recorder), **options)
        record = ledger.read_run("001")
    assert record is not None
    holds("the run is complete", record.status == "completed")
    holds("the best prompt is gepa's", record.best_prompt == render_candidate(result.best_candidate))
    scored = [entry for entry in record.evaluations if entry.purpose in ("baseline", "val")]
    holds("every candidate of the pool was validated", len(scored) == len(result.candidates))
    holds("with gepa's scores", [entry.score for entry in scored] == result.val_aggregate_scores)
    holds(
        "of gepa's texts",
        [record.prompts[it.prompt] for it in scored] == list(map(render_candidate, result.candidates)),
    )
    holds("by example", all(entry.n == len(EXAMPLES) for entry in scored))
    proposals = [event for hook, event in spy.told if hook == "on_proposal_end"]
    reflections = [rewrite for rewrite in record.rewrites if rewrite.axis == "reflection"]
    holds("every proposal is a rewrite", len(reflections) == len(proposals) > 2)
    outputs = [next(iter(event["raw_lm_outputs"].values())) for event in proposals]
    holds("with its raw output", [rewrite.rationale for rewrite in reflections] == outputs)
    effects = [effect for effect in record.effects() if record.rewrites[effect.rewrite].axis == "reflection"]
    holds("each measured on the samples that it and its parent share", {it.basis for it in effects} == {"paired"})
    ended = [event["iteration"] for hook, event in spy.told if hook == "on_iteration_end"]
    holds("every iteration that scored something is there", {it.number for it in record.iterations} <= set(ended))
    accepted = [event for hook, event in spy.told if hook == "on_candidate_accepted"]
    validated = [it for it in record.iterations if it.val is not None]
    holds("accepted candidates are validated iterations", len(validated) == len(accepted) == len(result.candidates) - 1)
    merges = [event for hook, event in spy.told if hook == "on_merge_attempted"]
    holds("merges are rewrites", len(merges) == sum(it.axis == "merge" for it in record.rewrites))
    if options:
        holds("there was a merge", merges)
    holds("no secret is kept", "sk-secret" not in str(record.started.config))
    holds("every hook that has no event is kept", kept(folder) == expected(spy))
    verify = [sys.executable, "-m", "affidavit.api.cli", "--ledger", str(folder / "ledger")]
    keys = {"AFFIDAVIT_KEYS": str(folder / "keys")}
    for command in (
        ["verify"],
        ["runs"],
        ["show", "001"],
        ["history", "001"],
        ["rebuild", "--to", str(folder / "out")],
    ):
        done = subprocess.run([*verify, *command], env=keys, capture_output=True, text=True, check=False)
        holds(f"affidavit {command[0]}: {done.stderr}", done.returncode == 0)
    return holds.count


def check_failure(folder: Path) -> int:
    """gepa swallows what a callback raises; a recording that fails stops it all the same."""
    holds = Checks("a failing ledger")
    spy = Spy()
    with open_ledger(folder / "ledger", keys=folder / "keys", create=True) as ledger:
        try:
            with GepaRecorder(ledger) as recorder:
                optimise({"prompt": "Answer."}, Both(spy, Breaking(recorder, ledger)))
            holds("the failure is raised", False)
        except Refused as refused:
            holds("the failure is raised", refused.rule == "run_ended")
        record = ledger.read_run("001")
    assert record is not None
    holds("gepa was stopped at once", spy.told[-1][0] in ("on_candidate_selected", "on_iteration_end"))
    holds("the record says so", record.status == "failed")
    return holds.count


class Checks:
    """Counts what holds, and ends the process at the first that does not."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0

    def __call__(self, what: str, found: object) -> None:
        if not found:
            sys.exit(f"gepa {version('gepa')}: {self.name}: {what}: found {found!r}")
        self.count += 1


class Spy:
    """Notes every hook with what gepa passed to it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Callable[[dict[str, Any]], None]:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda event: self.told.append((name, event))


class Both:
    """Two callbacks as one, so that the first sees also what the second stops at."""

    def __init__(self, *callbacks: Any) -> None:
        self._callbacks = callbacks

    def __getattr__(self, name: str) -> Callable[[dict[str, Any]], None]:
        if not name.startswith("on_"):
            raise AttributeError(name)

        def call(event: dict[str, Any]) -> None:
            for callback in self._callbacks:
                getattr(callback, name)(event)

        return call


class Breaking:
    """A recorder whose run somebody else ends in the third iteration."""

    def __init__(self, recorder: GepaRecorder, ledger: Any) -> None:
        self._recorder = recorder
        self._ledger = ledger

    def __getattr__(self, name: str) -> Callable[[dict[str, Any]], None]:
        def call(event: dict[str, Any]) -> None:
            if name == "on_candidate_selected" and event["iteration"] == 3:
                self._ledger.resume_run("001").fail("ended_by_somebody_else")
            try:
                getattr(self._recorder, name)(event)
            except RecordingStopped:
                raise
            except Exception as error:
                sys.exit(f"a hook raised {error!r}, which gepa would swallow")

        return call


def kept(folder: Path) -> Counter[str]:
    with open_for_reading(folder / "ledger", folder / "keys") as ledger:
        events = [recorded.event for recorded in ledger.events.stream("run/001")]
    return Counter(event.hook for event in events if isinstance(event, HookCalled))


def expected(spy: Spy) -> Counter[str]:
    as_events = (
        *("on_optimization_start", "on_iteration_start", "on_iteration_end", "on_minibatch_sampled"),
        *("on_evaluation_start", "on_evaluation_end", "on_valset_evaluated", "on_reflective_dataset_built"),
    )
    return Counter(hook.removeprefix("on_") for hook, _ in spy.told if hook not in as_events)


def write_hooks(path: Path) -> None:
    """Every hook of a short run with its dictionary, the objects of the program left out."""
    spy = Spy()
    optimise(
        {"system": "Be polite.", "style": "Freely."},
        spy,
        use_merge=True,
        candidate_selection_strategy=Seed(),
        max_metric_calls=60,
    )
    objects = ("state", "final_state", "trainset_loader")
    told = [[hook, {name: item for name, item in event.items() if name not in objects}] for hook, event in spy.told]
    path.write_text("[\n" + ",\n".join(json.dumps(line) for line in told) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["hooks"]:
        write_hooks(Path(sys.argv[2]))
    else:
        sys.exit(main())
