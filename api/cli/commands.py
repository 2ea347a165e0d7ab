"""The commands: their names, options and help. What each does is imported when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import run_options as option

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: it starts in half the time, and pipes well
    help="Affidavit: a tamper-evident ledger for AI quality evidence.",
)
imports = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Read what another system wrote into the ledger."
)
exports = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Write what is recorded in the form of another system."
)
keys = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keys for the HTTP API, by scope.")
rules = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The rules that agents search.")
app.add_typer(imports, name="import")
app.add_typer(exports, name="export")
app.add_typer(keys, name="keys")
app.add_typer(rules, name="rules")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Profile = Annotated[str, typer.Option(help="native (everything) or reflex-0.2 (as aevyra-reflex 0.2 writes it).")]
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", metavar="SEQ_OR_TIME", help="Up to this entry (digits), or to this time (with a '-')."),
]


From = Annotated[
    str | None,
    typer.Option("--from", metavar="T", help="Seconds since 1970, or a time [default: 30 days before --to]."),
]
To = Annotated[str | None, typer.Option("--to", metavar="T", help="Seconds since 1970, or a time [default: now].")]
Source = Annotated[str | None, typer.Option(metavar="S", help="Only sessions whose first request had this source.")]

Model = Annotated[
    str | None,
    typer.Option(metavar="M", help="The judge's model [default: AFFIDAVIT_JUDGE_MODEL].", show_default=False),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Its OpenAI-compatible address [default: AFFIDAVIT_JUDGE_BASE_URL]."),
]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"affidavit {version('affidavit')}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    ledger: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="The ledger's folder [default: .affidavit, or AFFIDAVIT_LEDGER]."),
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    context.obj = ledger


@app.command()
def init(
    context: typer.Context,
    origin: Annotated[str, typer.Option(metavar="NAME", help="16 random hex digits follow this name.")] = "affidavit",
) -> None:
    """Make a ledger, its keys and its origin. The keys lie outside the ledger's folder."""
    from .ledger_commands import make_ledger

    make_ledger(context.obj, origin)


@imports.command("reflex")
def import_reflex(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A .reflex root: the folder that holds runs/.")],
    json: Json = False,
) -> None:
    """Import the runs that aevyra-reflex wrote. Importing twice adds nothing."""
    from .run_commands import import_tree

    import_tree(context.obj, path, json)


@imports.command("evaluation")
def import_evaluation(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON, or NDJSON by its name's ending: docs/import-evaluation.md.")],
    json: Json = False,
) -> None:
    """Import evaluation data of a reflexio server. Importing twice adds nothing."""
    from .evaluation_commands import import_evaluation

    import_evaluation(context.obj, file, json)


@imports.command("otel")
def import_otel(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="Spans as OTLP/JSON: docs/opentelemetry.md.")],
    json: Json = False,
) -> None:
    """Import GenAI spans of OpenTelemetry. Importing twice adds nothing."""
    from .otel_commands import import_otel

    import_otel(context.obj, path, json)


@exports.command("otel")
def export_otel(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="The file to write.")],
    as_of: AsOf = None,
    start: Annotated[str | None, typer.Option("--from", metavar="T", help="Seconds since 1970, or a time.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="T", help="Seconds since 1970, or a time.")] = None,
    content: Annotated[bool, typer.Option("--content", help="With the texts that are open here.")] = False,
    json: Json = False,
) -> None:
    """Export interactions and evaluations as GenAI spans of OpenTelemetry."""
    from .otel_commands import export_otel

    export_otel(context.obj, path, as_of, start, end, content, json)


@app.command()
def overview(
    context: typer.Context,
    start: From = None,
    end: To = None,
    bucket: Annotated[str | None, typer.Option(metavar="day|week", help="Length of a point of the trend.")] = None,
    source: Source = None,
    source_set: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=a,b", help="Compare sessions of these first sources; give it several times."),
    ] = None,
    request: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A request body of the HTTP endpoint, as JSON.")
    ] = None,
    as_of: AsOf = None,
    json: Json = False,
) -> None:
    """Show how sessions went: success, tiles, rules, source sets, shadow win rate, with intervals."""
    from .evaluation_commands import show_overview

    show_overview(context.obj, start, end, bucket, source, source_set or [], request, as_of, json)


@app.command()
def trend(
    context: typer.Context,
    start: From = None,
    end: To = None,
    source: Source = None,
    version: Annotated[
        str | None, typer.Option(metavar="V", help="Only this version of the judge's prompt [default: each apart].")
    ] = None,
    as_of: AsOf = None,
    json: Json = False,
) -> None:
    """Show the shadow win rate by day, each version of the judge's prompt apart."""
    from .evaluation_commands import show_trend

    show_trend(context.obj, start, end, source, version, as_of, json)


@app.command()
def judge(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Stop when nothing waits to be judged.")] = False,
    model: Model = None,
    base_url: BaseUrl = None,
) -> None:
    """Judge turns against their shadows and grade sessions, as they come. Exit 3 with --once: some stayed undecided."""
    from .judge_commands import judge

    raise typer.Exit(judge(context.obj, once, model, base_url))


@app.command()
def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Where to listen. Other machines can call only with a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8128,
    requests_per_minute: Annotated[int, typer.Option(min=1, help="For each key, and for callers without one.")] = 6000,
    max_body_bytes: Annotated[int, typer.Option(min=1024)] = 10 * 1024 * 1024,
    model: Model = None,
    base_url: BaseUrl = None,
) -> None:
    """Serve the HTTP API; with a judge's model, judge what comes in, too."""
    from .serve_commands import serve

    serve(context.obj, host, port, requests_per_minute, max_body_bytes, model, base_url)


