"""Commands that drive runs. What each does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import run_options as option
from .app import Json, app


@app.command()
def optimize(
    context: typer.Context,
    dataset: Annotated[Path | None, typer.Argument(metavar="[DATASET]", help="JSONL, or CSV by its name.")] = None,
    prompt: Annotated[Path | None, typer.Argument(metavar="[PROMPT]", help="The initial prompt, a text file.")] = None,
    model: option.Models = None,
    target: option.Targets = None,
    verdict_results: option.VerdictResults = None,
    metric: option.Metrics = None,
    judge: option.Judge = None,
    judge_criteria: option.JudgeCriteria = None,
    pipeline_file: option.PipelineFile = None,
    inputs_file: option.InputsFile = None,
    strategy: option.Strategy = None,
    strategy_option: option.StrategyOptions = None,
    reasoning_model: option.ReasoningModel = None,
    reasoning_api_key: option.ReasoningApiKey = None,
    reasoning_base_url: option.ReasoningBaseUrl = None,
    reasoning_temperature: option.ReasoningTemperature = None,
    source_model: option.SourceModel = None,
    base_url: option.BaseUrl = None,
    judge_base_url: option.JudgeBaseUrl = None,
    max_iterations: option.MaxIterations = None,
    threshold: option.Threshold = None,
    output: option.Output = None,
    results_json: option.ResultsJson = None,
    max_workers: option.MaxWorkers = None,
    tries: option.Tries = None,
    input_field: option.InputField = None,
    output_field: option.OutputField = None,
    train_split: option.TrainSplit = None,
    val_split: option.ValSplit = None,
    batch_size: option.BatchSize = None,
    full_eval_steps: option.FullEvalSteps = None,
    eval_runs: option.EvalRuns = None,
    early_stopping_patience: option.Patience = None,
    eval_temperature: option.EvalTemperature = None,
    max_tokens: option.MaxTokens = None,
    seed: option.Seed = None,
    resume: option.Resume = False,
    resume_from: option.ResumeFrom = None,
    verbose: option.Verbose = False,
    json: Json = False,
) -> None:
    """Optimise a prompt, each call on record before it is made. Makes a ledger where there is none."""
    from ..optimize_commands import Session, ask_for, optimize, take_up

    session = Session(
        ledger=context.obj,
        base_url=base_url,
        reasoning_base_url=reasoning_base_url,
        judge_base_url=judge_base_url,
        reasoning_api_key=reasoning_api_key,
        pipeline_file=pipeline_file,
        best_prompt=output,
        results=results_json,
        as_json=json,
        verbose=verbose,
    )
    given = ask_for(
        dataset=dataset,
        prompt=prompt,
        pipeline_file=pipeline_file,
        inputs_file=inputs_file,
        input_field=input_field,
        output_field=output_field,
        judge_criteria=judge_criteria,
        verdict_results=verdict_results,
        strategy_options=strategy_option,
        models=model,
        targets=target,
        metrics=metric,
        judge=judge,
        strategy=strategy,
        reasoning_model=reasoning_model,
        temperature=reasoning_temperature,
        source_model=source_model,
        max_iterations=max_iterations,
        threshold=threshold,
        max_workers=max_workers,
        tries=tries,
        train_ratio=train_split,
        val_ratio=val_split,
        batch_size=batch_size,
        full_eval_steps=full_eval_steps,
        eval_runs=eval_runs,
        early_stopping_patience=early_stopping_patience,
        eval_temperature=eval_temperature,
        max_tokens=max_tokens,
        seed=seed,
    )
    raise typer.Exit(take_up(session, resume_from, given) if resume or resume_from else optimize(session, given))


@app.command()
def resume(
    context: typer.Context,
    run: option.Run,
    base_url: option.BaseUrl = None,
    reasoning_base_url: option.ReasoningBaseUrl = None,
    reasoning_api_key: option.ReasoningApiKey = None,
    judge_base_url: option.JudgeBaseUrl = None,
    pipeline_file: option.PipelineFile = None,
    output: option.Output = None,
    results_json: option.ResultsJson = None,
    verbose: option.Verbose = False,
    json: Json = False,
) -> None:
    """Go on with a run that was stopped; what came back before is on record and not bought again."""
    from ..optimize_commands import Session, resume

    session = Session(
        ledger=context.obj,
        base_url=base_url,
        reasoning_base_url=reasoning_base_url,
        judge_base_url=judge_base_url,
        reasoning_api_key=reasoning_api_key,
        pipeline_file=pipeline_file,
        best_prompt=output,
        results=results_json,
        as_json=json,
        verbose=verbose,
    )
    raise typer.Exit(resume(session, run))


@app.command()
def branch(
    context: typer.Context,
    run: option.Run,
    iteration: Annotated[int, typer.Argument(metavar="ITERATION", min=1, help="The last one that both share.")],
    strategy: option.BranchStrategy = None,
    strategy_option: option.StrategyOptions = None,
    max_iterations: option.BranchMaxIterations = None,
    threshold: option.BranchThreshold = None,
    early_stopping_patience: option.BranchPatience = None,
    reasoning_model: option.BranchReasoningModel = None,
    reasoning_temperature: option.BranchReasoningTemperature = None,
    seed: option.BranchSeed = None,
    max_workers: option.BranchMaxWorkers = None,
    tries: option.BranchTries = None,
    base_url: option.BaseUrl = None,
    reasoning_base_url: option.ReasoningBaseUrl = None,
    reasoning_api_key: option.ReasoningApiKey = None,
    judge_base_url: option.JudgeBaseUrl = None,
    pipeline_file: option.PipelineFile = None,
    output: option.Output = None,
    results_json: option.ResultsJson = None,
    verbose: option.Verbose = False,
    json: Json = False,
) -> None:
    """Leave a run after an iteration and go on with other settings; what is not given stays as it is there."""
    from ..optimize_commands import Session, branch, settings_of

    session = Session(
        ledger=context.obj,
        base_url=base_url,
        reasoning_base_url=reasoning_base_url,
        judge_base_url=judge_base_url,
        reasoning_api_key=reasoning_api_key,
        pipeline_file=pipeline_file,
        best_prompt=output,
        results=results_json,
        as_json=json,
        verbose=verbose,
    )
    changes = settings_of(
        strategy_options=strategy_option,
        strategy=strategy,
        max_iterations=max_iterations,
        threshold=threshold,
        early_stopping_patience=early_stopping_patience,
        reasoning_model=reasoning_model,
        temperature=reasoning_temperature,
        seed=seed,
        max_workers=max_workers,
        tries=tries,
    )
    raise typer.Exit(branch(session, run, iteration, changes))


@app.command()
def replay(context: typer.Context, run: option.Run, verbose: option.ReplayVerbose = False, json: Json = False) -> None:
    """Do a run again on its recorded replies alone. Exit code 0: identical; 1: it differs, and where and why."""
    from ..optimize_commands import replay_run

    raise typer.Exit(replay_run(context.obj, run, verbose, json))


@app.command()
def reproduce(
    context: typer.Context,
    run: option.Run,
    margin: option.Margin = 0.05,
    base_url: option.BaseUrl = None,
    reasoning_base_url: option.ReasoningBaseUrl = None,
    reasoning_api_key: option.ReasoningApiKey = None,
    judge_base_url: option.JudgeBaseUrl = None,
    pipeline_file: option.PipelineFile = None,
    output: option.Output = None,
    results_json: option.ResultsJson = None,
    verbose: option.Verbose = False,
    json: Json = False,
) -> None:
    """Do a run again with the models of today, and compare. Exit code 0: as before; 1: it differs; 3: cannot say."""
    from ..optimize_commands import Session, reproduce

    session = Session(
        ledger=context.obj,
        base_url=base_url,
        reasoning_base_url=reasoning_base_url,
        judge_base_url=judge_base_url,
        reasoning_api_key=reasoning_api_key,
        pipeline_file=pipeline_file,
        best_prompt=output,
        results=results_json,
        as_json=json,
        verbose=verbose,
    )
    raise typer.Exit(reproduce(session, run, margin))
