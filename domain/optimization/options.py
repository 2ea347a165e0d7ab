"""What an optimisation is told to do: every setting that its requests and decisions depend on."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_THRESHOLD = 0.85
DEFAULT_REASONING_MODEL = "anthropic/claude-sonnet-4-20250514"


class Options(BaseModel):
    """The settings of one run, as its plan keeps them. Two runs with equal options, rows and replies are equal.

    ``models`` answer the samples; each sample counts once, however many models answer it. Names are
    ``provider/model``; a pipeline stands as the only model, ``pipeline/NAME``. ``threshold`` is the score on
    held-out samples that counts as reached. ``tries`` bounds the attempts of one call. ``temperature`` is the
    reasoner's, None for what each strategy prefers. ``phases`` and the like are options of one strategy: ``extra``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    strategy: str = "auto"
    max_iterations: int = Field(default=10, ge=0)
    threshold: float = DEFAULT_THRESHOLD
    threshold_source: Literal["default", "threshold", "verdict_results", "target"] = "default"
    models: tuple[str, ...] = Field(min_length=1)
    targets: tuple[str, ...] = ()
    reasoning_model: str = DEFAULT_REASONING_MODEL
    source_model: str | None = None
    metrics: tuple[str, ...] = ("rouge",)
    judge: str | None = None
    judge_criteria: str | None = None
    train_ratio: float = 0.65
    val_ratio: float = 0.2
    split_seed: int = 42
    batch_size: int = Field(default=0, ge=0)
    batch_seed: int = 42
    full_eval_steps: int = Field(default=0, ge=0)
    early_stopping_patience: int = Field(default=3, ge=0)
    eval_runs: int = Field(default=1, ge=1)
    eval_temperature: float = 0.0
    temperature: float | None = None
    max_tokens: int = Field(default=1024, ge=1)
    max_workers: int = Field(default=4, ge=1)
    tries: int = Field(default=4, ge=1)
    seed: int = 0
    extra: dict[str, Any] = Field(default_factory=dict)
