/* Checks what a page says of its log against the newest checkpoint, the key that the reader pinned, and the checkpoint
   that this browser kept from the last time. Nothing here knows how the outcome is shown. */

import { Damage, ED25519, decodeHash, hex, leafHash, parseCheckpoint, parseEntry, parseVkey, readIdentity, require,
  requireSigners, same, text, utf8 } from "./tlog.js";
import { StaticLog } from "./tiles.js";

const KEPT = "affidavit.log";
const SIGNERS = "ledger/signers.txt";
const TRIES = 5, PAUSE = 700;
const MOST_ENTRIES = 500;

/** What this browser keeps of the log at this address: its origin, the pinned vkey or null, the last checkpoint or null. */
export function kept() {
  try { return JSON.parse(localStorage.getItem(KEPT)); } catch { return null; }
}

/** The size of the checkpoint that this browser had kept when this page was opened: a page that is made later has no fewer. */
const SEEN = (() => { try { return parseCheckpoint(kept().note).size; } catch { return 0; } })();

export function forget() { localStorage.removeItem(KEPT); }

function keep(record) {
  try { localStorage.setItem(KEPT, JSON.stringify(record)); return true; } catch { return false; }
}

/** Pin the key of a log; the checkpoint that was kept stays where it is of the same log. `Damage` where it is no such key. */
export async function pin(vkey) {
  const key = await parseVkey(vkey.trim());
  require(key.type === ED25519, "malformed", "this is the key of a witness, not of a log");
  const before = kept();
  const note = before?.origin === key.name ? before.note : null;
  require(keep({ origin: key.name, vkey: key.vkey, note }), "not_proven", "this browser keeps nothing for this page");
}

/** Bytes of a resource of this server, null where there is none. */
export async function fromServer(path) {
  const answer = await fetch(`/${path}`, { cache: path.startsWith("tile/") ? "default" : "no-store", credentials: "same-origin" });
  if (answer.status === 404) return null;
  require(answer.ok, "not_proven", `the server answers ${answer.status} for ${path}`);
  return new Uint8Array(await answer.arrayBuffer());
}

/** Numbers as `0,12-15` say them, ascending, each once; at most so many that a browser still checks them in a moment. */
export function numbers(said) {
  const found = new Set();
  let left = 0;
  for (const [, from, to] of said.matchAll(/(\d{1,15})(?:-(\d{1,15}))?/g)) {
    const first = Number(from), last = Number(to ?? from), room = MOST_ENTRIES - found.size;
    for (let seq = first; seq <= last && seq < first + room; seq++) found.add(seq);
    left += Math.max(0, last - first + 1 - room);
  }
  return { seqs: [...found].sort((a, b) => a - b), left };
}

/** What the page before the reader says: its badge, in attributes and in print, the entries that it is made from, and the
 * one that it shows whole. `past`: the reader asked for an earlier moment; `seen`: the size that the page has at least. */
export function readPage(root = document) {
  const badge = root.getElementById("badge"), stored = root.getElementById("stored");
  const whole = root.querySelector("[data-leaf][data-entries]");
  const { origin, size, root: tree } = badge.dataset;
  const says = { origin, size: `the first ${Number(size).toLocaleString("en-US")}, up to entry ${size - 1}`, root: tree };
  const printed = (name) => badge.querySelector(`[data-says=${name}]`)?.textContent.replace(/\s+/g, " ").trim();
  const entries = numbers([...root.querySelectorAll("[data-entries]")].map((each) => each.dataset.entries).join());
  return {
    origin,
    size: Number(size),
    root: tree,
    misprinted: Object.keys(says).filter((name) => printed(name) !== says[name]),
    past: Boolean(new URLSearchParams(location.search).get("as_of")),
    seen: SEEN,
    entries: entries.seqs,
    left: entries.left,
    stored: stored && whole ? { seq: numbers(whole.dataset.entries).seqs[0], leaf: whole.dataset.leaf, text: stored.textContent } : null,
  };
}

/**
 * Check a page against what `get(path)` gives out and what the browser `kept`. Returns the state, one sentence, what was
 * checked and what was not, and the notes that were compared. States: ok; unpinned, where all fits under a key that only
 * the server named; not_proven, where something is missing or unsigned; damaged; fork, rollback, other_log, where the server shows another history than it showed this browser before.
 */