@keys.command("create")
def create_key(
    context: typer.Context,
    scope: Annotated[list[str], typer.Option(help="publish, read, review or admin; give it several times.")],
    name: Annotated[str, typer.Option(help="Whose it is, for the list.")] = "",
    json: Json = False,
) -> None:
    """Make a key; its token is printed this once."""
    from .serve_commands import create_key

    create_key(context.obj, scope, name, json)


@keys.command("list")
def list_keys(context: typer.Context, json: Json = False) -> None:
    """List the keys, without their tokens."""
    from .serve_commands import list_keys

    list_keys(context.obj, json)


@keys.command("revoke")
def revoke_key(context: typer.Context, key: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Take a key out of use."""
    from .serve_commands import revoke_key

    revoke_key(context.obj, key)


@rules.command("publish")
def publish_rules(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON: one rule, a list, or one a line.")],
    json: Json = False,
) -> None:
    """Publish rules, or new versions of them."""
    from .serve_commands import publish_rules

    publish_rules(context.obj, file, json)


@app.command()
def verify(
    context: typer.Context,
    json: Json = False,
    vkey: Annotated[
        str | None,
        typer.Option(metavar="VKEY", help="The log's public key as you have it; else the one in entry 0 is used."),
    ] = None,
    pinned: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A signed checkpoint that you kept from an earlier visit."),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also compare a rebuilt folder with the run directories that were sealed."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes to verify a long log with [default: the number of cores]."),
    ] = None,
) -> None:
    """Derive everything again from the stored bytes, and say what could not be checked."""
    from .ledger_commands import verify_ledger

    raise typer.Exit(verify_ledger(context.obj, json, vkey, pinned, directory, jobs))


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
    from .optimize_commands import Session, ask_for, optimize, take_up

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
    from .optimize_commands import Session, resume

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
    from .optimize_commands import Session, branch, settings_of

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
    from .optimize_commands import replay_run

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
    from .optimize_commands import Session, reproduce

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


@app.command()
def explain(
    context: typer.Context,
    run: option.Run,
    json: Json = False,
    as_of: AsOf = None,
    prices: option.Prices = None,
) -> None:
    """Tell what a run came to: what changed, why, what it gained, whether that is significant, what it cost."""
    from .optimize_commands import explain_run

    explain_run(context.obj, run, json, as_of, prices)


@app.command()
def seal(context: typer.Context, json: Json = False) -> None:
    """Seal the projections as of now and sign a checkpoint."""
    from .ledger_commands import seal_ledger

    seal_ledger(context.obj, json)


@app.command()
def checkpoint(context: typer.Context) -> None:
    """Print the newest signed checkpoint: keep it, and `verify --pinned` it at your next visit."""
    from .ledger_commands import print_checkpoint

    print_checkpoint(context.obj)


@app.command()
def receipt(
    context: typer.Context,
    seq: Annotated[int, typer.Argument(min=0, help="The entry to prove.")],
) -> None:
    """Print a proof (.tlog-proof) that an entry is in the ledger, under a signed checkpoint."""
    from .ledger_commands import print_receipt

    print_receipt(context.obj, seq)


@app.command()
def log(
    context: typer.Context,
    stream: Annotated[
        str | None,
        typer.Option(metavar="S", help="Only this stream, such as run/001."),
    ] = None,
    json: Json = False,
) -> None:
    """List the entries in order."""
    from .ledger_commands import list_entries

    list_entries(context.obj, stream, json)


@app.command()
def runs(context: typer.Context, json: Json = False, as_of: AsOf = None) -> None:
    """List the optimisation runs with status, scores and lineage."""
    from .run_commands import list_all_runs

    list_all_runs(context.obj, json, as_of)


@app.command()
def show(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN")],
    json: Json = False,
    as_of: AsOf = None,
    prices: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A JSON table of prices per million tokens, by model."),
    ] = None,
) -> None:
    """Show one run: scores, significance, iterations, changes and their effects, tokens, findings."""
    from .run_commands import show_run

    show_run(context.obj, run, json, as_of, prices)


@app.command()
def history(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN")],
    profile: Profile = "native",
    json: Json = False,
    as_of: AsOf = None,
) -> None:
    """Print the rewrite history: each effect beside the change that caused it, or the lines that reflex logs."""
    from .run_commands import print_history

    print_history(context.obj, run, profile, json, as_of)


@app.command()
def diff(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN")],
    a: Annotated[
        int | None,
        typer.Argument(metavar="[A]", help="An iteration, 0 for the initial prompt [default: 0]."),
    ] = None,
    b: Annotated[
        int | None,
        typer.Argument(metavar="[B]", help="Another [default: the last]."),
    ] = None,
    words: Annotated[bool, typer.Option("--words", help="Compare word by word.")] = False,
    json: Json = False,
    as_of: AsOf = None,
) -> None:
    """Print what changed between the prompts of two iterations."""
    from .run_commands import print_diff

    print_diff(context.obj, run, a, b, words, json, as_of)


@app.command()
def rebuild(
    context: typer.Context,
    to: Annotated[Path, typer.Option(metavar="DIR", help="The root to make; it must not exist.")],
    profile: Profile = "native",
    run: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only this run."),
    ] = None,
    as_of: AsOf = None,
    json: Json = False,
) -> None:
    """Rebuild run directories from the events, under DIR/runs/."""
    from .run_commands import rebuild_runs

    rebuild_runs(context.obj, to, profile, run, as_of, json)


@app.command()
def demo() -> None:
    """Import a genuine sample, verify, rebuild, read it; then damage a copy and see the damage found."""
    from .demo import run_demo

    run_demo()
