"""What every page stands in: who visits, as of when, the links, the badge, and what changed since.

A page is made from one moment of the ledger, and says which: the badge names its size and root. With ``?as_of=`` the
moment is an earlier one; every link carries it along, and the page shows in which figures today's differs.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import Depends, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ...domain.errors import Refused
from ...domain.event import Withheld
from ...ledger.entries.entry import read_entry
from ..http.errors import Problem
from ..http.service import Service, ServiceDep
from ..moment import Moment
from .assets import asset_url
from .formats import FILTERS
from .kept import Kept

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",  # with none, a browser would not say where a form comes from
}
AREAS = (("Runs", "/runs"), ("Evaluation", "/evaluation"), ("Ledger", "/ledger"), ("Reviews", "/reviews"))
SECTIONS = {
    "/evaluation": (
        ("Overview", "/evaluation"),
        ("Comparisons", "/evaluation/comparisons"),
        ("Disagreements", "/evaluation/disagreements"),
        ("Undecided", "/evaluation/undecided"),
        ("Sessions", "/evaluation/sessions"),
        ("Jobs", "/evaluation/jobs"),
        ("Judges", "/evaluation/judges"),
    ),
    "/ledger": (
        ("Entries", "/ledger"),
        ("Streams", "/ledger/streams"),
        ("Checkpoints", "/ledger/checkpoints"),
        ("Keys", "/ledger/keys"),
        ("Witnesses", "/ledger/witnesses"),
        ("Anchors", "/ledger/anchors"),
        ("Erasures", "/ledger/erasures"),
        ("Imports", "/ledger/imports"),
        ("Verification", "/ledger/verification"),
    ),
    "/reviews": (("Reviews", "/reviews"), ("Hand in", "/reviews/upload"), ("Evidence pack", "/reviews/pack")),
}
"""The sections of an area, the area's own page first."""

_MAX_FORM_FIELDS = 100


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of a page in words, to be set beside the same number at another moment."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A figure that differs between the moment shown and now."""

    label: str
    then: str
    now: str


Figures = Callable[[Moment], Sequence[Figure]]


class Visit:
    """One request for a page."""

    def __init__(self, request: Request, service: Service) -> None:
        self.request = request
        self.service = service
        self.as_of = request.query_params.get("as_of", "").strip() or None
        self.now = service.now()

    @property
    def kept(self) -> Kept:
        """What the pages of this server have computed before."""
        kept: Kept = self.request.app.state.kept
        return kept

    @property
    def query(self) -> Mapping[str, str]:
        """The query, of a name that stands in it often the last value."""
        return dict(self.request.query_params)

    def all(self, name: str) -> list[str]:
        """Every value of a name in the query, in order."""
        return self.request.query_params.getlist(name)

    @contextmanager
    def moment(self) -> Iterator[Moment]:
        """The ledger as it is, or was when the visitor asks for an earlier moment.

        Inside, ``now`` is the time of the moment in seconds since 1970: of an earlier one that of its last entry.
        """
        with self.service.moment(self.as_of) as moment:
            if moment.size == 0:
                raise Refused("ledger_begun", f"as of {self.as_of}: the ledger had not begun")
            if self.as_of is not None:
                self.now = int(datetime.fromisoformat(_last_at(moment)).timestamp())
            yield moment

    def link(self, path: str, **query: object) -> str:
        """The address of a page, as of the same moment. A value of None leaves its name out, a list repeats it."""
        return address(path, {"as_of": self.as_of, **query})

    def here(self, **query: object) -> str:
        """The address of this page with some of its query changed."""
        kept: dict[str, object] = {name: self.all(name) for name in self.request.query_params}
        return address(self.request.url.path, {**kept, **query})

    async def form(self) -> dict[str, str]:
        """The fields of a form that was sent; of a name that stands in it often the last value."""
        try:
            pairs = parse_qsl(
                (await self.request.body()).decode(), keep_blank_values=True, max_num_fields=_MAX_FORM_FIELDS
            )
        except ValueError as error:
            raise Problem(422, "form_readable", f"the form cannot be read: {error}") from error
        return dict(pairs)

    def see(self, path: str, **query: object) -> Response:
        """Send the visitor to a page, after a form."""
        return RedirectResponse(self.link(path, **query), 303)

    def render(
        self,
        template: str,
        moment: Moment,
        /,
        *,
        title: str,
        figures: Figures | None = None,
        status: int = 200,
        **context: Any,
    ) -> Response:
        """The page, computed from ``moment``, which is still open.

        ``figures`` are what the page shows at a moment; of an earlier one they are compared with today's.
        """
        latest = moment.events.reader.latest_checkpoint()
        badge = {
            "size": moment.size,
            "root": b64encode(moment.root).decode(),
            "origin": moment.events.reader.origin(),
            "signed": None if latest is None else latest[0],
            "at": _last_at(moment),
        }
        travel = None if self.as_of is None else self._travel(moment, figures)
        return page(template, self.request, status, title=title, visit=self, badge=badge, travel=travel, **context)

    def _travel(self, moment: Moment, figures: Figures | None) -> dict[str, Any]:
        then = [] if figures is None else list(figures(moment))
        with self.service.moment() as current:
            now = [] if figures is None else list(figures(current))
            size = current.size
        values = {figure.label: figure.value for figure in now}
        changed = [
            Changed(figure.label, figure.value, values.get(figure.label, "—"))
            for figure in then
            if values.get(figure.label) != figure.value
        ]
        known = {figure.label for figure in then}
        changed += [Changed(figure.label, "—", figure.value) for figure in now if figure.label not in known]
        return {"since": size - moment.size, "changed": changed, "compared": len(then), "last": moment.size - 1}


