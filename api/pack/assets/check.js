"use strict";
/* Checks the evidence that this page carries: the steps of docs/format.md, "Evidence", with WebCrypto alone.
   Whoever made the file wrote this checker too: it finds damage, and convinces nobody who does not already trust them. */
(() => {
  const text = new TextEncoder();
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  const ED25519 = 1, COSIGNATURE = 4;

  class Damage extends Error {
    constructor(kind, detail) { super(detail); this.kind = kind; }
  }
  const require = (ok, kind, detail) => { if (!ok) throw new Damage(kind, detail); };

  // Bytes

  const concat = (...parts) => {
    const all = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
    let at = 0;
    for (const part of parts) { all.set(part, at); at += part.length; }
    return all;
  };
  const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const binary = (bytes) => { let out = ""; for (const byte of bytes) out += String.fromCharCode(byte); return out; };
  const base64 = (bytes) => btoa(binary(bytes));
  const base64url = (bytes) => base64(bytes).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const decode64 = (given, what) => {
    let bytes;
    try { bytes = Uint8Array.from(atob(given), (char) => char.charCodeAt(0)); } catch { bytes = null; }
    require(bytes && base64(bytes) === given, "malformed", `${what}: not base64 in canonical form`);
    return bytes;
  };
  const decodeHash = (given, what) => {
    const bytes = decode64(given, what);
    require(bytes.length === 32, "malformed", `${what}: expected 32 bytes, found ${bytes.length}`);
    return bytes;
  };
  const same = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);
  const leafHash = (entry) => sha256(concat([0], entry));
  const nodeHash = (left, right) => sha256(concat([1], left, right));

  // Sizes are below 2^53 here, past what 32-bit operators hold.

  const half = (n) => Math.floor(n / 2);
  const split = (n) => { let k = 1; while (k * 2 < n) k *= 2; return k; };
  const isPowerOfTwo = (n) => { while (n % 2 === 0) n = half(n); return n === 1; };
  const number = (given, what) => {
    require(/^(0|[1-9][0-9]{0,15})$/.test(given) && Number(given) <= Number.MAX_SAFE_INTEGER, "malformed", `${what}: not a number`);
    return Number(given);
  };

  // Proofs

  async function rootOfLeaves(seqs, leaves, size, proof) {
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

  async function checkConsistency(m, n, path, oldRoot, newRoot, what) {
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

  async function parseVkey(vkey) {
    const found = /^([^+\s]+)\+([0-9a-f]{8})\+(.+)$/.exec(vkey.trim());
    require(found, "malformed", "vkey: expected <name>+<key ID>+<key>");
    const data = decode64(found[3], "vkey");
    const id = (await sha256(concat(text.encode(found[1] + "\n"), data))).slice(0, 4);
    require(hex(id) === found[2], "malformed", `vkey of ${found[1]}: the key ID is not that of its name and key`);
    const length = { [ED25519]: 33, [COSIGNATURE]: 33, 6: 1313 }[data[0]];
    require(data.length === length, "malformed", `vkey of ${found[1]}: unknown type or wrong length`);
    return { name: found[1], id: found[2], type: data[0], key: data.slice(1), vkey: vkey.trim() };
  }

  function splitNote(note, what) {
    require(!/[\u0000-\u0009\u000b-\u001f]/.test(note), "malformed", `${what}: control character`);
    const at = note.lastIndexOf("\n\n");
    require(at > 0 && note.endsWith("\n") && note.length > at + 2, "malformed", `${what}: no signature lines`);
    const signatures = note.slice(at + 2, -1).split("\n").map((line) => {
      const found = /^— ([^+\s]+) (\S+)$/.exec(line);
      require(found, "malformed", `${what}: a signature line is broken`);
      const data = decode64(found[2], "signature");
      require(data.length > 4, "malformed", `${what}: a signature is too short`);
      return { name: found[1], id: hex(data.slice(0, 4)), signature: data.slice(4) };
    });
    require(signatures.length <= 100, "malformed", `${what}: too many signatures`);
    return { body: note.slice(0, at + 1), signatures };
  }

  function parseCheckpoint(note) {
    const { body, signatures } = splitNote(note, "checkpoint");
    const lines = body.split("\n");
    require(lines.length === 4, "malformed", "checkpoint: expected origin, size and root");
    return { body, signatures, origin: lines[0], size: number(lines[1], "size"), root: decodeHash(lines[2], "root") };
  }

  async function verifyEd25519(key, signature, message) {
    const imported = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
    return signature.length === 64 && crypto.subtle.verify({ name: "Ed25519" }, imported, signature, message);
  }

  /** Whether one of the note's lines is the log key's; a line under its name and ID that is wrong is damage. */
  async function isSignedBy(note, key) {
    let signed = false;
    for (const line of note.signatures) {
      if (line.name !== key.name || line.id !== key.id) continue;
      require(key.type === ED25519 && await verifyEd25519(key.key, line.signature, text.encode(note.body)),
        "signature_invalid", `the signature of ${key.name} is wrong`);
      signed = true;
    }
    return signed;
  }

  async function cosignatureTime(note, key) {
    for (const line of note.signatures) {
      if (line.name !== key.name || line.id !== key.id) continue;
      require(line.signature.length === 72, "signature_invalid", `the cosignature of ${key.name} has a wrong length`);
      const time = Number(new DataView(line.signature.slice(0, 8).buffer).getBigUint64(0));
      const message = text.encode(`cosignature/v1\ntime ${time}\n${note.body}`);
      require(await verifyEd25519(key.key, line.signature.slice(8), message),
        "signature_invalid", `the cosignature of ${key.name} is wrong`);
      return time;
    }
    return null;
  }

  // Entries: JSON in the one form that docs/format.md allows

  const SCALAR = /(?:"(?:[^"\\\u0000-\u001f]|\\["\\bfnrt]|\\u00(?:0[0-7be-f]|1[0-9a-f]))*"|-?(?:0|[1-9][0-9]*)|true|false|null)/y;

  function parseStrict(source) {
    let at = 0;
    const fail = () => { throw new Damage("non_canonical", `not an entry of format 1, at character ${at}`); };
    const take = (char) => { if (source[at] !== char) fail(); at++; };
    const scalar = () => {
      SCALAR.lastIndex = at;
      const found = SCALAR.exec(source);
      if (!found || found[0] === "-0") fail();
      at = SCALAR.lastIndex;
      const value = JSON.parse(found[0]);
      if (typeof value === "number" && !Number.isSafeInteger(value)) fail();
      if (typeof value === "string" && !value.isWellFormed()) fail();
      return value;
    };
    const several = (open, close, item) => {
      take(open);
      if (source[at] === close) { at++; return; }
      for (;;) {
        item();
        if (source[at] === close) { at++; return; }
        take(",");
      }
    };
    const value = (depth) => {
      if (source[at] === "{") {
        if (depth === 32) fail();
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
        if (depth === 32) fail();
        const made = [];
        several("[", "]", () => made.push(value(depth + 1)));
        return made;
      }
      return scalar();
    };
    const found = value(0);
    if (at !== source.length) fail();
    return found;
  }

  const FIELDS = "v,seq,prev,at,stream,pos,type,meta,data,sealed";

  function parseEntry(source) {
    const entry = parseStrict(source);
    require(entry instanceof Map && [...entry.keys()].join() === FIELDS && entry.get("v") === 1,
      "non_canonical", "not an entry of format 1");
    return entry;
  }

  async function openDisclosure(given, name, digest, seq) {
    const what = `entry ${seq}, ${name}`;
    require(base64url(await sha256(text.encode(given))) === digest, "payload_mismatch", `${what}: not what the entry binds`);
    let found;
    try {
      const bytes = Uint8Array.from(atob(given.replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0));
      found = JSON.parse(utf8.decode(bytes));
    } catch { found = null; }
    require(Array.isArray(found) && found.length === 3 && /^[A-Za-z0-9_-]{21}[AQgw]$/.test(found[0]) && found[1] === name,
      "payload_mismatch", `${what}: not a disclosure of that field`);
    return found[2];
  }

  async function checkReviews(entries, found) {
    let reviews = 0;
    for (const [seq, { entry, opened }] of entries) {
      if (entry.get("type") !== "review.signed.v1" || !opened.has("statement") || !opened.has("vkey")) continue;
      const key = await parseVkey(opened.get("vkey"));
      require(await isSignedBy(splitNote(opened.get("statement"), `review ${seq}`), key), "signature_invalid",
        `the review in entry ${seq} is not signed by the key beside it`);
      reviews++;
    }
    if (reviews) found.checked.push(`reviews: ${reviews} are signed by the keys beside them; whose keys those are, you must know`);
  }

  // The page: a digest of its whole tree but for the evidence and the answer, as api/pack/page_digest.py takes it

  function pageTokens(root) {
    const tokens = [];
    const walk = (node) => {
      if (node.nodeType === Node.TEXT_NODE) {
        if (/[^ \t\n\f\r]/.test(node.data)) tokens.push(`T${node.data}`);
      } else if (node.nodeType === Node.COMMENT_NODE) {
        tokens.push(`C${node.data}`);
      } else if (node.nodeType === Node.ELEMENT_NODE) {
        tokens.push(`E${node.localName}`);
        for (const name of node.getAttributeNames().sort()) tokens.push(`A${name}=${node.getAttribute(name)}`);
        if (node.id !== "evidence" && node.id !== "answer") node.childNodes.forEach(walk);
        tokens.push("/");
      }
    };
    walk(root);
    return tokens;
  }
  const pageDigest = async () => hex(await sha256(text.encode(JSON.stringify(pageTokens(document.documentElement)))));

  // What is shown, against what is recorded

  function recorded(entries, element) {
    const { seq, field, path } = element.dataset;
    const known = entries.get(Number(seq));
    require(known, "shown_differs", `entry ${seq} is shown and not carried`);
    let value = field === undefined ? known.entry : known.opened.get(field);
    require(value !== undefined, "shown_differs", `entry ${seq}: ${field} is shown and not disclosed`);
    for (const step of path ? path.split("/") : []) value = value instanceof Map ? value.get(step) : value?.[step];
    return value;
  }

  function checkShown(entries) {
    const shown = document.querySelectorAll("main [data-seq]");
    for (const element of shown) {
      const value = recorded(entries, element);
      const says = element.hasAttribute("value") ? element.getAttribute("value") : element.textContent;
      const expected = String(value).replace(/\u0000/g, "\ufffd");
      require(says === expected, "shown_differs", `entry ${element.dataset.seq}: the page shows something else than is recorded`);
      if (element.hasAttribute("value")) {
        require(element.textContent === Number(value).toFixed(4), "shown_differs",
          `entry ${element.dataset.seq}: the page shows ${element.textContent} for ${value}`);
      }
    }
    return shown.length;
  }

  // The check

  async function checkEvidence(source, given) {
    const found = { checked: [], notChecked: [], facts: {} };
    const evidence = JSON.parse(source);
    require(JSON.stringify(evidence).replace(/</g, "\\u003c") === source, "malformed", "the evidence is not printed as it was made");
    require(evidence.format === "affidavit-evidence@v1", "malformed", "unknown form of evidence");

    const key = await parseVkey(given.vkey || evidence.vkey);
    const note = parseCheckpoint(evidence.checkpoint);
    require(await isSignedBy(note, key), "unknown_key", `the checkpoint is not signed by ${key.vkey}`);
    require(note.origin === key.name, "wrong_ledger", `the checkpoint is of ${note.origin}`);
    found.checked.push(`signature: ${note.size} entries of ${note.origin}, under key ${key.id}`);
    if (given.vkey) found.checked.push("key_pinned: the key is the one that you gave");
    else found.notChecked.push("key_pinned: the key is the one that this file names; give your own below");
    found.facts = { origin: note.origin, size: note.size, root: base64(note.root) };

    const seqs = evidence.entries.map((item) => item.seq);
    require(seqs.every((seq, at) => Number.isSafeInteger(seq) && seq < note.size && (at === 0 ? seq === 0 : seq > seqs[at - 1])),
      "malformed", "the entries are not in order, or the first is missing");
    const bytes = evidence.entries.map((item) => text.encode(item.entry));
    const leaves = await Promise.all(bytes.map(leafHash));
    const proof = evidence.proof.map((hash) => decodeHash(hash, "proof"));
    require(same(await rootOfLeaves(seqs, leaves, note.size, proof), note.root),
      "entry_modified", "the entries are not those that were signed");
    found.checked.push(`inclusion: ${seqs.length} entries stand in the signed tree`);

    const entries = new Map();
    const positions = new Map();
    let disclosed = 0, withheld = 0;
    for (const [at, item] of evidence.entries.entries()) {
      const entry = parseEntry(item.entry);
      require(entry.get("seq") === item.seq, "order_broken", `entry ${item.seq} says that it is ${entry.get("seq")}`);
      if (at && seqs[at - 1] === item.seq - 1) {
        require(entry.get("prev") === hex(leaves[at - 1]), "entry_modified", `entry ${item.seq} is not chained onto the one before`);
      }
      const stream = entry.get("stream");
      if (positions.has(stream) && entry.get("pos") !== positions.get(stream) + 1) {
        found.notChecked.push(`stream ${stream}: positions ${positions.get(stream) + 1} to ${entry.get("pos") - 1} are not in this file`);
      }
      positions.set(stream, entry.get("pos"));
      const opened = new Map();
      for (const [name, given] of Object.entries(item.disclosures)) {
        require(entry.get("sealed").has(name), "payload_mismatch", `entry ${item.seq} has no sealed field ${name}`);
        opened.set(name, await openDisclosure(given, name, entry.get("sealed").get(name), item.seq));
        disclosed++;
      }
      withheld += entry.get("sealed").size - opened.size;
      entries.set(item.seq, { entry, opened });
    }
    found.checked.push(`grammar and chain: ${seqs.length} entries`);
    found.checked.push(`disclosures: ${disclosed} are what the entries bind`);
    if (withheld) found.notChecked.push(`sealed: ${withheld} fields are not in this file`);

    const { range } = evidence;
    for (const end of ["first", "stop"]) {
      await checkConsistency(range[end], note.size, range[`proof_${end}`].map((hash) => decodeHash(hash, "proof")),
        decodeHash(range[`root_${end}`], "root"), note.root, `the root at size ${range[end]}`);
    }
    const gaps = [];
    for (let at = range.first; at < range.stop; at++) {
      if (entries.has(at)) continue;
      const last = gaps[gaps.length - 1];
      if (last && last[1] === at - 1) last[1] = at; else gaps.push([at, at]);
    }
    found.checked.push(`range: entries ${range.first} to ${range.stop - 1}, roots at both ends`);
    if (gaps.length) {
      const told = gaps.slice(0, 20).map(([a, b]) => (a === b ? `${a}` : `${a}–${b}`)).join(", ");
      found.notChecked.push(`gaps: entries ${told}${gaps.length > 20 ? " and more" : ""} of the range are not in this file`);
    }

    await checkReviews(entries, found);
    await checkWitnesses(evidence, note, found);
    const known = new Map([[note.size, note.root], [range.first, decodeHash(range.root_first, "root")],
      [range.stop, decodeHash(range.root_stop, "root")]]);
    let tokens = 0;
    for (const earlier of evidence.anchors) {
      const before = parseCheckpoint(earlier.note);
      await checkConsistency(before.size, note.size, earlier.proof.map((hash) => decodeHash(hash, "proof")), before.root, note.root,
        `the earlier checkpoint of size ${before.size}`);
      known.set(before.size, before.root);
      if (earlier.token !== null) tokens++;
    }
    found.notChecked.push(tokens
      ? `time: ${tokens} time tokens are carried; a browser cannot check them, affidavit check can`
      : "time: no time token is carried; times are the recorder's");
    checkPinned(given.pinned, note, known, found);
    return { found, evidence, entries };
  }

  async function checkWitnesses(evidence, note, found) {
    const witnesses = (evidence.policy || "").split("\n").map((line) => line.trim().split(/[ \t]+/)).filter((words) => words[0] === "witness");
    let seen = 0;
    for (const words of witnesses) {
      const key = await parseVkey(words[2]);
      if (key.type !== COSIGNATURE) found.notChecked.push(`cosignature of ${key.name}: of a type that browsers cannot check`);
      else if (await cosignatureTime(note, key) !== null) seen++;
    }
    if (seen) found.checked.push(`cosignatures: ${seen} of ${witnesses.length} witnesses that this file names`);
    found.notChecked.push(seen
      ? "fork: the witnesses are those that this file names; whether they are yours, and enough, your own policy tells"
      : "fork: no witness has cosigned; others may have been shown another history");
  }

  function checkPinned(pinned, note, known, found) {
    if (!pinned) {
      found.notChecked.push("rollback: give the checkpoint that you kept, below");
      return;
    }
    const kept = parseCheckpoint(pinned);
    require(kept.origin === note.origin, "wrong_ledger", `your checkpoint is of ${kept.origin}`);
    if (known.has(kept.size)) {
      require(same(known.get(kept.size), kept.root), "fork", `your checkpoint of size ${kept.size} has another root: keep both`);
      found.checked.push(`pinned: your checkpoint of size ${kept.size} is of this history`);
    } else if (kept.size > note.size) {
      found.notChecked.push(`pinned: yours has ${kept.size} entries and this file's ${note.size}: ask for a newer file`);
    } else {
      found.notChecked.push(`pinned: this file carries no proof from size ${kept.size}; affidavit verify --pinned on the ledger has one`);
    }
  }

  // The answer

  const line = (list, mark, words) => {
    const item = document.createElement("li");
    item.className = mark;
    item.textContent = words;
    list.append(item);
  };

  async function answer(digest) {
    const place = document.getElementById("answer");
    const read = (id) => document.getElementById(id)?.value.trim() || "";
    const list = document.createElement("ul");
    const head = document.createElement("p");
    const started = performance.now();
    let state = "ok";
    try {
      require(globalThis.isSecureContext && crypto.subtle, "unsupported", "this browser has no WebCrypto for this page");
      const pinned = read("given-pinned");
      const given = { vkey: read("given-vkey"), pinned: pinned && `${pinned}\n` };
      const { found, evidence, entries } = await checkEvidence(document.getElementById("evidence").textContent, given);
      require(digest === evidence.body, "page_changed", "the page was changed after it was made");
      const shown = checkShown(entries);
      found.checked.push(`shown: ${shown} texts and figures are those recorded; the rest of the page is as it was made`);
      found.checked.forEach((words) => line(list, "ok", words));
      found.notChecked.forEach((words) => line(list, "not-checked", words));
      head.textContent = "OK: everything that was checked is as it was recorded.";
    } catch (error) {
      state = error instanceof Damage && error.kind === "unsupported" ? "not_proven" : "damaged";
      const kind = error instanceof Damage ? error.kind : "malformed";
      head.textContent = state === "damaged" ? `DAMAGED: ${kind}: ${error.message}` : `NOT CHECKED: ${error.message}`;
    }
    head.className = `verdict ${state}`;
    place.replaceChildren(head, list);
    place.dataset.state = state;
    place.dataset.milliseconds = String(Math.round(performance.now() - started));
  }

  document.addEventListener("DOMContentLoaded", async () => {
    const digest = globalThis.isSecureContext ? await pageDigest() : "";
    document.documentElement.dataset.checker = "on";
    await answer(digest);
    document.getElementById("check-again")?.addEventListener("click", () => answer(digest));
  });
})();
