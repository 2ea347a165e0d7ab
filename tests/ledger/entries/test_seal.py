"""Sealed content opens only to what its digest binds."""

from __future__ import annotations

import hashlib
import math
from base64 import urlsafe_b64encode
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from affidavit.domain.event import Withheld
from affidavit.ledger.entries.seal import Disclosure, digest_of, make_box, make_disclosure, open_box, read_disclosure
from affidavit.ledger.errors import Malformed, VerificationError

CIPHER = AESGCM(b"k" * 32)
ORIGIN = b"example.org/test/0123456789abcdef"
SALT = b"0123456789abcdef"
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


class Code(Enum):
    BAD = math.nan


@dataclass
class Holder:
    score: float


def disclosed(value: object = "cites clause 4", name: str = "rationale", salt: bytes = SALT) -> Disclosure:
    return make_disclosure(name, value, salt)


def boxed(disclosure: Disclosure, nonce: bytes = b"n" * 12) -> bytes:
    return make_box(CIPHER, nonce, disclosure, ORIGIN)


def test_a_digest_is_that_of_sd_jwt() -> None:
    """The disclosure and the digest of RFC 9901, by hand."""
    content = b'["rSr7uy1Yr-A9b4q5KH2JYQ","rationale","cites clause 4"]'
    assert digest_of(content) == "t3d-2iZVPwBQDeQZb14EtiymbiAGaFwKXmud5cyF0_0"
    by_hand = hashlib.sha256(urlsafe_b64encode(content).rstrip(b"=")).digest()
    assert digest_of(content) == urlsafe_b64encode(by_hand).decode().rstrip("=")


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | TEXT,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=10,
    )
)
def test_what_is_sealed_is_what_is_opened(value: Any) -> None:
    disclosure = disclosed(value)
    assert open_box(CIPHER, boxed(disclosure), "rationale", disclosure.digest, ORIGIN) == value


def test_the_same_value_under_another_salt_has_another_digest() -> None:
    assert disclosed(salt=b"0" * 16).digest != disclosed(salt=b"1" * 16).digest


def test_two_megabytes_are_sealed_and_opened() -> None:
    text = "ä" * 1_000_000
    disclosure = disclosed(text)
    assert open_box(CIPHER, boxed(disclosure), "rationale", disclosure.digest, ORIGIN) == text


def test_another_key_does_not_open_a_box() -> None:
    disclosure = disclosed()
    with pytest.raises(VerificationError, match="does not open"):
        open_box(AESGCM(b"x" * 32), boxed(disclosure), "rationale", disclosure.digest, ORIGIN)


def test_a_box_is_of_one_ledger() -> None:
    disclosure = disclosed()
    with pytest.raises(VerificationError, match="does not open"):
        open_box(CIPHER, boxed(disclosure), "rationale", disclosure.digest, ORIGIN + b"x")


def test_two_boxes_that_changed_places_do_not_open() -> None:
    one, other = disclosed("one"), disclosed("other", salt=b"1" * 16)
    with pytest.raises(VerificationError, match="does not open"):
        open_box(CIPHER, boxed(one), "rationale", other.digest, ORIGIN)


def test_a_box_made_for_a_digest_must_hold_its_content() -> None:
    """Whoever has the key can box another text under the old digest; GCM accepts it, the digest does not."""
    honest = disclosed("hurt")
    forged = Disclosure("rationale", disclosed("helped").content, honest.digest)
    with pytest.raises(VerificationError, match=f"expected digest {honest.digest}"):
        open_box(CIPHER, boxed(forged), "rationale", honest.digest, ORIGIN)


def test_content_sealed_under_another_field_is_refused() -> None:
    disclosure = disclosed(name="failure_reason")
    with pytest.raises(VerificationError, match=r"\[salt, 'rationale', value\]"):
        open_box(CIPHER, boxed(disclosure), "rationale", disclosure.digest, ORIGIN)


@pytest.mark.parametrize("at", [0, 11, 12, 40, -1])
def test_a_box_with_one_bit_turned_does_not_open(at: int) -> None:
    disclosure = disclosed()
    box = bytearray(boxed(disclosure))
    box[at] ^= 1
    with pytest.raises(VerificationError, match="does not open"):
        open_box(CIPHER, bytes(box), "rationale", disclosure.digest, ORIGIN)


@pytest.mark.parametrize("size", [0, 1, 11, 12, 27])
def test_a_box_cut_short_does_not_open(size: int) -> None:
    disclosure = disclosed()
    with pytest.raises(VerificationError, match="does not open"):
        open_box(CIPHER, boxed(disclosure)[:size], "rationale", disclosure.digest, ORIGIN)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        b'["MDEyMzQ1Njc4OWFiY2RlZg","rationale"]',
        b'["MDEyMzQ1Njc4OWFiY2RlZg","rationale",1,2]',
        b'["","rationale",1]',
        b'["c2hvcnQ","rationale",1]',
        b'[1,"rationale",1]',
        b'["MDEyMzQ1Njc4OWFiY2RlZg",1,1]',
        b'["MDEyMzQ1Njc4OWFiY2RlZg","rationale",NaN]',
    ],
)
def test_what_is_no_disclosure_is_refused(content: bytes) -> None:
    with pytest.raises(VerificationError):
        read_disclosure(content, "rationale")


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        -math.inf,
        [1.0, {"a": [math.inf]}],
        (math.nan,),
        OrderedDict(score=math.nan),
        Holder(math.nan),
        Code.BAD,
    ],
)
def test_a_number_that_is_not_finite_is_refused_wherever_it_hides(value: object) -> None:
    """orjson would print each of these as null."""
    with pytest.raises(Malformed):
        disclosed(value)


def test_withheld_content_is_never_sealed_as_if_it_were_the_text() -> None:
    with pytest.raises(Malformed, match="Withheld"):
        disclosed(Withheld("digest"))


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, {1: 2}, "\ud800", 2**64, object()])
def test_what_has_no_json_form_is_refused(value: object) -> None:
    with pytest.raises(Malformed):
        disclosed(value)


def test_nesting_without_end_is_refused() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(Malformed):
        disclosed(value)
