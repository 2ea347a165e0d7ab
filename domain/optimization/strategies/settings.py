"""Settings of a strategy's own, as ``Options.extra`` gives them."""

from __future__ import annotations

from ...errors import Refused
from ..options import Options


def require_none(strategy: str, options: Options) -> None:
    """``Refused`` (``strategy_options``) where ``strategy``, which has no settings of its own, is given some.

    Where another strategy calls it, ``extra`` is that one's.
    """
    if options.strategy == strategy and options.extra:
        given = ", ".join(sorted(options.extra))
        raise Refused("strategy_options", f"strategy {strategy}: it has no options, found {given:.80}")
