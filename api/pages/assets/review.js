/* Signing a verdict in the page: docs/reviewing.md. The key stays in this browser; what leaves it is the signed note. */

import { ED25519, NAME, base64, concat, decode64, hex, parseVkey, require, sha256, signers, splitNote, text } from "./tlog.js";
import { head, make, saving, shown } from "./outcome.js";
import { checkThisPage, isGood } from "./pagecheck.js";

const PREFIX = "PRIVATE+KEY+";
const KEY_LINE = new RegExp(`^PRIVATE\\+KEY\\+(${NAME})\\+([0-9a-f]{8})\\+(\\S+)\\n?$`);
const PKCS8 = Uint8Array.from([0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20]);

/** A key from its seed: what it signs as, and how. The seed cannot be had back from it. */
async function keyOf(name, seed) {
  const whole = await crypto.subtle.importKey("pkcs8", concat(PKCS8, seed), { name: "Ed25519" }, true, ["sign"]);
  const { x } = await crypto.subtle.exportKey("jwk", whole);
  const data = concat([ED25519], Uint8Array.from(atob(x.replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0)));
  const id = (await sha256(concat(text.encode(`${name}\n`), data))).slice(0, 4);
  const signing = await crypto.subtle.importKey("pkcs8", concat(PKCS8, seed), { name: "Ed25519" }, false, ["sign"]);
  return { name, id, vkey: `${name}+${hex(id)}+${base64(data)}`, sign: async (bytes) => new Uint8Array(await crypto.subtle.sign("Ed25519", signing, bytes)) };
}

async function readKey(line) {
  const found = KEY_LINE.exec(line);
  require(found, "malformed", "this is no key file: it has one line, which begins with PRIVATE+KEY");
  const data = decode64(found[3], "the key");
  require(data.length === 33 && data[0] === ED25519, "malformed", "this key is of another kind: reviewers sign with Ed25519, type 01");
  const key = await keyOf(found[1], data.slice(1));
  require(hex(key.id) === found[2], "malformed", "the key's ID is not that of its name and key");
  return key;
}

async function makeKey(name) {
  require(new RegExp(`^${NAME}$`).test(name), "malformed", "a name has no spaces and no plus, and at least one character");
  const seed = crypto.getRandomValues(new Uint8Array(32));
  const key = await keyOf(name, seed);
  return { key, line: `${PREFIX}${name}+${hex(key.id)}+${base64(concat([ED25519], seed))}\n` };
}

function statement(form, at) {
  const { origin, subject, size, root } = form.dataset;
  const verdict = new FormData(form).get("verdict") ?? "…";
  const words = form.words.value.replace(/\r\n?/g, "\n").trim();
  return { words, body: `affidavit-review@v1\norigin ${origin}\nsubject ${subject}\nsize ${size}\nroot ${root}\nverdict ${verdict}\nat ${at}\n\n${words || "…"}\n` };
}

async function sign(key, body) {
  const note = `${body}\n— ${key.name} ${base64(concat(key.id, await key.sign(text.encode(body))))}\n`;
  const signed = await signers(splitNote(note, "statement"), [await parseVkey(key.vkey)], { notChecked: [] });
  require(signed.size === 1, "signature_invalid", "the signature does not verify");
  return note;
}

async function handIn(note, vkey) {
  const answer = await fetch("/api/reviews", {
    method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ statement: note, vkey }),
  });
  const told = await answer.json().catch(() => ({}));
  require(answer.ok, "refused", typeof told.detail === "string" ? told.detail : `the server answers ${answer.status}`);
  return told.seq;
}

const form = document.getElementById("signing");
if (form && globalThis.isSecureContext && globalThis.crypto?.subtle) {
  const find = (what) => form.querySelector(what);
  const told = find("#key-told"), preview = find("#preview"), button = find("[data-sign]"), outcome = find("#signed");
  let key = null, busy = false;
  const now = () => `${new Date().toISOString().slice(0, 19)}Z`;
  const draw = () => {
    if (busy) return;
    preview.textContent = statement(form, now()).body + (key ? `\n— ${key.name} (your signature)\n` : "");
    button.disabled = key === null;
  };
  const use = (next, ...words) => {
    key = next;
    told.replaceChildren(...words);
    draw();
  };
  const failed = (error) => use(null, make("span", { class: "bad" }, `✕ ${error.message}`));

  find("#key-file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    try {
      require(file.size <= 4096, "malformed", "this is no key file: it is too long");
      const found = await readKey(await file.text());
      use(found, "You sign as ", make("strong", {}, found.name), ". Your public key: ", make("code", {}, found.vkey));
    } catch (error) { failed(error); }
  });
  find("[data-make]").addEventListener("click", async () => {
    try {
      const made = await makeKey(find("#key-name").value.trim());
      const save = saving("save the key file", `${made.key.name.replace(/[^\w.-]+/g, "-")}.key`, made.line);
      save.addEventListener("click", () => use(made.key, "You sign as ", make("strong", {}, made.key.name),
        ". Keep the file to yourself (chmod 600), and give this public key to whoever will read your reviews: ", make("code", {}, made.key.vkey)));
      use(null, "A key is made. Before you sign, ", save, ": it is nowhere else, and gone with this page.");
    } catch (error) { failed(error); }
  });
  form.addEventListener("input", draw);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (key === null || busy) return;
    busy = button.disabled = true;
    const signing = key, { words, body } = statement(form, now());
    preview.textContent = body;
    outcome.replaceChildren(make("p", {}, "Checking the log that you sign about …"));
    let note = null;
    try {
      require(words !== "", "malformed", "say something: a verdict without words helps nobody");
      require(words.isWellFormed() && !/[\u0000-\u0009\u000b-\u001f]/.test(words), "malformed", "your words hold a tab or another control character");
      const checked = await checkThisPage(), { page } = checked;
      if (!isGood(checked)) {
        outcome.replaceChildren(make("p", {}, "Nothing was signed. ", ...head(checked)), ...shown(checked));
        return;
      }
      const { origin, size, root } = page;
      require(body.startsWith(`affidavit-review@v1\norigin ${origin}\nsubject ${form.dataset.subject}\nsize ${size}\nroot ${root}\nverdict `)
        && body.split("\n\n")[0].split("\n").length === 7, "page_differs",
        "what you would sign names another log, size or root than the one that was checked");
      require(page.left === 0 || confirm(`${page.left} of the entries that you sign about were not checked here; the evidence pack has all of them. Sign all the same?`),
        "not_proven", "not all entries were checked, and you did not want to sign");
      note = await sign(signing, body);
      preview.textContent = note;
      const seq = await handIn(note, signing.vkey);
      outcome.replaceChildren(make("p", {}, make("strong", { class: "good" }, "✓ Recorded"), " as ",
        make("a", { href: `/reviews?before=${seq + 1}#review-${seq}` }, `entry ${seq}`), ". ", saving("Keep a copy of what you signed", `review-${seq}.txt`, note)),
        make("p", {}, ...head(checked)), ...shown(checked));
    } catch (error) {
      outcome.replaceChildren(make("p", { class: "warning" }, `⚠ Not recorded: ${error.message}. `,
        ...(note === null ? [] : [saving("Save the signed statement", "statement.txt", note), "; it can be handed in later."])));
    } finally {
      busy = false;
      button.disabled = key === null;
    }
  });
  find("[data-signer]").hidden = false;
  draw();
}
