"""Names of models: which server they mean, whose key is sent, and what is refused before anything is paid for."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx2
import pytest

from affidavit.api.models.chat import ChatModel, HttpModel, Model
from affidavit.api.models.providers import check_model, open_model
from affidavit.domain.errors import Refused
from affidavit.domain.model_calls import Ask

ASK = Ask("train", ({"role": "user", "content": "hello"},))
Answer = Callable[[httpx2.Request], httpx2.Response]


class Server(httpx2.MockTransport):
    """Keeps what it is sent, and answers as told."""

    def __init__(self, answer: Answer) -> None:
        self.seen: list[httpx2.Request] = []
        super().__init__(answer)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.seen.append(request)
        return super().handle_request(request)


def listing(*names: str) -> Answer:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/models"):
            return httpx2.Response(200, json={"data": [{"id": name} for name in names]})
        return httpx2.Response(404)

    return answer


def local(answer: Answer, name: str = "local/llama3.2") -> HttpModel:
    return open_model(name, transport=httpx2.MockTransport(answer), environ={})


@pytest.mark.parametrize(
    ("name", "variable", "address"),
    [
        ("openai/gpt-4o-mini", "OPENAI_API_KEY", "https://api.openai.com/v1/chat/completions"),
        (
            "openrouter/meta-llama/llama-3.1-8b-instruct",
            "OPENROUTER_API_KEY",
            "https://openrouter.ai/api/v1/chat/completions",
        ),
        ("together/m", "TOGETHER_API_KEY", "https://api.together.xyz/v1/chat/completions"),
        ("groq/m", "GROQ_API_KEY", "https://api.groq.com/openai/v1/chat/completions"),
        ("fireworks/accounts/f/m", "FIREWORKS_API_KEY", "https://api.fireworks.ai/inference/v1/chat/completions"),
        ("deepinfra/m", "DEEPINFRA_API_KEY", "https://api.deepinfra.com/v1/openai/chat/completions"),
        ("perplexity/sonar", "PERPLEXITY_API_KEY", "https://api.perplexity.ai/chat/completions"),
        ("mistral/m", "MISTRAL_API_KEY", "https://api.mistral.ai/v1/chat/completions"),
        ("gemini/m", "GEMINI_API_KEY", "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions"),
        ("anthropic/claude-x", "ANTHROPIC_API_KEY", "https://api.anthropic.com/v1/messages"),
    ],
)
def test_the_whole_name_is_recorded_the_rest_sent_and_the_key_demanded(name: str, variable: str, address: str) -> None:
    server = Server(lambda _: httpx2.Response(500))
    with pytest.raises(Refused, match=variable):
        open_model(name, transport=server, environ={variable: ""})
    model: Model = open_model(name, transport=server, environ={variable: "sk-secret"})
    prepared = model.prepare(ASK)
    model.send(prepared)
    model.close()
    assert model.model == name
    assert json.loads(prepared.body)["model"] == name.partition("/")[2]
    assert str(server.seen[0].url) == address
    assert "sk-secret" in str(server.seen[0].headers.raw)
    assert "sk-secret" not in prepared.body + repr(model)


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        ("claude-sonnet-4-20250514", "anthropic/claude-sonnet-4-20250514"),
        ("gpt-4o-mini", "openai/gpt-4o-mini"),
        ("o3-mini", "openai/o3-mini"),
    ],
)
def test_a_well_known_family_needs_no_provider(name: str, recorded: str) -> None:
    model = open_model(name, api_key="k", environ={})
    assert model.model == recorded
    model.close()


@pytest.mark.parametrize("name", ["llama3", "nobody/llama3", "/llama3", "OpenAI/gpt-4o", ""])
def test_an_unknown_provider_is_refused_and_the_known_are_named(name: str) -> None:
    with pytest.raises(Refused, match=r"anthropic.*groq.*sandbox") as refused:
        open_model(name, environ={})
    assert refused.value.rule == "provider_known"


def test_a_provider_without_a_model_is_refused() -> None:
    with pytest.raises(Refused, match="behind local/"):
        open_model("local/", environ={})


def test_a_base_url_stands_before_the_environment_and_needs_no_key() -> None:
    environ = {"OPENAI_BASE_URL": "http://127.0.0.1:8001/v1"}
    for given, expected in (
        (None, "http://127.0.0.1:8001/v1"),
        ("http://127.0.0.1:8002/v1/", "http://127.0.0.1:8002/v1"),
    ):
        server = Server(lambda _: httpx2.Response(500))
        model = open_model("openai/m", base_url=given, transport=server, environ=environ)
        model.send(model.prepare(ASK))
        model.close()
        assert str(server.seen[0].url) == f"{expected}/chat/completions"
        assert "authorization" not in server.seen[0].headers


@pytest.mark.parametrize("address", ["http://me:pass@127.0.0.1/v1", "http://me:pass", "http://127.0.0.1:1/?key=pass"])
def test_a_base_url_with_credentials_is_refused_without_being_shown(address: str) -> None:
    with pytest.raises(Refused, match="base URL") as refused:
        open_model("local/m", base_url=address, environ={})
    assert "pass" not in str(refused.value)


@pytest.mark.parametrize("listed", ["llama3.2", "llama3.2:latest", "models/llama3.2"])
def test_a_listed_model_passes_as_servers_list_it(listed: str) -> None:
    check_model(local(listing("other", listed)))


def test_a_variant_of_a_listed_model_passes() -> None:
    check_model(local(listing("meta/llama"), "local/meta/llama:free"))


def test_a_model_that_is_not_listed_is_refused_and_near_ones_are_named() -> None:
    with pytest.raises(Refused, match=r"local/llama3\.2.*llama3\.1") as refused:
        check_model(local(listing("llama3.1", "qwen")))
    assert refused.value.rule == "model_known"
    assert "qwen" not in str(refused.value)
    with pytest.raises(Refused, match="lists none"):
        check_model(
            local(
                lambda request: httpx2.Response(200 if request.url.path == "/v1/models" else 404, json={"data": None})
            )
        )


def test_a_model_that_only_its_own_page_knows_passes() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"data": [{"id": "dated-1"}]} if request.url.path == "/v1/models" else {})

    check_model(local(answer, "local/alias"))


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_taken_is_refused_without_being_shown(status: int) -> None:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, text="no: sk-secret"))
    with pytest.raises(Refused, match=str(status)) as refused:
        check_model(open_model("groq/m", api_key="sk-secret", transport=transport, environ={}))
    assert refused.value.rule == "api_key_valid"
    assert "sk-secret" not in str(refused.value)


def test_a_server_that_cannot_be_reached_is_refused_with_its_address() -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("no", request=request)

    with pytest.raises(Refused, match="http://localhost:11434/v1") as refused:
        check_model(local(refuse))
    assert refused.value.rule == "model_reachable"


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(404),
        httpx2.Response(500),
        httpx2.Response(429),
        httpx2.Response(200, text="<html>"),
        httpx2.Response(200, json={"object": "welcome"}),
        httpx2.Response(200, json=[1, 2]),
    ],
)
def test_a_server_without_a_readable_list_passes(answer: httpx2.Response) -> None:
    check_model(local(lambda _: answer))


def test_a_bare_list_is_read() -> None:
    with pytest.raises(Refused, match=r"llama3\.1"):
        check_model(
            local(
                lambda request: (
                    httpx2.Response(200, json=[{"id": "llama3.1"}])
                    if request.url.path == "/v1/models"
                    else httpx2.Response(404)
                )
            )
        )


def test_the_sandbox_knows_its_own_names_and_takes_no_address() -> None:
    model = open_model("sandbox/target", environ={})
    assert isinstance(model, ChatModel)
    check_model(model)
    assert model.model == json.loads(model.prepare(ASK).body)["model"] == "sandbox/target"
    with pytest.raises(Refused, match="sandbox/target"):
        check_model(open_model("sandbox/targets", environ={}))
    with pytest.raises(Refused, match="no base URL"):
        open_model("sandbox/target", base_url="http://127.0.0.1/v1", environ={})
