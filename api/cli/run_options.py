"""The options of commands that drive a run. None means not given; what holds then stands in brackets."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

Models = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", metavar="P/M", help="The model to optimise for, PROVIDER/MODEL; repeatable."),
]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="P/M", help="A model to reach: its score becomes the threshold; repeatable."),
]
VerdictResults = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Results of aevyra-verdict: the best model's score becomes the threshold."),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", metavar="M", help="rouge, bleu, exact or a registered one; repeatable [default: rouge]."),
]
Judge = Annotated[
    str | None,
    typer.Option(metavar="P/M", help="A model that judges answers, alone or beside metrics that are named."),
]
JudgeCriteria = Annotated[Path | None, typer.Option(metavar="FILE", help="What the judge judges by, as text.")]
PipelineFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Python that defines pipeline_fn(prompt, input); it runs in a model's place."),
]
InputsFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The pipeline's inputs: a JSON list, or one value a line.")
]
Strategy = Annotated[
    str | None,
    typer.Option(
        "--strategy",
        "-s",
        metavar="S",
        help="auto, iterative, structural, fewshot, pdo or a registered one [default: auto].",
    ),
]
StrategyOptions = Annotated[
    list[str] | None,
    typer.Option("--strategy-option", metavar="NAME=JSON", help="A setting of the strategy's own; repeatable."),
]
ReasoningModel = Annotated[
    str | None,
    typer.Option(metavar="P/M", help="The model that rewrites prompts [default: anthropic/claude-sonnet-4-20250514]."),
]
ReasoningApiKey = Annotated[
    str | None,
    typer.Option(metavar="KEY", envvar="REFLEX_REASONING_API_KEY", help="Its key; never recorded."),
]
ReasoningBaseUrl = Annotated[str | None, typer.Option(metavar="URL", help="The reasoning model's address.")]
ReasoningTemperature = Annotated[
    float | None, typer.Option(metavar="T", help="Its temperature [default: what the strategy prefers].")
]
SourceModel = Annotated[
    str | None, typer.Option(metavar="NAME", help="The model that the prompt was first written for.")
]
BaseUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="The address of models and targets [default: their provider's].")
]
JudgeBaseUrl = Annotated[str | None, typer.Option(metavar="URL", help="The judge's address.")]
MaxIterations = Annotated[
    int | None, typer.Option(metavar="N", help="At most so many iterations in all [default: 10].")
]
Threshold = Annotated[
    float | None,
    typer.Option(metavar="SCORE", help="Stop when it is reached; before --target, --verdict-results [default: 0.85]."),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the best prompt there.")]
ResultsJson = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the result there, in the form of aevyra-reflex.")
]
MaxWorkers = Annotated[int | None, typer.Option(metavar="N", help="At most so many calls at once [default: 4].")]
Tries = Annotated[int | None, typer.Option(metavar="N", help="Attempts of one call before it has failed [default: 4].")]
InputField = Annotated[
    str | None, typer.Option(metavar="NAME", help="The field or column of the input, in a form of your own.")
]
OutputField = Annotated[str | None, typer.Option(metavar="NAME", help="The field or column of the reference.")]
TrainSplit = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Of rows to train and validate on; 1 holds nothing out [default: 0.65]."),
]
ValSplit = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Of rows to validate on, taken from those to train on [default: 0.2]."),
]
BatchSize = Annotated[
    int | None, typer.Option(metavar="N", help="Training rows to score in an iteration; 0 is all [default: 0].")
]
FullEvalSteps = Annotated[
    int | None,
    typer.Option(metavar="N", help="With batches, score all rows every so many iterations; 0 never [default: 0]."),
]
EvalRuns = Annotated[
    int | None, typer.Option(metavar="N", help="Passes of baseline and final evaluation [default: 1].")
]
Patience = Annotated[
    int | None,
    typer.Option(
        "--early-stopping-patience",
        metavar="N",
        help="Stop after so many iterations without a better validation score; 0 never [default: 3].",
    ),
]
EvalTemperature = Annotated[
    float | None, typer.Option(metavar="T", help="The temperature of models and targets [default: 0].")
]
MaxTokens = Annotated[int | None, typer.Option(metavar="N", help="At most so many tokens an answer [default: 1024].")]
Seed = Annotated[int | None, typer.Option(metavar="N", help="For what the strategy draws, not the split [default: 0].")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the newest open run of this data set and this prompt.")
]
ResumeFrom = Annotated[str | None, typer.Option(metavar="RUN", help="Go on with this run.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Also tell of variants and of attempts that failed.")]
ReplayVerbose = Annotated[bool, typer.Option("--verbose", "-v", help="Name every file that is not as recorded.")]
Margin = Annotated[float, typer.Option(metavar="SCORE", help="Mean differences below this count as equal.")]
Prices = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A JSON table of prices per million tokens, by model.")
]


def _kept(option: Any, text: str | None = None) -> Any:
    """An option as a branch has it: what is not given stays as the run has it. ``text`` where it means less there."""
    _, given = get_args(option)
    found = copy(given)
    found.help = f"{text or given.help.partition(' [default')[0]} [default: the run's]."
    return found


BranchStrategy = Annotated[str | None, _kept(Strategy)]
BranchMaxIterations = Annotated[int | None, _kept(MaxIterations)]
BranchThreshold = Annotated[float | None, _kept(Threshold, "Stop when it is reached")]
BranchPatience = Annotated[int | None, _kept(Patience)]
BranchReasoningModel = Annotated[str | None, _kept(ReasoningModel)]
BranchReasoningTemperature = Annotated[float | None, _kept(ReasoningTemperature)]
BranchSeed = Annotated[int | None, _kept(Seed)]
BranchMaxWorkers = Annotated[int | None, _kept(MaxWorkers)]
BranchTries = Annotated[int | None, _kept(Tries)]
Run = Annotated[str, typer.Argument(metavar="RUN")]
