"""The vectors of other projects that no test of a single format runs, and which files are not ours."""

from __future__ import annotations

import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from affidavit.ledger.entries.seal import digest_of
from affidavit.ledger.errors import LedgerError, Malformed, VerificationError
from affidavit.ledger.tlog import ml_dsa
from affidavit.ledger.tlog.bundle import parse_bundle, print_bundle
from affidavit.ledger.tlog.checkpoint import (
    Checkpoint,
    claimed_checkpoint,
    decode_hash,
    open_checkpoint,
    parse_checkpoint,
    parse_number,
    print_checkpoint,
)
from affidavit.ledger.tlog.cosignature import (
    Cosignature,
    add_signatures,
    cosign,
    log_signature_line,
    open_cosigned,
    verify_cosignature,
)
from affidavit.ledger.tlog.hashing import EMPTY_ROOT, leaf_hash
from affidavit.ledger.tlog.note import (
    ED25519,
    ED25519_COSIGNATURE,
    ML_DSA_44_COSIGNATURE,
    VerifierKey,
    known_signatures,
    parse_note,
    parse_vkey,
    print_vkey,
)
from affidavit.ledger.tlog.policy import parse_policy, print_policy
from affidavit.ledger.tlog.private_key import NotePrivateKey
from affidavit.ledger.tlog.proof import verify_consistency, verify_inclusion
from affidavit.ledger.tlog.receipt import parse_receipt, print_receipt, verify_receipt
from affidavit.ledger.tlog.tiles import parse_tile_path, tile_path
from affidavit.ledger.tlog.tree import fold_perfect, prove_consistency, prove_inclusion
from affidavit.tests.trees import root_of

TESTS = Path(__file__).resolve().parents[2]
Row = dict[str, Any]

NOT_OURS = {
    "jcs_cases.json": "entries follow a grammar of their own (docs/format.md), not RFC 8785",
    "jcs_es6_numbers_README.txt": "numbers are written without exponents (docs/format.md), not as in RFC 8785",
}


def test_every_vector_is_named_by_a_test_or_is_not_ours(vectors: Path) -> None:
    tests = "".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    listed = {row["file"] for row in json.loads((vectors / "MANIFEST.json").read_text())}
    named = {file for file in listed if f'"{file.split("/")[0]}"' in tests}
    assert listed - NOT_OURS.keys() - named == set()
    assert NOT_OURS.keys() <= listed


# Cosignatures and policies


def test_the_cosigned_notes_of_sunlight_are_answered_as_they_say(vectors: Path) -> None:
    """They bear a witness's signature and not the log's."""
    answered = []
    for row in rows(vectors, "signed_notes.json"):
        (verifier,) = map(parse_vkey, row["vkeys"]) if len(row["vkeys"]) == 1 else (None,)
        if verifier is None or verifier.algorithm != ED25519_COSIGNATURE:
            continue
        answered.append(row["want"])
        if row["want"] == "ok":
            assert row["why"].endswith(f"timestamp {read_cosignature(row['note'], verifier).time}")
            tampered = row["note"].encode()
            with pytest.raises(VerificationError, match="by a known key"):
                open_cosigned(tampered, [], [verifier], claimed_checkpoint(tampered).origin)
        else:
            with pytest.raises((Malformed, VerificationError)):
                read_cosignature(row["note"], verifier)
    assert answered == ["ok", "reject", "reject"] * 3


def read_cosignature(note: str, verifier: VerifierKey) -> Cosignature:
    parsed = parse_note(note.encode())
    ((key, signature),) = known_signatures(parsed, [verifier])
    return verify_cosignature(parse_checkpoint(parsed.text), key, signature)


