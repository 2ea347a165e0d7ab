#!/usr/bin/env python3
"""Check what an Affidavit ledger handed over: a pack (.html), evidence (.json), a receipt, or an exported log (folder).

    python3 verify.py FILE [--vkey VKEY]... [--pinned FILE]...

Python 3.9 or later, standard library only, written from docs/format.md; it shares no code with the package. Give the
log's key and the checkpoints that you kept: what a file says of itself is its maker's word. Exit 0: all that was
checked holds, and what was not is listed. Exit 1: something is wrong, or what you gave is not proven.
"""

# fmt: off
# ruff: noqa: B905, E401, I001
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
    total = (0, 1, 1, 0)
    while scalar:
        total, p, scalar = add(total, p) if scalar & 1 else total, add(p, p), scalar >> 1
    return total

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
    if type(value) in (dict, list):
        need(depth < 32, "JSON: more than 32 deep")
        for item in value.values() if type(value) is dict else value:
            walk(item, depth + 1)

def parse_json(data):
    text = data.decode("utf-8")
    value = json.loads(text, object_pairs_hook=unique)
    walk(value, 0)
    need(json.dumps(value, ensure_ascii=False, separators=(",", ":")) == text, "JSON: not in its one spelling")
    return value

def fits(value, shape):
    """A shape is a type, None, one of several, a list of one shape, or an object with these keys in their order."""
    if type(shape) is tuple:
        return any(fits(value, each) for each in shape)
    if type(shape) is dict:
        return type(value) is dict and list(value) == list(shape) and all(map(fits, value.values(), shape.values()))
    if type(shape) is list:
        return type(value) is list and all(fits(item, shape[0]) for item in value)
    return value is None if shape is None else type(value) is shape

KEYS = ["v", "seq", "prev", "at", "stream", "pos", "type", "meta", "data", "sealed"]
ENTRY = dict(zip(KEYS, (int, int, str, str, str, int, str, dict, dict, dict)))
META = {"actor": str, "cause": int, "correlation": str, "recorder": str, "judge_prompt_version": str, "scope": str}
FORMS = {
    "prev": r"[0-9a-f]{64}",
    "at": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}\.[0-9]{6}Z",
    "stream": r"[a-z][a-z_]{0,63}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?",
    "type": r"[a-z][a-z_]{0,63}(\.[a-z][a-z_]{0,63}){1,3}\.v[1-9][0-9]{0,3}",
}
DIGEST = r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"

def parse_entry(raw):
    need(len(raw) <= 65535, "entry: longer than 65,535 bytes")
    e = parse_json(raw)
    need(fits(e, ENTRY) and e["v"] == 1 and e["seq"] >= 0 and e["pos"] >= 0, "entry: not of format 1")
    what = f"entry {e['seq']}"
    for key, form in FORMS.items():
        need(re.fullmatch(form, e[key]), f"{what}: {key} is not of its form")
    datetime.fromisoformat(e["at"][:-1])
    are_typed = all(type(value) is META.get(key, type(value)) for key, value in e["meta"].items())
    need(are_typed and e["meta"].get("cause", 0) >= 0, f"{what}: meta")
    for name, digest in e["sealed"].items():
        need(type(digest) is str and re.fullmatch(DIGEST, digest) and name not in e["data"], f"{what}: {name!r:.80}")
    return e

class Order:  # entries one after another: each in its place, chained onto its neighbour, times and positions rising
    def __init__(self):
        self.leaves, self.last, self.at, self.positions, self.identity = {}, -1, "", {}, []

    def take(self, seq, raw, is_whole):
        e = parse_entry(raw)
        pos, prev = self.positions.get(e["stream"], -1), self.leaves.get(seq - 1, bytes(32 if seq == 0 else 0)).hex()
        need(e["seq"] == seq > self.last and e["prev"] == (prev or e["prev"]), f"entry {seq}: not in the chain")
        need(e["at"] >= self.at and pos < e["pos"] <= (pos + 1 if is_whole else e["pos"]), f"entry {seq}: out of order")
        self.leaves[seq], self.last, self.at = sha256(b"\0", raw), seq, e["at"]
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
    need(key_id == sha256(name.encode(), b"\n", data)[:4].hex(), f"vkey of {name}: the ID is not that of name and key")
    need(data and len(data) == {1: 33, 4: 33, 6: 1313}.get(data[0]), f"vkey of {name}: unknown type, or wrong length")
    return name, key_id, data[0], data[1:]

