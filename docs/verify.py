#!/usr/bin/env python3
"""Check what an Affidavit ledger handed over: a pack (.html), evidence (.json), a receipt, or an exported log (folder).

    python3 verify.py FILE [--vkey VKEY]... [--pinned FILE]...

Python 3.9 or later, standard library only, written from docs/format.md; it shares no code with the package. Give the
log's key and the checkpoints that you kept: what a file says of itself is its maker's word. Exit 0: all that was
checked holds, and what was not is listed. Exit 1: something is wrong, or it is not proven to be of your log.
"""

# fmt: off
# ruff: noqa: B905, C408, E401, I001, RUF007
# mypy: ignore-errors
import argparse, base64, hashlib, json, re, sys
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
checked, unchecked = [], []

def need(holds, message):
    if not holds:
        raise ValueError(message)
def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()
def b64(text, size=None):
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text and size in (None, len(data)), f"base64: not canonical: {text[:80]}")
    return data

# Ed25519 (RFC 8032), without the cofactor; points in extended coordinates.
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D, ROOT = -121665 * pow(121666, P - 2, P) % P, pow(2, (P - 1) // 4, P)
def point(data):
    number = int.from_bytes(data, "little")
    y, sign = number % 2**255 % P, number >> 255
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    x = x if v * x * x % P == u else x * ROOT % P
    return ((P - x if x & 1 != sign else x), y, 1, (-x if x & 1 != sign else x) * y) if v * x * x % P == u else None
def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]), (p[1] + p[0]) * (q[1] + q[0])
    c, d = 2 * p[3] * q[3] * D, 2 * p[2] * q[2]
    e, f, g, h = (b - a) % P, (d - c) % P, (d + c) % P, (b + a) % P
    return e * f % P, g * h % P, f * g % P, e * h % P
def multiply(scalar, p):
    rest = multiply(scalar >> 1, add(p, p)) if scalar else (0, 1, 1, 0)
    return add(rest, p) if scalar & 1 else rest
BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
def is_signed(key, signature, message):
    p, s = point(key), int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or p is None or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    x, y, z, _ = add(multiply(s, BASE), multiply(h, (P - p[0], p[1], 1, -p[3])))
    z = pow(z, P - 2, P)
    return (y * z % P | (x * z % P & 1) << 255).to_bytes(32, "little") == signature[:32]

# JSON in its one spelling: what is read must print as the same text.
def unique(pairs):
    need(len(dict(pairs)) == len(pairs), "JSON: a key stands twice in its object")
    return dict(pairs)
def walk(value, depth):
    need(type(value) is not float and (type(value) is not int or abs(value) < 2**53), "JSON: not such a number")
    need(depth < 32 or type(value) not in (dict, list), "JSON: more than 32 deep")
    for item in value.values() if type(value) is dict else value if type(value) is list else ():
        walk(item, depth + 1)
def parse_json(data):
    text = data.decode("utf-8")
    value = json.loads(text, object_pairs_hook=unique)
    walk(value, 0)
    need(json.dumps(value, ensure_ascii=False, separators=(",", ":")) == text, "JSON: not in its one spelling")
    return value
def fits(value, shape):  # a type, None, one of several, a list of one shape, or an object with these keys in order
    if type(shape) is tuple:
        return any(fits(value, each) for each in shape)
    if type(shape) is dict:
        return type(value) is dict and list(value) == list(shape) and all(map(fits, value.values(), shape.values()))
    if type(shape) is list:
        return type(value) is list and all(fits(item, shape[0]) for item in value)
    return value is None if shape is None else type(value) is shape
