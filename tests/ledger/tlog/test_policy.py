"""Policies: read strictly, and answered by whose signatures are there."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.ledger.errors import Malformed
from affidavit.ledger.tlog.note import (
    ED25519,
    ED25519_COSIGNATURE,
    ML_DSA_44_COSIGNATURE,
    VerifierKey,
    parse_vkey,
    print_vkey,
)
from affidavit.ledger.tlog.policy import Policy, PolicyGroup, PolicyLog, PolicyWitness, parse_policy, print_policy
from affidavit.ledger.tlog.private_key import NotePrivateKey

ORIGIN = "ledger.example/acme/prod"


def key(name: str, algorithm: int = ED25519_COSIGNATURE) -> VerifierKey:
    return NotePrivateKey(name, algorithm, sha256(name.encode()).digest()).verifier_key


OLD = parse_vkey(f"{ORIGIN}+f41694c7+AWLmv9A5WsV4c73UvAzGUAMzcNwNv2BabSyDkQ8zEf3C")
NEW = parse_vkey(f"{ORIGIN}+42ac9f67+AbMtaadvGrznh+zvnjvUBCZzgiwr4qJm+eaI8NYiQ3wF")
X1, X2, X3, Y1, Y2 = map(key, ["x1.example", "x2.example", "x3.example", "y1.example", "y2.example"])
LOG_LINE = f"log {print_vkey(OLD)}\n"
WITNESS_LINES = "".join(
    f"witness {name} {print_vkey(each)}\n"
    for name, each in [("X1", X1), ("X2", X2), ("X3", X3), ("Y1", Y1), ("Y2", Y2)]
)
GROUP_LINES = "group X 2 X1 X2 X3\ngroup Y any Y1 Y2\ngroup both all X Y\n"
EXAMPLE = LOG_LINE + WITNESS_LINES + GROUP_LINES + "quorum both\n"
POLICY = parse_policy(EXAMPLE)


def test_the_policy_of_the_specification_is_read() -> None:
    assert POLICY.logs == (PolicyLog(OLD),)
    assert [(each.name, each.key, each.url) for each in POLICY.witnesses] == [
        ("X1", X1, None),
        ("X2", X2, None),
        ("X3", X3, None),
        ("Y1", Y1, None),
        ("Y2", Y2, None),
    ]
    assert POLICY.groups == (
        PolicyGroup("X", 2, ("X1", "X2", "X3")),
        PolicyGroup("Y", 1, ("Y1", "Y2")),
        PolicyGroup("both", 2, ("X", "Y")),
    )
    assert POLICY.quorum == "both"


@pytest.mark.parametrize(
    ("keys", "lacking"),
    [
        ([], "0 of 2 needed in group both; without X, Y"),
        ([X1, Y1], "1 of 2 needed in group both; without X"),
        ([X1, X2, X3], "1 of 2 needed in group both; without Y"),
        ([X1, X1, Y1], "1 of 2 needed in group both; without X"),
        ([X1, X2, Y2], ""),
        ([X1, X2, X3, Y1, Y2, OLD], ""),
    ],
)
def test_a_quorum_of_groups_is_met_by_enough_members_of_each(keys: list[VerifierKey], lacking: str) -> None:
    assert POLICY.lacking(keys) == lacking
    assert POLICY.is_met(keys) == (lacking == "")


def test_a_quorum_may_be_one_witness() -> None:
    policy = parse_policy(WITNESS_LINES + "quorum X2\n")
    assert policy.is_met([X2])
    assert not policy.is_met([X1, X3, Y1, Y2])
    assert policy.lacking([X1]) == "0 of 1 needed; without witness X2"


def test_a_witness_is_known_by_name_type_and_public_key() -> None:
    policy = parse_policy(WITNESS_LINES + "quorum X1\n")
    assert not policy.is_met([VerifierKey("x1.example", ED25519, X1.public_key)])
    assert not policy.is_met([VerifierKey("other", ED25519_COSIGNATURE, X1.public_key)])
    assert not policy.is_met([VerifierKey("x1.example", ED25519_COSIGNATURE, X2.public_key)])


def test_no_quorum_is_met_by_nobody() -> None:
    policy = parse_policy("quorum none\n")
    assert policy == Policy((), (), (), "none")
    assert policy.is_met([])
    assert policy.lacking([]) == ""


def test_blank_lines_comments_tabs_and_addresses_are_read() -> None:
    text = (
        f"\n# a comment, with tags: log witness\n \t# another – ö\n\t log\t{print_vkey(OLD)} \t https://log.example/é\t\n"
        f"witness  K {print_vkey(X1)}   https://x1.example\nwitness L {print_vkey(X2)}\n \n  quorum\tK\n"
    )
    policy = parse_policy(text.encode())
    assert policy == parse_policy(text)
    assert policy.logs[0].url == "https://log.example/é"
    assert policy.witnesses == (PolicyWitness("K", X1, "https://x1.example"), PolicyWitness("L", X2))
    assert policy.quorum == "K"


def test_names_are_compared_by_their_bytes() -> None:
    """The Kelvin sign is not the letter, and a character that Unicode calls a space parts no words."""
    assert parse_policy(f"witness \u212a {print_vkey(X1)}\nwitness K\u00a0K {print_vkey(X2)}\nquorum \u212a\n")
    with pytest.raises(Malformed, match="not defined"):
        parse_policy(f"witness \u212a {print_vkey(X1)}\nquorum K\n")


def test_words_of_the_grammar_may_be_names() -> None:
    text = f"witness all {print_vkey(X1)}\nwitness quorum {print_vkey(X2)}\ngroup any any all quorum\nquorum any\n"
    assert parse_policy(text).is_met([X2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no quorum line"),
        (EXAMPLE.replace("quorum both\n", ""), "no quorum line"),
        (EXAMPLE[:-1], "does not end in a newline"),
        (EXAMPLE + "quorum both\n", "a second one"),
        (EXAMPLE + "quorum none\n", "a second one"),
        ("quorum all\n", "not defined"),
        ("quorum X1\n" + WITNESS_LINES, "line 1: name 'X1' is not defined"),
        ("quorum none none\n", "expected a log"),
        ("quorum\n", "expected a log"),
        ("Quorum none\n", "expected a log"),
        ("quorum none # comment\n", "expected a log"),
        ("quorum\u00a0none\n", "expected a log"),
        ("quorum none\u00a0\n", "not defined"),
        ("\u2003quorum none\n", "expected a log"),
        ("quorum none\r\n", "control character"),
        ("quorum none\f\n", "control character"),
        ("# \x7f\nquorum none\n", "control character"),
        ("# \0\nquorum none\n", "control character"),
        ("# \ud800\nquorum none\n", "UTF-8"),
        ("log\nquorum none\n", "expected a log"),
        (LOG_LINE[:-1] + " url #comment\nquorum none\n", "expected a log"),
        (LOG_LINE + LOG_LINE + "quorum none\n", "line 2: .* on an earlier line"),
        (LOG_LINE.replace("f41694c7", "f41694c8") + "quorum none\n", "key ID"),
        (f"log {print_vkey(X1)}\nquorum none\n", "type is 0x04, expected 0x01"),
        (f"witness w {print_vkey(OLD)}\nquorum none\n", "type is 0x01, expected 0x04 or 0x06"),
        (f"witness {print_vkey(X1)}\nquorum none\n", "expected a log"),
        (f"witness none {print_vkey(X1)}\nquorum none\n", "'none' is taken"),
        (f"witness a {print_vkey(X1)}\nwitness a {print_vkey(X2)}\nquorum none\n", "'a' is taken"),
        (f"witness a {print_vkey(X1)}\nwitness b {print_vkey(X1)}\nquorum none\n", "on an earlier line"),
        (WITNESS_LINES + "group none any X1\nquorum none\n", "'none' is taken"),
        (WITNESS_LINES + "group X1 any X2\nquorum none\n", "'X1' is taken"),
        (WITNESS_LINES + "group G any X1\ngroup G any X2\nquorum none\n", "'G' is taken"),
        (WITNESS_LINES + "group G any none\nquorum none\n", "'none' is not defined"),
        (WITNESS_LINES + "group G any G\nquorum none\n", "'G'"),
        (WITNESS_LINES + "group G any X9\nquorum none\n", "'X9' is not defined"),
        ("group G any X1\n" + WITNESS_LINES + "quorum none\n", "line 1: name 'X1' is not defined"),
        (WITNESS_LINES + "group G 2 X1 X1\nquorum none\n", "member already"),
        (WITNESS_LINES + "group G any X1\ngroup H any X1\nquorum none\n", "member already"),
        (WITNESS_LINES + "group G any\nquorum none\n", "expected a log"),
        (WITNESS_LINES + "group G\nquorum none\n", "expected a log"),
        *[
            (WITNESS_LINES + f"group G {threshold} X1 X2\nquorum none\n", "threshold|number")
            for threshold in ["0", "3", "-1", "+1", "01", "1.0", "ALL", "١", "99999999999999999999"]
        ],
    ],
)
def test_what_the_specification_refuses_is_malformed(text: str, message: str) -> None:
    with pytest.raises(Malformed, match=message):
        parse_policy(text)


def test_bytes_that_are_not_utf_8_are_malformed() -> None:
    with pytest.raises(Malformed, match="UTF-8"):
        parse_policy(b"# \xe9\nquorum none\n")


def test_one_public_key_has_one_role() -> None:
    same = NotePrivateKey(ORIGIN, ED25519, sha256(b"x1.example").digest()).verifier_key
    with pytest.raises(Malformed, match="on an earlier line"):
        parse_policy(f"log {print_vkey(same)}\n{WITNESS_LINES}quorum none\n")


def test_an_ml_dsa_witness_is_known_also_where_its_signatures_cannot_be_checked() -> None:
    pq = VerifierKey("pq.example", ML_DSA_44_COSIGNATURE, bytes(1312))
    policy = parse_policy(f"witness pq {print_vkey(pq)}\nquorum pq\n")
    assert policy.is_met([pq])
    assert parse_policy(print_policy(policy)) == policy


def ranged(first: str, last: str, vkey: str = print_vkey(OLD)) -> str:
    return f"#affidavit-range {vkey} {first} {last}\n"


ROTATED = f"{LOG_LINE}{ranged('0', '4096')}log {print_vkey(NEW)}\n{ranged('3097', '-', print_vkey(NEW))}quorum none\n"


@pytest.mark.parametrize(
    ("size", "keys"), [(0, [OLD]), (3096, [OLD]), (3097, [OLD, NEW]), (4096, [OLD, NEW]), (4097, [NEW]), (2**62, [NEW])]
)
def test_a_range_narrows_a_key_to_checkpoint_sizes(size: int, keys: list[VerifierKey]) -> None:
    policy = parse_policy(ROTATED)
    assert policy.log_keys(ORIGIN, size) == keys
    assert policy.log_keys("another", size) == []


def test_a_key_without_a_range_speaks_for_every_size() -> None:
    policy = parse_policy(f"{LOG_LINE}log {print_vkey(NEW)}\nquorum none\n")
    for size in (0, 1, 2**63 - 1):
        assert policy.log_keys(ORIGIN, size) == [OLD, NEW]


def test_a_range_may_stand_anywhere_and_end_where_it_begins() -> None:
    policy = parse_policy(f" \t{ranged('7', '7')}{LOG_LINE}quorum none\n")
    assert policy.logs == (PolicyLog(OLD, None, 7, 7),)


@pytest.mark.parametrize(
    "line",
    [
        ranged("0", ""),
        ranged("0", "4 #"),
        ranged("5", "4"),
        ranged("-", "4"),
        ranged("-1", "4"),
        ranged("00", "4"),
        ranged("0", "9223372036854775808"),
        ranged("0", "4").replace("f41694c7", "f41694c8"),
        ranged("0", "4", print_vkey(NEW)),
        ranged("0", "4") + ranged("0", "5"),
        ranged("0", "4").replace("#affidavit", "# affidavit"),
        ranged("0", "4").replace("#affidavit", "#Affidavit"),
        ranged("0", "4").replace("-range", "-ranges"),
        ranged("0", "4").replace("-range ", "-range\u00a0"),
        "#affidavit\n",
    ],
)
def test_a_range_that_is_not_exact_is_malformed_and_never_passed_over(line: str) -> None:
    with pytest.raises(Malformed):
        parse_policy(f"{LOG_LINE}{line}quorum none\n")


def test_a_policy_is_read_as_it_was_printed() -> None:
    for text in (EXAMPLE.replace("group Y any", "group Y 1").replace("group both all", "group both 2"), ROTATED):
        assert print_policy(parse_policy(text)) == text
    addressed = parse_policy(f"log {print_vkey(OLD)} https://log\nwitness a {print_vkey(X1)} https://w\nquorum a\n")
    assert parse_policy(print_policy(addressed)) == addressed


def test_without_addresses_the_rules_stay() -> None:
    plain = parse_policy(f"log {print_vkey(OLD)}\n{ranged('1', '9')}witness a {print_vkey(X1)}\nquorum a\n")
    addressed = parse_policy(
        f"log {print_vkey(OLD)} https://l\n{ranged('1', '9')}witness a {print_vkey(X1)} https://w\nquorum a\n"
    )
    assert addressed != plain
    assert addressed.without_addresses() == plain


def test_the_digest_is_that_of_the_rules() -> None:
    assert POLICY.digest == sha256(print_policy(POLICY).encode()).hexdigest()
    assert parse_policy("# comment\n" + EXAMPLE.replace(" ", "\t")).digest == POLICY.digest
    assert parse_policy(EXAMPLE.replace("group X 2", "group X 1")).digest != POLICY.digest


@given(st.sets(st.sampled_from([X1, X2, X3, Y1, Y2])))
def test_a_quorum_is_met_exactly_when_the_words_say_so(keys: set[VerifierKey]) -> None:
    met = len(keys & {X1, X2, X3}) >= 2 and bool(keys & {Y1, Y2})
    assert POLICY.is_met(keys) == met
    assert (POLICY.lacking(keys) == "") == met


@given(st.text(alphabet="#logwitnesgrupqmay 12\t\nX", max_size=80))
def test_what_is_read_prints_back_to_the_same_policy(text: str) -> None:
    try:
        policy = parse_policy(text + "\nquorum none\n")
    except Malformed:
        return
    assert parse_policy(print_policy(policy)) == policy