def parse_note(note):  # (text, [(name, key ID, signature)], origin, size, root), signatures not checked
    text, _, lines = note.rpartition("\n\n")
    said = re.fullmatch(r"([^+\s]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/=]{44})", text)
    need(said and int(said[2]) < 2**63 and lines.endswith("\n"), "checkpoint: not of its form")
    found = [re.fullmatch(r"— ([^+\s]+) ([A-Za-z0-9+/]{7,}=*)", line) for line in lines[:-1].split("\n")]
    need(all(found) and len(found) <= 100 and not re.search(r"[\0-\x09\x0b-\x1f]", note), "checkpoint: signatures")
    signatures = [(line[1], b64(line[2])[:4].hex(), b64(line[2])[4:]) for line in found]
    return text + "\n", signatures, said[1], int(said[2]), b64(said[3], 32)

def signers(note, keys):
    """Key to time, of those that signed; a line under a known name and ID that is wrong is refused."""
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
                need(time < 2**63 and is_signed(key[3], signature, message), f"the signature of {name} is wrong")
                found[key] = time
    return found

def read_identity(entries):
    """[origin, key, first size, last size, seq of the entry that names it] of each key that signs this log."""
    found = []
    for pos, e in enumerate(entries):
        kind, seq, data = e["type"], e["seq"], e["data"]
        need(e["pos"] == pos and (kind == "ledger.opened.v1") == (seq == 0) == (not found), "stream ledger: not whole")
        if kind == "key.rotated.v1":
            origin, key, first, last = found[-1][0], parse_vkey(data["new"]), data["first"], data["last"]
            need(parse_vkey(data["old"]) == found[-1][1], f"entry {seq}: it replaces another key")
            need(found[-1][2] < first <= seq + 1 <= last, f"entry {seq}: the keys do not overlap")
            found[-1][3] = last
        elif kind in ("ledger.opened.v1", "ledger.continued.v1"):
            origin, key, first = data["origin"], parse_vkey(data["vkey"]), seq + 1 if found else 0
            need(not found or data["continues"] == found[-1][0] != origin, f"entry {seq}: it continues another log")
            found = [[*each[:3], min(each[3], seq), each[4]] for each in found]
        else:
            continue
        is_new = key[3] not in [each[1][3] for each in found]
        need(key[0] == origin and key[2] == 1 and is_new, f"entry {seq}: not a new key of this log")
        found.append([origin, key, first, 2**63, seq])
    return found

def check_signers(note, ranges):  # exactly the keys of its size, as the log names them
    expected = {key for origin, key, first, last, _ in ranges if first <= note[3] <= last and origin == note[2]}
    found = set(signers(note, [key for origin, key, *_ in ranges if origin == note[2]]))
    need(expected and found == expected, f"the checkpoint of size {note[3]} is not signed by the keys of its size")
    return found

def check_head(note, ranges, earlier, roots, given):
    """The signatures of a checkpoint, and what the reader brought: keys, and checkpoints kept from earlier."""
    signed, trusted = check_signers(note, ranges), set(given.vkey)
    for older in sorted(earlier, key=lambda each: each[3]):
        if trusted & check_signers(older, ranges):  # it vouches for the keys that it saw named
            trusted |= {each[1] for each in ranges if each[4] < older[3] and each[0] == older[2]}
    need(not given.vkey or trusted & signed, "NOT PROVEN: no key of yours signed this")
    checked.append(f"signature of {note[2]}: {note[3]} entries, root {base64.b64encode(note[4]).decode()}")
    (checked if given.vkey else unchecked).append("the key is " + ("yours" if given.vkey else "the file's own: --vkey"))
    for kept in given.pinned:
        signers(kept, [each[1] for each in ranges])
        need(kept[2] in [each[0] for each in ranges], f"NOT PROVEN: the pinned checkpoint is of {kept[2]}")
        need(kept[3] in roots, f"NOT PROVEN: nothing here leads from the pinned size {kept[3]}")
        need(roots[kept[3]] == kept[4], f"FORK: the pinned checkpoint of size {kept[3]} has another root; keep both")
        checked.append(f"the pinned checkpoint of size {kept[3]}")
    unchecked.extend([] if given.pinned else ["rollback: no checkpoint was pinned"])

