"""Write the vectors of format 1: what a reader accepts and refuses, and one small ledger with every value.

    python tests/vectors/make_vectors.py

Nothing here depends on the day or the machine: the clock stands still but for one second a look, and random
bytes are the blocks SHA-256("affidavit vectors" || counter). tests/ledger/test_vectors.py asks that the
committed files are what this script makes.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
import tempfile
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from affidavit.domain.event import Event, Meta, NewEvent
from affidavit.domain.number import format_number
from affidavit.domain.optimization.events import (
    PromptEvaluated,
    RewriteProposed,
    RunCompleted,
    RunStarted,
    Sample,
)
from affidavit.ledger.application import Edge, Ledger
from affidavit.ledger.entries.entry import parse_entry
from affidavit.ledger.tlog.hashing import EMPTY_ROOT, leaf_hash
from affidavit.ledger.tlog.note import print_vkey
from affidavit.ledger.tlog.receipt import print_receipt
from affidavit.ledger.tlog.tree import Frontier
from affidavit.projections.registry import REGISTRY
from affidavit.tests.trees import root_of

Row = dict[str, Any]

DIGEST = "t3d-2iZVPwBQDeQZb14EtiymbiAGaFwKXmud5cyF0_0"
ENTRY = (
    '{"v":1,"seq":41,"prev":"' + "5f" * 32 + '","at":"2026-11-22T10:00:00.123456Z","stream":"run/043","pos":7,'
    '"type":"iteration.completed.v1","meta":{"actor":"actor-3f9c"},"data":{"iteration":3,"score":"0.8125"},'
    '"sealed":{"system_prompt":"' + DIGEST + '"}}'
)


def make() -> dict[str, str]:
    """File name to content."""
    files: dict[str, Any] = {
        "entry_corpus.json": {"grammar": list(grammar_rows()), "entry": list(entry_rows())},
        "numbers.json": list(number_rows()),
        "golden_ledger.json": golden_ledger(),
    }
    return {name: json.dumps(content, indent=1, ensure_ascii=True) + "\n" for name, content in files.items()}


def accept(name: str, text: str | bytes, why: str) -> Row:
    return {"name": name, **_spelled(text), "verdict": "accept", "why": why}


def reject(name: str, text: str | bytes, why: str) -> Row:
    return {"name": name, **_spelled(text), "verdict": "reject", "why": why}


def _spelled(text: str | bytes) -> Row:
    raw = text.encode() if isinstance(text, str) else text
    try:
        return {"text": raw.decode()}
    except UnicodeDecodeError:
        return {"hex": raw.hex()}


def grammar_rows() -> Iterator[Row]:
    """JSON values on their own: ``ledger/entries/grammar.py``."""
    yield accept("empty object", "{}", "an object may be empty")
    yield accept("empty array", "[]", "an array may be empty")
    yield accept("empty string", '""', "a string may be empty")
    yield accept("words", "[true,false,null]", "the three words of JSON")
    for name, word in [("True", "True"), ("upper case", "NULL"), ("cut short", "tru"), ("run on", "nullx")]:
        yield reject(f"word {name}", word, "only true, false and null are words")
    yield reject("nothing", "", "a text is one value")
    yield reject("two values", "{}{}", "a text is one value")
    yield reject("trailing newline", "{}\n", "no white space between tokens, and none after the last")

    for name, space in [("space", " "), ("tab", "\t"), ("newline", "\n"), ("return", "\r"), ("U+00A0", "\xa0")]:
        yield reject(f"{name} after a comma", f"[1,{space}2]", "no white space between tokens")
        yield reject(f"{name} after a colon", f'{{"a":{space}1}}', "no white space between tokens")
        yield reject(f"{name} before the value", f"{space}1", "no white space between tokens")
    yield reject("byte order mark", "\ufeff{}", "no byte order mark")
    yield accept("U+FEFF in a string", '"\ufeff"', "inside a string it is a character like others")

    yield from _numbers_in_json()
    yield from _strings_in_json()

    yield reject("duplicate key", '{"a":1,"a":2}', "keys are unique in their object")
    yield reject("duplicate key, same value", '{"a":1,"a":1}', "keys are unique in their object")
    yield reject("duplicate empty key", '{"":1,"":1}', "keys are unique in their object")
    yield reject("duplicate key further in", '[{"b":{"a":1,"c":2,"a":1}}]', "keys are unique in their object")
    yield accept("same key in two objects", '[{"a":1},{"a":1}]', "keys are unique in their own object only")
    yield accept("keys that differ in case", '{"a":1,"A":1}', "keys are compared by code points")
    yield accept("keys that normalise to one", '{"\u00e9":1,"e\u0301":1}', "nothing is normalised")
    yield accept("unsorted keys", '{"b":1,"a":2}', "the order of keys is the writer's; only an entry's own is fixed")
    yield accept("empty key", '{"":1}', "a key is any string")
    yield reject("key that is a number", "{1:2}", "a key is a string")
    yield reject("trailing comma in an object", '{"a":1,}', "JSON has no trailing comma")
    yield reject("trailing comma in an array", "[1,]", "JSON has no trailing comma")
    yield reject("missing comma", "[1 2]", "items are parted by a comma")
    yield reject("missing colon", '{"a"1}', "key and value are parted by a colon")
    yield reject("single quotes", "{'a':1}", "strings stand in double quotes")
    yield reject("comment", "[1/*x*/]", "JSON has no comments")
    yield reject("open object", '{"a":1', "containers are closed")
    yield reject("open array", "[1", "containers are closed")
    yield reject("wrong bracket", "[1}", "containers are closed by their own bracket")

    for depth, row in [(32, accept), (33, reject)]:
        yield row(f"arrays {depth} deep", "[" * depth + "]" * depth, "containers are at most 32 deep")
        yield row(f"objects {depth} deep", '{"a":' * (depth - 1) + "{}" + "}" * (depth - 1), "at most 32 deep")
        yield row(f"number {depth} deep", "[" * depth + "1" + "]" * depth, "a value that is no container has no depth")
    yield reject("arrays 2,000 deep", "[" * 2000 + "]" * 2000, "refused without exhausting the reader")


def _numbers_in_json() -> Iterator[Row]:
    for text in ["0", "1", "-1", "10", "9007199254740991", "-9007199254740991"]:
        yield accept(f"integer {text}", text, "integers within 2^53 - 1 either way")
    for text in ["9007199254740992", "-9007199254740992", "9007199254740993", "18446744073709551616", "1" + "0" * 400]:
        yield reject(f"integer {text[:20]}", text, "past 2^53 - 1 readers disagree about integers")
    for text in ["-0", "00", "01", "-01", "+1", "0x1", "1_000", "- 1", "-", "１"]:
        yield reject(f"integer {text}", text, "an integer has one spelling, in ASCII digits")
    for text in ["1.0", "0.5", "-0.5", "-0.0", "1.", ".5", "1e3", "1E3", "1e0", "1e-3", "1.5e300", "1e400"]:
        yield reject(f"number {text}", text, "no fraction and no exponent: such numbers are strings")
    for text in ["NaN", "Infinity", "-Infinity", "nan", "inf"]:
        yield reject(f"number {text}", text, "not a number of JSON")


def _strings_in_json() -> Iterator[Row]:
    short = {"\b": "b", "\t": "t", "\n": "n", "\f": "f", "\r": "r"}
    for code in range(0x20):
        character, long = chr(code), f"\\u{code:04x}"
        yield reject(f"U+{code:04X} as itself", f'"{character}"', "U+0000-001F are escaped")
        if character in short:
            yield accept(f"U+{code:04X} short", f'"\\{short[character]}"', "the short escape where there is one")
            yield reject(f"U+{code:04X} long", f'"{long}"', "the short escape where there is one")
        else:
            yield accept(f"U+{code:04X} long", f'"{long}"', "four lower-case hex digits where there is no short escape")
        if long != long.upper().replace("\\U", "\\u"):
            yield reject(f"U+{code:04X} upper case", f'"{long.upper()}"'.replace("\\U", "\\u"), "lower-case hex")
    yield accept("quote", '"\\""', "the quote is escaped")
    yield accept("backslash", '"\\\\"', "the backslash is escaped")
    yield reject("quote in hex", '"\\u0022"', "the short escape where there is one")
    yield reject("backslash in hex", '"\\u005c"', "the short escape where there is one")
    yield accept("slash", '"/"', "the slash stands as itself")
    yield reject("slash escaped", '"\\/"', "only what must be is escaped")
    yield reject("letter escaped", '"\\u0041"', "only what must be is escaped")
    yield reject("U+0020 escaped", '"\\u0020"', "only what must be is escaped")
    yield accept("U+007F", '"\x7f"', "only U+0000-001F are escaped")
    yield reject("U+007F escaped", '"\\u007f"', "only U+0000-001F are escaped")
    yield accept("U+0085 and U+2028", '"\x85\u2028\u2029"', "only U+0000-001F are escaped")
    yield reject("U+2028 escaped", '"\\u2028"', "only U+0000-001F are escaped")
    yield accept("umlaut", '"\u00e4"', "characters beyond ASCII stand as themselves")
    yield reject("umlaut escaped", '"\\u00e4"', "characters beyond ASCII stand as themselves")
    yield accept("emoji", '"\U0001f600"', "characters beyond U+FFFF stand as themselves")
    yield reject("emoji as two escapes", '"\\ud83d\\ude00"', "characters beyond U+FFFF stand as themselves")
    yield accept("last code point", '"\U0010ffff"', "every scalar value may stand")
    yield accept("noncharacter", '"\uffff"', "every scalar value may stand")
    for name, text in [("high", "\\ud800"), ("low", "\\udfff"), ("pair turned round", "\\ude00\\ud83d")]:
        yield reject(f"lone surrogate, {name}", f'"{text}"', "no lone surrogates")
    yield reject("unknown escape", '"\\x41"', "only JSON's escapes")
    yield reject("cut escape", '"\\u00"', "four hex digits")
    yield reject("open string", '"a', "strings are closed")
    yield reject("key in long escape", '{"\\u0041":1}', "keys are strings by the same rules")
    for name, raw in [
        ("lone continuation byte", b'"\x80"'),
        ("cut character", b'"\xc3"'),
        ("overlong slash", b'"\xc0\xaf"'),
        ("overlong zero", b'"\xe0\x80\x80"'),
        ("surrogate in UTF-8", b'"\xed\xa0\x80"'),
        ("past U+10FFFF", b'"\xf4\x90\x80\x80"'),
        ("UTF-16", '"a"'.encode("utf-16-le")),
        ("Latin-1", b'"\xe4"'),
    ]:
        yield reject(name, raw, "not UTF-8" if name != "UTF-16" else "not UTF-8 text of the grammar")


def entry_rows() -> Iterator[Row]:
    """Whole entries: ``ledger/entries/entry.py``, and the grammar inside them."""
    yield accept("plain", ENTRY, "the shape of every entry")
    yield reject("array", "[1]", "an entry is an object")
    yield reject("string", '"entry"', "an entry is an object")
    yield reject("empty object", "{}", "an entry has all ten keys")
    yield reject("byte order mark", "\ufeff" + ENTRY, "no byte order mark")
    yield reject("trailing newline", ENTRY + "\n", "nothing after the last brace")
    yield reject("space after a comma", _with('"seq"', ' "seq"'), "no white space between tokens")

    keys = ["v", "seq", "prev", "at", "stream", "pos", "type", "meta", "data", "sealed"]
    parsed: dict[str, Any] = json.loads(ENTRY)
    for key in keys:
        rest = {name: value for name, value in parsed.items() if name != key}
        yield reject(f"without {key}", _print(rest), "an entry has all ten keys")
        yield (
            reject(f"{key} last", _print({**rest, key: parsed[key]}), "the ten keys stand in their order")
            if (key != "sealed")
            else reject("sealed first", _print({key: parsed[key], **rest}), "the ten keys stand in their order")
        )
        yield reject(f"{key} null", _print({**parsed, key: None}), "no key of an entry is null")
        yield reject(f"{key} an array", _print({**parsed, key: []}), "no key of an entry is an array")
        yield reject(f"{key} twice", ENTRY[:-1] + f',"{key}":{_print(parsed[key])}}}', "keys are unique")
    yield reject("one key more", ENTRY[:-1] + ',"more":1}', "an entry has ten keys and no other")

    for value in ["0", "2", "-1", '"1"', "true", "1.0"]:
        yield reject(f"v {value}", _with('"v":1', f'"v":{value}'), "format 1 is the integer 1")
    for key, old in [("seq", 41), ("pos", 7)]:
        for value in ["0", "9007199254740991"]:
            yield accept(f"{key} {value}", _with(f'"{key}":{old}', f'"{key}":{value}'), "an integer from 0 to 2^53 - 1")
        for value in ["-1", "-0", "1.5", f'"{old}"', "true", "9007199254740992", f"0{old}", "{}"]:
            yield reject(f"{key} {value}", _with(f'"{key}":{old}', f'"{key}":{value}'), "an integer from 0 to 2^53 - 1")
    for name, prev in [
        ("upper case", "5F" * 32),
        ("short", "5f" * 31),
        ("long", "5f" * 33),
        ("odd", "5f" * 31 + "5"),
        ("no hex", "5g" * 32),
        ("base64", b64encode(b"\x5f" * 32).decode()),
    ]:
        yield reject(f"prev {name}", _with("5f" * 32, prev), "64 lower-case hex digits")
    yield accept("prev zeros", _with("5f" * 32, "0" * 64), "the shape is right; that only entry 0 has it is chaining")

    yield from _times()
    yield from _names()
    yield from _contents()

    for size, row in [(65_535, accept), (65_536, reject)]:
        room = size - len(_with('"score":"0.8125"', '"text":""').encode())
        text = _with('"score":"0.8125"', '"text":"' + "x" * room + '"')
        yield row(f"{size:,} bytes", text, "an entry has at most 65,535 bytes")


def _times() -> Iterator[Row]:
    def at(value: str) -> str:
        return _with("2026-11-22T10:00:00.123456Z", value)

    for value in [
        "2026-01-01T00:00:00.000000Z",
        "2026-12-31T23:59:59.999999Z",
        "2024-02-29T12:00:00.000000Z",
        "0001-01-01T00:00:00.000000Z",
        "9999-12-31T23:59:59.999999Z",
    ]:
        yield accept(f"at {value}", at(value), "a real UTC time with six fraction digits")
    for value, why in [
        ("2026-02-30T10:00:00.000000Z", "no such day"),
        ("2026-02-29T10:00:00.000000Z", "no such day"),
        ("2026-00-10T10:00:00.000000Z", "no such month"),
        ("2026-13-10T10:00:00.000000Z", "no such month"),
        ("2026-11-00T10:00:00.000000Z", "no such day"),
        ("2026-11-31T10:00:00.000000Z", "no such day"),
        ("0000-01-01T00:00:00.000000Z", "years count from 0001"),
        ("2026-11-22T24:00:00.000000Z", "hours end at 23"),
        ("2026-11-22T10:60:00.000000Z", "minutes end at 59"),
        ("2026-11-22T23:59:60.000000Z", "no leap seconds"),
        ("2026-11-22T10:00:00.12345Z", "six fraction digits"),
        ("2026-11-22T10:00:00.1234567Z", "six fraction digits"),
        ("2026-11-22T10:00:00Z", "six fraction digits"),
        ("2026-11-22T10:00:00,123456Z", "a full stop before the fraction"),
        ("2026-11-22T10:00:00.123456", "Z says that it is UTC"),
        ("2026-11-22T10:00:00.123456z", "an upper-case Z"),
        ("2026-11-22t10:00:00.123456Z", "an upper-case T"),
        ("2026-11-22 10:00:00.123456Z", "an upper-case T"),
        ("2026-11-22T10:00:00.123456+00:00", "UTC is spelled Z"),
        ("2026-11-22T11:00:00.123456+01:00", "UTC is spelled Z"),
        ("20261122T100000.123456Z", "dashes and colons stand"),
        ("2026-W47-7T10:00:00.123456Z", "no week dates"),
        ("+2026-11-22T10:00:00.123456Z", "four digits of year"),
        ("12026-11-22T10:00:00.123456Z", "four digits of year"),
        ("２026-11-22T10:00:00.123456Z", "ASCII digits"),
        ("", "a time stands there"),
    ]:
        yield reject(f"at {value}", at(value), why)


def _names() -> Iterator[Row]:
    def stream(value: str) -> str:
        return _with('"run/043"', _print(value))

    def type_name(value: str) -> str:
        return _with('"iteration.completed.v1"', _print(value))

    for value in [
        "ledger",
        "run/043",
        "judge_prompt/A.b-c_d",
        "run/" + "x" * 128,
        "a" * 64,
        "run/-",
        "run/_",
        "r/a..b",
    ]:
        yield accept(f"stream {value[:24]}", stream(value), "category, or category/name")
    for value in [
        "", "/", "run/", "/043", "run/.hidden", "run/..", "run/a/b", "Run/043", "run//043", "run/a b", "run/ä",
        "run-x/1", "1run/x", "_run/x", "run/" + "x" * 129, "a" * 65, "run/x\n", "run/\x00",
    ]:  # fmt: skip
        yield reject(f"stream {value[:24]!r}", stream(value), "category/name of [A-Za-z0-9._-], no leading dot")
    for value in [
        "a.b.v1",
        "iteration.completed.v9999",
        "a.b.c.d.v1",
        "judge_prompt.published.v12",
        "x" * 64 + ".b.v1",
    ]:
        yield accept(f"type {value[:24]}", type_name(value), "words and a version")
    for value in [
        "", "completed", "completed.v1", "a.b", "a.b.v0", "a.b.v01", "a.b.v", "a.b.v10000", "a.b.V1", "A.b.v1",
        "a..b.v1", ".a.b.v1", "a.b.v1.", "a.b.c.d.e.v1", "a-b.c.v1", "a.b2.v1", "os:system", "a.b.v1\n", "a.b.v１",
        "x" * 65 + ".b.v1",
    ]:  # fmt: skip
        yield reject(f"type {value[:24]!r}", type_name(value), "two to four words of [a-z_] and .v and a version")


def _contents() -> Iterator[Row]:
    meta, data, sealed = '{"actor":"actor-3f9c"}', '{"iteration":3,"score":"0.8125"}', f'{{"system_prompt":"{DIGEST}"}}'
    yield accept(
        "all empty", _with(meta, "{}").replace(data, "{}").replace(sealed, "{}"), "each of the three may be empty"
    )
    for name, old in [("meta", meta), ("data", data), ("sealed", sealed)]:
        for value in ["1", '"x"', "false"]:
            yield reject(f"{name} {value}", _with(f'"{name}":{old}', f'"{name}":{value}'), "an object")

    full = (
        '{"actor":"actor-3f9c","cause":40,"correlation":"c","recorder":"affidavit 0.1.0",'
        '"judge_prompt_version":"3","scope":"subject/s-1"}'
    )
    yield accept("meta in full", _with(meta, full), "every known key of meta")
    yield accept("meta with an unknown key", _with(meta, '{"later":[1,{"a":null}]}'), "unknown keys may hold anything")
    for key in ["actor", "correlation", "recorder", "judge_prompt_version", "scope"]:
        for value in ["1", "null", "[]"]:
            yield reject(f"meta {key} {value}", _with(meta, f'{{"{key}":{value}}}'), f"{key} is a string")
    for value in ["-1", '"40"', "true", "null"]:
        yield reject(f"meta cause {value}", _with(meta, f'{{"cause":{value}}}'), "cause is an integer from 0")

    yield accept(
        "data with every kind", _with(data, '{"a":null,"b":[true,-5,{"c":"ä"}],"d":{}}'), "any JSON of the grammar"
    )
    yield reject("data with a fraction", _with(data, '{"score":0.8125}'), "numbers with a fraction are strings")
    yield reject("data with NaN", _with(data, '{"score":NaN}'), "NaN does not exist")
    yield reject("data with a duplicate key", _with(data, '{"a":1,"a":1}'), "keys are unique")
    for levels, row in [(31, accept), (32, reject)]:
        deep = '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"
        yield row(f"data {levels} deep", _with(data, deep), "32 levels, of which the entry itself is the first")

    for last in "AEIMQUYcgkosw048":
        yield accept(f"digest ending in {last}", _with(DIGEST, DIGEST[:-1] + last), "its last two bits are zero")
    for last in "BCDFxyz123_-=":
        yield reject(
            f"digest ending in {last}", _with(DIGEST, DIGEST[:-1] + last), "one spelling: trailing bits are zero"
        )
    for name, value in [
        ("padded", DIGEST + "="),
        ("short", DIGEST[:-1]),
        ("long", DIGEST + "A"),
        ("standard base64", DIGEST.replace("-", "+").replace("_", "/")),
        ("hex", "5f" * 32),
        ("empty", ""),
    ]:
        yield reject(f"digest {name}", _with(DIGEST, value), "43 characters of base64url without padding")
    yield reject("digest a number", _with(f'"{DIGEST}"', "1"), "a digest is a string")
    yield reject("digest an object", _with(f'"{DIGEST}"', "{}"), "a digest is a string")
    yield accept(
        "two sealed fields, one digest", _with(sealed, f'{{"a":"{DIGEST}","b":"{DIGEST}"}}'), "a matter of opening"
    )
    yield reject("field in data and in sealed", _with('"score":', '"system_prompt":'), "a field stands in one place")


def _with(old: str, new: str) -> str:
    if ENTRY.count(old) != 1:
        raise RuntimeError(f"{old!r} stands {ENTRY.count(old)} times in the sample entry")
    return ENTRY.replace(old, new)


def _print(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def number_rows() -> Iterator[Row]:
    """Shortest decimals. ``binary64`` is the value, big-endian, in hex."""
    tiny = format_number(5e-324)
    largest = format_number(1.7976931348623157e308)
    for text in [
        "0", "1", "-1", "10", "0.5", "-0.5", "0.1", "0.8125", "0.005", "0.0050000000000000044", "0.30000000000000004",
        "100", "1000000", "123456789.125", "9007199254740991", "9007199254740992", "9007199254740994",
        "10000000000000000", "100000000000000000000000", "0.000001", "0.0000001", "0.3333333333333333",
        "1.7976931348623157", tiny, largest, "-" + largest,
    ]:  # fmt: skip
        yield {"text": text, "verdict": "accept", "binary64": struct.pack(">d", float(text)).hex()}
    for text, why in [
        ("", "a number stands there"),
        ("-", "a digit at least"),
        ("-0", "zero has no sign"),
        ("-0.0", "zero has no sign"),
        ("0.0", "no trailing zero"),
        ("1.0", "no trailing zero"),
        ("0.50", "no trailing zero"),
        ("1.", "a digit after the point"),
        (".5", "a digit before the point"),
        ("00", "no leading zero"),
        ("01", "no leading zero"),
        ("-01.5", "no leading zero"),
        ("+1", "no plus"),
        ("1e3", "no exponent"),
        ("1E3", "no exponent"),
        ("1e-7", "no exponent"),
        ("0x1p0", "decimal digits"),
        ("1,5", "a full stop before the fraction"),
        ("1_000", "digits only"),
        (" 1", "no white space"),
        ("1 ", "no white space"),
        ("1\n", "no white space"),
        ("\u0661", "ASCII digits"),
        ("NaN", "finite"),
        ("nan", "finite"),
        ("Infinity", "finite"),
        ("-inf", "finite"),
        ("9007199254740993", "not the shortest decimal of its value"),
        ("0.1000000000000000055511151231257827", "not the shortest decimal of its value"),
        ("0.30000000000000001", "not the shortest decimal of its value"),
        ("100000000000000000000001", "not the shortest decimal of its value"),
        ("0." + "0" * 400 + "1", "rounds to zero"),
        ("1" + "0" * 400, "past the largest binary64"),
    ]:
        yield {"text": text, "verdict": "reject", "why": why}


def golden_ledger() -> Row:
    """Six entries, sealed content with its keys, checkpoints at size 1 and 6, one receipt."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, keys = Path(scratch) / "ledger", Path(scratch) / "keys"
        edge = Edge(_clock(), _random())
        with Ledger.create(
            folder, keys, REGISTRY, name="example.org/golden", edge=edge, sign_in_background=False
        ) as ledger:
            for pos, (event, meta) in enumerate(_events()):
                ledger.record(NewEvent("run/043", pos, event, meta))
            ledger.sign()
            receipt = print_receipt(ledger.receipt(2)).decode()
            with ledger.recorder.reading() as reader:
                rows = list(reader.entries())
                found = reader.boxes_of([row.seq for row in rows])
                boxes = {row.seq: found.get(row.seq, {}) for row in rows}
                head, notes = reader.head(), reader.checkpoints()
            master = ledger.keys.master_key()
            scope_keys = _scope_keys(folder / "keys.db", master, ledger.origin)
            vkey, seed = print_vkey(ledger.verifier_key()), ledger.keys.signing_key().private_bytes_raw()
            origin = ledger.origin
    leaves = [leaf_hash(row.raw) for row in rows]
    return {
        "origin": origin,
        "vkey": vkey,
        "signing_seed": seed.hex(),
        "master_key": master.hex(),
        "scope_keys": scope_keys,
        "entries": [
            {
                "entry": row.raw.decode(),
                "leaf": leaf.hex(),
                "sealed": _sealed(row.raw, boxes[row.seq], scope_keys, origin),
            }
            for row, leaf in zip(rows, leaves, strict=True)
        ],
        "roots": [root_of(leaves[:size]).hex() if size else EMPTY_ROOT.hex() for size in range(len(leaves) + 1)],
        "frontier": [node.hex() for node in Frontier.unpack(head.size, head.frontier).hashes],
        "checkpoints": {str(size): note.decode() for size, note in notes},
        "receipt_of_entry_2": receipt,
    }


