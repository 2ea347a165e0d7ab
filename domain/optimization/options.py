"""What an optimisation is told to do: every setting that its requests and decisions depend on."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

DEFAULT_THRESHOLD = 0.85
DEFAULT_REASONING_MODEL = "anthropic/claude-sonnet-4-20250514"

BRANCHABLE = frozenset(
    {
        "strategy",
        "max_iterations",
        "threshold",
        "threshold_source",
        "reasoning_model",
        "early_stopping_patience",
        "temperature",
        "max_workers",
        "tries",
        "seed",
        "extra",
    }
)
"""What a branch may change: nothing that decides a score, else its scores could not stand beside its parent's."""


class Options(BaseModel):
    """The settings of one run, as its plan keeps them. Two runs with equal options, rows and replies are equal.

    ``models`` answer the samples; each sample counts once, however many models answer it. Names are
    ``provider/model``; a pipeline stands as the only model, ``pipeline/NAME``. ``threshold`` is the score on
    held-out samples that counts as reached. ``tries`` bounds the attempts of one call. ``temperature`` is the
    reasoner's, None for what each strategy prefers. ``phases`` and the like are options of one strategy: ``extra``.
    ``train_ratio`` is the share of training and validation together, and ``val_ratio`` less than it; a
    ``train_ratio`` of 1 holds nothing out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    strategy: str = "auto"
    max_iterations: int = Field(default=10, ge=0)
    threshold: float = Field(default=DEFAULT_THRESHOLD, ge=0, le=1)
    threshold_source: Literal["default", "threshold", "verdict_results", "target"] = "default"
    models: tuple[str, ...] = Field(min_length=1)
    targets: tuple[str, ...] = ()
    reasoning_model: str = DEFAULT_REASONING_MODEL
    source_model: str | None = None
    metrics: tuple[str, ...] = ("rouge",)
    judge: str | None = None
    judge_criteria: str | None = None
    train_ratio: float = Field(default=0.65, gt=0, le=1)
    val_ratio: float = Field(default=0.2, ge=0, lt=1, validate_default=True)
    split_seed: int = 42
    batch_size: int = Field(default=0, ge=0)
    batch_seed: int = 42
    full_eval_steps: int = Field(default=0, ge=0)
    early_stopping_patience: int = Field(default=3, ge=0)
    eval_runs: int = Field(default=1, ge=1)
    eval_temperature: float = Field(default=0.0, ge=0, le=2)
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int = Field(default=1024, ge=1)
    max_workers: int = Field(default=4, ge=1)
    tries: int = Field(default=4, ge=1)
    seed: int = 0
    extra: dict[str, Any] = Field(default_factory=dict)

    @field_validator("models", "targets")
    @classmethod
    def _each_once(cls, named: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(named)) < len(named):
            raise ValueError("expected each model once")
        return named

    @field_validator("val_ratio")
    @classmethod
    def _part_of_train_ratio(cls, val_ratio: float, info: ValidationInfo) -> float:
        train_ratio = info.data.get("train_ratio", 1)
        if val_ratio >= train_ratio:
            raise ValueError(f"expected less than {train_ratio:g}, the share that it is taken from")
        return val_ratio