ENTRY = dict(v=int, seq=int, prev=str, at=str, stream=str, pos=int, type=str, meta=dict, data=dict, sealed=dict)
META = {"actor": str, "cause": int, "correlation": str, "recorder": str, "judge_prompt_version": str, "scope": str}
FORMS = {
    "prev": r"[0-9a-f]{64}",
    "at": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}\.[0-9]{6}Z",
    "stream": r"[a-z][a-z_]{0,63}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?",
    "type": r"[a-z][a-z_]{0,63}(\.[a-z][a-z_]{0,63}){1,3}\.v[1-9][0-9]{0,3}"}
DIGEST = r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"
def parse_entry(raw):
    e = parse_json(raw)
    need(len(raw) < 2**16 and fits(e, ENTRY) and e["v"] == 1 and min(e["seq"], e["pos"]) >= 0, "entry: not of format 1")
    what = f"entry {e['seq']}"
    for key, form in FORMS.items():
        need(re.fullmatch(form, e[key]), f"{what}: {key} is not of its form")
    are_typed = all(type(value) is META.get(key, type(value)) for key, value in e["meta"].items())
    need(datetime.fromisoformat(e["at"][:-1]) and are_typed and e["meta"].get("cause", 0) >= 0, f"{what}: at or meta")
    for name, digest in e["sealed"].items():
        need(type(digest) is str and re.fullmatch(DIGEST, digest) and name not in e["data"], f"{what}: {name!r:.80}")
    return e

class Order:  # entries one after another: each in its place, chained onto its neighbour, times and positions rising
    def __init__(self):
        self.leaves, self.last, self.at, self.positions, self.identity, self.missing = {}, -1, "", {}, [], []
    def take(self, seq, raw, is_whole):
        e = parse_entry(raw)
        pos, prev = self.positions.get(e["stream"], -1), self.leaves.get(seq - 1, bytes(32 if seq == 0 else 0)).hex()
        need(e["seq"] == seq > self.last and e["prev"] == (prev or e["prev"]), f"entry {seq}: not in the chain")
        need(e["at"] >= self.at and pos < e["pos"] <= (pos + 1 if is_whole else e["pos"]), f"entry {seq}: out of order")
        self.leaves[seq], self.last, self.at = sha256(b"\0", raw), seq, e["at"]
        self.missing += [f"positions {pos + 1}-{e['pos'] - 1} of {e['stream']}"] if e["pos"] > pos + 1 else []
        self.positions[e["stream"]] = e["pos"]
        self.identity += [e] if e["stream"] == "ledger" else []
        return e

# The tree (RFC 6962). A subtree is (first leaf, width); a proof gives the hashes of some, in an order that is known.
def fold(known, start, width):  # the hash of a subtree from the hashes of those that are known
    if (start, width) in known or width < 2:
        return known.get((start, width), sha256())
    half = 1 << (width - 1).bit_length() - 1
    return sha256(b"\1", fold(known, start, half), fold(known, start + half, width - half))
def left_out(wanted, start, width):  # the largest subtrees without a wanted leaf, left to right: a multiproof
    if not wanted or width < 2:
        return [] if wanted else [(start, width)]
    middle = start + (1 << (width - 1).bit_length() - 1)
    left = left_out([i for i in wanted if i < middle], start, middle - start)
    return left + left_out([i for i in wanted if i >= middle], middle, start + width - middle)
def siblings(index, size):  # the same for one leaf, from the bottom up: an inclusion proof
    return sorted(left_out([index], 0, size), key=lambda subtree: (subtree[0] ^ index).bit_length())
def check_roots(known, subtrees, proof, expected):
    need(len(subtrees) == len(proof), f"proof: expected {len(subtrees)} hashes, found {len(proof)}")
    known.update(zip(subtrees, (b64(each, 32) for each in proof)))
    for size, root in expected:
        need(fold(known, 0, size) == root, f"the root of {size} entries is not the one that is signed")
