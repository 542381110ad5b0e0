// Document panel next to the hits, opened at the cited passage.

import { ask } from "./api.js";
import { $, announce, el, show } from "./dom.js";
import { change, state } from "./state.js";
import { citation, copy, local, shown, sourceOf, split } from "./text.js";

let current = ""; // the document that is shown, as JSON
let back = null; // element that had the focus before

export function open({ id, index, start, end }) {
  back = document.activeElement;
  change({ doc: id, from: index, chars: end > start ? `${start}-${end}` : "" }, true);
}

export function close() {
  change({ doc: "", from: "", chars: "" });
  (back?.isConnected ? back : $("query")).focus();
}

export async function render() {
  const now = state.doc ? JSON.stringify([state.doc, state.from, state.chars]) : "";
  if (now === current) return;
  current = now;
  show($("document"), Boolean(now));
  document.body.classList.toggle("reading", Boolean(now));
  if (!now) return $("document").replaceChildren();
  const index = state.from || state.index;
  try {
    const found = await ask(`documents/?${new URLSearchParams({ id: state.doc, index })}`);
    if (now === current) draw(found, ...span(state.chars));
  } catch (error) {
    if (now === current) draw({ id: state.doc, title: "", text: "", metadata: {}, url: "", index, problem: error.message }, 0, 0);
  }
}

function span(chars) {
  const found = /^(\d{1,12})-(\d{1,12})$/.exec(chars);
  return found ? [Number(found[1]), Number(found[2])] : [0, 0];
}

function draw(found, start, end) {
  const [before, passage, behind] = split(found.text, start, Math.max(start, end));
  const mark = passage ? el("mark", { id: "passage", tabindex: "-1" }, passage) : null;
  const source = sourceOf(found.metadata);
  const facts = Object.entries(found.metadata).flatMap(([field, value]) => [
    el("dt", { dir: "auto" }, field),
    el("dd", { dir: "auto" }, value === source && source ? el("a", { href: source, rel: "noreferrer noopener", target: "_blank" }, source) : shown(value)),
  ]);
  const title = el("h2", { id: "document-title", tabindex: "-1", dir: "auto" }, found.title || found.id);
  const cited = { ...found, start, end, source, text: passage || found.text };
  const page = local(found.url) + (end > start ? `${found.url.includes("?") ? "&" : "?"}chars=${start}-${end}#passage` : "");
  $("document").replaceChildren(
    el("div", { class: "row bar" },
      el("button", { type: "button", class: "quiet", onclick: close }, "Close"),
      found.problem ? null : el("button", { type: "button", class: "quiet", onclick: () => cite(cited) }, "Copy citation"),
      found.problem ? null : el("a", { href: page, target: "_blank", rel: "noopener" }, "Open in new tab"),
      mark ? el("button", { type: "button", class: "quiet", onclick: () => jump(mark) }, "Go to passage") : null),
    title,
    found.problem ? el("p", { class: "note bad", role: "alert" }, found.problem) : el("p", { class: "note" }, el("span", { class: "id" }, found.id), ` in ${found.index}`),
    facts.length ? el("dl", {}, facts) : null,
    el("div", { class: "text", dir: "auto" }, before, mark, behind));
  $("document").scrollTop = 0;
  title.focus({ preventScroll: true });
  if (mark) jump(mark);
}

function jump(mark) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  mark.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
}

async function cite(cited) {
  await copy(citation(cited));
  announce("Citation copied.");
}