# What can be handed over: evidence (also in a page), a receipt, an exported log.
TEXT = (str, None)
ENDS = {"first": int, "stop": int, "root_first": str, "root_stop": str, "proof_first": [str], "proof_stop": [str]}
SHAPE = {
    "format": str, "about": ({"run": str}, {"from": str, "to": str}), "made": {"recorder": str, "at": str},
    "vkey": str, "checkpoint": str, "range": ENDS, "entries": [{"seq": int, "entry": str, "disclosures": dict}],
    "proof": [str], "anchors": [{"note": str, "token": TEXT, "proof": [str]}], "policy": TEXT, "body": TEXT,
}

def check_disclosure(text, name, digest):
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    is_bound = digest and base64.urlsafe_b64decode(digest + "=") == sha256(text.encode())
    need(is_bound and base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text, f"{name!r:.80}: not what is bound")
    said = json.loads(data, object_pairs_hook=unique)
    need(type(said) is list and len(said) == 3 and said[1] == name, f"{name!r:.80}: the disclosure of another field")
    need(re.fullmatch("[A-Za-z0-9_-]{21}[AQgw]", said[0]), f"{name!r:.80}: the disclosure has no salt")

def check_evidence(data, given):
    found, order, closed = parse_json(data), Order(), 0
    need(fits(found, SHAPE) and found["format"] == "affidavit-evidence@v1", "evidence: not of its form")
    note, shown = parse_note(found["checkpoint"]), found["range"]
    at, is_body = found["made"]["at"], found["body"] is None or re.fullmatch(FORMS["prev"], found["body"])
    need(re.fullmatch(FORMS["at"], at) and datetime.fromisoformat(at[:-1]) and is_body, "evidence: time or body")
    for item in found["entries"]:
        sealed = order.take(item["seq"], item["entry"].encode(), False)["sealed"]
        closed += len(sealed) - len(item["disclosures"])
        for name, text in item["disclosures"].items():
            check_disclosure(text, name, sealed.get(name))
    need(0 in order.leaves and order.last < note[3], f"entry 0 is not here, or entry {order.last} is not signed")
    need(shown["first"] <= shown["stop"], "range: not from first to stop")
    leaves = {(seq, 1): leaf for seq, leaf in order.leaves.items()}
    check_roots(leaves, left_out(sorted(order.leaves), 0, note[3]), found["proof"], [note[3:]])
    roots, earlier = {note[3]: note[4]}, [parse_note(each["note"]) for each in found["anchors"]]
    ends = [(shown[end], b64(shown[f"root_{end}"], 32), shown[f"proof_{end}"]) for end in ("first", "stop")]
    for size, root, proof in ends + [(old[3], old[4], each["proof"]) for old, each in zip(earlier, found["anchors"])]:
        check_consistency(size, note[3], proof, root, note[4])
        roots[size] = root
    ranges, tokens = read_identity(order.identity), [b64(each["token"]) for each in found["anchors"] if each["token"]]
    need(parse_vkey(found["vkey"]) in check_signers(note, ranges), "the vkey that the file states did not sign it")
    check_head(note, ranges, earlier, roots, given)
    named = [parse_vkey(each) for each in re.findall(r"(?m)^witness[ \t]+\S+[ \t]+(\S+)", found["policy"] or "")]
    seen = ", ".join(f"{key[0]} at {time}" for key, time in signers(note, named).items())
    gaps = shown["stop"] - shown["first"] - sum(shown["first"] <= seq < shown["stop"] for seq in order.leaves)
    checked.append(f"{len(order.leaves)} entries, what is disclosed of them, both ends of the range")
    unchecked.append(f"fork: seen by {seen or 'no witness'}; whether those are yours, your own policy tells")
    unchecked.extend([f"time: {len(tokens)} tokens", f"left out: {gaps} entries of the range, {closed} fields"])
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
    if given.vkey or given.pinned:
        check_head(note, [[key[0], key, 0, 2**63, 0] for key in given.vkey], [], {note[3]: note[4]}, given)
    else:
        unchecked.append("WHO SIGNED IT: a receipt does not name its key; give --vkey")