def check_consistency(old, size, proof, old_root, root):
    need(0 <= old <= size, f"the root of {old} entries, where {size} are signed")
    if old in (0, size):
        need(not proof and old_root == (root if old else sha256()), f"the root of {old} entries is another")
        return
    last = old & -old
    subtrees = [each for each in siblings(old - 1, size) if not old - last <= each[0] < old]
    known, subtrees = ({(0, old): old_root}, subtrees) if last == old else ({}, [(old - last, last), *subtrees])
    check_roots(known, subtrees, proof, [(old, old_root), (size, root)])

# Signed notes and checkpoints.
def parse_vkey(vkey):  # (name, key ID, type, key)
    name, key_id, encoded = vkey.split("+", 2)
    data = b64(encoded)
    need(re.fullmatch(r"[^+\s\0-\x1f]+", name) and key_id == sha256(name.encode(), b"\n", data)[:4].hex(), "vkey: ID")
    need(data and len(data) == {1: 33, 4: 33, 6: 1313}.get(data[0]), f"vkey of {name}: unknown type, or wrong length")
    found = None if data[0] == 6 else point(data[1:])
    need(found is None or multiply(8, found)[0] % P, f"vkey of {name}: of low order")
    return name, key_id, data[0], data[1:]
def parse_note(note):  # (text, [(name, key ID, signature)], origin, size, root), signatures not checked
    text, _, lines = note.rpartition("\n\n")
    said = re.fullmatch(r"([^+\s]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/=]{44})", text)
    need(said and int(said[2]) < 2**63 and lines.endswith("\n"), "checkpoint: not of its form")
    found = [re.fullmatch(r"— ([^+\s]+) ([A-Za-z0-9+/]{7,}=*)", line) for line in lines[:-1].split("\n")]
    need(all(found) and len(found) <= 100 and not re.search(r"[\0-\x09\x0b-\x1f]", note), "checkpoint: signatures")
    signatures = [(line[1], b64(line[2])[:4].hex(), b64(line[2])[4:]) for line in found]
    return text + "\n", signatures, said[1], int(said[2]), b64(said[3], 32)
def signers(note, keys, what=""):  # key to time, of those that signed; a line of a known key that is wrong is refused
    found = {}
    for name, key_id, signature in note[1]:
        for key in (each for each in keys if each[:2] == (name, key_id)):
            time, message = 0, note[0].encode()
            if key[2] == 4:
                time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
                message = f"cosignature/v1\ntime {time}\n".encode() + message
            if key[2] == 6:
                unchecked.append(f"the cosignature of {name} (ML-DSA-44)")
            else:
                need(time < 2**63 and is_signed(key[3], signature, message), f"{what}the signature of {name} is wrong")
                found[key] = time
    return found
NAMING = {  # the events that say who signs, and their fields
    "ledger.opened.v1": dict(format=int, origin=str, vkey=str),
    "key.rotated.v1": dict(old=str, new=str, first=int, last=int),
    "ledger.continued.v1": dict(origin=str, vkey=str, continues=str, signed_size=int, signed_root=str, reason=str)}
def read_identity(entries):  # [origin, key, first size, last size, seq of the entry that names it] of each key
    found = []
    for pos, e in enumerate(entries):
        kind, seq, data = e["type"], e["seq"], e["data"]
        need(e["pos"] == pos and (kind == "ledger.opened.v1") == (seq == 0) == (not found), "stream ledger: not whole")
        if kind not in NAMING:
            continue
        need({name: type(each) for name, each in data.items()} == NAMING[kind], f"entry {seq}: not its fields")
        if kind == "key.rotated.v1":
            origin, key, first, last = found[-1][0], parse_vkey(data["new"]), data["first"], data["last"]
            need(parse_vkey(data["old"]) == found[-1][1], f"entry {seq}: it replaces another key")
            need(found[-1][2] < first <= seq + 1 <= last, f"entry {seq}: the keys do not overlap")
            found[-1][3] = last
        else:
            origin, key, first = data["origin"], parse_vkey(data["vkey"]), seq + 1 if found else 0
            is_formed = re.fullmatch("([A-Za-z0-9._-]{1,64}/){1,4}[0-9a-f]{16}", origin) and data.get("format", 1) == 1
            is_next = not found or (data["continues"] == found[-1][0] and origin not in [each[0] for each in found])
            said = f"{data.get('signed_size', 0)} {data.get('signed_root', '0' * 64)} {data.get('reason', 'none')}"
            is_told = re.fullmatch("[0-9]+ [0-9a-f]{64} [a-z][a-z0-9_]{0,63}", said)
            need(is_formed and is_next and is_told, f"entry {seq}: format, origin, or it continues another log")
            found = [[*each[:3], min(each[3], seq), each[4]] for each in found]
        need(key[:3:2] == (origin, 1) and key[3] not in [each[1][3] for each in found], f"entry {seq}: not a new key")
        found.append([origin, key, first, 2**63, seq])
    return found