def test_the_cosignature_that_sigsum_makes_from_a_seed_is_ours(vectors: Path) -> None:
    known = json.loads((vectors / "sigsum_cosign.json").read_text())
    seed = bytes.fromhex(known["seed_hex"])
    witness = NotePrivateKey(known["cosign_name"], ED25519_COSIGNATURE, seed)
    checkpoint = parse_checkpoint(known["cosign_text"])
    assert cosign(checkpoint, witness, known["cosign_timestamp"]).rstrip("\n") == known["cosign_line"].rstrip("\n")
    origin = known["checkpoint"].partition("\n")[0]
    body = known["checkpoint"].rpartition("\n\n")[0] + "\n"
    assert NotePrivateKey(origin, ED25519, seed).sign_text(body).decode() == known["checkpoint"]


def test_the_policies_that_sigsum_refuses_are_malformed(vectors: Path) -> None:
    """Sigsum writes keys as bare hex; here every one is a vkey, so that the rule that is meant refuses."""
    refused = json.loads((vectors / "policies.json").read_text())["sigsum_invalid"]
    meant = {
        "no quorum": "no quorum",
        "control character": "control character",
        "duplicate log": "on an earlier line",
        "duplicate witness": "on an earlier line",
        "invalid log policy line": "expected a log",
        "duplicate name": "is taken",
        "undefined name": "is not defined",
        "already a member": "is a member already",
        "cannot be a group member": "is not defined",
    }
    assert len(refused) == 13
    for row in refused:
        (message,) = {ours for theirs, ours in meant.items() if theirs in row["err"]}
        for text in (row["policy"], with_vkeys(row["policy"])):
            with pytest.raises(Malformed):
                parse_policy(text)
        with pytest.raises(Malformed, match=message):
            parse_policy(with_vkeys(row["policy"]))


def with_vkeys(policy: str) -> str:
    """The policy with a key of the right type in place of each 64 letters."""
    for letter in "abcd":
        for word, algorithm in (("log", ED25519), ("witness", ED25519_COSIGNATURE)):
            seed = sha256(f"{word} {letter}".encode()).digest()
            vkey = print_vkey(NotePrivateKey(f"{word}.example", algorithm, seed).verifier_key)
            lines = [
                line.replace(letter * 64, vkey) if line.split()[:1] == [word] else line for line in policy.split("\n")
            ]
            policy = "\n".join(lines)
    return policy


ACCEPTED_POLICIES = {"tidy", "group numerical", "group all", "group any"}


def test_the_policies_of_transparency_dev_are_answered_by_the_specification(vectors: Path) -> None:
    """As they stand all are refused: their witness keys are of type 0x01, and some stand there twice.

    With keys of type 0x04, each once, the grammar decides. It takes no comment behind an address.
    """
    for row in json.loads((vectors / "policies.json").read_text())["formats_cases"]:
        with pytest.raises(Malformed):
            parse_policy(row["policy"])
        lines = [retyped(line, number) for number, line in enumerate(row["policy"].split("\n"))]
        text = "\n".join(lines)
        if row["test"] in ACCEPTED_POLICIES:
            policy = parse_policy(text)
            assert parse_policy(print_policy(policy)) == policy
            assert policy.is_met([witness.key for witness in policy.witnesses])
            assert not policy.is_met([])
        else:
            with pytest.raises(Malformed):
                parse_policy(text)


def test_whitespace_and_comments_of_transparency_dev_are_taken_but_for_the_one_behind_an_address(vectors: Path) -> None:
    policies = json.loads((vectors / "policies.json").read_text())["formats_cases"]
    (row,) = [row for row in policies if row["test"] == "whitespace and comments"]
    text = "\n".join(retyped(line, number) for number, line in enumerate(row["policy"].split("\n")))
    with pytest.raises(Malformed, match=r"line 4: .* expected a log"):
        parse_policy(text)
    policy = parse_policy(text.replace("/    #comment\n", "/\n"))
    assert [witness.url for witness in policy.witnesses] == [
        "https://sigsum.org/witness/",
        "https://example.com/witness/",
    ]


def retyped(line: str, number: int) -> str:
    words = line.split()
    if len(words) < 3 or words[0] != "witness":
        return line
    seed = sha256(f"line {number}".encode()).digest()
    return line.replace(words[2], print_vkey(NotePrivateKey("w.example", ED25519_COSIGNATURE, seed).verifier_key))


