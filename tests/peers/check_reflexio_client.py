"""Use a server of ours with the real reflexio client, as its users do: ``check_reflexio_client.py AFFIDAVIT``.

``AFFIDAVIT`` is the command to start the server with. Runs with the Python that has reflexio-client installed, and
nothing of ours. Exits 1 at the first answer that is not as the client's users expect it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import requests


@contextmanager
def serving(affidavit: str) -> Iterator[str]:
    """A server on a new ledger with one rule; its address."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        environment = {**os.environ, "AFFIDAVIT_KEYS": str(folder / "keys"), "AFFIDAVIT_LEDGER": str(folder / "ledger")}
        for name in ("AFFIDAVIT_JUDGE_MODEL", "AFFIDAVIT_JUDGE_BASE_URL"):
            environment.pop(name, None)
        run = [affidavit, "init"]
        subprocess.run(run, env=environment, check=True, stdout=subprocess.DEVNULL)
        rules = folder / "rules.json"
        rules.write_text('[{"rule": "refunds", "kind": "agent_playbook", "title": "Refunds", "text": "Refund first."}]')
        subprocess.run(
            [affidavit, "rules", "publish", str(rules)], env=environment, check=True, stdout=subprocess.DEVNULL
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = subprocess.Popen([affidavit, "serve", "--port", str(port)], env=environment)
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(600):
                try:
                    if requests.get(f"{address}/health", timeout=5).ok:
                        break
                except requests.ConnectionError:
                    time.sleep(0.1)
            yield address
        finally:
            server.terminate()
            server.wait(30)


def check(address: str) -> int:
    client = import_module("reflexio").ReflexioClient(url_endpoint=address)
    interaction = import_module("reflexio.models.api_schema.domain.entities").InteractionData
    expected = 0

    def holds(what: str, found: object) -> None:
        nonlocal expected
        if not found:
            sys.exit(f"reflexio-client {version('reflexio-client')}: {what}: found {found!r}")
        expected += 1

    def turns(number: int) -> list[Any]:
        return [
            interaction(role="User", content=f"Where is my order {number}?"),
            interaction(role="Agent", content="It is on its way.", shadow_content="I do not know."),
        ]

    found = client.search(query="refund")
    holds("search finds the rule", found.success and "Refund" in str(found))
    for number in range(5):
        published = client.publish_interaction(
            user_id="u1",
            interactions=turns(number),
            session_id=f"s{number}",
            source="my-integration",
            agent_version="v1",
        )
        holds("publish succeeds", published.success)
    waited = client.publish_interaction(
        user_id="u2",
        interactions=[{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}],
        session_id="s9",
        wait_for_response=True,
    )
    holds("publish of dicts, waiting, succeeds", waited.success)
    try:
        client.publish_interaction(user_id="u1", interactions=turns(0))
        holds("a publish without a session is refused", False)
    except requests.HTTPError as error:
        holds("a null session_id is 422", error.response is not None and error.response.status_code == 422)
    got = client.get_interactions(user_id="u1")
    holds("get_interactions returns what was published", len(got.interactions) == 10)
    holds("shadow text comes back", any(item.shadow_content == "I do not know." for item in got.interactions))
    everything = client.get_all_interactions(limit=5)
    holds("get_all_interactions keeps its limit", len(everything.interactions) == 5)
    results = client.get_agent_success_evaluation_results(limit=5, agent_version="v1")
    holds("results are readable, none yet", results.success and results.agent_success_evaluation_results == [])
    holds("whoami names the org", client.whoami().org_id)
    client.get_config()
    holds("get_config is readable", True)
    for path, method in (("/api/delete_session", "delete"), ("/api/delete_all_interactions", "delete")):
        answer = getattr(requests, method)(f"{address}{path}", json={"session_id": "s1"}, timeout=30)
        holds(f"{path} names erasure", answer.status_code == 501 and "erasure" in answer.text)
    overview = requests.post(
        f"{address}/api/get_evaluation_overview", json={"from_ts": 0, "to_ts": int(time.time())}, timeout=60
    ).json()
    holds("the overview is the empty one, with its pin", overview["hero"]["state"] == "empty")
    holds("and says what it was computed from", overview["size"] > 12 and overview["root"])
    return expected


with serving(sys.argv[1]) as where:
    print(
        f"reflexio-client {version('reflexio-client')} on Python {sys.version.split()[0]}: {check(where)} checks hold"
    )
