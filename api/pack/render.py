"""The page of an evidence pack: a pure function of the evidence, so that whoever checks a pack can make it again.

The same evidence gives the same bytes under the same version of this program and its libraries. Everything shown is
computed from the entries that the evidence carries; nothing is taken from a ledger.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import fields, replace
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from ...domain.event import Withheld
from ...domain.number import format_number
from ...ledger.evidence.evidence import Evidence, print_evidence
from ...projections.runs.explanation_text import signed
from ...projections.withheld import shown
from .content import page_content
from .page_digest import page_digest

_PLACE = "EVIDENCE-STANDS-HERE"
_SHARED = "  /* tlog.js */"


def render_page(evidence: Evidence) -> str:
    """The pack's HTML, evidence included; its ``body`` is filled in anew, whatever it was.

    Raises as ``page_content`` does.
    """
    content = page_content(evidence)
    shown_fields = {field.name: getattr(content, field.name) for field in fields(content)}
    bare: str = _template().render(
        **shown_fields, evidence=evidence, carried=_PLACE, style=_asset("style.css"), script=checker()
    )
    whole = replace(evidence, body=page_digest(bare))
    before, _, after = bare.rpartition(_PLACE)  # texts that are shown may hold this word; none stands behind it
    return before + print_evidence(whole).decode().replace("<", "\\u003c") + after


@cache
def checker() -> str:
    """The script of a pack's page: its own, with what the server's pages check a log with."""
    shared = (files("affidavit.api.pages") / "assets" / "tlog.js").read_text(encoding="utf-8")
    return _asset("check.js").replace(_SHARED, re.sub(r"^export ", "", shared, flags=re.MULTILINE).rstrip())


@cache
def _asset(name: str) -> str:
    return (files("affidavit.api.pack") / "assets" / name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    pages = ("page.html", "run.html", "window.html")
    environment = Environment(
        loader=DictLoader({name: _asset(name) for name in pages}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_text,
    )
    environment.tests["withheld"] = lambda value: isinstance(value, Withheld)
    environment.filters |= {
        "csp": _csp,
        "fixed": lambda value, digits: f"{value:.{digits}f}",
        "fixed4": lambda value: f"{value:.4f}",
        "shortest": lambda value: format_number(float(value)),
        "signed": signed,
        "exact": _exact,
        "pretty": _pretty,
        "share": _share,
        "sentence": _sentence,
    }
    return environment.get_template("page.html")


def _text(value: Any) -> Any:
    """A value as it is printed: what a browser would read otherwise than it stands is written so that it does not."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    escaped = str(Markup.escape(value.replace("\0", "\ufffd")))
    return Markup(escaped.replace("\r", "&#13;"))


def _csp(content: str) -> str:
    return f"sha256-{b64encode(sha256(content.encode()).digest()).decode()}"


def _exact(value: Any) -> str:
    return json.dumps(shown(value), ensure_ascii=False, indent=2, sort_keys=True)


def _pretty(value: Any) -> str:
    return _exact(_rounded(shown(value)))


def _rounded(value: Any) -> Any:
    """``value`` with numbers to six digits: the last ones of a computed figure are not the same on every machine."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def _share(figure: dict[str, Any]) -> str:
    """A share with its interval and n, as the overview answers it."""
    if figure.get("rate") is None:
        return f"no rate: n = {figure['n']}"
    interval = figure.get("interval")
    bounds = "no interval" if interval is None else f"95 % interval {interval[0]:.1%} to {interval[1]:.1%}"
    return f"{figure['rate']:.1%}, {bounds}, n = {figure['n']}"


def _sentence(text: str) -> str:
    """A note as a sentence of its own."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