# Proofs of subtrees


def test_the_inclusion_probes_of_subtrees_are_answered_as_they_say(vectors: Path) -> None:
    """A subtree of leaves start to end is a tree of its own, if its start is a multiple of its rounded width."""
    accepted = 0
    for row in probes(vectors, "merkle_subtreeinclusion.jsonl"):
        start, width = row["start"], row["end"] - row["start"]
        args = row["leafIdx"] - start, width, unhash(row["leafHash"]), list(map(unhash, row["proof"] or []))
        if is_aligned(start, width) and is_accepted(row):
            verify_inclusion(*args, unhash(row["root"]))
            accepted += 1
        elif is_aligned(start, width):
            with pytest.raises(VerificationError):
                verify_inclusion(*args, unhash(row["root"]))
        else:
            assert not is_accepted(row)
    assert accepted == 12


def test_the_consistency_probes_of_subtrees_from_leaf_0_on_are_answered_as_they_say(vectors: Path) -> None:
    """Those that begin later are not run: no statement here is about a subtree that is no tree."""
    accepted = 0
    for row in probes(vectors, "merkle_subtreeconsistency.jsonl"):
        if row["start"] != 0:
            continue
        args = (
            row["end"],
            row["size"],
            list(map(unhash, row["proof"] or [])),
            unhash(row["root1"]),
            unhash(row["root2"]),
        )
        if is_accepted(row):
            verify_consistency(*args)
            accepted += 1
        else:
            with pytest.raises(VerificationError):
                verify_consistency(*args)
    assert accepted == 6


def is_aligned(start: int, width: int) -> bool:
    return width > 0 and start % (1 << (width - 1).bit_length()) == 0


def is_accepted(row: Row) -> bool:
    """Toy hashes, not of 32 bytes, are refused whatever the row says."""
    return not row["wantErr"] and not row.get("has_non_32_byte_hash")


def unhash(encoded: str | None) -> bytes:
    return b64decode(encoded or "")


# Signatures of the post-quantum kind


def test_ml_dsa_verifies_as_wycheproof_says(vectors: Path) -> None:
    """Rows with a context, of which cosignatures have none, show that the empty one is what is used."""
    pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa", reason="this 'cryptography' has no ML-DSA")
    valid = 0
    for group in json.loads((vectors / "wycheproof_mldsa_44_verify_test.json").read_text())["testGroups"]:
        public_key = bytes.fromhex(group["publicKey"])
        if len(public_key) != 1312:
            assert {row["result"] for row in group["tests"]} == {"invalid"}
            with pytest.raises(Malformed, match="expected 1312 bytes"):
                VerifierKey("wycheproof", ML_DSA_44_COSIGNATURE, public_key)
            continue
        for row in group["tests"]:
            is_good = row["result"] == "valid" and not row.get("ctx")
            message = bytes.fromhex(row["msg"])
            assert ml_dsa.is_signed(public_key, bytes.fromhex(row["sig"]), message) == is_good, row["tcId"]
            valid += is_good
    assert valid > 40


# A whole log of another project


def test_the_log_that_tessera_wrote_checks_out_from_its_files(vectors: Path) -> None:
    log = vectors / "tessera_log"
    key = parse_vkey((log / "VKEY.txt").read_text().strip())
    heads = [open_checkpoint((log / f"checkpoint.{size}").read_bytes(), [key], key.name) for size in range(16)]
    assert heads[0] == Checkpoint.empty(key.name)
    assert open_checkpoint((log / "checkpoint").read_bytes(), [key], key.name) == heads[15]
    for head in heads[1:]:
        bundle = (log / tile_path("entries", 0, head.size)).read_bytes()
        leaves = [leaf_hash(entry) for entry in parse_bundle(bundle)]
        assert print_bundle(parse_bundle(bundle)) == bundle
        assert b"".join(leaves) == (log / tile_path(0, 0, head.size)).read_bytes()
        assert root_of(leaves) == head.root
        with pytest.raises(Malformed):
            parse_bundle(bundle[:-1])
        node = perfect_nodes(leaves)
        for index, leaf in enumerate(leaves):
            verify_inclusion(index, head.size, leaf, prove_inclusion(index, head.size, node), head.root)
        for older in heads[: head.size]:
            verify_consistency(
                older.size, head.size, prove_consistency(older.size, head.size, node), older.root, head.root
            )


