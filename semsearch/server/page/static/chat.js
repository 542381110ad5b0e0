// The chat: excerpts for a question, with citations, and an answer based on them if there is a language model.

import { lines } from "./api.js";
import { $, announce, el, show } from "./dom.js";
import { open } from "./document.js";
import { filter } from "./filters.js";
import { prose } from "./prose.js";
import { state } from "./state.js";
import { citation, copy, local } from "./text.js";

const history = []; // [{role, content}] of answered questions; the server stores none
const REMEMBERED = 6;

let running = null;

export function start() {
  $("chat-form").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  $("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  $("stop").addEventListener("click", () => running?.abort());
  $("talk").append(el("p", { class: "intro" }, "Ask a question to see what the documents say about it, with sources. If the server has a language model, it answers from them. Search filters apply here, too."));
}

async function send() {
  const question = $("question").value.trim();
  if (!question || running) return;
  $("question").value = "";
  const answer = el("div", { class: "answer", "aria-busy": "true" }, el("p", { class: "note" }, "Searching…"));
  const sources = el("div", { class: "sources" });
  $("talk").append(el("article", { class: "turn" }, el("p", { class: "asked", dir: "auto" }, question), answer, sources));
  busy(new AbortController());
  try {
    await tell(question, answer, sources);
  } catch (error) {
    if (running.signal.aborted) answer.append(el("p", { class: "note" }, "Stopped."));
    else answer.replaceChildren(el("p", { class: "note bad" }, error.message));
  }
  answer.removeAttribute("aria-busy");
  busy(null);
  $("question").focus();
}

async function tell(question, answer, sources) {
  const asked = { question, index: state.index, mode: state.mode, where: filter(), history: history.slice(-REMEMBERED) };
  let head = null;
  let said = "";
  for await (const line of lines("chat", asked, running.signal)) {
    if (line.excerpts) {
      head = line;
      begin(head, answer, sources);
    } else if (line.text) {
      said += line.text;
      answer.replaceChildren(...prose(said, (number) => cite(head, number)));
    } else if (line.error) {
      answer.append(el("p", { class: "note bad" }, line.error.message));
    } else if (line.done) {
      if (said) history.push({ role: "user", content: question }, { role: "assistant", content: said });
      return;
    }
    answer.scrollIntoView({ block: "nearest" });
  }
  throw new Error("The server stopped in the middle of the answer.");
}

function begin(head, answer, sources) {
  const n = head.excerpts.length;
  const words = head.warming ? " Only keyword search was used because the model is still loading." : "";
  if (!n) return answer.replaceChildren(el("p", {}, `I don't know: nothing in the documents answers that.${words}`));
  const found = n === 1 ? "One excerpt may answer this." : `${n} excerpts may answer this.`;
  answer.replaceChildren(el("p", { class: "note" }, head.model ? `${head.model} is reading…` : `${found}${words} No language model is connected to this server.`));
  announce(found);
  sources.append(
    el("h2", {}, "Sources"),
    el("ol", {}, head.excerpts.map((excerpt) => source(excerpt, head, !head.model))));
}

function source(excerpt, { index }, unfolded) {
  const place = excerpt.page ? `page ${excerpt.page}` : `characters ${excerpt.start}–${excerpt.end}`;
  const toOpen = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open({ ...excerpt, index });
  };
  return el("li", {},
    el("a", { href: local(excerpt.url), onclick: toOpen, dir: "auto" }, excerpt.title || excerpt.id),
    el("span", { class: "note" }, ` ${excerpt.title ? `${excerpt.id}, ` : ""}${place}`, excerpt.confidence === null ? null : ` · confidence ${excerpt.confidence.toFixed(2)}`),
    el("details", { open: unfolded }, el("summary", {}, "Excerpt"), el("p", { class: "snippet", dir: "auto" }, excerpt.text),
      el("button", { type: "button", class: "quiet", "aria-label": `Copy citation of ${excerpt.title || excerpt.id}`, onclick: () => copyOf(excerpt) }, "Copy citation")));
}

async function copyOf(excerpt) {
  await copy(citation(excerpt));
  announce("Citation copied.");
}

// Returns the button for a citation such as [2]; null if no excerpt has that number.
function cite(head, number) {
  const excerpt = head.excerpts.find((one) => one.number === number);
  if (!excerpt) return null;
  return el("button", { type: "button", class: "cite", "aria-label": `Source ${number}: ${excerpt.title || excerpt.id}`, onclick: () => open({ ...excerpt, index: head.index }) }, `[${number}]`);
}

function busy(controller) {
  running = controller;
  show($("stop"), Boolean(controller));
  $("send").disabled = Boolean(controller);
}
