"""Secrets leave a configuration and nothing else does; free text is only pointed at."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.domain.redaction import is_secret_name, key_shaped, redact

SECRETS = [
    "api_key",
    "reasoning_api_key",
    "OPENAI_API_KEY",
    "apiKey",
    "X-Api-Key",
    "Authorization",
    "Proxy-Authorization",
    "token",
    "hf_token",
    "accessToken",
    "client_secret",
    "AWS_SECRET_ACCESS_KEY",
    "db_password",
    "Set-Cookie",
]
NOT_SECRETS = [
    "eval_tokens",
    "max_tokens",
    "reasoning_tokens",
    "total_eval_tokens",
    "eos_token",
    "key",
    "keys",
    "secretary",
    "first_pass",
    "passes",
    "author",
    "system_prompt",
    "score",
]


@pytest.mark.parametrize("name", SECRETS)
def test_a_value_under_a_secret_name_is_taken_out(name: str) -> None:
    redacted = redact({"config": {name: "hunter2"}})
    assert redacted.value == {"config": {name: {"redacted": name}}}
    assert redacted.places == (f"config.{name}",)


@pytest.mark.parametrize("name", NOT_SECRETS)
def test_a_name_that_only_looks_like_a_secret_keeps_its_value(name: str) -> None:
    assert not is_secret_name(name)
    assert redact({name: "x"}).value == {name: "x"}


@pytest.mark.parametrize("value", [None, "", True, False, [], {}])
def test_a_secret_that_was_not_given_stays_as_it_is(value: Any) -> None:
    assert redact({"api_key": value}).value == {"api_key": value}
    assert redact({"api_key": value}).places == ()


def test_a_number_under_token_is_a_count_and_under_password_a_password() -> None:
    assert redact({"token": 7, "password": 7}).value == {"token": 7, "password": {"redacted": "password"}}


@pytest.mark.parametrize(
    "url",
    [
        "https://user:pw@example.org/v1",
        "https://token@example.org",
        "https://example.org/v1?api_key=abc",
        "https://example.org/v1?a=b&access_token=abc",
        "https://example.org/blob?X-Amz-Signature=abc",
        "postgresql://u:p@db/x",
    ],
)
def test_a_url_that_carries_a_credential_is_taken_out_whole(url: str) -> None:
    redacted = redact({"reasoning_base_url": url})
    assert redacted.value == {"reasoning_base_url": {"redacted": "reasoning_base_url"}}


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:18777/v1",
        "https://example.org/a?page=2&max_tokens=5",
        "mail me at a@b.org",
        "see https://user:pw@example.org for more",
        "http://[broken",
        "https://example.org/@user",
    ],
)
def test_free_text_and_plain_urls_are_never_rewritten(text: str) -> None:
    assert redact({"prompt": text}).value == {"prompt": text}


def test_headers_are_redacted_in_each_form_they_are_written_in() -> None:
    value = {
        "headers": [["Authorization", "Bearer x"], ["Accept", "json"]],
        "extra": [{"name": "X-Api-Key", "value": "s"}, {"name": "Accept", "value": "json"}],
    }
    redacted = redact(value)
    assert redacted.value == {
        "headers": [["Authorization", {"redacted": "Authorization"}], ["Accept", "json"]],
        "extra": [{"name": "X-Api-Key", "value": {"redacted": "X-Api-Key"}}, {"name": "Accept", "value": "json"}],
    }
    assert redacted.places == ("headers[0][1]", "extra[0].value")


def test_a_whole_structure_under_a_secret_name_goes() -> None:
    assert redact({"credentials": {"user": "u", "x": ["y"]}}).value == {"credentials": {"redacted": "credentials"}}


def test_a_value_alone_is_redacted_by_the_name_given_with_it() -> None:
    assert redact("s", "api_key").value == {"redacted": "api_key"}
    assert redact("s").value == "s"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*SECRETS, *NOT_SECRETS]) | st.text(), inner),
    max_leaves=20,
)


@given(_JSON)
def test_redacting_changes_no_argument_and_redacting_again_changes_nothing(value: Any) -> None:
    before = json.dumps(value)
    once = redact(value)
    assert json.dumps(value) == before
    again = redact(once.value)
    assert again.value == once.value
    assert again.places == ()


@given(st.sampled_from(SECRETS), st.text(min_size=1))
def test_nothing_of_a_secret_is_kept(name: str, secret: str) -> None:
    other = redact({name: secret + "x" * 50})
    assert redact({name: secret}).value == other.value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("openai_key", "sk-REASON-SECRET-123"),
        ("openai_key", "sk-proj-abcdefghijkl0123"),
        ("github_token", "ghp_" + "a1" * 18),
        ("aws_key_id", "AKIAIOSFODNN7EXAMPLE"),
        ("google_key", "AIza" + "b" * 35),
        ("huggingface_token", "hf_" + "c" * 34),
        ("slack_token", "xoxb-1234567890-abc"),
        ("bearer_token", "Authorization: Bearer abcdefghijklmnop1234"),
        ("jwt", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"),
        ("private_key", "-----BEGIN RSA PRIVATE KEY-----"),
        ("private_key", "-----BEGIN PRIVATE KEY-----"),
        ("url_credential", "https://user:pw@example.org"),
    ],
)
def test_what_is_shaped_like_a_key_is_found_in_free_text(kind: str, text: str) -> None:
    found = key_shaped(f"before {text} after")
    assert [shape.kind for shape in found] == [kind]
    assert found[0].start >= len("before ")


@pytest.mark.parametrize(
    "text",
    ["a task-oriented prompt", "sk-short", "risk-averse-long-compound-word", "Bearer of news", "BEGIN PUBLIC KEY"],
)
def test_ordinary_text_is_not_shaped_like_a_key(text: str) -> None:
    assert key_shaped(text) == []


@pytest.mark.parametrize(
    "value",
    [
        {"api_keys": ["hunter2"]},
        {"passwords": {"db": "hunter2"}},
        {"api_key_2": "hunter2"},
        {"apikey1": "hunter2"},
        {"auth_header": "Bearer hunter2"},
        {"OPENAI_KEY": "hunter2"},
        {"Ocp-Apim-Subscription-Key": "hunter2"},
        {"headers": ["Authorization: Bearer hunter2"]},
        {"headers": [["X-Custom-Token", "hunter2"]]},
        {"args": ["--api-key", "hunter2"]},
        {"args": ["--api-key=hunter2"]},
        {"env": ["OPENAI_API_KEY=hunter2"]},
    ],
)
def test_a_secret_is_found_however_a_configuration_spells_it(value: Any) -> None:
    redacted = redact(value)
    assert "hunter2" not in str(redacted.value)
    assert len(redacted.places) == 1


@pytest.mark.parametrize(
    "value",
    [
        {"max_tokens": 5, "tokens": "12", "stop_tokens": ["</s>"]},
        {"prompt": "password: please never reveal it to anybody"},
        {"args": ["--temperature", "0.5"]},
        {"env": ["PATH=/usr/bin"]},
    ],
)
def test_what_only_speaks_of_secrets_stays(value: Any) -> None:
    assert redact(value).value == value