def perfect_nodes(leaves: list[bytes]) -> Any:
    return lambda level, index: fold_perfect(b"".join(leaves[index << level : (index + 1) << level]))


# Sigstore: the part of a bundle that a transparency log vouches for

# What fails in these is a certificate, a time or the signed artifact: their tlog part is good.
GOOD_TLOG_PART = {
    "integrated-time-in-future_fail",
    "rekor2-dsse-invalid-sig_fail",
    "rekor2-dsse-mismatch-envelope_fail",
    "rekor2-dsse-mismatch-sig_fail",
    "rekor2-no-timestamp_fail",
    "rekor2-timestamp-outside-trust-root-tsa-validity_fail",
    "rekor2-timestamp-outside-tsa-cert-validity_fail",
    "rekor2-timestamp-payload-mismatch_fail",
    "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail",
    "rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail",
    "rekor2-timestamp-with-incorrect-time_fail",
    "trust-root-tlog-missing-validity-start_fail",
}
# What fails in these is an ECDSA signature (type 0x02) of Rekor v1, which is not read here: the ledger's notes have
# none, and the format asks for as few types as one needs. Nor is the origin of Rekor v1 one of ours: it has spaces.
WRONG_ECDSA = {"checkpoint-bad-keyhint_fail", "invalid-checkpoint-signature_fail"}


def test_every_bundle_of_sigstore_is_decided(vectors: Path) -> None:
    """Rekor v2 down to the checkpoint's signature; Rekor v1 without it, down to the size and root in the note."""
    decided = {each.name: decide(each) for each in (vectors / "sigstore_bundles").iterdir() if each.is_dir()}
    assert len(decided) == 38
    failing = {name for name in decided if name.endswith("_fail")}
    rejected = failing - GOOD_TLOG_PART - WRONG_ECDSA
    assert len(rejected) == 10
    rekor_2 = {name for name in decided if name.startswith(("rekor2-", "trust-root-tlog-m", "trust-root-tsa"))}
    assert {name for name, answer in decided.items() if answer == "rejected"} == rejected
    assert {name for name, answer in decided.items() if answer == "signed"} == rekor_2 - rejected
    assert {name for name, answer in decided.items() if answer == "unsigned"} == decided.keys() - rekor_2 - rejected


def decide(folder: Path) -> str:
    """Whether the tlog part of a bundle checks out."""
    bundle = json.loads((folder / "bundle.sigstore.json").read_text())
    (entry,) = bundle["verificationMaterial"]["tlogEntries"]
    proof = entry.get("inclusionProof") or {}
    if "checkpoint" not in proof:
        return "rejected"
    note = proof["checkpoint"]["envelope"].encode()
    leaf = leaf_hash(b64decode(entry["canonicalizedBody"]))
    path, root = [unhash(each) for each in proof["hashes"]], unhash(proof["rootHash"])
    try:
        verify_inclusion(int(proof["logIndex"]), int(proof["treeSize"]), leaf, path, root)
        if "integratedTime" in entry:
            with pytest.raises(Malformed):
                claimed_checkpoint(note)
            _, size, encoded_root, *_ = parse_note(note).text.split("\n")
            head, answer = (parse_number(size), decode_hash(encoded_root)), "unsigned"
        else:
            key = rekor_2_key(json.loads((folder / "trusted_root.json").read_text()), entry["logId"]["keyId"])
            checkpoint = open_checkpoint(note, [key], key.name)
            head, answer = (checkpoint.size, checkpoint.root), "signed"
    except LedgerError:
        return "rejected"
    return answer if head == (int(proof["treeSize"]), root) else "rejected"