def check_signers(note, ranges):  # exactly the keys of its size, as the log names them
    expected = {key for origin, key, first, last, _ in ranges if first <= note[3] <= last and origin == note[2]}
    found = set(signers(note, [key for origin, key, *_ in ranges if origin == note[2]]))
    need(expected and found == expected, f"the checkpoint of size {note[3]} is not signed by the keys of its size")
    return found
def check_head(note, signed, ranges, earlier, roots, given):  # who signed, against what the reader brought
    trusted = set(given.vkey)
    for older in sorted(earlier, key=lambda each: each[3]):
        if trusted & check_signers(older, ranges):  # it vouches for the keys that it saw named
            trusted |= {each[1] for each in ranges if each[4] < older[3] and each[0] == older[2]}
    need(not given.vkey or trusted & signed, "NOT PROVEN: no key of yours signed this")
    checked.append(f"signature of {note[2]}: {note[3]} entries, root {base64.b64encode(note[4]).decode()}")
    (checked if given.vkey else unchecked).append("the key is " + ("yours" if given.vkey else "the file's own: --vkey"))
    for kept in given.pinned:
        keys, what = [each[1] for each in ranges if each[0] == kept[2]], f"the pinned checkpoint of {kept[2]}"
        need(signers(kept, keys, f"NOT PROVEN: {what}: "), f"NOT PROVEN: no key of this log signed {what}")
        need(kept[3] in roots, f"NOT PROVEN: nothing here leads from the pinned size {kept[3]}")
        need(roots[kept[3]] == kept[4], f"FORK: the pinned checkpoint of size {kept[3]} has another root; keep both")
        checked.append(f"the pinned checkpoint of size {kept[3]}")
    unchecked.extend([] if given.pinned else ["rollback: no checkpoint was pinned"])
def read_policy(text):  # the keys of the witnesses in a C2SP tlog-policy
    need(re.fullmatch(r"([^\0-\x08\x0a-\x1f\x7f]*\n)+", text), "policy: cut off, or a control character")
    keys, names, free, quorum = [], {"none"}, set(), None
    for line in text[:-1].split("\n"):
        words = re.sub("[ \t]+", " ", line).strip(" ").split(" ")
        word, name, own, is_good = words[0], words[1:2], {*words[3:]}, False
        if word in ("log", "witness") and len(words) - (word == "witness") in (2, 3):
            keys.append(parse_vkey(words[1 + (word == "witness")]))
            is_good = (keys[-1][2] == 1) == (word == "log") and keys[-1][3] not in [each[3] for each in keys[:-1]]
        elif word == "group" and re.fullmatch("any|all|[1-9][0-9]{0,18}", "".join(words[2:3])):
            number = {"any": 1, "all": len(own)}.get(words[2]) or int(words[2])
            is_good, free = number <= len(own) == len(words) - 3 and own <= free, free - own
        elif word == "quorum":
            is_good, quorum = quorum is None and len(words) == 2 and words[1] in names, words
        elif word[:1] in ("", "#"):
            form = r"#affidavit-range \S+ (0|[1-9][0-9]{0,18}) (-|0|[1-9][0-9]{0,18})|(?!(?i:#[ \t]*affidavit)).*"
            is_good = re.fullmatch(form, " ".join(words))
        if word in ("witness", "group"):
            is_good, names, free = is_good and not names & {*name}, names | {*name}, free | {*name}
        need(is_good, f"policy: {line}")
    need(quorum, "policy: no quorum line")
    return [key for key in keys if key[2] != 1]

