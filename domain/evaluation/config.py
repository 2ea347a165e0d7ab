"""The configuration of evaluation: the fields that decide something here, their defaults and bounds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

DEFAULT_PIN = "v1.1.0"
"""The version of the shadow judge's prompt whose verdicts stand in the headline."""

DEFAULT_SUCCESS_DEFINITION = (
    "The session succeeded if the agent solved what the user came for, correctly and completely, "
    "without the user having to give up, to solve it alone, or to ask for a human."
)

Rate = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class AgentSuccessConfig(BaseModel):
    """How sessions are graded. A rate that is None is ``sampling_rate``; ``request_sources_enabled`` None is all."""

    model_config = ConfigDict(frozen=True, extra="allow")

    sampling_rate: Rate = 0.05
    evaluation_only_sampling_rate: Rate | None = None
    retrieved_learning_sampling_rate: Rate | None = None
    success_definition_prompt: Annotated[str, StringConstraints(min_length=1)] = DEFAULT_SUCCESS_DEFINITION
    request_sources_enabled: tuple[str, ...] | None = None


class EvaluationConfig(BaseModel):
    """What the judges and the sampling go by. Without ``agent_success_config`` sessions are not graded."""

    model_config = ConfigDict(frozen=True, extra="allow")

    eval_sample_n_per_stratum: int = Field(default=200, gt=0, le=2**53 - 1)
    eval_concurrency_limit: int = Field(default=10, gt=0, le=2**53 - 1)
    shadow_comparison_judge_prompt_version: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] = (
        DEFAULT_PIN
    )
    shadow_mode_enabled: bool = False
    agent_success_config: AgentSuccessConfig | None = AgentSuccessConfig()

    def as_json(self) -> dict[str, Any]:
        """The whole configuration as JSON data, defaults filled in."""
        return self.model_dump(mode="json")
