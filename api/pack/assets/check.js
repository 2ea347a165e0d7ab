"use strict";
/* Checks the evidence that this page carries: the steps of docs/format.md, "Evidence", with WebCrypto alone.
   Whoever made the file wrote this checker too: it finds damage, and convinces nobody who does not already trust them. */
(() => {
  /* tlog.js */

  async function openDisclosure(given, name, digest, seq) {
    const what = `entry ${seq}, ${name}`;
    require(base64url(await sha256(text.encode(given))) === digest, "payload_mismatch", `${what}: not what the entry binds`);
    let found;
    try {
      const bytes = Uint8Array.from(atob(given.replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0));
      found = base64url(bytes) === given ? parseJson(utf8.decode(bytes), ANY) : null;
    } catch { found = null; }
    require(Array.isArray(found) && found.length === 3 && typeof found[0] === "string" && /^[A-Za-z0-9_-]{21}[AQgw]$/.test(found[0])
      && found[1] === name, "payload_mismatch", `${what}: not a disclosure of that field`);
    return found[2];
  }

  const STATEMENT = new RegExp(`^affidavit-review@v1\norigin (${NAME})\nsubject ([^\n]+)\nsize ([0-9]+)\nroot (\\S+)\n`
    + "verdict (approve|reject|question)\nat (?!0000)(\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2})Z\n\n([^]+)\n$");

  /** What a reviewer signed, against the open fields beside it, the log's origin at that size, and its root where that is known. */
  async function checkReview(seq, entry, opened, ranges, known, found) {
    const wrong = (detail) => { throw new Damage("summary_mismatch", `the review in entry ${seq}: ${detail}`); };
    const [statement, vkey, data] = [opened.get("statement"), opened.get("vkey"), entry.get("data")];
    if (typeof statement !== "string" || typeof vkey !== "string" || text.encode(statement).length > 65536) wrong("its statement or key is none");
    const key = await parseVkey(vkey), note = splitNote(statement, `review ${seq}`);
    if (key.type !== ED25519 || !(await signers(note, [key], found)).size) wrong("it is not signed by the key beside it");
    const said = STATEMENT.exec(note.body);
    if (!said || !isTime(`${said[6]}.000000Z`) || said[7] !== said[7].trim()) wrong("its statement is not of its form");
    const [, origin, subject, printed, root, verdict] = said;
    const size = number(printed, "review"), signedRoot = decodeHash(root, "review");
    const [run, iteration, first, last] = ["run", "iteration", "first", "last"].map((name) => data.get(name));
    const open = run === undefined ? `entries ${first} ${last}` : `${iteration === undefined ? "run" : "iteration"} ${run}${iteration === undefined ? "" : ` ${iteration}`}`;
    if (!/^(run [\w-][\w.-]*|iteration [\w-][\w.-]* (0|[1-9]\d*)|entries (0|[1-9]\d*) (0|[1-9]\d*))$/.test(subject)) wrong("its subject is none");
    if (subject !== open || verdict !== data.get("verdict") || size !== data.get("size") || hex(signedRoot) !== data.get("root")) wrong("the open fields are not those that were signed");
    if (size < 1 || size > seq || (run === undefined && !(first <= last && last < size))) wrong("it is about more than was there");
    if (!ranges.some((range) => range.origin === origin && range.first <= size && size <= range.last)) wrong(`it is about another log, ${origin}`);
    if (known.has(size) && !same(known.get(size), signedRoot)) wrong("the log has another root at that size");
  }

  async function checkReviews(entries, ranges, known, found) {
    let reviews = 0;
    for (const [seq, { entry, opened }] of entries) {
      if (entry.get("type") !== "review.signed.v1" || !opened.has("statement") || !opened.has("vkey")) continue;
      await checkReview(seq, entry, opened, ranges, known, found);
      reviews++;
    }
    if (reviews) found.checked.push(`reviews: ${reviews} are signed by the keys beside them; whose keys those are, you must know`);
  }

  // The page: a digest of its whole tree but for the evidence, as api/pack/page_digest.py takes it

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
        if (node.id !== "evidence") node.childNodes.forEach(walk);
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

  const shape = (value, keys, where) => {
    require(value instanceof Map && [...value.keys()].join() === keys, "malformed", `${where}: expected ${keys}`);
    return Object.fromEntries(value);
  };
  const ofType = (value, type, where) => {
    require(type === "list" ? Array.isArray(value) : typeof value === type, "malformed", `${where}: expected a ${type}`);
    return value;
  };
  const count = (value, where) => {
    require(isCount(value), "malformed", `${where}: expected an integer from 0`);
    return value;
  };
  const hashes = (value, where) => ofType(value, "list", where).map((each) => decodeHash(ofType(each, "string", where), where));

  function parseEvidence(source) {
    const found = shape(parseJson(source, STRICT), "format,about,made,vkey,checkpoint,range,entries,proof,anchors,policy,body", "evidence");
    require(found.format === "affidavit-evidence@v1", "malformed", "unknown form of evidence");
    const about = ofType(found.about, "object", "about");
    shape(about, about?.has?.("run") ? "run" : "from,to", "about");
    for (const said of about.values()) ofType(said, "string", "about");
    const made = shape(found.made, "recorder,at", "made");
    require(isTime(made.at) && typeof made.recorder === "string", "malformed", "made: by whom, or when");
    const range = shape(found.range, "first,stop,root_first,root_stop,proof_first,proof_stop", "range");
    require(count(range.first, "range") <= count(range.stop, "range"), "malformed", "range: not from first to stop");
    for (const end of ["first", "stop"]) {
      range[`root_${end}`] = decodeHash(ofType(range[`root_${end}`], "string", "range"), "range");
      range[`proof_${end}`] = hashes(range[`proof_${end}`], "range");
    }
    const entries = ofType(found.entries, "list", "entries").map((each) => {
      const item = shape(each, "seq,entry,disclosures", "entries");
      count(item.seq, "seq");
      require(item.disclosures instanceof Map && typeof item.entry === "string", "malformed", `entry ${item.seq}: not of its form`);
      for (const [name, given] of item.disclosures) {
        require(typeof given === "string" && /^[A-Za-z0-9_-]+$/.test(given), "malformed", `entry ${item.seq}: ${name} is no disclosure`);
      }
      return item;
    });
    const earlier = ofType(found.anchors, "list", "anchors").map((each) => {
      const item = shape(each, "note,token,proof", "anchors");
      if (item.token !== null) decode64(ofType(item.token, "string", "token"), "token");
      return { note: parseCheckpoint(ofType(item.note, "string", "note")), token: item.token, proof: hashes(item.proof, "anchors") };
    });
    require(found.policy === null || typeof found.policy === "string", "malformed", "policy: expected text");
    require(found.body === null || isHash(found.body), "malformed", "body: expected a digest in hex");
    ofType(found.vkey, "string", "vkey");
    return { ...found, range, entries, earlier, proof: hashes(found.proof, "proof"),
      checkpoint: parseCheckpoint(ofType(found.checkpoint, "string", "checkpoint")) };
  }

  async function checkEvidence(source, given) {
    const found = { checked: [], notChecked: [] };
    const evidence = parseEvidence(source);
    const { checkpoint: note, range, earlier } = evidence;

    // 1. The entries stand in the tree of the checkpoint, in order, each in its own form.
    const seqs = evidence.entries.map((item) => item.seq);
    require(seqs[0] === 0 && seqs.every((seq, at) => seq < note.size && (at === 0 || seq > seqs[at - 1])),
      "malformed", "the entries are not in order, or entry 0 is missing");
    const leaves = await Promise.all(evidence.entries.map((item) => leafHash(text.encode(item.entry))));
    require(same(await rootOfLeaves(seqs, leaves, note.size, evidence.proof), note.root),
      "entry_modified", "the entries are not those that were signed");
    const entries = await readEntries(evidence.entries, leaves, found);

    // 2. The roots at both ends of the range, and the earlier checkpoints, are of the same history.
    const known = new Map([[note.size, note.root]]);
    const ends = ["first", "stop"].map((end) => [range[end], range[`root_${end}`], range[`proof_${end}`]]);
    for (const [size, root, proof] of [...ends, ...earlier.map((each) => [each.note.size, each.note.root, each.proof])]) {
      await checkConsistency(size, note.size, proof, root, note.root, `the root at size ${size}`);
      known.set(size, root);
    }
    found.checked.push(range.first === range.stop ? `range: of no entry, at size ${range.first}`
      : `range: entries ${range.first} to ${range.stop - 1}, with the roots at both ends`);

    // 3. The keys that the log itself names signed it; then what the reader brought.
    const ranges = await readIdentity([...entries.values()].map((each) => each.entry).filter((entry) => entry.get("stream") === "ledger"));
    const signed = await requireSigners(note, ranges, found);
    require(signed.includes(evidence.vkey), "unknown_key", "the key that this file states did not sign its checkpoint");
    found.checked.push(`signature: ${note.size} entries of ${note.origin}, under ${signed.join(" and ")}`);
    await checkGiven(given, note, signed, ranges, earlier, known, found);

    // 4. What is said beside: reviews, witnesses, gaps, times.
    await checkReviews(entries, ranges, known, found);
    await checkWitnesses(evidence, note, ranges, found);
    tellGaps(range, note.size, entries, found);
    const tokens = earlier.filter((each) => each.token !== null).length;
    found.notChecked.push(tokens
      ? `time: ${tokens} time tokens are carried; a browser cannot check them, affidavit check can`
      : "time: no time token is carried; times are the recorder's");
    found.notChecked.push("events: whether anchors and summaries say what is so; affidavit check tells");
    return { found, evidence, entries };
  }

  async function readEntries(items, leaves, found) {
    const entries = new Map();
    const positions = new Map(), missing = [];
    let disclosed = 0, withheld = 0, at = "";
    for (const [number, item] of items.entries()) {
      const entry = parseEntry(item.entry), seq = item.seq;
      require(entry.get("seq") === seq, "order_broken", `entry ${seq} says that it is ${entry.get("seq")}`);
      require(entry.get("at") >= at, "order_broken", `entry ${seq}: its time is before the last`);
      at = entry.get("at");
      if (seq === 0) require(/^0{64}$/.test(entry.get("prev")), "entry_modified", "entry 0 is chained onto another");
      if (number && items[number - 1].seq === seq - 1) {
        require(entry.get("prev") === hex(leaves[number - 1]), "entry_modified", `entry ${seq} is not chained onto the one before`);
      }
      const stream = entry.get("stream"), pos = entry.get("pos");
      const before = positions.get(stream) ?? -1;
      require(pos > before, "order_broken", `entry ${seq}: position ${pos} of ${stream} stands twice`);
      if (pos > before + 1) missing.push(`${before + 1}–${pos - 1} of ${stream}`);
      positions.set(stream, pos);
      const opened = new Map();
      for (const [name, given] of item.disclosures) {
        require(entry.get("sealed").has(name), "payload_mismatch", `entry ${seq} has no sealed field ${name}`);
        opened.set(name, await openDisclosure(given, name, entry.get("sealed").get(name), seq));
      }
      disclosed += opened.size;
      withheld += entry.get("sealed").size - opened.size;
      entries.set(seq, { entry, opened });
    }
    found.checked.push(`inclusion: ${items.length} entries stand in the signed tree, in their grammar, order and chain`);
    found.checked.push(`disclosures: ${disclosed} are what the entries bind`);
    if (missing.length) found.notChecked.push(`gaps: positions ${inWords(missing)} are not in this file`);
    if (withheld) found.notChecked.push(`sealed: ${withheld} fields are not in this file`);
    return entries;
  }

  /** The reader's key, and their kept checkpoint. A key trusts those that it saw named: a rotation is followed. */
  async function checkGiven(given, note, signed, ranges, earlier, known, found) {
    if (given.vkey) {
      const trusted = new Set([(await parseVkey(given.vkey)).vkey]);
      for (const older of earlier.map((each) => each.note).sort((a, b) => a.size - b.size)) {
        if ((await requireSigners(older, ranges, found)).some((vkey) => trusted.has(vkey))) {
          ranges.filter((range) => range.namedBy < older.size && range.origin === older.origin).forEach((range) => trusted.add(range.key.vkey));
        }
      }
      require(signed.some((vkey) => trusted.has(vkey)), "not_proven", "your key did not sign this");
      found.checked.push("key_pinned: your key signed it");
    } else {
      for (const older of earlier) await requireSigners(older.note, ranges, found);
      found.notChecked.push("key_pinned: the key is the one that this file names; give your own below");
    }
    if (!given.pinned) {
      found.notChecked.push("rollback: give the checkpoint that you kept, below");
      return;
    }
    const kept = parseCheckpoint(given.pinned);
    const keys = ranges.filter((range) => range.origin === kept.origin).map((range) => range.key);
    require(keys.length, "not_proven", `your checkpoint is of ${kept.origin}`);
    const vouched = await signers(kept, keys, found).catch(() => new Map());
    require(vouched.size, "not_proven", "no key of this log signed your checkpoint");
    require(known.has(kept.size), "not_proven", kept.size > note.size
      ? `your checkpoint has ${kept.size} entries, this file's ${note.size}: ask for a newer file`
      : `this file has no proof from size ${kept.size}; affidavit verify --pinned on the ledger has one`);
    require(same(known.get(kept.size), kept.root), "fork", `your checkpoint of size ${kept.size} has another root: keep both`);
    found.checked.push(`pinned: your checkpoint of size ${kept.size} is of this history`);
  }

  const inWords = (missing) => `${missing.slice(0, 20).join(", ")}${missing.length > 20 ? ` and ${missing.length - 20} more` : ""}`;

  function tellGaps(range, size, entries, found) {
    const missing = (first, stop) => {
      const gaps = [];
      let at = first;
      for (const seq of [...[...entries.keys()].filter((each) => each >= first && each < stop), stop]) {
        if (seq > at) gaps.push(seq - 1 === at ? `${at}` : `${at}–${seq - 1}`);
        at = seq + 1;
      }
      return gaps;
    };
    const gaps = missing(range.first, range.stop), later = missing(range.stop, size);
    if (gaps.length) found.notChecked.push(`gaps: entries ${inWords(gaps)} of the range are not in this file`);
    if (later.length) found.notChecked.push(`after: entries ${inWords(later)} of the log are not here; what happened later is not told`);
  }

  /** The keys of the witnesses in a C2SP tlog-policy; as ledger/tlog/policy.py reads it. */
  async function readPolicy(policy) {
    const wrong = (line) => { throw new Damage("malformed", `the policy that the file states: ${line}`); };
    if (!policy.endsWith("\n") || /[\u0000-\u0008\u000b-\u001f\u007f]/.test(policy)) wrong("it is cut off, or has a control character");
    const keys = [], names = new Set(["none"]), free = new Set(), ranges = [];
    let quorum = null;
    for (const line of policy.slice(0, -1).split("\n")) {
      const words = line.replace(/[ \t]+/g, " ").replace(/^ | $/g, "").split(" "), word = words[0];
      if (word === "log" || word === "witness") {
        const at = word === "log" ? 1 : 2;
        if (words.length !== at + 1 && words.length !== at + 2) wrong(line);
        const key = await parseVkey(words[at]);
        if ((key.type === ED25519) !== (word === "log") || keys.some((each) => same(each.key, key.key))) wrong(line);
        keys.push(key);
      } else if (word === "group") {
        const members = words.slice(3), threshold = { any: 1, all: members.length }[words[2]] ?? number(words[2] ?? "", "policy");
        if (threshold < 1 || threshold > members.length) wrong(line);
        for (const member of members) if (!free.delete(member)) wrong(line);
      } else if (word === "quorum") {
        if (quorum !== null || words.length !== 2 || !names.has(words[1])) wrong(line);
        quorum = words[1];
      } else if (/^#[ \t]*affidavit/i.test(line.replace(/^[ \t]+/, ""))) {
        if (word !== "#affidavit-range" || words.length !== 4) wrong(line);
        const { vkey } = await parseVkey(words[1]), first = number(words[2], "policy");
        if ((words[3] !== "-" && number(words[3], "policy") < first) || ranges.includes(vkey)) wrong(line);
        ranges.push(vkey);
      } else if (word !== "" && !word.startsWith("#")) wrong(line);
      if (word === "witness" || word === "group") {
        if (names.has(words[1])) wrong(line);
        names.add(words[1]);
        free.add(words[1]);
      }
    }
    if (quorum === null) wrong("no quorum line");
    if (ranges.some((vkey) => !keys.some((key) => key.type === ED25519 && key.vkey === vkey))) wrong("a range of a key that no log line names");
    return keys.filter((key) => key.type !== ED25519);
  }

  async function checkWitnesses(evidence, note, ranges, found) {
    const witnesses = evidence.policy === null ? [] : await readPolicy(evidence.policy);
    require(!witnesses.some((witness) => ranges.some((range) => same(range.key.key, witness.key))),
      "malformed", "the policy that the file states: a key of the log is a witness's too");
    const seen = await signers(note, witnesses, found);
    if (seen.size) found.checked.push(`cosignatures: ${seen.size} of ${witnesses.length} witnesses that this file names`);
    found.notChecked.push(seen.size
      ? "fork: the witnesses are those that this file names; whether they are yours, and enough, your own policy tells"
      : "fork: no witness has cosigned; others may have been shown another history");
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
      require(globalThis.isSecureContext && crypto.subtle, "not_proven", "this browser has no WebCrypto for this page");
      const pinned = read("given-pinned");
      const given = { vkey: read("given-vkey"), pinned: pinned && `${pinned}\n` };
      // The element holds "<" in its escaped form, so that no text ends it; whatever else is escaped is part of a text.
      const carried = document.getElementById("evidence").textContent;
      require(!carried.includes("<"), "malformed", "the evidence holds a character that must be escaped in a page");
      const source = carried.replace(/\\(?:u003c|[^])/g, (part) => (part === "\\u003c" ? "<" : part));
      const { found, evidence, entries } = await checkEvidence(source, given);
      if (evidence.body === null) found.notChecked.push("page: the evidence is bound to no page");
      else require(digest === evidence.body, "page_changed", "the page was changed after it was made");
      found.checked.push(`shown: ${checkShown(entries)} texts and figures are those recorded`);
      if (evidence.body !== null) {
        found.notChecked.push("page: it agrees with the digest that the file states, which whoever changed it could state too; "
          + "affidavit check makes it again from the entries");
      }
      found.checked.forEach((words) => line(list, "ok", words));
      found.notChecked.forEach((words) => line(list, "not-checked", words));
      head.textContent = "OK: everything that was checked is as it was recorded.";
    } catch (error) {
      const kind = error instanceof Damage ? error.kind : "malformed";
      state = ["not_proven", "fork"].includes(kind) ? kind : "damaged";
      head.textContent = `${state.toUpperCase().replace("_", " ")}: ${state === kind ? "" : `${kind}: `}${error.message}`;
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