# What can be handed over: evidence (also in a page), a receipt, an exported log.
TEXT = (str, None)
ENDS = {"first": int, "stop": int, "root_first": str, "root_stop": str, "proof_first": [str], "proof_stop": [str]}
SHAPE = {
    "format": str, "about": ({"run": str}, {"from": str, "to": str}), "made": {"recorder": str, "at": str},
    "vkey": str, "checkpoint": str, "range": ENDS, "entries": [{"seq": int, "entry": str, "disclosures": dict}],
    "proof": [str], "anchors": [{"note": str, "token": TEXT, "proof": [str]}], "policy": TEXT, "body": TEXT}
def check_disclosure(text, name, digest):
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    is_bound = digest and base64.urlsafe_b64decode(digest + "=") == sha256(text.encode())
    need(is_bound and base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text, f"{name!r:.80}: not what is bound")
    said = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_int=float)
    json.dumps(said, ensure_ascii=False, allow_nan=False).encode()  # every number finite, no half of a surrogate pair
    is_one = type(said) is list and len(said) == 3 and said[1] == name
    need(is_one and re.fullmatch("[A-Za-z0-9_-]{21}[AQgw]", said[0]), f"{name!r:.80}: no disclosure of this field")
def missing(seqs, first, stop):  # what is not among the seqs, in words
    ends = [first - 1, *(seq for seq in seqs if first <= seq < stop), stop]
    found = [f"{low + 1}-{high - 1}" for low, high in zip(ends, ends[1:]) if high - low > 1]
    return ", ".join(found[:20]) + (f" and {len(found) - 20} more" if len(found) > 20 else "")
def check_evidence(data, given):
    found, order, closed, reviews = parse_json(data), Order(), 0, 0
    need(fits(found, SHAPE) and found["format"] == "affidavit-evidence@v1", "evidence: not of its form")
    note, shown = parse_note(found["checkpoint"]), found["range"]
    at, is_body = found["made"]["at"], found["body"] is None or re.fullmatch(FORMS["prev"], found["body"])
    need(re.fullmatch(FORMS["at"], at) and datetime.fromisoformat(at[:-1]) and is_body, "evidence: time or body")
    for item in found["entries"]:
        e = order.take(item["seq"], item["entry"].encode(), False)
        closed += len(e["sealed"]) - len(item["disclosures"])
        reviews += e["type"] == "review.signed.v1" and "statement" in item["disclosures"]
        for name, text in item["disclosures"].items():
            check_disclosure(text, name, e["sealed"].get(name))
    need(0 in order.leaves and order.last < note[3] and shown["first"] <= shown["stop"], "entries or range: not of it")
    leaves = {(seq, 1): leaf for seq, leaf in order.leaves.items()}
    check_roots(leaves, left_out(sorted(order.leaves), 0, note[3]), found["proof"], [note[3:]])
    roots, earlier = {note[3]: note[4]}, [parse_note(each["note"]) for each in found["anchors"]]
    ends = [(shown[end], b64(shown[f"root_{end}"], 32), shown[f"proof_{end}"]) for end in ("first", "stop")]
    for size, root, proof in ends + [(old[3], old[4], each["proof"]) for old, each in zip(earlier, found["anchors"])]:
        check_consistency(size, note[3], proof, root, note[4])
        roots[size] = root
    ranges, tokens = read_identity(order.identity), [b64(each["token"]) for each in found["anchors"] if each["token"]]
    signed = check_signers(note, ranges)
    need(parse_vkey(found["vkey"]) in signed, "the vkey that the file states did not sign it")
    check_head(note, signed, ranges, earlier, roots, given)
    named = [] if found["policy"] is None else read_policy(found["policy"])
    need(not {key[3] for key in named} & {each[1][3] for each in ranges}, "policy: a key of the log is a witness's too")
    seen = ", ".join(f"{key[0]} at {time}" for key, time in signers(note, named).items())
    checked.append(f"{len(order.leaves)} entries, what is disclosed of them, both ends of the range")
    gaps, later = (missing(order.leaves, *ends) for ends in ((shown["first"], shown["stop"]), (shown["stop"], note[3])))
    told = [(gaps, f"gaps: entries {gaps} of the range"), (order.missing, f"gaps: {', '.join(order.missing[:20])}")]
    told += [(closed, f"sealed: {closed} fields"), (reviews, f"reviews: {reviews} statements; affidavit check does")]
    told += [(later, f"after: entries {later} of the log are not here; what happened later is not told")]
    unchecked.extend(text for is_so, text in told if is_so)
    unchecked.append(f"fork: seen by {seen or 'no witness'}; whether those are yours, your own policy tells")
    unchecked.extend([f"time: {len(tokens)} tokens", "events: what anchors and summaries say; affidavit check does"])
    return found["body"]
