// Search as you type: one list of hits, or two side by side.

import { ask } from "./api.js";
import { $, announce, el, show, trouble } from "./dom.js";
import { open } from "./document.js";
import { complain, filter, telling } from "./filters.js";
import { change, state } from "./state.js";
import { why } from "./why.js";
import { citation, copy, local, marked, shown, sourceOf } from "./text.js";

const PAUSE_MS = 150; // pause in typing before a query is sent
const AGAIN_MS = 1500; // until a query is repeated while the model is loading
const STEP = 10; // hits to add at a time
const MOST = 100;
const CHIPS = 4; // maximum number of metadata fields shown with a hit
const UNRELATED = 0.5; // confidence below which more than 1 in 100 unrelated passages score as high

const KINDS = { cosine: "cosine", dot: "dot product", euclidean: "distance", bm25: "BM25", hybrid: "score", rrf: "rank score" };
const MODES = { hybrid: "meaning and words", dense: "meaning", keyword: "words" };

let indexes = [];
let asked = null; // the search whose hits are shown, as JSON
let k = STEP;
let timer = 0;
let running = null;
let last = []; // ids of the documents in the first list
let hear = () => {}; // called when they change

export function start(served, onFound) {
  indexes = served;
  hear = onFound;
  $("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    links()[0]?.focus();
  });
  $("query").addEventListener("input", () => change({ q: $("query").value }));
  $("search-form").addEventListener("change", (event) => {
    if (event.target.name === "mode") change({ mode: event.target.value });
  });
  $("beside").addEventListener("change", () => change({ beside: $("beside").value }));
  $("more").addEventListener("click", () => {
    k = Math.min(k + STEP, MOST);
    run();
  });
  $("search").addEventListener("keydown", move);
}

// Returns the ids of the documents that the last search found.
export function found() {
  return last;
}

// Searches if the state has changed; `known` is a promise that resolves when the filter fields are loaded.
export function render(known) {
  if ($("query").value !== state.q) $("query").value = state.q;
  for (const radio of document.querySelectorAll("[name=mode]")) radio.checked = radio.value === state.mode;
  offerBeside();
  const now = JSON.stringify([state.q, state.index, state.mode, state.where, state.chosen, state.beside]);
  if (now === asked) return;
  const first = asked === null;
  asked = now;
  k = STEP;
  clearTimeout(timer);
  timer = setTimeout(() => run(known), first ? 0 : PAUSE_MS);
}

// Offers other indexes, and other modes for this index, for the second list.
function offerBeside() {
  const others = indexes.filter(({ name }) => name !== state.index).map(({ name, pooler }) => [`${state.mode}/${name}`, `${name} · ${pooler ?? "?"}`]);
  const ways = Object.entries(MODES).filter(([mode]) => mode !== state.mode).map(([mode, told]) => [`${mode}/${state.index}`, `by ${told}`]);
  const offered = [["", "nothing"], ...others, ...ways];
  if (state.beside && !offered.some(([value]) => value === state.beside)) {
    const [mode, name] = parted(state.beside);
    offered.push([state.beside, `${name} by ${MODES[mode] ?? mode}`]);
  }
  $("beside").replaceChildren(...offered.map(([value, told]) => el("option", { value }, told)));
  $("beside").value = state.beside;
}

function parted(beside) {
  const at = beside.indexOf("/");
  return [beside.slice(0, at), beside.slice(at + 1)];
}

async function run(known = null) {
  clearTimeout(timer);
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  complain("");
  if (!state.q.trim()) return intro();
  const sides = [[state.mode, state.index], ...(state.beside ? [parted(state.beside)] : [])];
  if (Object.keys(state.chosen).length) await known; // the filter syntax depends on the type of a field
  if (signal.aborted) return;
  const where = filter();
  $("search").setAttribute("aria-busy", "true");
  if (!links().length) $("count").textContent = "Searching…";
  try {
    const started = performance.now();
    const answers = await Promise.all(
      sides.map(([mode, index]) => ask("search", { query: state.q, index, mode, where, k, group: true, snippets: true }, signal)));
    const ms = performance.now() - started;
    await known; // decides which metadata to show
    if (signal.aborted) return; // a newer search has started
    trouble(null);
    draw(answers, ms);
    if (answers.some(({ warming }) => warming)) timer = setTimeout(run, AGAIN_MS);
  } catch (error) {
    if (signal.aborted) return;
    if (error.code === "bad_filter") complain(error.message);
    else trouble(error);
  }
  $("search").removeAttribute("aria-busy");
}

