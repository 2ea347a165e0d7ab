"""Which model a name means: ``provider/model``, as ``openrouter/meta-llama/llama-3.1-8b-instruct``.

The whole name is recorded; the server is sent what stands behind the first slash. A key comes from the environment
variable of its provider and is never recorded. Any other OpenAI-compatible server is ``openai/…`` or ``local/…``
with a base URL, and ``sandbox/…`` is simulated in this process (``sandbox.py``).
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import httpx2

from ...domain.errors import Refused
from .anthropic import AnthropicModel
from .chat import ChatModel, HttpModel
from .sandbox import SANDBOX_URL, SandboxTransport

TIMEOUT = 300.0
"""Seconds for one call: a rewrite by a large model takes minutes."""

_SANDBOX = "sandbox"
_FAMILIES = ((re.compile(r"claude-"), "anthropic"), (re.compile(r"gpt-|o\d"), "openai"))
"""Names that people write without their provider."""


@dataclass(frozen=True, slots=True)
class _Provider:
    """``key`` and ``address`` are names of environment variables."""

    base_url: str
    key: str
    address: str | None = None
    client: type[ChatModel | AnthropicModel] = ChatModel
    needs_key: bool = True


_PROVIDERS = {
    "openai": _Provider("https://api.openai.com/v1", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    "anthropic": _Provider("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", client=AnthropicModel),
    "openrouter": _Provider("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "together": _Provider("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    "groq": _Provider("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "fireworks": _Provider("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "deepinfra": _Provider("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "perplexity": _Provider("https://api.perplexity.ai", "PERPLEXITY_API_KEY"),
    "mistral": _Provider("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "gemini": _Provider("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    "local": _Provider("http://localhost:11434/v1", "LOCAL_API_KEY", needs_key=False),
}


def open_model(
    name: str,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    timeout: float = TIMEOUT,
    transport: httpx2.BaseTransport | None = None,
    environ: Mapping[str, str] = os.environ,
) -> HttpModel:
    """The model called ``name``; nothing is sent yet (``check_model``). Close it.

    ``base_url`` and ``api_key`` stand before what the environment says. A key is demanded only where the provider's
    own address is used. ``Refused`` for an unknown provider, a missing key, an unreadable address.
    """
    provider, model = _split(name)
    recorded = f"{provider}/{model}"
    if provider == _SANDBOX:
        if base_url:
            raise Refused("address_readable", f"model {name}: the sandbox runs in this process and takes no base URL")
        # the whole name goes over the wire, so that the recorded request says that it was simulated
        return ChatModel(SANDBOX_URL, recorded, timeout=timeout, transport=transport or SandboxTransport())
    known = _PROVIDERS[provider]
    address = base_url or (environ.get(known.address) if known.address else None)
    key = api_key or environ.get(known.key) or None
    if key is None and address is None and known.needs_key:
        raise Refused("api_key_given", f"model {name}: expected an API key in the environment variable {known.key}")
    return known.client(
        address or known.base_url, model, key, recorded_as=recorded, timeout=timeout, transport=transport
    )


def check_model(model: HttpModel) -> None:
    """Ask the server for its list of models, so that a wrong name, key or address shows before anything is paid for.

    ``Refused`` where the server cannot be reached, does not take the key, or has a list that lacks the model. A
    server that answers anything else, such as one without a list, passes: the first call will tell.
    """
    listing = model.fetch("/models")
    if listing.status is None:
        raise Refused("model_reachable", f"model {model.model}: no answer from {model.base_url} ({listing.reason})")
    if listing.reason == "not_allowed":
        raise Refused(
            "api_key_valid",
            f"model {model.model}: {model.base_url} does not take the API key (status {listing.status})",
        )
    offered = _names(listing.body) if listing.replied else None
    if offered is None or _is_among(model.wire_model, offered):
        return
    if model.fetch("/models/" + quote(model.wire_model)).replied:
        return  # lists are paged and leave out aliases
    near = difflib.get_close_matches(model.wire_model, sorted(offered), n=3) or sorted(offered)[:3]
    found = f"such as {', '.join(near)}" if near else "and it lists none"
    raise Refused("model_known", f"model {model.model}: expected one that {model.base_url} lists, {found}")


def _split(name: str) -> tuple[str, str]:
    provider, slash, model = name.partition("/")
    if not slash:
        provider, model = next((family for pattern, family in _FAMILIES if pattern.match(name)), ""), name
    if provider not in _PROVIDERS and provider != _SANDBOX:
        known = ", ".join(sorted((*_PROVIDERS, _SANDBOX)))
        raise Refused("provider_known", f"model {name!r}: expected PROVIDER/MODEL with a provider out of {known}")
    if not model.strip():
        raise Refused("model_named", f"model {name!r}: expected a model's name behind {provider}/")
    return provider, model


def _names(body: str | None) -> set[str] | None:
    """The ids of a list of models, None where the body is no such list."""
    try:
        document = json.loads(body or "")
        models = document["data"] if isinstance(document, dict) else document
        return {str(model["id"]) for model in models or []}
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _is_among(name: str, offered: set[str]) -> bool:
    """Whether ``name`` is listed, as some servers list it: with a prefix or tag that calls leave out, or without a
    variant that calls name."""
    return bool({name, f"models/{name}", f"{name}:latest", name.partition(":")[0]} & offered)
