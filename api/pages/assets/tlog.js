/* What a log is checked with: bytes, proofs, signed notes, who signs, and the one form of an entry; docs/format.md.
   It reads nothing and shows nothing. The script of an evidence pack is this file and api/pack/assets/check.js. */

export const text = new TextEncoder();
export const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
export const ED25519 = 1, COSIGNATURE = 4;

export class Damage extends Error {
  constructor(kind, detail) { super(detail); this.kind = kind; }
}
export const require = (ok, kind, detail) => { if (!ok) throw new Damage(kind, detail); };

// Bytes

export const concat = (...parts) => {
  const all = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) { all.set(part, at); at += part.length; }
  return all;
};
export const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const binary = (bytes) => { let out = ""; for (const byte of bytes) out += String.fromCharCode(byte); return out; };
export const base64 = (bytes) => btoa(binary(bytes));
export const base64url = (bytes) => base64(bytes).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
export const decode64 = (given, what) => {
  let bytes;
  try { bytes = Uint8Array.from(atob(given), (char) => char.charCodeAt(0)); } catch { bytes = null; }
  require(bytes && base64(bytes) === given, "malformed", `${what}: not base64 in canonical form`);
  return bytes;
};
export const decodeHash = (given, what) => {
  const bytes = decode64(given, what);
  require(bytes.length === 32, "malformed", `${what}: expected 32 bytes, found ${bytes.length}`);
  return bytes;
};
export const same = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);
export const leafHash = (entry) => sha256(concat([0], entry));
export const nodeHash = (left, right) => sha256(concat([1], left, right));

// Sizes are below 2^53 here, past what 32-bit operators hold.

export const half = (n) => Math.floor(n / 2);
export const split = (n) => { let k = 1; while (k * 2 < n) k *= 2; return k; };
const isPowerOfTwo = (n) => { while (n % 2 === 0) n = half(n); return n === 1; };
export const number = (given, what) => {
  require(/^(0|[1-9][0-9]{0,15})$/.test(given) && Number(given) <= Number.MAX_SAFE_INTEGER, "malformed", `${what}: not a number`);
  return Number(given);
};

// Proofs

export async function rootOfLeaves(seqs, leaves, size, proof) {
  let used = 0;
  const fold = async (start, width, first, stop) => {
    if (first === stop) {
      require(used < proof.length, "proof_invalid", "the proof is too short");
      return proof[used++];
    }
    if (width === 1) return leaves[first];
    const k = split(width);
    let middle = first;
    while (middle < stop && seqs[middle] < start + k) middle++;
    const left = await fold(start, k, first, middle);
    return nodeHash(left, await fold(start + k, width - k, middle, stop));
  };
  const root = await fold(0, size, 0, seqs.length);
  require(used === proof.length, "proof_invalid", "the proof is too long");
  return root;
}

export async function checkConsistency(m, n, path, oldRoot, newRoot, what) {
  const wrong = (detail) => new Damage("proof_invalid", `${what}: ${detail}`);
  if (m > n) throw wrong(`size ${m} is above ${n}`);
  if (m === n) {
    if (path.length || !same(oldRoot, newRoot)) throw wrong("one size, two roots");
    return;
  }
  if (m === 0) {
    if (path.length || !same(oldRoot, await sha256(new Uint8Array()))) throw wrong("size 0 has another root");
    return;
  }
  let rest = [...path];
  if (isPowerOfTwo(m)) rest.unshift(oldRoot);
  if (!rest.length) throw wrong("the path is empty");
  let f = m - 1, s = n - 1;
  while (f % 2) { f = half(f); s = half(s); }
  let fr = rest[0], sr = rest[0];
  for (const c of rest.slice(1)) {
    if (s === 0) throw wrong("the path is too long");
    if (f % 2 || f === s) {
      fr = await nodeHash(c, fr);
      sr = await nodeHash(c, sr);
      while (f % 2 === 0 && f !== 0) { f = half(f); s = half(s); }
    } else {
      sr = await nodeHash(sr, c);
    }
    f = half(f); s = half(s);
  }
  if (s !== 0) throw wrong("the path is too short");
  if (!same(fr, oldRoot) || !same(sr, newRoot)) throw wrong("the roots do not follow");
}