export async function checkPage(page, before, get = fromServer, pause = (ms) => new Promise((done) => setTimeout(done, ms))) {
  const result = { state: "ok", page, message: "", checked: [], notChecked: [], note: null, before: before?.note ?? null, size: 0 };
  try {
    await check(page, before, get, pause, result);
    result.state = before?.vkey ? "ok" : "unpinned";
    result.message = before?.vkey
      ? `Everything that was checked is as it was signed under the key that you pinned: ${count(result.size)} of ${result.origin}. Whether its owner has replaced that key since, this server alone says.`
      : `${count(result.size)} of ${result.origin}. Pin the log's key to know more.`;
    if (!page.past && page.size < result.size) result.message += ` The page is of the first ${count(page.size)} only: reload it for what is newer.`;
  } catch (error) {
    const kind = error instanceof Damage ? error.kind : "unavailable";
    result.state = ["fork", "rollback", "other_log", "not_proven"].includes(kind) ? kind : error instanceof Damage ? "damaged" : "not_proven";
    result.message = error.message;
  }
  return result;
}

/** Whether nothing that was checked is wrong or missing; without a pinned key that is less than proven. */
export const isGood = (result) => result.state === "ok" || result.state === "unpinned";

/** The same for the page before the reader; keeps the checkpoint for the next time where all is well. */
export async function checkThisPage() {
  const before = kept();
  const result = await checkPage(readPage(), before);
  const now = kept(), vkey = now?.vkey ?? null;
  if (vkey !== (before?.vkey ?? null) || (before && !now)) {
    return { ...result, state: "not_proven", message: "the key that you pin changed meanwhile: verify again", checked: [] };
  }
  if (isGood(result) && (now === null || now.origin === result.origin)) {
    const newer = now?.note && parseCheckpoint(now.note).size > result.size;
    const stays = newer || keep({ origin: result.origin, vkey, note: result.note });
    if (!stays) result.notChecked.push("next time: this browser keeps nothing, so an older or another history would not be noticed");
  }
  return result;
}

async function check(page, before, get, pause, result) {
  require(globalThis.isSecureContext && globalThis.crypto?.subtle, "not_proven",
    "this browser checks nothing here: it gives WebCrypto to pages by https, or from this machine, only");
  require(Number.isSafeInteger(page.size) && page.size >= 1, "page_differs", "the page states no number of entries");
  const stated = decodeHash(page.root, "the root that the page states");
  const note = await newest(page, get, pause, result);
  const log = new StaticLog(get, note);

  // Whose log it is, and who signed it, as the log itself says, and as the reader knows.
  if (before) {
    require(note.origin === before.origin, "other_log", `this address showed the log ${before.origin} to this browser, `
      + `or you pinned its key; now it shows ${note.origin}`);
  }
  const covered = (seqs) => seqs.filter((seq) => seq < note.size);
  const about = [...new Set([...page.entries, ...(page.stored ? [page.stored.seq] : [])])];
  const shown = covered(about);
  const listed = await get(SIGNERS);
  require(listed !== null, "not_proven", "the server does not say which entries name the keys of this log");
  const list = numbers(utf8.decode(listed)), naming = covered(list.seqs);
  require(list.left === 0, "not_proven", "the server lists more entries that name keys than are checked here");
  const bytes = await log.entries([...new Set([...naming, ...shown])].sort((a, b) => a - b));
  const identity = naming.map((seq) => parseEntry(utf8.decode(bytes.get(seq))));
  require(identity.every((entry) => entry.get("stream") === "ledger"), "unknown_key", "the server lists an entry that names no key of the log");
  const ranges = await readIdentity(identity);
  const pinned = before?.vkey ?? null;
  if (pinned !== null) {
    require(note.signatures.some((line) => pinned.startsWith(`${line.name}+${line.id}+`)), "not_proven", "the key that you pinned did not sign this checkpoint. If its owner told you of a new "
      + "key, by a way that you trust, pin that; else this is not their log");
  }
  const signed = await requireSigners(note, ranges, result);
  require(pinned === null || signed.includes(pinned), "unknown_key", "the key that you pinned is not one that this log names");
  require(ranges.some((range) => range.origin === page.origin), "page_differs", `the page says that it is of the log ${page.origin}`);
  result.checked.push(`signature: the checkpoint of ${count(note.size)} is signed by ${pinned === null ? "the key that the log names" : "the key that you pinned"}`);
  result.notChecked.push("keys: that no later entry names another key, or retires this one as stolen; this server lists the entries that do");
  if (pinned === null) result.notChecked.push("key: it came from this server, as the log itself names it; pin the one that its owner gave you");

  await checkBefore(before, note, log, result);
  await checkRoot(page, stated, note, log, result);
  await checkEntries(page, shown, bytes, result);

  result.notChecked.push("figures: that what this page shows follows from the entries; the command affidavit verify computes it anew from the log");
  result.notChecked.push("others: whether everybody is shown this history; witnesses tell");
  result.notChecked.push("program: this page and this checker came from the server. A copy of docs/verify.py that you kept, or "
    + "the command affidavit verify on your own machine, trusts nobody");

  require(page.size <= note.size, "not_proven", `the page is computed from ${count(page.size)}, and only ${count(note.size)} are signed; try again in a moment`);
  const later = about.length - shown.length;
  require(later === 0, "not_proven", `${count(later)} that this page is about ${later === 1 ? "is" : "are"} not signed`);
}