def _events() -> Iterator[tuple[Event, Meta]]:
    recorder = Meta(actor="actor-1f2e3d4c5b6a7988", recorder="affidavit 0.1.0")
    samples = (
        Sample(id="s1", input="Is water wet?", response="Yes.", ideal="yes", score=1.0),
        Sample(id="s2", input="Is fire cold?", response="Maybe.", ideal="no", score=0.25),
    )
    yield (
        RunStarted(
            run="043",
            directory="043",
            timestamp="2026-11-22T10:00:00Z",
            strategy="example",
            metrics=("exact",),
            threshold=0.9,
            max_iterations=3,
            system_prompt="Answer with yes or no.",
            config={"temperature": 0, "note": "caf\u00e9 \U0001f600"},
        ),
        recorder,
    )
    yield (
        PromptEvaluated(
            evaluation=0, prompt=0, purpose="train", score=0.625, n=2, failed=0, detail_mean=0.625, samples=samples
        ),
        recorder,
    )
    yield (
        RewriteProposed(
            rewrite=0,
            parent=0,
            prompt=1,
            system_prompt="Answer with one word: yes or no.",
            rationale="cites clause 4",
            change_summary="one word",
        ),
        Meta(actor="actor-1f2e3d4c5b6a7988", cause=2),
    )
    yield PromptEvaluated(evaluation=1, prompt=1, purpose="train", score=0.8125, n=2, parent=0), recorder
    yield RunCompleted(reason="budget", converged=False, best=1, eval_tokens=812), recorder