// Notes

// White space as Unicode has it, which is not what JavaScript takes for it.
export const NAME = "[^+\\u0000-\\u0020\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const VKEY = new RegExp(`^(${NAME})\\+([0-9a-f]{8})\\+(.+)$`);
const SIGNATURE_LINE = new RegExp(`^— (${NAME}) (\\S+)$`);
const Q = 2n ** 255n - 19n;
const Y8 = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n;
const LOW_ORDER = [0n, 1n, Q - 1n, Y8, Q - Y8];

/** Whether an Ed25519 key has the y of a point of order 1, 2, 4 or 8, under which one signature fits many texts. */
const isLowOrder = (key) => LOW_ORDER.includes((BigInt(`0x${hex([...key].reverse())}`) % 2n ** 255n) % Q);

export async function parseVkey(vkey) {
  const found = VKEY.exec(vkey);
  require(found, "malformed", "vkey: expected <name>+<key ID>+<key>");
  const data = decode64(found[3], "vkey");
  const id = (await sha256(concat(text.encode(found[1] + "\n"), data))).slice(0, 4);
  require(hex(id) === found[2], "malformed", `vkey of ${found[1]}: the key ID is not that of its name and key`);
  const length = { [ED25519]: 33, [COSIGNATURE]: 33, 6: 1313 }[data[0]];
  require(data.length === length, "malformed", `vkey of ${found[1]}: unknown type or wrong length`);
  require(data[0] === 6 || !isLowOrder(data.slice(1)), "malformed", `vkey of ${found[1]}: a point of low order`);
  return { name: found[1], id: found[2], type: data[0], key: data.slice(1), vkey };
}

export function splitNote(note, what) {
  require(!/[\u0000-\u0009\u000b-\u001f]/.test(note), "malformed", `${what}: control character`);
  const at = note.lastIndexOf("\n\n");
  require(at > 0 && note.endsWith("\n") && note.length > at + 2, "malformed", `${what}: no signature lines`);
  const signatures = note.slice(at + 2, -1).split("\n").map((line) => {
    const found = SIGNATURE_LINE.exec(line);
    require(found, "malformed", `${what}: a signature line is broken`);
    const data = decode64(found[2], "signature");
    require(data.length > 4, "malformed", `${what}: a signature is too short`);
    return { name: found[1], id: hex(data.slice(0, 4)), signature: data.slice(4) };
  });
  require(signatures.length <= 100, "malformed", `${what}: too many signatures`);
  return { body: note.slice(0, at + 1), signatures };
}

export function parseCheckpoint(note) {
  const { body, signatures } = splitNote(note, "checkpoint");
  const lines = body.split("\n");
  require(lines.length === 4, "malformed", "checkpoint: expected origin, size and root");
  return { body, signatures, origin: lines[0], size: number(lines[1], "size"), root: decodeHash(lines[2], "root") };
}

async function verifyEd25519(key, signature, message) {
  const imported = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
  return signature.length === 64 && crypto.subtle.verify({ name: "Ed25519" }, imported, signature, message);
}

/** The keys among `keys` that signed a note, with the time of a cosignature; a line of a known key that is wrong is damage. */
export async function signers(note, keys, found) {
  const signed = new Map();
  for (const line of note.signatures) {
    for (const key of keys.filter((each) => each.name === line.name && each.id === line.id)) {
      if (key.type !== ED25519 && key.type !== COSIGNATURE) {
        found.notChecked.push(`cosignature of ${key.name}: of a type that browsers cannot check`);
        continue;
      }
      const stamped = key.type === COSIGNATURE;
      require(!stamped || line.signature.length === 72, "signature_invalid", `the cosignature of ${key.name} has a wrong length`);
      const time = stamped ? new DataView(line.signature.slice(0, 8).buffer).getBigUint64(0) : 0n;
      require(time < 2n ** 63n, "signature_invalid", `the cosignature of ${key.name} is of no time`);
      const message = text.encode(stamped ? `cosignature/v1\ntime ${time}\n${note.body}` : note.body);
      require(await verifyEd25519(key.key, line.signature.slice(stamped ? 8 : 0), message),
        "signature_invalid", `the signature of ${key.name} is wrong`);
      signed.set(key.vkey, time);
    }
  }
  return signed;
}