def check_receipt(data, given):
    head, _, note = data.decode("utf-8").partition("\n\n")
    form = r"c2sp\.org/tlog-proof@v1\n(?:extra (\S*)\n)?index (0|[1-9][0-9]{0,18})((?:\n[^\n]+){0,63})"
    said, note = re.fullmatch(form, head), parse_note(note)
    need(said and said[1], "receipt: not of its form, or without its entry (extra)")
    index, raw = int(said[2]), b64(said[1])
    need(parse_entry(raw)["seq"] == index < note[3], "receipt: the entry is of another place")
    check_roots({(index, 1): sha256(b"\0", raw)}, siblings(index, note[3]), said[3].split("\n")[1:], [note[3:]])
    checked.append(f"entry {index} stands in the tree")
    need(given.vkey, "NOT PROVEN: a receipt does not name its key: --vkey")
    ranges = [[key[0], key, 0, 2**63, 0] for key in given.vkey if key[0] == note[2] and key[2] == 1]
    check_head(note, {*signers(note, [each[1] for each in ranges])}, ranges, [], {note[3]: note[4]}, given)
def check_export(folder, given):
    def tile(level, n, width):
        groups = re.findall("...", str(n).zfill(-(-len(str(n)) // 3) * 3))
        path = folder.joinpath("tile", str(level), *(f"x{group}" for group in groups[:-1]), groups[-1])
        partial = path.with_name(f"{path.name}.p") / str(width)
        path, whole = (partial, width) if width < 256 and partial.is_file() else (path, 256)
        data, at, items = path.read_bytes(), 0, []
        while at < len(data):
            end = at + (2 + int.from_bytes(data[at : at + 2], "big") if level == "entries" else 32)
            items, at = [*items, data[at:end]], end
        need(at == len(data) and len(items) == whole, f"tile {level}/{n}: not of its length")
        return items[:width]
    note, order = parse_note((folder / "checkpoint").read_bytes().decode()), Order()
    for start in range(0, note[3], 256):
        for seq, item in enumerate(tile("entries", start // 256, min(256, note[3] - start)), start):
            order.take(seq, item[2:], True)
    level, hashes = 0, list(order.leaves.values())
    while hashes:
        parts = [hashes[at : at + 256] for at in range(0, len(hashes), 256)]
        need(all(tile(level, n, len(part)) == part for n, part in enumerate(parts)), f"tile/{level}: other hashes")
        whole = [{(i, 1): each for i, each in enumerate(part)} for part in parts if len(part) == 256]
        level, hashes = level + 1, [fold(part, 0, 256) for part in whole]
    leaves = {(seq, 1): leaf for seq, leaf in order.leaves.items()}
    roots = {size: fold(leaves, 0, size) for size in {note[3], *(kept[3] for kept in given.pinned)} if size <= note[3]}
    need(roots[note[3]] == note[4], "the entries are not those that were signed")
    checked.append(f"{note[3]} entries, all that are signed, and the tiles over them")
    ranges = read_identity(order.identity)
    check_head(note, check_signers(note, ranges), ranges, [], roots, given)

class Page(HTMLParser):  # the pieces of a page, for its digest: docs/format.md, "Page digest"
    found, open, skipped, text = [""], (), 0, ""
    def piece(self, *pieces):
        text, self.text = self.text, ""
        pieces = (f"T{text}", *pieces) if text.strip(" \t\n\f\r") else pieces
        self.found.extend(() if self.skipped else pieces)
    def handle_starttag(self, tag, attrs):
        is_void = tag in ("br", "hr", "img", "input", "link", "meta")
        self.piece(f"E{tag}", *(f"A{name}={value or ''}" for name, value in sorted(attrs)), *(["/"] if is_void else []))
        self.open += () if is_void else (tag,)
        if not self.skipped and not is_void and dict(attrs).get("id") == "evidence":
            self.skipped = len(self.open)
    def handle_endtag(self, tag):
        self.piece()
        self.skipped, self.open = 0 if self.skipped == len(self.open) else self.skipped, self.open[:-1]
        self.piece("/")
    def handle_data(self, data):
        is_first = self.open[-1:] == ("pre",) and not self.text and self.found[-1][0] in "EA"
        self.text += data.removeprefix("\n") if is_first else data
    def handle_comment(self, data):
        self.piece(f"C{data}")
def check_page(data, given):
    text = data.decode("utf-8")
    carried = re.findall(r'<script type="application/json" id="evidence">(.*?)</script>', text, re.DOTALL)
    need(len(carried) == 1 and "<" not in carried[0], "page: expected evidence in it, once, and no '<' in that")
    evidence = re.sub(r"\\(?:u003c|.)", lambda found: "<" if found[0] == "\\u003c" else found[0], carried[0])
    body = check_evidence(evidence.encode(), given)
    page = Page()
    page.feed(text)
    page.close()
    page.piece()
    printed = json.dumps(page.found[1:], ensure_ascii=False, separators=(",", ":"))
    need(body == sha256(printed.encode()).hex(), "the page was changed after it was made")
    said = "page: it agrees with the digest that the file states, which whoever changed it could state too; "
    unchecked.append(said + "affidavit check makes it again from the entries")

def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--vkey", action="append", default=[], help="the log's key as you have it from elsewhere")
    parser.add_argument("--pinned", action="append", default=[], type=Path, help="a checkpoint that you kept")
    given = parser.parse_args(arguments)
    try:
        given.vkey = [parse_vkey(vkey) for vkey in given.vkey]
        given.pinned = [parse_note(path.read_bytes().decode()) for path in given.pinned]
        data = b"" if given.file.is_dir() else given.file.read_bytes()
        check = {b"c2sp.org": check_receipt, b'{"format': check_evidence}.get(data[:8], check_page)
        check_export(given.file, given) if given.file.is_dir() else check(data, given)
        answer = "OK: all that was checked holds"
    except Exception as error:  # whatever lies in the file, a reader gets an answer
        answer = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        answer = answer if answer.startswith(("NOT PROVEN: ", "FORK: ")) else f"WRONG: {answer}"
    marks = [f"  checked      {each}" for each in checked] + [f"  not checked  {each}" for each in unchecked]
    print("\n".join(re.sub("[^ -~]", lambda found: ascii(found[0])[1:-1], line) for line in [answer, *marks]))
    return 0 if answer.startswith("OK") else 1

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
