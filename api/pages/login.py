"""Signing in with an API key, for browsers on other machines: the key is kept in a cookie that scripts cannot read."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from ..http.access import KEY_COOKIE
from .frame import VisitDep, page

router = APIRouter(include_in_schema=False)


@router.get("/login")
def show_login(visit: VisitDep) -> Response:
    """The form."""
    target = visit.query.get("next", "/")
    return page("login.html", visit.request, 200, title="Sign in", visit=visit, told="", target=target)


@router.post("/login")
async def sign_in(visit: VisitDep) -> Response:
    """Keep the key that was given, if it is one, and go where the visitor wanted to go."""
    form = await visit.form()
    token, target = form.get("key", "").strip(), form.get("next", "/")
    if visit.service.keyring.find(token) is None:
        told = "This key is not known here, or was revoked."
        return page("login.html", visit.request, 401, title="Sign in", visit=visit, told=told, target=target)
    response = RedirectResponse(_ours(target), 303)
    # Behind a proxy that ends TLS this server sees http; the browser says what it sees itself.
    secure = visit.request.headers.get("origin", "").startswith("https:")
    response.set_cookie(KEY_COOKIE, token, httponly=True, samesite="lax", secure=secure)
    return response


@router.post("/logout")
def sign_out(visit: VisitDep) -> Response:
    """Forget the key."""
    response = RedirectResponse("/login", 303)
    response.delete_cookie(KEY_COOKIE, httponly=True, samesite="lax")
    return response


def _ours(target: str) -> str:
    """A path of this server; a browser would read ``//host`` and ``/\\host`` as another's."""
    return target if target.startswith("/") and target[1:2] not in ("/", "\\") and target.isprintable() else "/"