// The events that say who signs, and the type of each of their fields.
const NAMING = {
  "ledger.opened.v1": { format: "number", origin: "string", vkey: "string" },
  "key.rotated.v1": { old: "string", new: "string", first: "number", last: "number" },
  "ledger.continued.v1": { origin: "string", vkey: "string", continues: "string", signed_size: "number", signed_root: "string", reason: "string" },
};
const ORIGIN = /^([A-Za-z0-9._-]{1,64}\/){1,4}[0-9a-f]{16}$/;

/** Which keys sign which sizes, as stream `ledger` says: docs/format.md, "Who signs". */
export async function readIdentity(entries) {
  const ranges = [];
  for (const [pos, entry] of entries.entries()) {
    const seq = entry.get("seq"), type = entry.get("type"), data = entry.get("data");
    const wrong = (detail) => { throw new Damage("unknown_key", `entry ${seq}: ${detail}`); };
    if (entry.get("pos") !== pos || (type === "ledger.opened.v1") !== (seq === 0)) wrong("stream ledger is not whole");
    const fields = NAMING[type];
    if (fields === undefined) continue;
    if (data.size !== Object.keys(fields).length || [...data].some(([name, value]) => typeof value !== fields[name])) wrong(`not the fields of ${type}`);
    const last = ranges[ranges.length - 1];
    let origin, key, first;
    if (type === "key.rotated.v1") {
      [origin, key, first] = [last.origin, await parseVkey(data.get("new")), data.get("first")];
      if (data.get("old") !== last.key.vkey) wrong("it replaces another key");
      if (!(last.first < first && first <= seq + 1 && seq + 1 <= data.get("last"))) wrong("the keys do not overlap");
      last.last = data.get("last");
    } else {
      [origin, key, first] = [data.get("origin"), await parseVkey(data.get("vkey")), ranges.length ? seq + 1 : 0];
      if (!ORIGIN.test(origin) || !(ranges.length || data.get("format") === 1)) wrong("its format, or the form of the origin");
      if (ranges.length) {
        if (data.get("continues") !== last.origin) wrong("it continues another log");
        if (ranges.some((range) => range.origin === origin)) wrong("it goes back to an earlier origin");
        if (data.get("signed_size") < 0 || !isHash(data.get("signed_root")) || !/^[a-z][a-z0-9_]{0,63}$/.test(data.get("reason"))) wrong("its fields");
      }
      for (const range of ranges) range.last = Math.min(range.last, seq);
    }
    if (key.name !== origin || key.type !== ED25519 || ranges.some((range) => same(range.key.key, key.key))) wrong("not a new key of this log");
    ranges.push({ origin, key, first, last: Infinity, namedBy: seq });
  }
  require(ranges.length, "wrong_ledger", "no entry says whose log this is");
  return ranges;
}

/** The keys that signed a checkpoint: exactly those of its size. */
export async function requireSigners(note, ranges, found) {
  const ofLog = ranges.filter((range) => range.origin === note.origin);
  const expected = ofLog.filter((range) => range.first <= note.size && note.size <= range.last).map((range) => range.key.vkey);
  const signed = await signers(note, ofLog.map((range) => range.key), found);
  require(expected.length && expected.length === signed.size && expected.every((vkey) => signed.has(vkey)),
    "unknown_key", `the checkpoint of size ${note.size} is not signed by the keys of its size`);
  return expected;
}

// JSON: entries and evidence in the one form that docs/format.md allows, disclosures in any

const scalars = (escapes, numbers) => new RegExp(
  `"[^"\\\\\\u0000-\\u001f]*(?:\\\\(?:${escapes})[^"\\\\\\u0000-\\u001f]*)*"|${numbers}|true|false|null`, "y");
