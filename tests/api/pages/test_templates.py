"""What holds of templates as texts."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

TEMPLATES = files("affidavit.api.pages") / "templates"


@pytest.mark.parametrize("folder", ["evaluation", "ledger", "reviews", "runs"])
def test_no_macro_is_imported_or_made_for_nothing(folder: str) -> None:
    texts = {f"{folder}/{each.name}": each.read_text() for each in (TEMPLATES / folder).iterdir()}
    idle = []
    for path, text in texts.items():
        imports = re.findall(r'{% from "[^"]+" import (.*?)(?: with context)? %}', text)
        names = [name.split(" as ")[-1].strip() for found in imports for name in found.split(",")]
        seen = text + "".join(texts[name] for name in re.findall(r'{% include "([^"]+)"', text))
        idle += [f"{path} imports {name}" for name in names if not re.search(rf"\b{name}\(", seen)]
        for name in re.findall(r"{% macro (\w+)", text):
            used = re.search(rf"(?<!macro )\b{name}\(", text)
            imported = any(re.search(rf'from "{path}" import [^%]*\b{name}\b', other) for other in texts.values())
            idle += [] if used or imported else [f"{path} makes {name}"]
    assert not idle