async def _get_visit(request: Request, service: ServiceDep) -> Visit:
    return Visit(request, service)


VisitDep = Annotated[Visit, Depends(_get_visit)]


def address(path: str, query: Mapping[str, object]) -> str:
    """A path and a query as a browser sends them."""
    pairs = [
        (name, str(value))
        for name, given in query.items()
        for value in (given if isinstance(given, list | tuple) else [given])
        if value is not None and value != ""
    ]
    return quote(path, safe="/-._~") + (f"?{urlencode(pairs)}" if pairs else "")


def page(template: str, request: Request, status: int, **context: Any) -> Response:
    """A page as it is sent, with what every template may use."""
    here = request.url.path
    query = [(name, value) for name, value in request.query_params.multi_items() if name != "as_of"]
    visit = context.get("visit") or Visit(request, request.app.state.service)
    given = {
        "areas": [(name, path, _lies_in(here, path)) for name, path in AREAS],
        "sections": _sections(here),
        "path": here,
        "link": visit.link,
        "here": visit.here,
        "as_of": visit.as_of,
        "asked": query,
        "signed_in": "affidavit_key" in request.cookies,
        "badge": None,
        "travel": None,
        **context,
    }
    return HTMLResponse(environment().get_template(template).render(given), status, HEADERS)


def _sections(here: str) -> list[tuple[str, str, bool]]:
    """(name, path, whether the page lies in it) of the sections of the area that a page lies in."""
    found = next((sections for area, sections in SECTIONS.items() if _lies_in(here, area)), ())
    current = max((path for _, path in found if _lies_in(here, path)), key=len, default="")
    return [(name, path, path == current) for name, path in found]


def _lies_in(here: str, path: str) -> bool:
    return here == path or here.startswith(path + "/")


@cache
def environment() -> Environment:
    """Every value is escaped; a name that a template mistypes is an error."""
    made = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FILTERS)
    made.tests["withheld"] = lambda value: isinstance(value, Withheld)
    made.globals["asset"] = asset_url
    return made


def _last_at(moment: Moment) -> str:
    (last,) = moment.events.reader.entries(moment.size - 1, moment.size)
    return str(read_entry(last.raw)["at"])
