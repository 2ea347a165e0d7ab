/* The verifier of the badge: a button, what came out, and the key that the reader pins. */

import { head, make, shown } from "./outcome.js";
import { checkThisPage, forget, kept, pin, readPage } from "./pagecheck.js";

function pinning(place, again, undone) {
  const draw = () => {
    const now = kept();
    const told = make("p", { class: "note" }, now === null ? "This browser keeps nothing of this log yet."
      : now.vkey ? `Pinned: ${now.vkey}` : `No key is pinned. A checkpoint of ${now.origin} is kept.`);
    const input = make("input", { id: "pin-vkey", name: "vkey", autocomplete: "off", spellcheck: "false", required: "" });
    const wrong = make("p", { role: "alert", class: "bad" });
    const form = make("form", { class: "stack", onsubmit: async (event) => {
      event.preventDefault();
      try { await pin(input.value); draw(); again(); } catch (error) { wrong.textContent = error.message; }
    } }, make("label", { for: "pin-vkey" }, "The log's key (vkey), as its owner gave it to you"), input, make("button", {}, "Pin this key"), wrong);
    const parts = [told, form];
    if (now !== null) parts.push(make("p", {}, make("button", { type: "button", class: "quiet", onclick: () => { forget(); draw(); undone(); } }, "Forget this log")));
    place.replaceChildren(make("summary", {}, "The key that you trust"), ...parts);
  };
  draw();
  return draw;
}

const verifier = document.querySelector("[data-verifier]");
if (verifier) {
  const button = verifier.querySelector("[data-verify]"), output = verifier.querySelector("output");
  const details = make("div", { "data-checked": "" }), key = make("details", { "data-key": "" });
  verifier.append(details, key);
  let runs = 0, last = null;
  const outdated = (state) => {
    runs++;
    last = null;
    button.disabled = false;
    output.replaceChildren(...head({ state, message: "" }));
    details.replaceChildren();
    verifier.dataset.state = state;
  };
  const changed = () => { if (last !== null && JSON.stringify(readPage()) !== last) outdated("changed"); };
  const run = async () => {
    const mine = ++runs;
    last = null;
    button.disabled = true;
    delete verifier.dataset.state;
    output.replaceChildren("Fetching the checkpoint, entries and proofs …");
    details.replaceChildren();
    const result = await checkThisPage();
    if (mine !== runs) return;
    output.replaceChildren(...head(result));
    details.replaceChildren(...shown(result));
    redraw();
    button.disabled = false;
    verifier.dataset.state = result.state;
    last = JSON.stringify(result.page);
    changed();
  };
  const redraw = pinning(key, run, () => outdated("forgotten"));
  button.addEventListener("click", run);
  document.addEventListener("htmx:after:swap", changed);
  verifier.hidden = false;
}