def _sealed(raw: bytes, boxes: dict[str, bytes], scope_keys: dict[str, str], origin: str) -> list[Row]:
    entry = parse_entry(raw)
    found = []
    for field, digest in entry["sealed"].items():
        scope = entry["meta"].get("scope", entry["stream"])
        box = boxes[field]
        content = AESGCM(bytes.fromhex(scope_keys[scope])).decrypt(box[:12], box[12:], f"{origin}\n{digest}".encode())
        found.append(
            {
                "field": field,
                "scope": scope,
                "disclosure_json": content.decode(),
                "disclosure": urlsafe_b64encode(content).rstrip(b"=").decode(),
                "digest": digest,
                "box": box.hex(),
            }
        )
    return found


def _scope_keys(path: Path, master: bytes, origin: str) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT scope, wrapped FROM scopes ORDER BY scope").fetchall()
    return {
        scope: AESGCM(master).decrypt(wrapped[:12], wrapped[12:], f"{origin}\n{scope}".encode()).hex()
        for scope, wrapped in rows
    }


def _clock() -> Callable[[], int]:
    seconds = iter(range(1_795_341_600, 1_795_345_200))
    return lambda: next(seconds) * 1_000_000 + 123_456


def _random() -> Callable[[int], bytes]:
    blocks = iter(range(1_000_000))
    pool = bytearray()

    def take(count: int) -> bytes:
        while len(pool) < count:
            pool.extend(hashlib.sha256(b"affidavit vectors" + struct.pack(">Q", next(blocks))).digest())
        taken = bytes(pool[:count])
        del pool[:count]
        return taken

    return take


if __name__ == "__main__":
    for name, content in make().items():
        Path(__file__).with_name(name).write_text(content, encoding="utf-8", newline="\n")