function intro() {
  last = [];
  trouble(null);
  $("search").removeAttribute("aria-busy");
  show($("more"), false);
  const index = indexes.find(({ name }) => name === state.index);
  const holds = index?.documents === null || !index ? "" : `${index.documents.toLocaleString("en")} documents`;
  const made = index?.model ? ` · ${index.model} · ${index.pooler}` : "";
  $("count").textContent = `${holds}${made}`;
  $("lists").replaceChildren(el("p", { class: "intro" }, "Type a question. Press ", el("kbd", {}, "/"), " to return to the search field from anywhere."));
}

function draw(answers, ms) {
  const had = links().indexOf(document.activeElement);
  const [first, second] = answers;
  last = first.hits.flatMap(ids);
  hear();
  $("count").textContent = second ? `${first.hits.length} and ${second.hits.length} hits · ${Math.round(ms)} ms` : told(first, ms);
  const ranks = answers.map(({ hits }) => new Map(hits.flatMap((hit) => ids(hit).map((id) => [id, hit.rank]))));
  $("lists").className = second ? "two" : "one";
  $("lists").replaceChildren(...answers.map((answer, side) => column(answer, second ? ranks[1 - side] : null)));
  show($("more"), first.hits.length === k && k < MOST);
  if (had >= 0) links()[Math.min(had, links().length - 1)]?.focus(); // same position in the new list
}

function told({ hits, mode, warming, unknown_language: strange }, ms) {
  const n = hits.length === 1 ? "1 hit" : hits.length ? `${hits.length} hits` : "Nothing found";
  const how = warming ? "words only, until the model is loaded"
    : strange ? `${MODES[mode]}; the model does not know the language of the query` : MODES[mode];
  return `${n} by ${how} · ${Math.round(ms)} ms`;
}

function column(answer, otherRanks) {
  const index = indexes.find(({ name }) => name === answer.index);
  const named = `${answer.index} · ${index?.pooler ?? ""} · ${MODES[answer.mode]}`;
  const list = el("ol", { class: "hits" });
  let sure = true;
  for (const hit of answer.hits) {
    if (sure && hit.confidence !== null && hit.confidence < UNRELATED) {
      sure = false;
      list.append(el("li", { class: "line" }, "Hits from here on are no closer to the query than unrelated texts may be"));
    }
    list.append(item(hit, answer, otherRanks));
  }
  const nothing = answer.hits.length ? null : el("p", { class: "intro" }, "Nothing found. Try other words, or fewer filters.");
  return el("section", { class: "column", "aria-label": `Hits in ${named}` },
    el("h2", { class: otherRanks ? "" : "unseen" }, otherRanks ? named : "Hits"), nothing, list);
}

function item(hit, { index, query, mode }, otherRanks) {
  const chips = telling().filter((field) => Object.hasOwn(hit.metadata, field)).map((field) => [field, shown(hit.metadata[field])])
    .filter(([, value]) => value && value.length <= 40).slice(0, CHIPS);
  const there = otherRanks && ids(hit).map((id) => otherRanks.get(id)).find(Boolean);
  const beside = !otherRanks ? null : el("span", { class: "there" }, there ? `rank ${there} in the other list` : "not in the other list");
  return el("li", { class: "hit" },
    el("h3", { dir: "auto" }, el("a", { href: local(hit.url), onclick: toOpen({ ...hit, index }) }, hit.title || hit.id)),
    hit.section ? el("p", { class: "section", dir: "auto" }, hit.section) : null,
    el("p", { class: "snippet", dir: "auto" }, shortened(hit)),
    moreLike(hit, index),
    el("p", { class: "facts" },
      hit.confidence === null ? null : sureness(hit.confidence),
      el("span", { class: "score" }, `${KINDS[hit.kind] ?? hit.kind} ${hit.score.toFixed(3)}`), beside,
      hit.title ? el("span", { class: "id" }, hit.id) : null,
      hit.page ? el("span", {}, `page ${hit.page}`) : null,
      ...chips.map(([field, value]) => el("span", { class: "chip", dir: "auto" }, el("b", {}, field), ` ${value}`)),
      el("button", { type: "button", class: "quiet", "aria-label": `Copy citation of ${hit.title || hit.id}`, onclick: () => cite(hit) }, "Copy citation"),
      reasons(hit, query, index, mode)));
}