def rekor_2_key(trusted_root: Row, log_id: str) -> VerifierKey:
    (log,) = [each for each in trusted_root["tlogs"] if each["logId"]["keyId"] == log_id]
    public_key = load_der_public_key(b64decode(log["publicKey"]["rawBytes"]))
    assert isinstance(public_key, Ed25519PublicKey)
    key = VerifierKey(log["baseUrl"].removeprefix("https://"), ED25519, public_key.public_bytes_raw())
    assert b64decode(log_id).startswith(key.key_id)
    return key


def test_a_bundle_of_sigstore_with_one_part_changed_is_rejected(vectors: Path) -> None:
    folder = vectors / "sigstore_bundles" / "rekor2-happy-path"
    (entry,) = json.loads((folder / "bundle.sigstore.json").read_text())["verificationMaterial"]["tlogEntries"]
    key = rekor_2_key(json.loads((folder / "trusted_root.json").read_text()), entry["logId"]["keyId"])
    proof = entry["inclusionProof"]
    note = proof["checkpoint"]["envelope"].encode()
    assert log_signature_line(note, key).encode() in note
    head = open_checkpoint(note, [key], key.name)
    path, leaf = list(map(unhash, proof["hashes"])), leaf_hash(b64decode(entry["canonicalizedBody"]))
    verify_inclusion(735, head.size, leaf, path, head.root)
    for wrong in (path[:-1], [*path, leaf], [*path[1:], path[0]], [leaf, *path[1:]]):
        with pytest.raises(VerificationError):
            verify_inclusion(735, head.size, leaf, wrong, head.root)


# Disclosures, and the worked example


def test_the_disclosure_of_rfc_9901_has_its_digest(vectors: Path) -> None:
    known = json.loads((vectors / "sd_jwt_disclosure.json").read_text())
    content = b64decode(known["disclosure"] + "=" * (-len(known["disclosure"]) % 4), altchars=b"-_")
    assert digest_of(content) == known["digest_sha256"]


def test_every_value_of_the_worked_example_is_ours(vectors: Path) -> None:
    known = json.loads((vectors / "worked_example.json").read_text())
    entries = [entry.encode() for entry in known["entries"]]
    leaves = [leaf_hash(entry) for entry in entries]
    assert [leaf.hex() for leaf in leaves] == known["leaf_hashes"]
    assert [root_of(leaves[:size]).hex() for size in (1, 2, 3)] == [known[f"root{size}"] for size in (1, 2, 3)]
    assert (EMPTY_ROOT.hex(), leaf_hash(b"").hex()) == (known["empty_root"], known["leaf_of_empty"])

    log, log2 = parse_vkey(known["log_vkey"]), parse_vkey(known["log_vkey2"])
    private = NotePrivateKey(log.name, ED25519, sha256(b"SPEC log key 1").digest())
    seed = sha256(b"SPEC witness key 1").digest()
    witness = NotePrivateKey("witness.example/w1", ED25519_COSIGNATURE, seed)
    assert (private.verifier_key, private.verifier_key.public_key.hex()) == (log, known["log_pub"])
    assert (log2.name, print_vkey(log2)) == (log.name, known["log_vkey2"])
    assert print_vkey(witness.verifier_key) == known["wit_vkey"]
    assert print_vkey(NotePrivateKey(witness.name, ED25519, seed).verifier_key) == known["wit_vkey_as_0x01"]

    head = Checkpoint(log.name, 3, root_of(leaves))
    ((_, _, _), (_, _, time)) = known["verified"]
    note = add_signatures(private.sign_text(print_checkpoint(head)), [cosign(head, witness, time)])
    assert note.decode() == known["checkpoint"]
    found = open_cosigned(note, [log], [witness.verifier_key], log.name)
    assert (found.log_keys, found.cosignatures) == ((log,), (Cosignature(witness.verifier_key, time),))
    assert known["cosig_message"] == f"cosignature/v1\ntime {time}\n{print_checkpoint(head)}"

    node = perfect_nodes(leaves)
    assert [each.hex() for each in prove_inclusion(1, 3, node)] == known["incl_1_of_3"]
    assert [each.hex() for each in prove_inclusion(2, 3, node)] == known["incl_2_of_3"]
    assert [each.hex() for each in prove_consistency(2, 3, node)] == known["cons_2_3"]
    assert [each.hex() for each in prove_consistency(1, 3, node)] == known["cons_1_3"]

    assert print_bundle(entries).hex() == known["bundle_hex"]
    assert len(print_bundle(entries)) == known["bundle_len"]
    assert (len(b"".join(leaves)), sha256(b"".join(leaves)).hexdigest()) == (known["tile_len"], known["tile_sha256"])

    receipt = parse_receipt(known["tlog_proof"].encode())
    assert verify_receipt(receipt, leaf_hash(entries[1]), [log], log.name) == head
    assert sha256(print_receipt(receipt)).hexdigest() == known["tlog_proof_sha256"]
    assert sha256(log.name.encode()).hexdigest() == known["origin_hash"]


