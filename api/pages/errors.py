"""What went wrong, as a page for who asked for a page, and as JSON for everybody else."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from ..http.access import is_page
from ..http.errors import Problem
from .frame import page


def respond(request: Request, problem: Problem) -> Response:
    """The answer that tells ``problem``."""
    if not is_page(request.url.path) or request.method not in ("GET", "HEAD", "POST"):
        return problem.response()
    told = problem.detail
    if isinstance(told, list):
        told = "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in told)
    template = "login.html" if problem.status == 401 else "error.html"
    title = "A key is needed" if problem.status == 401 else HTTPStatus(problem.status).phrase
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    response = page(template, request, problem.status, title=title, told=str(told), problem=problem, target=target)
    for name, value in problem.headers.items():
        if name.lower() != "www-authenticate":  # a browser would ask for a password that nobody has
            response.headers[name] = value
    return response
