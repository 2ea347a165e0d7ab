"""Settings by the flags that they are given by: what ``Options`` refuses is said of the flag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ...domain.errors import Refused
from ...domain.optimization.options import Options

FLAGS = {
    "models": "--model",
    "targets": "--target",
    "metrics": "--metric",
    "train_ratio": "--train-split",
    "val_ratio": "--val-split",
    "temperature": "--reasoning-temperature",
    "extra": "--strategy-option",
}
"""The flags of settings that are called otherwise there."""


def flag(setting: str) -> str:
    """The flag that gives a setting."""
    return FLAGS.get(setting, "--" + setting.replace("_", "-"))


def make_options(settings: Mapping[str, Any]) -> Options:
    """Options out of settings by name; ``Refused`` (``setting_valid``) names the first flag that does not serve."""
    try:
        return Options.model_validate(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        expected = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        raise Refused("setting_valid", f"{flag(str(first['loc'][0]))} {shown(first['input'])}: {expected}") from error


def shown(value: object) -> str:
    """The value of a setting, as it was given."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else f"{value!s:.80}"
