"""Which model judges: said on the command line or in the environment, and nowhere else."""

from __future__ import annotations

import os

from ...domain.errors import Refused
from .chat import ChatModel


def judge_model(model: str | None = None, base_url: str | None = None) -> ChatModel | None:
    """The judge's model, or None where none is configured.

    As given, else ``AFFIDAVIT_JUDGE_MODEL`` and ``AFFIDAVIT_JUDGE_BASE_URL``; the key, where the server wants one,
    only from ``AFFIDAVIT_JUDGE_API_KEY``. ``Refused`` where only one of the two is there.
    """
    named = model or os.environ.get("AFFIDAVIT_JUDGE_MODEL")
    address = base_url or os.environ.get("AFFIDAVIT_JUDGE_BASE_URL")
    if not named and not address:
        return None
    if not named or not address:
        raise Refused(
            "judge_configured",
            "a judge needs both a model and a base URL: --model and --base-url, "
            "or AFFIDAVIT_JUDGE_MODEL and AFFIDAVIT_JUDGE_BASE_URL",
        )
    return ChatModel(address, named, os.environ.get("AFFIDAVIT_JUDGE_API_KEY") or None)