export const STRICT = {
  depth: 32,
  space: /(?:)/y,
  scalar: scalars('["\\\\bfnrt]|u00(?:0[0-7be-f]|1[0-9a-f])', "0|-?[1-9][0-9]*"),
  isNumber: Number.isSafeInteger,
};
export const ANY = {
  depth: 1000,
  space: /[ \t\n\r]*/y,
  scalar: scalars('["\\\\/bfnrt]|u[0-9a-fA-F]{4}', "-?(?:0|[1-9][0-9]*)(?:\\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"),
  isNumber: Number.isFinite,
};

/** One JSON value, its keys unique and its texts well-formed; objects become maps. */
export function parseJson(source, form) {
  let at = 0;
  const fail = () => { throw new Damage("non_canonical", `not JSON of the form that is expected, at character ${at}`); };
  const skip = () => { form.space.lastIndex = at; form.space.exec(source); at = form.space.lastIndex; };
  const take = (char) => { if (source[at] !== char) fail(); at++; skip(); };
  const scalar = () => {
    form.scalar.lastIndex = at;
    const found = form.scalar.exec(source);
    if (!found) fail();
    at = form.scalar.lastIndex;
    skip();
    const value = JSON.parse(found[0]);
    if (typeof value === "number" && !form.isNumber(value)) fail();
    if (typeof value === "string" && !value.isWellFormed()) fail();
    return value;
  };
  const several = (open, close, item) => {
    take(open);
    if (source[at] === close) { take(close); return; }
    for (;;) {
      item();
      if (source[at] === close) { take(close); return; }
      take(",");
    }
  };
  const value = (depth) => {
    if (source[at] === "{") {
      if (depth === form.depth) fail();
      const made = new Map();
      several("{", "}", () => {
        if (source[at] !== '"') fail();
        const name = scalar();
        if (made.has(name)) fail();
        take(":");
        made.set(name, value(depth + 1));
      });
      return made;
    }
    if (source[at] === "[") {
      if (depth === form.depth) fail();
      const made = [];
      several("[", "]", () => made.push(value(depth + 1)));
      return made;
    }
    return scalar();
  };
  skip();
  const found = value(0);
  if (at !== source.length) fail();
  return found;
}

const FIELDS = "v,seq,prev,at,stream,pos,type,meta,data,sealed";
const STREAM = /^[a-z][a-z_]{0,63}(\/[A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?$/;
const TYPE = /^[a-z][a-z_]{0,63}(\.[a-z][a-z_]{0,63}){1,3}\.v[1-9][0-9]{0,3}$/;
const DIGEST = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;
const META = { actor: "string", cause: "number", correlation: "string", recorder: "string", judge_prompt_version: "string", scope: "string" };
export const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
export const isHash = (value) => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
export const isTime = (at) => typeof at === "string" && /^(?!0000)\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$/.test(at)
  && new Date(`${at.slice(0, 23)}Z`).toJSON()?.slice(0, 19) === at.slice(0, 19);
const isMeta = ([name, value]) => !Object.hasOwn(META, name) || (typeof value === META[name] && (name !== "cause" || value >= 0));

export function parseEntry(source) {
  require(text.encode(source).length <= 65535, "non_canonical", "an entry of more than 65,535 bytes");
  const entry = parseJson(source, STRICT);
  require(entry instanceof Map && [...entry.keys()].join() === FIELDS && entry.get("v") === 1,
    "non_canonical", "not an entry of format 1");
  const { seq, prev, at, stream, pos, type, meta, data, sealed } = Object.fromEntries(entry);
  require(isCount(seq) && isCount(pos) && isHash(prev) && isTime(at), "non_canonical", `entry ${seq}: seq, pos, prev or at`);
  require(typeof stream === "string" && STREAM.test(stream) && typeof type === "string" && TYPE.test(type),
    "non_canonical", `entry ${seq}: stream or type`);
  require([meta, data, sealed].every((each) => each instanceof Map) && [...meta].every(isMeta), "non_canonical", `entry ${seq}: meta, data or sealed`);
  for (const [name, digest] of sealed) {
    require(typeof digest === "string" && DIGEST.test(digest) && !data.has(name), "non_canonical", `entry ${seq}: sealed field ${name}`);
  }
  return entry;
}
