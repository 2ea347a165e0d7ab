"""Every page, in one list."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from fastapi import APIRouter

from . import assets, login

_MODULES = (
    "runs run iteration calls evaluation comparisons sessions jobs judges ledger entries streams checkpoints witnesses "
    "anchors erasures imports verification changes reviews"
).split()

ROUTERS: tuple[APIRouter, ...] = (
    assets.router,
    login.router,
    *(
        import_module(f".{name}", __package__).router
        for name in _MODULES
        if find_spec(f"{__package__}.{name}") is not None
    ),
)
