"""How content that is sealed and not open here is shown: as a placeholder that no text can be taken for.

In JSON a text is a string and a placeholder is an object, ``{"withheld": "<digest>"}``; in a line of text it
reads ``[withheld <digest>]``. A plain-text file whose content is withheld is not written under its own name.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from ..domain.event import Withheld


def shown(value: Any) -> Any:
    """``value`` as JSON data, each ``Withheld`` in it as its placeholder."""
    if isinstance(value, Withheld):
        return {"withheld": value.digest}
    if isinstance(value, BaseModel):
        return {name: shown(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    if isinstance(value, dict):
        return {name: shown(item) for name, item in value.items()}
    return value


def shown_text(text: str | Withheld) -> str:
    """``text`` for a line that people read."""
    return f"[withheld {text.digest}]" if isinstance(text, Withheld) else text
