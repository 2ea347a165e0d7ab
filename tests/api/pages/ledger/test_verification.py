"""The page of verification: begun by a form, followed, and what it found."""

from __future__ import annotations

import time

import pytest
from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.ledger.tlog.note import print_vkey

LATER = 120.0
PATH = "/ledger/verification"


def _finish(visitor: TestClient) -> str:
    deadline = time.monotonic() + LATER
    while time.monotonic() < deadline:
        text = visitor.get(PATH).text
        if "Under way" not in text:
            return text
        time.sleep(0.05)
    raise AssertionError("it does not end")


def test_it_says_that_it_is_the_servers_own_word_and_how_to_do_without(client: TestClient) -> None:
    text = client.get(PATH).text
    assert "own word" in text
    assert "Not verified since this server was started." in text
    assert "affidavit check entry-0.tlog-proof --vkey" in text


def test_what_was_found_is_told_with_what_was_not_checked(own_world: Service, own_visitor: TestClient) -> None:
    vkey = print_vkey(own_world.ledger.verifier_key())
    begun = own_visitor.post(PATH, data={"vkey": vkey})
    assert begun.status_code == 303
    assert begun.headers["location"] == PATH
    text = own_visitor.get(PATH).text
    assert "Under way" in text
    assert f'hx-get="{PATH}"' in text
    assert own_visitor.post(PATH, data={"vkey": ""}).status_code == 303  # the one that is under way goes on
    text = _finish(own_visitor)
    size, _ = own_world.head()
    assert "ok: everything that was checked is as it was recorded" in text
    assert f"entries 0 to {size - 1:,}" in text
    assert "a vkey that was brought" in text
    assert vkey in text
    assert f"its keys remember that {size:,} entries were signed" in text
    assert "<strong>key pinned</strong>: the log&#39;s key is the one that was brought" in text
    assert "<strong>read models</strong>" in text
    assert "<strong>time</strong>" in text
    assert "no root of an authority is pinned" in text
    assert "erased</dt>" in text
    assert "since it was started" in own_visitor.get("/ledger").text  # what one reader brought is theirs
    own_visitor.post(PATH, data={"vkey": ""})
    _finish(own_visitor)
    assert f"{size:,} entries, 20" in own_visitor.get("/ledger").text
    assert "Verified" not in own_visitor.get("/ledger?as_of=0").text.partition("<main")[2].partition("</dl>")[0]
    assert own_visitor.get(f"{PATH}/fork").status_code == 404


@pytest.mark.parametrize("name", ["vkey", "pinned", "policy"])
def test_what_does_not_read_is_told(client: TestClient, name: str) -> None:
    answered = client.post(PATH, data={name: "<script>alert(1)</script>"})
    assert answered.status_code == 422
    assert "<script>alert" not in answered.text
