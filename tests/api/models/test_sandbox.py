"""The sandbox: labelled, the same for the same request, and better or worse as the prompt is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from affidavit.api.models.bodies import read_chat
from affidavit.api.models.chat import Exchange, HttpModel, Prepared
from affidavit.api.models.providers import open_model
from affidavit.api.models.sandbox import SANDBOX_PROMPT, sandbox_dataset
from affidavit.domain.material import fenced
from affidavit.domain.model_calls import Ask, Reply
from affidavit.domain.optimization.conversation import REASONER, Calls, Script, Step
from affidavit.domain.optimization.dataset import DataRow
from affidavit.domain.optimization.events import AnalysisNoted, PromptEvaluated
from affidavit.domain.optimization.metrics import JUDGE_SCHEMA, METRICS, find_metrics, judge_question, read_judgement
from affidavit.domain.optimization.options import Options
from affidavit.domain.optimization.script import Stretch, Task, optimise
from affidavit.domain.optimization.splits import SplitIndices
from affidavit.domain.optimization.strategies import BUILT_IN
from affidavit.domain.optimization.strategies.fewshot import read_draft
from affidavit.domain.optimization.strategies.structural import LAYOUTS

ROWS = sandbox_dataset()
FORMAT = "Answer with one line and nothing else, as severity: <severity> | component: <component> | action: <action>."
VALUES = (
    "Severity is critical, high, medium or low.\n"
    "Component is one of billing, login, search, email, reports, mobile.\n"
    "Action is one of page, rollback, escalate, assign, reply."
)
ORDER = "Decide on the severity first, then on the component, then on the action."
FENCE = "0" * 31 + "f"


def ask_of(prompt: str, row: dict[str, Any], max_tokens: int | None = None) -> Ask:
    return Ask("train", ({"role": "system", "content": prompt}, *row["messages"]), max_tokens=max_tokens)


def exchange(name: str, ask: Ask) -> Exchange:
    model = open_model(f"sandbox/{name}", environ={})
    found = model.send(model.prepare(ask))
    model.close()
    return found


def consult(text: str, **more: Any) -> str:
    said = read_chat(exchange("reasoner", Ask("reason", ({"role": "user", "content": text},), **more)).body)
    return said.text or ""


def score(prompt: str, metric: str = "rouge") -> float:
    model = open_model("sandbox/target", environ={})
    found = [
        METRICS[metric].score(read_chat(model.send(model.prepare(ask_of(prompt, row))).body).text or "", row["ideal"])
        for row in ROWS
    ]
    model.close()
    return sum(found) / len(found)


def rewrite_request(prompt: str, history: str = "(no changes yet)", more: str = "") -> str:
    return (
        f"Improve the prompt.{more}\n\nThe current prompt:\n{fenced(FENCE, prompt)}\n\n"
        f"The rewrite history:\n{fenced(FENCE, history)}\n\n"
        f"Sample 1, scored 0.1. Its input:\n{fenced(FENCE, ROWS[0]['messages'][0]['content'])}\n\n"
        f"Sample 1, the answer that was expected:\n{fenced(FENCE, ROWS[0]['ideal'])}\n\n"
        "Reply with exactly these sections:\n\n## Analysis\nWhat.\n\n## Summary of change\nOne line.\n\n"
        "## Revised prompt\nThe prompt."
    )


def section(reply: str, title: str) -> str:
    return reply.partition(f"## {title}\n")[2].partition("\n\n## ")[0]


def test_every_reply_is_labelled_as_simulated() -> None:
    for name in ("target", "reasoner", "judge"):
        body = json.loads(exchange(name, ask_of(SANDBOX_PROMPT, ROWS[0])).body or "")
        assert body["model"] == f"sandbox/{name} (simulated)"
        assert body["system_fingerprint"] == "simulated"
        assert body["id"].startswith("simulated-")


def test_tokens_are_words_and_a_limit_cuts_the_reply_off() -> None:
    whole = read_chat(exchange("target", ask_of(SANDBOX_PROMPT, ROWS[0])).body)
    words = (whole.text or "").split()
    said = SANDBOX_PROMPT.split() + ROWS[0]["messages"][0]["content"].split()
    assert (whole.prompt_tokens, whole.completion_tokens) == (len(said), len(words))
    short = read_chat(exchange("target", ask_of(SANDBOX_PROMPT, ROWS[0], max_tokens=5)).body)
    assert (short.text or "").split() == words[:5]
    assert (short.reason, short.completion_tokens) == ("cut_off", 5)


def test_the_data_set_is_always_the_same_with_ids_of_its_own() -> None:
    assert sandbox_dataset() == ROWS
    assert sandbox_dataset(10) == ROWS[:10]
    assert len({row["id"] for row in ROWS}) == len({row["messages"][0]["content"] for row in ROWS}) == 60
    assert ROWS[0]["ideal"] == "severity: medium | component: search | action: assign"


def test_the_target_gets_better_with_each_right_instruction() -> None:
    examples = "".join(f"\nExample: {row['ideal']}" for row in ROWS[:3])
    prompts = [SANDBOX_PROMPT]
    for instruction in (FORMAT, VALUES, ORDER, examples):
        prompts.append(f"{prompts[-1]}\n{instruction}")
    scores = [score(prompt) for prompt in prompts]
    assert all(after > before for before, after in pairwise(scores)), scores
    assert scores[0] < 0.3
    assert 0.9 < scores[-1] < 1
    assert score(prompts[0], "exact") == 0
    assert score(prompts[-1], "exact") > 0.8


@pytest.mark.parametrize(
    "harmful",
    [
        "Think step by step and show your reasoning.",
        "Use XML tags.",
        "Be friendly and greet the user.",
        "Bear in mind what follows. " * 150,
    ],
)
def test_the_target_gets_worse_with_a_harmful_instruction(harmful: str) -> None:
    good = f"{SANDBOX_PROMPT}\n{FORMAT}\n{VALUES}"
    assert score(f"{good}\n{harmful}") < score(good) - 0.02


def test_an_instruction_that_says_nothing_of_use_changes_nothing() -> None:
    assert score(f"{SANDBOX_PROMPT}\nBe accurate and complete.") == score(SANDBOX_PROMPT)


def test_the_same_request_gets_the_same_bytes_from_many_threads() -> None:
    asks = [ask_of(prompt, row) for prompt in (SANDBOX_PROMPT, FORMAT) for row in ROWS[:20]]
    model = open_model("sandbox/target", environ={})

    def bodies(of: HttpModel, questions: Sequence[Ask]) -> list[str | None]:
        return [of.send(of.prepare(ask)).body for ask in questions]

    alone = bodies(model, asks)
    assert len(set(alone)) == len(asks)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda turn: bodies(model, asks[turn:] + asks[:turn]), range(16)):
            assert sorted(map(str, found)) == sorted(map(str, alone))
    model.close()
    assert bodies(open_model("sandbox/target", environ={}), asks) == alone


def test_the_reasoner_replies_in_the_sections_demanded_and_changes_the_current_prompt() -> None:
    reply = consult(rewrite_request(SANDBOX_PROMPT))
    assert [line for line in reply.splitlines() if line.startswith("## ")] == [
        "## Analysis",
        "## Summary of change",
        "## Revised prompt",
    ]
    assert "[simulated]" in section(reply, "Analysis")
    assert section(reply, "Revised prompt").startswith(SANDBOX_PROMPT + "\n")
    assert section(reply, "Summary of change")


def test_some_proposals_help_some_do_nothing_and_some_hurt() -> None:
    good, effects = f"{SANDBOX_PROMPT}\n{FORMAT}", []
    before = score(good)
    for turn in range(24):
        reply = consult(rewrite_request(good, more=f" Attempt {turn}."))
        effects.append(round(score(section(reply, "Revised prompt")) - before, 3))
    assert min(effects) < 0 < max(effects)
    assert 0 in effects


def test_the_reasoner_takes_back_what_the_history_marks_as_hurting() -> None:
    harmful = "Think step by step and show your reasoning."
    mark = "Change 1: 0.4 → 0.1 (Δ−0.3, over the 6 samples that both share — ✗ hurt): Asked for reasoning step by step"
    reply = consult(rewrite_request(f"{SANDBOX_PROMPT}\n{harmful}", mark))
    assert section(reply, "Revised prompt") == SANDBOX_PROMPT
    for turn in range(30):
        assert harmful not in consult(rewrite_request(SANDBOX_PROMPT, mark, f" Attempt {turn}."))


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "minimal_flat"])
def test_a_layout_that_is_asked_for_keeps_every_line(name: str) -> None:
    lines = [SANDBOX_PROMPT, FORMAT, ORDER]
    revised = consult(rewrite_request("\n".join(lines), more=f"\n\nThe layout: {LAYOUTS[name]}"))
    prompt = revised.partition("## Revised prompt\n")[2]
    assert prompt != "\n".join(lines)
    assert all(line in prompt for line in lines)


def test_json_is_given_where_it_is_demanded_by_schema_or_in_words() -> None:
    told = 'Choose.\niterative: words\nfewshot: examples\n\nReply with JSON: {"axis": "<name>", "reasoning": "<why>"}'
    found = json.loads(consult(told))
    assert found["axis"] in ("iterative", "fewshot")
    assert found["reasoning"].startswith("[simulated]")
    schema = {
        "type": "object",
        "properties": {"axis": {"enum": ["pdo"]}, "sure": {"type": "boolean"}, "n": {"type": "integer"}},
    }
    found = json.loads(consult("Choose.", schema=schema))
    assert found["axis"] == "pdo"
    assert (type(found["sure"]), type(found["n"])) == (bool, int)


def test_the_better_of_two_answers_wins_in_either_order() -> None:
    question, right = ROWS[0]["messages"][0]["content"], ROWS[0]["ideal"]
    for a, b, winner in ((right, "I do not know.", "A"), ("I do not know.", right, "B")):
        told = (
            f'Reply with JSON: {{"winner": "A" or "B", "reason": why}}\n\nThe input:\n{fenced(FENCE, question)}\n\n'
            f"Answer A:\n{fenced(FENCE, a)}\n\nAnswer B:\n{fenced(FENCE, b)}"
        )
        assert json.loads(consult(told))["winner"] == winner


def test_examples_are_chosen_out_of_the_candidates() -> None:
    shown = "\n\n".join(
        f"Candidate {n}, scored 0.1 at first. Its input:\n{fenced(FENCE, row['messages'][0]['content'])}\n\n"
        f"Candidate {n}, its output:\n{fenced(FENCE, row['ideal'])}"
        for n, row in enumerate(ROWS[:6], 1)
    )
    form = "## Selected examples\nEXAMPLES: the numbers.\n\n## Instruction\nThe instruction."
    told = f"Choose examples.\n\nThe present instruction:\n{fenced(FENCE, SANDBOX_PROMPT)}\n\n"
    found = read_draft(consult(f"{told}{shown}\n\n{form}"), SANDBOX_PROMPT, 6)
    assert found is not None
    assert len(found.chosen) == 4
    assert found.instruction.startswith(f"{SANDBOX_PROMPT}\n")
    assert read_draft(consult(f"{told}{form}"), SANDBOX_PROMPT, 0) is not None


def test_the_judge_grades_by_agreement_with_the_reference_or_the_right_answer() -> None:
    question, right = ROWS[0]["messages"][0]["content"], ROWS[0]["ideal"]
    for response, ideal, expected in ((right, right, 1.0), (right, "", 1.0), ("No idea.", right, 0.0), ("x", "", 0.0)):
        ask = Ask("judge", ({"role": "user", "content": judge_question("", question, response, ideal)},), JUDGE_SCHEMA)
        found = read_judgement(read_chat(exchange("judge", ask).body).text)
        assert found is not None
        assert found.score == expected
        assert found.reason.startswith("[simulated]")


@pytest.mark.parametrize("strategy", sorted(BUILT_IN))
def test_every_strategy_gets_replies_that_it_can_use_and_ends_with_a_better_prompt(strategy: str) -> None:
    gains = [gain(strategy, seed) for seed in range(3)]
    assert max(gains) > 0.1
    assert min(gains) > -0.1


def gain(strategy: str, seed: int) -> float:
    """What a short run gains on its held-out samples, and that no reply in it was unusable."""
    models = {name: open_model(f"sandbox/{name}", environ={}) for name in ("target", "reasoner")}
    options = Options(strategy=strategy, models=("sandbox/target",), max_iterations=5, seed=seed)
    split = SplitIndices(tuple(range(12)), tuple(range(12, 20)), tuple(range(20, 60)), held_out=True)
    rows = tuple(DataRow.model_validate(row) for row in ROWS)
    task = Task(SANDBOX_PROMPT, rows, split, (Stretch(options),), find_metrics(["rouge"]), preamble=f"Run {seed}.")
    script, answer, scores = optimise(task, BUILT_IN), None, []
    while (step := send(script, answer)) is not None:
        answer = None
        if isinstance(step, Calls):
            answer = tuple(
                reply_of(models["reasoner" if question.to == REASONER else "target"], question.ask)
                for question in step.questions
            )
        elif isinstance(step.event, PromptEvaluated) and step.event.purpose in ("baseline", "final"):
            scores.append(step.event.score or 0.0)
        elif isinstance(step.event, AnalysisNoted):
            assert step.event.decision not in ("unusable_reply", "no_reply")
    for model in models.values():
        model.close()
    return scores[1] - scores[0]


def send(script: Script, answer: object) -> Step | None:
    try:
        return script.send(answer)
    except StopIteration:
        return None


def reply_of(model: HttpModel, ask: Ask) -> Reply:
    said = read_chat(model.send(model.prepare(ask)).body)
    return Reply(said.text, said.reason, None, said.prompt_tokens, said.completion_tokens)


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"model": "sandbox/target"}', '{"model": "gpt-4o", "messages": []}'])
def test_what_is_no_request_is_refused(body: str) -> None:
    model = open_model("sandbox/target", environ={})
    found = model.send(Prepared(body, 0, ()))
    model.close()
    assert found.outcome == "refused"
    assert found.status in (400, 404)
