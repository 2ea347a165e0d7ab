"""Who vouches for the log: witnesses and keys, as the log itself says."""

from __future__ import annotations

import re
from html import unescape

from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.ledger.tlog.note import print_vkey
from affidavit.ledger.tlog.policy import parse_policy


def test_each_witness_is_shown_with_what_it_cosigned(visitor: TestClient) -> None:
    text = visitor.get("/ledger/witnesses").text
    cosigned = re.findall(r'<td class="n">(\d+) of 25</td>', text)
    assert len(cosigned) == 2
    assert cosigned[0] == "25"
    assert 0 < int(cosigned[1]) < 25
    assert "fail-open" in text
    assert "can be met twice without a member in common" in text
    printed = re.search(r'<pre class="stored" tabindex="0">(.*?)</pre>', text, re.DOTALL)
    assert printed is not None
    policy = parse_policy(unescape(printed[1]))
    assert policy.digest in text


def test_before_witnesses_were_declared_nobody_had_seen_the_log(visitor: TestClient) -> None:
    assert "No witness has seen this log." in visitor.get("/ledger/witnesses", params={"as_of": "0"}).text


def test_a_log_without_witnesses_says_what_that_means(client: TestClient) -> None:
    assert "could show others another history" in client.get("/ledger/witnesses").text


def test_every_key_is_shown_with_the_sizes_that_it_signs(world: Service, visitor: TestClient) -> None:
    text = visitor.get("/ledger/keys").text
    identity = world.ledger.identity()
    assert len(identity.ranges) == 2
    for signer in identity.ranges:
        assert print_vkey(signer.key) in text
        assert f'href="/ledger/entries/{signer.named_by}"' in text
    earlier = visitor.get("/ledger/keys", params={"as_of": "0"}).text
    assert print_vkey(identity.key) not in earlier