def check_export(folder, given):
    def tile(level, n, width):
        groups = re.findall("...", str(n).zfill(-(-len(str(n)) // 3) * 3))
        path = folder.joinpath("tile", str(level), *(f"x{group}" for group in groups[:-1]), groups[-1])
        partial = path.with_name(f"{path.name}.p") / str(width)
        return (partial if width < 256 and partial.is_file() else path).read_bytes()

    note, order = parse_note((folder / "checkpoint").read_bytes().decode()), Order()
    for seq in range(note[3]):
        if seq % 256 == 0:
            data = tile("entries", seq // 256, min(256, note[3] - seq))
        end = 2 + int.from_bytes(data[:2], "big")
        order.take(seq, data[2:end], True)
        data = data[end:]
    level, hashes = 0, list(order.leaves.values())
    while hashes:
        parts = [hashes[at : at + 256] for at in range(0, len(hashes), 256)]
        for n, part in enumerate(parts):
            need(tile(level, n, len(part))[: 32 * len(part)] == b"".join(part), f"tile {level}/{n}: other hashes")
        whole = [{(i, 1): each for i, each in enumerate(part)} for part in parts if len(part) == 256]
        level, hashes = level + 1, [fold(part, 0, 256) for part in whole]
    leaves = {(seq, 1): leaf for seq, leaf in order.leaves.items()}
    roots = {size: fold(leaves, 0, size) for size in {note[3], *(kept[3] for kept in given.pinned)} if size <= note[3]}
    need(roots[note[3]] == note[4], "the entries are not those that were signed")
    checked.append(f"{note[3]} entries, all that are signed, and the tiles over them")
    check_head(note, read_identity(order.identity), [], roots, given)

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
        if not self.skipped and not is_void and dict(attrs).get("id") in ("evidence", "answer"):
            self.skipped = len(self.open)

    def handle_endtag(self, tag):
        self.piece()
        self.skipped = 0 if self.skipped == len(self.open) else self.skipped
        self.open = self.open[:-1]
        self.piece("/")

    def handle_data(self, data):
        is_first = self.open[-1:] == ("pre",) and not self.text and self.found[-1][0] in "EA"
        self.text += data.removeprefix("\n") if is_first else data

    def handle_comment(self, data):
        self.piece(f"C{data}")

def check_page(data, given):
    text = data.decode("utf-8")
    carried = re.findall(r'<script type="application/json" id="evidence">(.*?)</script>', text, re.DOTALL)
    need(len(carried) == 1, "page: expected evidence in it, once")
    evidence = re.sub(r"\\(?:u003c|.)", lambda found: "<" if found[0] == "\\u003c" else found[0], carried[0])
    body = check_evidence(evidence.encode(), given)
    page = Page()
    page.feed(text)
    page.close()
    page.piece()
    printed = json.dumps(page.found[1:], ensure_ascii=False, separators=(",", ":"))
    need(body == sha256(printed.encode()).hex(), "the page was changed after it was made")
    checked.append("the page is as it was made")
    unchecked.append("figures: whether what the page shows follows from its entries; affidavit check renders it again")

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
        answer = f"WRONG: {'' if type(error) is ValueError else type(error).__name__ + ': '}{error}"
    marks = [f"  checked      {each}" for each in checked] + [f"  not checked  {each}" for each in unchecked]
    print("\n".join([answer, *marks]).encode("ascii", "backslashreplace").decode())
    return 0 if answer.startswith("OK") else 1

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
