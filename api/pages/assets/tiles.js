/* A log laid out in tiles (C2SP tlog-tiles), as of one checkpoint. What it gives out is proven under the checkpoint's
   root; whether anybody signed that root is for the caller. Only full tiles, and the partial ones that the checkpoint's
   size has, are asked for. */

import { Damage, checkConsistency, half, leafHash, nodeHash, require, rootOfLeaves, same, sha256, split } from "./tlog.js";

const WIDTH = 256, HASH = 32;
const WRONG_TILES = "the tiles that the server gives out are not those that were signed";

/** The name of tile `n` of a level, or of the bundle of entries under it where the level is "entries". */
export function tilePath(level, n, width) {
  let name = String(n % 1000).padStart(3, "0");
  for (let rest = Math.floor(n / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    name = `x${String(rest % 1000).padStart(3, "0")}/${name}`;
  }
  return `tile/${level}/${name}${width === WIDTH ? "" : `.p/${width}`}`;
}

function parseBundle(bytes, width, name) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length), found = [];
  let at = 0;
  while (at < bytes.length) {
    require(at + 2 <= bytes.length, "malformed", `${name}: cut off`);
    const end = at + 2 + view.getUint16(at);
    require(end <= bytes.length, "malformed", `${name}: cut off`);
    found.push(bytes.subarray(at + 2, end));
    at = end;
  }
  require(found.length >= width, "malformed", `${name}: ${found.length} entries, expected ${width}`);
  return found;
}

export class StaticLog {
  #get;
  #tiles = new Map();

  /** `get(path)` gives the bytes of a resource, or null where there is none; `checkpoint` has a size and a root. */
  constructor(get, checkpoint) {
    this.#get = get;
    this.size = checkpoint.size;
    this.root = checkpoint.root;
  }

  /** The root of the first `size` entries, proven to be the beginning of what the checkpoint covers. */
  async rootAt(size) {
    if (size === 0) return sha256(new Uint8Array());
    const root = await this.#rootOf(0, size);
    const path = await this.#consistency(size);
    try {
      await checkConsistency(size, this.size, path, root, this.root, "the tiles");
    } catch (error) {
      throw new Damage(error.kind, WRONG_TILES);
    }
    return root;
  }

  /** The exact bytes of the entries `seqs`, ascending, all below the checkpoint's size, by seq; each proven to stand there. */
  async entries(seqs) {
    const bundles = new Map();
    for (const seq of seqs) {
      const n = Math.floor(seq / WIDTH);
      if (!bundles.has(n)) bundles.set(n, await this.#bundle(n));
    }
    const found = new Map(seqs.map((seq) => [seq, bundles.get(Math.floor(seq / WIDTH))[seq % WIDTH]]));
    const leaves = await Promise.all([...found.values()].map(leafHash));
    const proof = [];
    await this.#proveLeaves(seqs, 0, this.size, proof);
    const root = await rootOfLeaves(seqs, leaves, this.size, proof);
    if (!same(root, this.root)) throw new Damage("entry_modified", await this.#whereWrong(seqs, leaves));
    return found;
  }

  /** Which entries are not those whose hashes stand in the tiles; if none, the tiles are wrong. */
  async #whereWrong(seqs, leaves) {
    const wrong = [];
    for (const [at, seq] of seqs.entries()) if (!same(await this.#node(0, seq), leaves[at])) wrong.push(seq);
    return wrong.length
      ? `entry ${wrong.join(", ")}: the bytes that the server gives out are not those that were signed`
      : WRONG_TILES;
  }

  async #proveLeaves(seqs, start, width, proof) {
    if (!seqs.some((seq) => seq >= start && seq < start + width)) {
      proof.push(await this.#rootOf(start, width));
    } else if (width > 1) {
      const k = split(width);
      await this.#proveLeaves(seqs, start, k, proof);
      await this.#proveLeaves(seqs, start + k, width - k, proof);
    }
  }

  /** The proof that the tree of this checkpoint extends that of its first `old` entries (RFC 6962, 2.1.2). */
  async #consistency(old) {
    if (old === this.size) return [];
    let level = 0;
    while ((old / 2 ** level) % 2 === 0) level++;
    const index = old - 1;
    const path = old === 2 ** level ? [] : [await this.#node(level, Math.floor(index / 2 ** level))];
    let meet = 0;
    for (let one = index, other = this.size - 1; one !== other; one = half(one), other = half(other)) meet++;
    for (let height = level; height < meet - 1; height++) {
      const at = Math.floor(index / 2 ** height);
      path.push(await this.#node(height, at % 2 ? at - 1 : at + 1));
    }
    const start = (Math.floor(index / 2 ** (meet - 1)) + 1) * 2 ** (meet - 1);
    path.push(await this.#rootOf(start, this.size - start));
    for (let height = meet, at = Math.floor(index / 2 ** meet); at > 0; height++, at = half(at)) {
      if (at % 2) path.push(await this.#node(height, at - 1));
    }
    return path;
  }

  /** The root over `width` entries from `start`, where a subtree of the tree begins. */
  async #rootOf(start, width) {
    const roots = [];
    for (let rest = width, at = start; rest > 0;) {
      let level = 0;
      while (2 ** (level + 1) <= rest) level++;
      roots.push(await this.#node(level, at / 2 ** level));
      at += 2 ** level;
      rest -= 2 ** level;
    }
    let root = roots.pop();
    while (roots.length) root = await nodeHash(roots.pop(), root);
    return root;
  }

  /** The root over the entries `index * 2^level` up to `(index + 1) * 2^level`, from the tile that it lies in. */
  async #node(level, index) {
    const tileLevel = Math.floor(level / 8), count = 2 ** (level % 8);
    const first = index * count, n = Math.floor(first / WIDTH);
    const tile = await this.#tile(tileLevel, n), from = first % WIDTH;
    let hashes = Array.from({ length: count }, (_, at) => tile.subarray((from + at) * HASH, (from + at + 1) * HASH));
    while (hashes.length > 1) {
      const pairs = [];
      for (let at = 0; at < hashes.length; at += 2) pairs.push(nodeHash(hashes[at], hashes[at + 1]));
      hashes = await Promise.all(pairs);
    }
    return hashes[0];
  }

  async #tile(level, n) {
    const width = Math.min(WIDTH, Math.floor(this.size / WIDTH ** level) - n * WIDTH);
    const bytes = await this.#resource(level, n, width);
    require(bytes.length === width * HASH || bytes.length === WIDTH * HASH, "malformed", `${tilePath(level, n, width)}: of a wrong length`);
    return bytes;
  }

  async #bundle(n) {
    const width = Math.min(WIDTH, this.size - n * WIDTH);
    return parseBundle(await this.#resource("entries", n, width), width, tilePath("entries", n, width));
  }

  /** A tile; the full one where the partial one is gone, since it begins alike. */
  async #resource(level, n, width) {
    const name = tilePath(level, n, width);
    if (!this.#tiles.has(name)) {
      const bytes = await this.#get(name) ?? (width < WIDTH ? await this.#get(tilePath(level, n, WIDTH)) : null);
      require(bytes !== null, "not_proven", `the server does not give out ${name}`);
      this.#tiles.set(name, bytes);
    }
    return this.#tiles.get(name);
  }
}