def test_the_tiles_and_the_300_leaves_of_the_worked_example_are_ours(vectors: Path) -> None:
    known = json.loads((vectors / "worked_example.json").read_text())
    assert [tile_path(*parse_tile_path(path)) for path in known["paths"]] == known["paths"]
    leaves = [leaf_hash(str(number).encode()) for number in range(300)]
    node = perfect_nodes(leaves)
    assert root_of(leaves).hex() == known["tree300_root"]
    assert root_of(leaves[:256]).hex() == known["tree256_root"] == known["tree300_tile1_0p1"] == node(8, 0).hex()
    assert sha256(b"".join(leaves[:256])).hexdigest() == known["tree300_tile0_0_sha256"]
    assert sha256(b"".join(leaves[256:])).hexdigest() == known["tree300_tile0_1p44_sha256"]
    assert len(prove_inclusion(299, 300, node)) == known["tree300_incl_299_len"]
    assert len(prove_consistency(200, 300, node)) == known["tree300_cons_200_300_len"]


def test_the_ml_dsa_part_of_the_worked_example_is_ours(vectors: Path) -> None:
    pytest.importorskip("cryptography.hazmat.primitives.asymmetric.mldsa", reason="this 'cryptography' has no ML-DSA")
    known = json.loads((vectors / "worked_example.json").read_text())
    witness = NotePrivateKey("witness.example/w1", ML_DSA_44_COSIGNATURE, sha256(b"SPEC witness key 1").digest())
    key = witness.verifier_key
    assert (key.key_id.hex(), sha256(key.public_key).hexdigest()) == (known["mldsa_key_id"], known["mldsa_pub_sha256"])
    assert len(print_vkey(key)) == known["mldsa_vkey_len"]
    (*_, (_, _, time)) = known["mldsa_verified"]
    head = parse_checkpoint(known["checkpoint"].rpartition("\n\n")[0] + "\n")
    line = cosign(head, witness, time)
    assert len(line.encode()) == known["mldsa_line_len"]
    note = add_signatures(known["checkpoint"].encode(), [line])
    ed25519 = parse_vkey(known["wit_vkey"])
    found = open_cosigned(note, [parse_vkey(known["log_vkey"])], [ed25519, key], head.origin)
    verified = [[each.key.name, each.key.algorithm, each.time] for each in found.cosignatures]
    assert [[each.name, each.algorithm, None] for each in found.log_keys] + verified == known["mldsa_verified"]
    message = bytes.fromhex(known["mldsa_msg_hex"])
    assert len(message) == known["mldsa_msg_len"]
    bare = parse_note(note).signatures[2].signature[8:]
    assert ml_dsa.is_signed(key.public_key, bare, message)


def rows(vectors: Path, name: str) -> list[Row]:
    found: list[Row] = json.loads((vectors / name).read_text())
    return found


def probes(vectors: Path, name: str) -> list[Row]:
    return [json.loads(line) for line in (vectors / name).read_text().splitlines()]
