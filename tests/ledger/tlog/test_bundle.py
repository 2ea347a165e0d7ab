"""Entry bundles: read exactly as they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.ledger.errors import Malformed
from affidavit.ledger.tlog.bundle import parse_bundle, print_bundle

ENTRIES = [b'{"n":0,"t":"ledger.created"}', b'{"n":1,"t":"run.started"}', b'{"n":2,"score_micro":812500,"t":"verdict"}']
BUNDLE = bytes.fromhex(
    "001c7b226e223a302c2274223a226c65646765722e63726561746564227d"
    "00197b226e223a312c2274223a2272756e2e73746172746564227d"
    "002a7b226e223a322c2273636f72655f6d6963726f223a3831323530302c2274223a2276657264696374227d"
)


def test_the_bundle_of_the_worked_example_is_printed_and_read() -> None:
    assert len(BUNDLE) == 101
    assert print_bundle(ENTRIES) == BUNDLE
    assert parse_bundle(BUNDLE) == ENTRIES


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_a_bundle_is_read_as_it_was_printed(entries: list[bytes]) -> None:
    assert parse_bundle(print_bundle(entries)) == entries


def test_entries_have_65535_bytes_at_most() -> None:
    assert parse_bundle(print_bundle([bytes(65535)])) == [bytes(65535)]
    with pytest.raises(Malformed, match="65536 bytes"):
        print_bundle([b"small", bytes(65536)])


@pytest.mark.parametrize("count", [0, 257])
def test_a_bundle_has_1_to_256_entries(count: int) -> None:
    with pytest.raises(Malformed, match=f"found {count}"):
        print_bundle([b"x"] * count)
    with pytest.raises(Malformed, match=f"found {count}"):
        parse_bundle(b"\0\1x" * count)


@pytest.mark.parametrize("cut", [1, 29, 31, len(BUNDLE) - 1])
def test_a_bundle_that_is_cut_off_within_an_entry_is_malformed(cut: int) -> None:
    with pytest.raises(Malformed, match="is cut off"):
        parse_bundle(BUNDLE[:cut])


@pytest.mark.parametrize("rest", [b"\0", b"\0\1", b"\n"])
def test_trailing_bytes_are_malformed(rest: bytes) -> None:
    with pytest.raises(Malformed, match="entry 3 at byte 101 is cut off"):
        parse_bundle(BUNDLE + rest)


@given(st.binary(max_size=64))
def test_what_is_read_prints_back_to_the_same_bytes(data: bytes) -> None:
    try:
        entries = parse_bundle(data)
    except Malformed:
        return
    assert print_bundle(entries) == data
