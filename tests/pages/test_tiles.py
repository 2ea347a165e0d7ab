"""What a page's script computes from tiles is what the ledger computes, at any size; what does not fit is refused."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from affidavit.api.pages.assets import assets
from affidavit.ledger.tlog.bundle import print_bundle
from affidavit.ledger.tlog.hashing import leaf_hash
from affidavit.ledger.tlog.tiles import TILE_WIDTH, tile_path
from affidavit.ledger.tlog.tree import Frontier, fold_perfect

Ask = Callable[..., Any]

GOLDEN = json.loads((Path(__file__).resolve().parents[1] / "vectors" / "golden_ledger.json").read_text())


@pytest.fixture(scope="module")
def run(browser: Any) -> Iterator[Ask]:
    """Runs a script in a page that has the modules; its argument is what is given."""
    context = browser.new_context()
    context.route("**/*", _serve)
    tab = context.new_page()
    tab.goto("http://127.0.0.1/")
    yield tab.evaluate
    context.close()


def _serve(route: Any) -> None:
    name = route.request.url.rpartition("/")[2]
    if name in assets():
        route.fulfill(body=assets()[name].content, content_type="text/javascript")
    else:
        route.fulfill(body="<!doctype html><title>modules</title>", content_type="text/html")


_LOG = """
async ([size, root, files, job, argument]) => {
  const { StaticLog } = await import("/tiles.js");
  const { base64, hex } = await import("/tlog.js");
  const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const get = async (path) => path in files ? bytes(files[path]) : null;
  const log = new StaticLog(get, { size, root: bytes(root) });
  try {
    if (job === "roots") return await Promise.all(argument.map(async (each) => base64(await log.rootAt(each))));
    const found = await log.entries(argument);
    return [...found].map(([seq, entry]) => [seq, base64(entry)]);
  } catch (error) { return `${error.kind}: ${error.message}`; }
}
"""


def text(data: bytes) -> str:
    return b64encode(data).decode()


def entry(n: int) -> bytes:
    return b'{"n":%d}' % n


def lay_out(size: int, bundles: tuple[int, ...] = ()) -> dict[str, str]:
    """The tiles of a log of ``size`` entries, all that its checkpoint names and no other; of the bundles these."""
    files: dict[str, str] = {}
    level, hashes = 0, b"".join(leaf_hash(entry(n)) for n in range(size))
    while hashes:
        tiles = [hashes[at : at + 32 * TILE_WIDTH] for at in range(0, len(hashes), 32 * TILE_WIDTH)]
        files |= {tile_path(level, n, len(tile) // 32): text(tile) for n, tile in enumerate(tiles)}
        hashes, level = b"".join(fold_perfect(tile) for tile in tiles if len(tile) == 32 * TILE_WIDTH), level + 1
    for n in bundles:
        width = min(TILE_WIDTH, size - n * TILE_WIDTH)
        held = [entry(each) for each in range(n * TILE_WIDTH, n * TILE_WIDTH + width)]
        files[tile_path("entries", n, width)] = text(print_bundle(held))
    return files


def roots(sizes: list[int]) -> dict[int, str]:
    """The root over the first so many entries, for each of ``sizes``."""
    frontier, found = Frontier(), {}
    for n in range(max(sizes) + 1):
        if n in sizes:
            found[n] = text(frontier.root())
        frontier.append(leaf_hash(entry(n)))
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 255, 256, 257, 511, 512, 513, 769])
def test_the_root_at_every_earlier_size_is_the_ledger_s(run: Ask, size: int) -> None:
    earlier = sorted({*range(min(size, 20) + 1), size // 2, size // 3, *range(max(0, size - 3), size + 1)})
    earlier += [each for each in (128, 255, 256, 257) if each < size]
    expected = roots([*earlier, size])
    assert run(_LOG, [size, expected[size], lay_out(size), "roots", earlier]) == [expected[each] for each in earlier]


def test_three_levels_of_tiles(run: Ask) -> None:
    size = 65_536 + 256 + 3
    earlier = [1, 256, 65_535, 65_536, 65_537, 65_792, 65_794, size]
    expected = roots(earlier)
    files = lay_out(size, (0, 1, 256, 257))
    assert "tile/2/000.p/1" in files
    assert run(_LOG, [size, expected[size], files, "roots", earlier]) == [expected[each] for each in earlier]
    seqs = [0, 255, 256, 65_535 + 1, size - 1]
    assert run(_LOG, [size, expected[size], files, "entries", seqs]) == [[seq, text(entry(seq))] for seq in seqs]


def test_the_recorded_ledger_of_the_vectors(run: Ask) -> None:
    raws = [each.encode() if isinstance(each, str) else each["entry"].encode() for each in GOLDEN["entries"]]
    size = len(raws)
    files = {
        tile_path(0, 0, size): text(b"".join(map(leaf_hash, raws))),
        tile_path("entries", 0, size): text(print_bundle(raws)),
    }
    stated = [text(bytes.fromhex(root)) for root in GOLDEN["roots"]]
    assert run(_LOG, [size, stated[-1], files, "roots", [*range(size + 1)]]) == stated
    assert run(_LOG, [size, stated[-1], files, "entries", [0, size - 1]]) == [
        [seq, text(raws[seq])] for seq in (0, size - 1)
    ]


_SIGNED = """
async ([note, vkey]) => {
  const { parseCheckpoint, parseVkey, signers } = await import("/tlog.js");
  try { return (await signers(parseCheckpoint(note), [await parseVkey(vkey)], { notChecked: [] })).size; }
  catch (error) { return error.kind; }
}
"""


def test_checkpoints_of_the_vectors_verify_and_changed_ones_do_not(run: Ask) -> None:
    for note in GOLDEN["checkpoints"].values():
        assert run(_SIGNED, [note, GOLDEN["vkey"]]) == 1
        head, _, tail = note.partition("\n")
        assert run(_SIGNED, [f"{head}x\n{tail}", GOLDEN["vkey"]]) == "signature_invalid"
        assert run(_SIGNED, [note.replace("\n\n", "\nmore\n\n"), GOLDEN["vkey"]]) == "malformed"


@pytest.mark.parametrize(
    ("name", "byte", "seq"),
    [
        ("tile/0/001.p/45", 0, 3),
        ("tile/0/001.p/45", 45 * 32 - 1, 3),
        ("tile/0/000", 4, 3),
        ("tile/0/000", 255 * 32, 3),
        ("tile/1/000.p/1", 31, 300),
        ("tile/entries/000", 3 * 9 + 4, 3),
    ],
)
def test_a_bit_of_what_a_proof_is_made_of_is_found(run: Ask, name: str, byte: int, seq: int) -> None:
    size = 301
    root, files = roots([size])[size], lay_out(size, (0, 1))
    assert run(_LOG, [size, root, files, "entries", [seq]]) == [[seq, text(entry(seq))]]
    changed = bytearray(b64decode(files[name]))
    changed[byte] ^= 1
    told = run(_LOG, [size, root, {**files, name: text(bytes(changed))}, "entries", [seq]])
    assert str(told).startswith("entry_modified: ")


@pytest.mark.parametrize(
    ("given", "name", "told"),
    [
        (None, "tile/0/001.p/45", "not_proven: the server does not give out tile/0/001.p/45"),
        (b"", "tile/0/001.p/45", "malformed: tile/0/001.p/45: of a wrong length"),
        (bytes(44 * 32), "tile/0/001.p/45", "malformed: tile/0/001.p/45: of a wrong length"),
        (b"\0\x09{", "tile/entries/001.p/45", "malformed: tile/entries/001.p/45: cut off"),
        (b"\0", "tile/entries/001.p/45", "malformed: tile/entries/001.p/45: cut off"),
        (b"\0\1{", "tile/entries/001.p/45", "malformed: tile/entries/001.p/45: 1 entries, expected 45"),
    ],
)
def test_what_is_no_tile_is_refused(run: Ask, given: bytes | None, name: str, told: str) -> None:
    size = 301
    files = lay_out(size, (0, 1))
    del files[name]
    if given is not None:
        files[name] = text(given)
    assert run(_LOG, [size, roots([size])[size], files, "entries", [300]]) == told


def test_a_partial_tile_that_is_gone_is_the_beginning_of_the_full_one(run: Ask) -> None:
    size, grown = 301, 520
    files = {name: data for name, data in lay_out(grown, (0, 1)).items() if ".p/" not in name or "tile/1/" in name}
    files["tile/1/000.p/1"] = lay_out(size)["tile/1/000.p/1"]
    root = roots([size])[size]
    assert run(_LOG, [size, root, files, "entries", [300]]) == [[300, text(entry(300))]]


def test_an_entry_that_is_not_the_signed_one_is_named(run: Ask) -> None:
    size = 300
    files = lay_out(size, (1,))
    held = [entry(n) for n in range(256, size)]
    held[7] = b"another"
    files["tile/entries/001.p/44"] = text(print_bundle(held))
    told = run(_LOG, [size, roots([size])[size], files, "entries", [260, 263]])
    assert told == "entry_modified: entry 263: the bytes that the server gives out are not those that were signed"
