"""The printed form of a pack: what its page shows, with the evidence attached as ``evidence.json``.

It is PDF/UA where the fonts have every character.

A PDF checks nothing by itself. Who gets one saves the attachment and checks that; the HTML form is the one that
``affidavit check`` makes again and compares.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from importlib.resources import files
from typing import Any, cast

from ...domain.errors import Refused
from ...domain.evaluation.events import InteractionPublished, JudgePromptPublished, SessionGraded, ShadowJudged
from ...domain.event import Recorded, Withheld
from ...ledger.evidence.evidence import Evidence, print_evidence
from .content import PageContent, page_content
from .run_page import RunPage, ShownIteration
from .window_page import WindowPage

_NOTICE = (
    "This document shows what its evidence says, as computed by whoever made it, and proves nothing by itself. "
    "Save the attachment evidence.json and check it with a verifier and a key that you have from elsewhere: "
    "affidavit check evidence.json --vkey VKEY."
)

Block = dict[str, Any]


def render_pdf(evidence: Evidence) -> bytes:
    """The PDF of a pack; ``Refused`` (``pdf_installed``) without the extra ``pdf``, else raises as ``render_page``."""
    try:
        import typst
    except ImportError as error:
        raise Refused("pdf_installed", "a PDF needs typst: pip install 'affidavit[pdf]'") from error
    content = page_content(evidence)
    document = {
        "title": content.title,
        "notice": f"From the ledger {content.origin}, {content.size} entries, made {evidence.at}. {_NOTICE}",
        "simulated": f"SIMULATED: {', '.join(content.simulated)}. Scores here say nothing about any model."
        if content.simulated
        else None,
        "sections": list(_sections(content)),
    }
    inputs = {"data": json.dumps(_displayable(document)), "evidence": print_evidence(evidence).decode()}
    source = (files("affidavit.api.pack") / "assets" / "pack.typ").read_bytes()
    stamp = int(datetime.fromisoformat(evidence.at).timestamp())

    # Cast, since its overloads leave a type variable open.
    compile_pdf = cast("Callable[..., bytes]", partial(typst.compile, source, format="pdf"))
    try:
        return compile_pdf(sys_inputs=inputs, timestamp=stamp, pdf_standards=["ua-1"])
    except typst.TypstError:  # no font here has some character: it then shows as a box, which PDF/UA forbids
        return compile_pdf(sys_inputs=inputs, timestamp=stamp)


def _displayable(value: Any) -> Any:
    """``value`` with control characters, which no font shows, as U+FFFD."""
    if isinstance(value, str):
        return "".join(char if char.isprintable() or char in "\n\t " else "\ufffd" for char in value)
    if isinstance(value, dict):
        return {name: _displayable(item) for name, item in value.items()}
    return [_displayable(item) for item in value] if isinstance(value, list | tuple) else value


def _sections(content: PageContent) -> Iterator[dict[str, Any]]:
    if content.run is not None:
        yield from _run(content.run, content.account)
    if content.window is not None:
        yield from _window(content.window)
    reviews = [
        block
        for review in content.reviews
        for block in (
            _said(f"{review.event.verdict}: {review.subject} (entry {review.seq})"),
            _verbatim(review.event.statement),
        )
    ]
    yield _section("Reviews", *(reviews or [_said("Nobody has signed a review of this that is in the ledger.")]))
    facts = [
        ("origin", content.origin),
        ("signed size", str(content.size)),
        ("root", content.root),
        ("disclosed fields", str(content.disclosed)),
        ("gaps", content.gaps or "none: every entry of the range is carried"),
        ("time tokens", str(content.tokens)),
    ]
    yield _section("Evidence", _facts(facts))


def _run(run: RunPage, account: list[str]) -> Iterator[dict[str, Any]]:
    started, document = run.record.started, run.document
    facts = [
        ("run", started.run),
        ("strategy", started.strategy),
        ("models", ", ".join(started.models) or "—"),
        ("reasoning model", started.reasoning_model or "—"),
        ("metrics", ", ".join(started.metrics) or "—"),
        ("threshold", _score(started.threshold)),
        ("began", run.record.started_at),
    ]
    yield _section("What was asked", _facts(facts), _verbatim(started.system_prompt))
    outcome = document["outcome"]
    ends = [("at the beginning", outcome["baseline"]), ("final", outcome["final"])]
    rows = [
        [name, *(_cell(found and found[field]) for field in ("score", "answers", "failed", "kind"))]
        for name, found in ends
    ]
    yield _section(
        "What came of it",
        _said(f"The run is {document['status']}."),
        {"kind": "table", "head": ["prompt", "score", "answers", "failed", "how scored"], "rows": rows},
        *map(_said, run.comparison),
        {"kind": "list", "items": document["warnings"]},
    )
    yield _section("Iterations")
    for shown in run.iterations:
        yield from _iteration(shown)
    if document["calls"]:
        yield _section("Tokens and calls", _verbatim("\n".join(account)))
    yield _section(
        "Not recorded", {"kind": "list", "items": document["not_recorded"] or ["nothing is known to be missing"]}
    )


def _iteration(shown: ShownIteration) -> Iterator[dict[str, Any]]:
    item = shown.iteration
    val = None if item.val is None else item.val.score
    blocks = [_facts([("train", _score(item.score)), ("n", _cell(item.train.n)), ("validation", _score(val))])]
    if item.rewrite is not None:
        blocks += [_said("Why the prompt was changed, in the words of the reasoning model:")]
        blocks += [_verbatim(item.rewrite.rationale), *map(_said, shown.effect)]
    if shown.diff:
        blocks += [_said("What changed, word by word:"), {"kind": "diff", "parts": shown.diff}]
    yield _section(f"Iteration {item.number}", *blocks, _said("The prompt, whole:"), _verbatim(item.prompt), level=2)


def _window(window: WindowPage) -> Iterator[dict[str, Any]]:
    share = window.overview["hero"]["by_session"]
    yield _section("Overview", _facts([("graded sessions", str(share["n"])), ("success", _score(share.get("rate")))]))
    for version in window.trend["versions"]:
        rows = [[_cell(day[name]) for name in ("date", "n", "wins", "losses", "ties")] for day in version["daily"]]
        yield _section(
            f"Shadow win rate, judge prompt {version['judge_prompt_version']}",
            {"kind": "table", "head": ["date", "n", "wins", "losses", "ties"], "rows": rows},
            _said(version["statistics"]["evidence"]["note"] if version["statistics"]["n"] else "no verdict"),
        )
    texts = (_verbatim(item.event.text) for item in window.prompts if isinstance(item.event, JudgePromptPublished))
    yield _section("What the judges were told", *texts)
    yield _section("Verdicts")
    for found in window.verdicts:
        yield _section(
            f"Verdict in entry {found.recorded.seq}", *_verdict(found.recorded, found.asked, found.turn), level=2
        )
    rows = [
        [str(item.seq), event.session, "yes" if event.success else "no", event.failure_type or "—"]
        for item in window.grades
        if isinstance(event := item.event, SessionGraded)
    ]
    yield _section(
        "Graded sessions", {"kind": "table", "head": ["entry", "session", "success", "failure"], "rows": rows}
    )


def _verdict(recorded: Recorded, asked: Recorded | None, turn: Recorded | None) -> Iterator[Block]:
    event = recorded.event
    assert isinstance(event, ShadowJudged)
    said = [("better", event.better), ("judge", event.model or "—"), ("made", event.made)]
    yield _facts(said)
    yield _verbatim(event.detail if isinstance(event.detail, Withheld) else event.detail.get("comparison_reason", ""))
    for title, found, name in (
        ("User", asked, "content"),
        ("Served", turn, "content"),
        ("Shadow", turn, "shadow_content"),
    ):
        if found is not None and isinstance(found.event, InteractionPublished):
            text = found.event.turn
            yield _said(f"{title}:")
            yield _verbatim(text if isinstance(text, Withheld) else text.get(name))


def _section(title: str, *blocks: Block, level: int = 1) -> dict[str, Any]:
    return {"title": title, "level": level, "blocks": list(blocks)}


def _said(text: str) -> Block:
    return {"kind": "text", "text": text}


def _verbatim(text: str | Withheld | None) -> Block:
    return {"kind": "verbatim", "text": str(text) if text else "—"}


def _facts(items: list[tuple[str, str]]) -> Block:
    return {"kind": "facts", "items": items}


def _score(value: float | None) -> str:
    return "—" if value is None else f"{value:.4f}"


def _cell(value: Any) -> str:
    return _score(value) if value is None or isinstance(value, float) else str(value)
