// What has to hold on every page. Each function answers with what is wrong, in words.

globalThis.soundness = {
  /** Hostile texts made no element, ran no script and set no attribute that acts; nothing is inline. */
  inert() {
    const wrong = window.hostile === undefined ? [] : ["a hostile script ran"];
    for (const made of document.querySelectorAll("[data-hostile]")) {
      wrong.push(`a hostile text made ${made.outerHTML.slice(0, 200)}`);
    }
    for (const found of document.querySelectorAll("script:not([src]), style, base, iframe, object, embed, meta[http-equiv]")) {
      if (found.type !== "application/json") wrong.push(`inline: ${found.outerHTML.slice(0, 200)}`);
    }
    const links = ["href", "src", "action", "formaction", "xlink:href"];
    for (const found of document.querySelectorAll("*")) {
      for (const { name, value } of found.attributes) {
        if (/^(on|hx-on)/i.test(name) || (links.includes(name) && /^\s*(javascript|data|vbscript):/i.test(value))) {
          wrong.push(`attribute ${name}="${value.slice(0, 100)}" on ${found.localName}`);
        }
      }
    }
    return wrong;
  },

  /** One h1, no level skipped, a title, ids that stand once, and no value that a program forgot to word. */
  structure() {
    const wrong = [];
    const headings = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter((each) => each.checkVisibility());
    const levels = headings.map((each) => Number(each.localName[1]));
    if (levels.filter((level) => level === 1).length !== 1) wrong.push("it has not one h1");
    headings.forEach((each, place) => {
      const said = each.textContent.trim();
      if (!said) wrong.push(`a heading of level ${levels[place]} says nothing`);
      if (place && levels[place] > levels[place - 1] + 1) {
        wrong.push(`heading "${said}" skips from ${levels[place - 1]} to ${levels[place]}`);
      }
    });
    if (!/^.{3,} · Affidavit$/.test(document.title)) wrong.push(`title: ${document.title}`);
    const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
    const twice = ids.filter((id, place) => ids.indexOf(id) !== place);
    if (twice.length) wrong.push(`ids that stand twice: ${twice.slice(0, 5)}`);
    for (const cell of document.querySelectorAll("td, dd, .value")) {
      const quotes = cell.querySelector("pre, bdi, code, .prose");
      if (!quotes && /\b(NaN|None|undefined|Infinity|nan|inf)\b|\[object /.test(cell.textContent)) {
        wrong.push(`a value says ${cell.textContent.trim().slice(0, 80)}`);
      }
    }
    return wrong;
  },

  /** Nothing is wider than the window, but for what scrolls in a place of its own. */
  sideways() {
    const room = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= room) return [];
    const scrolls = (each) => each !== null
      && (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(each).overflowX) || scrolls(each.parentElement));
    const wide = [...document.querySelectorAll("body *")].filter(
      (each) => each.getBoundingClientRect().right > room + 1 && !scrolls(each.parentElement));
    const named = wide.slice(0, 3).map((each) => each.outerHTML.slice(0, 160)).join(" | ");
    return [`it scrolls sideways, ${document.documentElement.scrollWidth} px in ${room}: ${named}`];
  },

  /** What axe finds under the rules with these tags or names. */
  async axe(only) {
    const found = await axe.run(document, { runOnly: only, resultTypes: ["violations"] });
    return found.violations.map((each) => `axe: ${each.id} (${each.impact}): ${each.nodes.length} × ${each.help}; first: `
      + `${each.nodes[0].html.slice(0, 300)}\n    ${each.nodes[0].failureSummary}`);
  },

  /** What the page says that it was computed from; null where it says nothing. */
  badge() {
    const found = document.getElementById("badge");
    return found && { size: Number(found.dataset.size), root: found.dataset.root, origin: found.dataset.origin };
  },

  seen: new Set(),

  /** How many elements the Tab key has to reach. */
  stops() {
    const all = document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]");
    const groups = new Set();
    return [...all].filter((each) => {
      if (each.disabled || each.tabIndex < 0 || each.type === "hidden") return false;
      if (!each.checkVisibility({ visibilityProperty: true })) return false;
      if (each.type !== "radio") return true;
      const known = groups.has(each.name);
      groups.add(each.name);
      return !known;
    }).length;
  },

  /** What is wrong with where the focus is: "" where nothing is, null where it has left the page. */
  where() {
    const found = document.activeElement;
    if (found === null || found === document.body || found === document.documentElement) return null;
    const box = found.getBoundingClientRect(), style = getComputedStyle(found), named = found.outerHTML.slice(0, 160);
    if (box.width === 0 && box.height === 0) return `nothing is seen of ${named}`;
    if (box.bottom < 0 || box.top > innerHeight) return `out of sight: ${named}`;
    this.seen.add(found);
    if (found.type === "date") return ""; // its parts are stops of their own, and show themselves
    const drawn = [...found.querySelectorAll("rect, circle")];
    const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    const stroked = found.ownerSVGElement && drawn.some((each) => parseFloat(getComputedStyle(each).strokeWidth) >= 3);
    return outlined || stroked ? "" : `no focus shows on ${named}`;
  },
};
