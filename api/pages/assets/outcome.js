/* How the outcome of a check is shown. */

const HEADS = {
  ok: ["good", "✓", "Verified."],
  unpinned: ["warn", "≈", "Consistent, under a key that this server named:"],
  changed: ["warn", "?", "The page has changed since: verify again."],
  forgotten: ["warn", "?", "Forgotten: verify again."],
  not_proven: ["warn", "?", "Not proven:"],
  damaged: ["bad", "✕", "Damaged:"],
  fork: ["bad", "✕", "Another history:"],
  rollback: ["bad", "✕", "Taken back:"],
  other_log: ["bad", "✕", "Another log:"],
};
const ALARMS = ["fork", "rollback", "other_log"];

/** An element with attributes and children; texts stay texts. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A link that saves a text as a file of this name. */
export function saving(words, name, content) {
  return make("a", { href: URL.createObjectURL(new Blob([content], { type: "text/plain" })), download: name }, words);
}

function listed(title, sign, tone, lines) {
  if (!lines.length) return [];
  const items = lines.map((words) => make("li", {}, make("span", { class: tone, "aria-hidden": "true" }, `${sign} `), words));
  const list = make("ul", { role: "list" }, ...items);
  Object.assign(list.style, { listStyle: "none", padding: 0, margin: 0 });
  return [make("h3", {}, title), list];
}

/** What came out of a check, for the reader. */
export function shown(result) {
  const lists = [
    ...listed("Checked", "✓", "good", result.checked),
    ...listed("Not checked", "–", "soft", result.notChecked),
  ];
  const saves = [];
  if (result.note) saves.push(saving("the checkpoint that was checked", "shown.checkpoint", result.note));
  if (ALARMS.includes(result.state) && result.before) saves.push(" · ", saving("the one that this browser kept", "kept.checkpoint", result.before));
  if (ALARMS.includes(result.state)) {
    lists.unshift(make("p", { class: "warning" }, "Keep both checkpoints and show them to somebody else who reads this log. "
      + "Where two are signed by one key, they prove it to everybody. If you know why, for example because another ledger is "
      + "served at this address now, forget the old one below."));
  }
  if (saves.length) lists.push(make("p", {}, "Save ", ...saves));
  return lists;
}

/** The sentence above it. */
export function head(result) {
  const [tone, sign, words] = HEADS[result.state];
  return [make("strong", { class: tone }, make("span", { "aria-hidden": "true" }, `${sign} `), words), ` ${result.message}`];
}
