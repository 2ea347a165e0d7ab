"""Checkpoints: listed page by page, each with its signatures, and consistent with the others."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from html import unescape

from starlette.testclient import TestClient

from affidavit.api.http.service import Service
from affidavit.ledger.tlog.note import encode_base64
from affidavit.ledger.tlog.proof import verify_consistency
from affidavit.tests.folders import folder_of


def test_paging_reaches_every_checkpoint_once(world: Service, visitor: TestClient) -> None:
    with world.ledger.recorder.reading() as reader:
        expected = [size for size, _ in reversed(reader.checkpoints())]
    seen: list[int] = []
    path: str | None = "/ledger/checkpoints"
    while path is not None:
        text = visitor.get(path).text
        seen += map(int, re.findall(r'<th scope="row" class="n"><a href="/ledger/checkpoints/(\d+)"', text))
        assert text.count("by key") == text.count('<th scope="row" class="n">')
        found = re.search(r'<a rel="next" href="([^"]+)"', text)
        path = None if found is None else found[1].replace("&amp;", "&")
    assert seen == expected


def test_who_cosigned_and_what_was_stamped_stands_beside(world: Service, visitor: TestClient) -> None:
    text = visitor.get("/ledger/checkpoints").text
    assert "witness.example/w1, witness.example/w2" in text
    assert text.count('<a href="/ledger/anchors"><time') == 1
    earlier = visitor.get("/ledger/checkpoints", params={"as_of": "100"}).text
    assert all(
        int(size) <= 101
        for size in re.findall(r'<th scope="row" class="n"><a href="/ledger/checkpoints/(\d+)', earlier)
    )


def test_a_checkpoint_shows_its_note_and_that_it_extends_the_others(world: Service, visitor: TestClient) -> None:
    with world.ledger.recorder.reading() as reader:
        (newest, _), (size, note), (before, _), *_ = reversed(reader.checkpoints())
        roots = {each: reader.frontier_at(each).root() for each in (before, size, newest)}
    text = visitor.get(f"/ledger/checkpoints/{size}").text
    printed = re.search(r'<pre class="stored" tabindex="0">(.*?)</pre>', text, re.DOTALL)
    assert printed is not None
    assert unescape(printed[1]).encode() == note
    assert text.index(f'<dd class="hash">{encode_base64(roots[size])}') < text.index(
        f'<dd class="hash">{roots[size].hex()}'
    )
    assert f'title="{encode_base64(roots[size])}"' in visitor.get("/ledger/checkpoints").text
    proofs = [re.findall(r'<li class="hash">(\w{64})', part) for part in text.split('<ol class="hashes">')[1:]]
    for (older, newer), proof in zip(((before, size), (size, newest)), proofs, strict=True):
        verify_consistency(older, newer, [bytes.fromhex(each) for each in proof], roots[older], roots[newer])
    downloaded = visitor.get(f"/ledger/checkpoints/{size}/note")
    assert downloaded.content == note
    assert f"checkpoint-{size}.txt" in downloaded.headers["content-disposition"]


def test_a_size_that_was_never_signed_is_told(world: Service, visitor: TestClient) -> None:
    for size in ("12345678", "-1", "3"):
        assert visitor.get(f"/ledger/checkpoints/{size}").status_code == 404
        assert visitor.get(f"/ledger/checkpoints/{size}/note").status_code == 404


def test_a_note_that_does_not_verify_is_told_and_the_rest_is_shown(own_world: Service, own_visitor: TestClient) -> None:
    with own_world.ledger.recorder.reading() as reader:
        size, note = reader.checkpoints()[3]
    with closing(sqlite3.connect(folder_of(own_world.ledger) / "ledger.db", isolation_level=None)) as db:
        db.execute("DROP TRIGGER checkpoints_no_UPDATE")
        forged = note.replace(f"\n{size}\n".encode(), f"\n{size + 1}\n".encode())
        db.execute("UPDATE checkpoints SET note=? WHERE size=?", (forged, size))
    assert "Its signatures do not verify" in own_visitor.get(f"/ledger/checkpoints/{size}").text
    assert "✕" in own_visitor.get("/ledger/checkpoints", params={"below": size + 1}).text
