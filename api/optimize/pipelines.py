"""A pipeline out of a Python file that the command line names; a file that a ledger names is never run."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from ...domain.errors import Refused
from ...ledger.errors import Unavailable
from ..models.pipeline import PipelineModel
from .connecting import PIPELINE

FUNCTION = "pipeline_fn"
"""What the file defines: a function from prompt and input to text, or to a trace."""


def open_pipeline(path: Path) -> tuple[PipelineModel, dict[str, str]]:
    """The pipeline that a file defines, and what is recorded of it. The file's code runs now.

    Its name is that of the file. ``Refused`` where the code fails, or defines no ``pipeline_fn``.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise Unavailable(f"--pipeline-file, {path}: {error.strerror}") from error
    if re.fullmatch(r"[A-Za-z0-9._-]{1,100}", path.stem) is None:
        raise Refused("pipeline_named", f"--pipeline-file, {path}: expected a name of letters, digits and '._-'")
    spec = importlib.util.spec_from_file_location(f"affidavit_pipeline_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise Refused("pipeline_loads", f"--pipeline-file, {path}: expected a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses of the file look themselves up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise Refused("pipeline_loads", f"--pipeline-file, {path}: {type(error).__name__}: {error}") from error
    function = getattr(module, FUNCTION, None)
    if not callable(function):
        raise Refused("pipeline_loads", f"--pipeline-file, {path}: expected a function {FUNCTION}, found none")
    recorded = {"file": str(path.resolve()), "sha256": hashlib.sha256(source).hexdigest()}
    return PipelineModel(PIPELINE + path.stem, function), recorded


def require_same_pipeline(now: Mapping[str, str] | None, then: Mapping[str, str] | None, run: str) -> None:
    """``Refused`` where a run's pipeline is given in another version: its answers would be another program's."""
    if now is not None and then is not None and now["sha256"] != then.get("sha256"):
        raise Refused(
            "plan_kept", f"--pipeline-file, {now['file']}: run {run} was begun with other bytes than this file has now"
        )
