"""Secrets taken out of a configuration before it is sealed, and key-shaped text pointed at.

A value under a name that is known to hold a secret (``reasoning_api_key``, ``Authorization``) and a URL
that carries a credential become ``{"redacted": "<name>"}``: no hash and no length of the secret is kept.
Null, empty and true/false stay, for they say whether a secret was given and are none.

Free text is never rewritten. ``key_shaped`` finds what looks like a key in it, for a finding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

_SECRET_NAMES = frozenset(
    {
        "access_key",
        "access_token",
        "api_key",
        "apikey",
        "auth",
        "authorization",
        "bearer",
        "client_secret",
        "cookie",
        "credential",
        "credentials",
        "pass",
        "passphrase",
        "passwd",
        "password",
        "private_key",
        "pwd",
        "secret",
        "secret_key",
        "secrets",
        "set_cookie",
        "token",
    }
)
_SECRET_ENDINGS = tuple(
    f"_{name}"
    for name in sorted(_SECRET_NAMES - {"pass"})  # or first_pass would be one
)
_NOT_SECRET = frozenset(
    f"{word}_token"
    for word in (
        *("bos", "cls", "decoder", "end", "eos", "first", "last", "mask", "max", "min", "next"),
        *("pad", "per", "sep", "start", "stop", "unk", "usd_per"),
    )
)
"""Names of single tokens in a vocabulary, and of counts and prices."""

_HEADER_NAMES = frozenset({"authorization", "cookie", "set_cookie", "proxy_authorization", "x_api_key", "api_key"})
_VENDOR_NAMES = frozenset(
    {f"{vendor}_key" for vendor in ("openai", "anthropic", "azure", "google", "gemini", "mistral", "cohere", "groq")}
    | {"auth_header", "x_functions_key", "ocp_apim_subscription_key", "subscription_key"}
)
_COUNTED = re.compile(r"(?<=[a-z])(s|_?[0-9]+)$")  # api_keys, api_key_2, apikey1
_ASSIGNED = re.compile(r"(?:--)?([A-Za-z][A-Za-z0-9_-]{1,63})(?:=|:\s?)\S")
_LABELS = ("name", "key", "header", "field")

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = re.compile(r"[^a-z0-9]+")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s]{1,8192}")
_USERINFO = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,30}://[^/?#\s@]*@")
_PARAMETER = re.compile(r"[?&;#]([^=&;#?\s]{1,64})=[^&;#\s]")
_QUERY_SECRETS = frozenset(
    {"key", "sig", "signature", "code", "x_amz_signature", "x_amz_credential", "x_goog_signature"}
)

# Each shape with plain strings of which one must be there, so that long text is searched fast.
_KEY_SHAPES: tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...] = (
    ("openai_key", ("sk-",), re.compile(r"\bsk-[A-Za-z0-9_-]{12,}")),
    (
        "github_token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"),
    ),
    ("gitlab_token", ("glpat-",), re.compile(r"\bglpat-[A-Za-z0-9_-]{16,}")),
    ("aws_key_id", ("AKIA", "ASIA"), re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")),
    ("google_key", ("AIza",), re.compile(r"\bAIza[A-Za-z0-9_-]{30,}")),
    ("slack_token", ("xox",), re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}")),
    ("huggingface_token", ("hf_",), re.compile(r"\bhf_[A-Za-z0-9]{20,}")),
    ("stripe_key", ("k_live_", "k_test_"), re.compile(r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{10,}")),
    ("bearer_token", ("earer ",), re.compile(r"\b[Bb]earer +[A-Za-z0-9._~+/-]{16,}")),
    ("jwt", ("eyJ",), re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")),
    ("private_key", ("-----BEGIN ",), re.compile(r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")),
    (
        "url_credential",
        ("://",),
        re.compile(r"\b[a-z][a-z0-9+.-]{1,30}://[^/?#\s@:]{1,256}:[^/?#\s@]{1,256}@"),
    ),
)


@dataclass(frozen=True, slots=True)
class Redacted:
    """A value without its secrets. ``places`` names what was taken out: ``optimizer_config.api_key``."""

    value: Any
    places: tuple[str, ...]


class KeyShape(NamedTuple):
    """Text at ``start:end`` that looks like a key of this ``kind``. It is not quoted here."""

    kind: str
    start: int
    end: int


def redact(value: Any, field: str = "") -> Redacted:
    """Take the secrets out of a JSON value, which stands under the name ``field`` where it has one.

    The value is not changed; what has nothing to hide comes back equal. What is redacted already stays.
    """
    places: list[str] = []
    return Redacted(_redact(value, field, field, places), tuple(places))


def is_secret_name(name: str) -> bool:
    """Whether a value under this name is a secret: ``X-Api-Key`` is, ``max_tokens`` is not."""
    plain = _normal(name)
    if plain in _NOT_SECRET or plain.endswith("_tokens") or plain == "tokens":
        return False
    plain = _COUNTED.sub("", plain)
    return plain in _SECRET_NAMES or plain.endswith(_SECRET_ENDINGS) or plain in _VENDOR_NAMES


def key_shaped(text: str) -> list[KeyShape]:
    """What in free text is shaped like a key, in order of where it starts."""
    found = [
        KeyShape(kind, match.start(), match.end())
        for kind, needles, shape in _KEY_SHAPES
        if any(needle in text for needle in needles)
        for match in shape.finditer(text)
    ]
    return sorted(found, key=lambda shape: (shape.start, shape.kind))


def _redact(value: Any, name: str, place: str, places: list[str]) -> Any:
    if _is_redacted(value):
        return value
    if name and is_secret_name(name) and _could_be_secret(name, value):
        return _mark(name, place, places)
    if isinstance(value, str):
        return _mark(name, place, places) if _carries_credential(value) else value
    if isinstance(value, dict):
        return _redact_object(value, place, places)
    if isinstance(value, (list, tuple)):
        if _is_header(value):
            return [value[0], _mark(value[0], f"{place}[1]", places)]
        names = ["", *(_option_name(item) for item in value)]  # an argument list names a secret just before it
        return [_redact(item, names[index], f"{place}[{index}]", places) for index, item in enumerate(value)]
    return value


def _redact_object(value: dict[str, Any], place: str, places: list[str]) -> dict[str, Any]:
    """An object, and also one that names its secret in a field beside it: ``{"name": …, "value": …}``."""
    label = next((value[key] for key in _LABELS if isinstance(value.get(key), str)), "")
    redacted = {}
    for key, item in value.items():
        name = label if key == "value" and is_secret_name(label) else str(key)
        redacted[key] = _redact(item, name, f"{place}.{key}" if place else str(key), places)
    return redacted


def _mark(name: str, place: str, places: list[str]) -> dict[str, str]:
    places.append(place)
    return {"redacted": name}


def _is_redacted(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"redacted"} and isinstance(value["redacted"], str)


def _could_be_secret(name: str, value: Any) -> bool:
    """Null, empty, true and false tell nothing; a number under ``token`` is a count."""
    if value is None or isinstance(value, bool):
        return False
    if isinstance(value, (int, float)):
        return not _normal(name).endswith("token")
    return len(value) > 0


def _option_name(item: Any) -> str:
    return item[2:] if isinstance(item, str) and item.startswith("--") and "=" not in item else ""


def _is_header(value: list[Any] | tuple[Any, ...]) -> bool:
    return (
        len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], str)
        and bool(value[1])
        and (_normal(value[0]) in _HEADER_NAMES or is_secret_name(value[0]))
    )


def _carries_credential(text: str) -> bool:
    """Whether a value is a URL with a credential, or an assignment such as ``--api-key=…`` or ``Authorization: …``."""
    assigned = _ASSIGNED.match(text) if len(text) < 4096 and "\n" not in text else None
    if assigned is not None and is_secret_name(assigned[1]) and len(text.split()) <= 3:
        return True
    if "://" not in text or not _URL.fullmatch(text):
        return False
    if _USERINFO.match(text):
        return True
    return any(is_secret_name(match[1]) or _normal(match[1]) in _QUERY_SECRETS for match in _PARAMETER.finditer(text))


def _normal(name: str) -> str:
    return _SEPARATORS.sub("_", _WORD_START.sub("_", name[:256]).lower()).strip("_")