// Returns the ids of all documents that a hit stands for.
function ids({ id, similar }) {
  return [id, ...similar];
}

// Returns links to the documents that nearly repeat the passage of a hit.
function moreLike({ similar }, index) {
  if (!similar.length) return null;
  const link = (id) => el("a", { href: `#${new URLSearchParams({ doc: id, from: index })}`, dir: "auto", onclick: toOpen({ id, index }) }, id);
  return el("details", { class: "similar" }, el("summary", {}, `and ${similar.length} more like it`), el("ul", {}, similar.map((id) => el("li", {}, link(id)))));
}

// Returns a click handler that opens a document next to the hits.
function toOpen(document) {
  return (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // the browser opens a new tab or window
    event.preventDefault();
    open(document);
  };
}

// Returns the snippet, with ellipses where the passage continues.
function shortened({ text, snippet }) {
  const nodes = marked(snippet.text, snippet.highlights);
  return [snippet.start > 0 ? "… " : null, ...nodes, snippet.end < [...text.trimEnd()].length ? " …" : null];
}

// Returns a button that shows an explanation of the score below the hit.
function reasons(hit, query, index, mode) {
  const button = el("button", { type: "button", class: "quiet", "aria-expanded": "false", "aria-label": `Why ${hit.title || hit.id} was found`, onclick: async () => {
    const facts = button.parentElement;
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) return facts.nextElementSibling?.remove();
    const told = el("div", { class: "why" }, el("p", { class: "note" }, "Explaining the score…"));
    facts.after(told);
    try {
      const { explanation } = await ask("explain", { query, index, mode, id: hit.id, where: filter(), k, group: true });
      told.replaceChildren(...why(explanation, hit));
    } catch (error) {
      told.replaceChildren(el("p", { class: "note bad" }, error.message));
    }
  } }, "Why?");
  return button;
}

function sureness(confidence) {
  const told = confidence.toFixed(2);
  return el("span", { class: "sure" }, el("meter", { min: 0, max: 1, low: UNRELATED, high: 0.9, optimum: 1, value: told, "aria-hidden": "true" }), `confidence ${told}`);
}

async function cite(hit) {
  await copy(citation({ ...hit, source: sourceOf(hit.metadata) }));
  announce("Citation copied.");
}

function links() {
  return [...$("lists").querySelectorAll(".hit h3 a")];
}

// Arrow keys move through the hits and, if there are two lists, between them.
function move(event) {
  const at = event.target;
  if (event.key === "ArrowDown" && at === $("query")) step(event, links()[0]);
  const list = at.closest?.(".hits");
  if (!list || !at.matches("h3 a")) return;
  const here = [...list.querySelectorAll("h3 a")];
  const place = here.indexOf(at);
  if (event.key === "ArrowDown") step(event, here[place + 1]);
  if (event.key === "ArrowUp") step(event, here[place - 1] ?? $("query"));
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    const lists = [...$("lists").querySelectorAll(".hits")];
    const other = lists[lists.indexOf(list) + (event.key === "ArrowRight" ? 1 : -1)];
    const there = [...(other?.querySelectorAll("h3 a") ?? [])];
    step(event, there[Math.min(place, there.length - 1)]);
  }
  if (event.key === "Escape" && !state.doc) step(event, $("query"));
}

function step(event, target) {
  if (!target) return;
  event.preventDefault();
  target.focus();
}