/** The newest checkpoint; where the page is of more entries, what is signed within a few seconds is waited for. */
async function newest(page, get, pause, result) {
  for (let tries = 1; ; tries++) {
    const bytes = await get("checkpoint");
    require(bytes !== null, "not_proven", "no checkpoint is published yet");
    let printed;
    try { printed = utf8.decode(bytes); } catch { throw new Damage("malformed", "the checkpoint is no text"); }
    const note = parseCheckpoint(printed);
    if (note.size >= page.size || tries === TRIES) {
      Object.assign(result, { note: printed, origin: note.origin, size: note.size });
      return note;
    }
    await pause(PAUSE);
  }
}

async function checkBefore(before, note, log, result) {
  if (!before?.note) {
    result.notChecked.push("earlier: this browser had kept no checkpoint of this log; it keeps this one, and compares the next with it");
    return;
  }
  const old = parseCheckpoint(before.note);
  require(old.size <= note.size, "rollback", `the log had ${count(old.size)} when this browser last looked, and now has ${count(note.size)}: `
    + "entries were taken back, an old copy is served, or another history");
  require(same(await log.rootAt(old.size), old.root), "fork",
    `of the first ${count(old.size)} this browser was shown another history before`);
  result.checked.push(`earlier: the checkpoint of ${count(old.size)} that this browser kept is of this history`);
}

async function checkRoot(page, stated, note, log, result) {
  for (const name of page.misprinted ?? []) require(false, "page_differs", `the ${name} that the page prints is not the one that it states`);
  if (page.size > note.size) return;
  require(page.past || page.size >= (page.seen ?? 0), "rollback", `the page is of ${count(page.size)}, but this browser had seen `
    + `${count(page.seen)} signed before it was opened. Reload it; where this stays, the server shows what is old`);
  require(same(await log.rootAt(page.size), stated), "page_differs",
    `the root that this page names is not that of the first ${count(page.size)} of the log`);
  result.checked.push(page.size === note.size ? `page: its root is the one that was signed`
    : `page: its ${count(page.size)} are the beginning of what was signed`);
}

async function checkEntries(page, shown, bytes, result) {
  if (shown.length) result.checked.push(`entries: ${shown.length === 1 ? `entry ${shown[0]} stands` : `${shown.length} that this page is about stand`} in the signed tree`);
  if (page.left) result.notChecked.push(`entries: ${page.left} more that this page is about; an evidence pack has all of them`);
  if (page.stored === null || !shown.includes(page.stored.seq)) return;
  const { seq, leaf } = page.stored, signed = bytes.get(seq);
  require(same(text.encode(page.stored.text), signed), "page_differs", `entry ${seq}: the page shows other bytes than those that were signed`);
  require(hex(await leafHash(signed)) === leaf, "page_differs", `entry ${seq}: the page shows another hash than that of its bytes`);
  result.checked.push(`shown: the bytes of entry ${seq} on this page are those that were signed, and so is their hash`);
  result.notChecked.push("around: what this page shows beside these bytes (fields, opened texts, the drawn path) is the server's reading of them");
}

const count = (n) => `${n.toLocaleString("en")} ${n === 1 ? "entry" : "entries"}`;
