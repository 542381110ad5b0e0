// Entry point of the page: loads the list of indexes, switches views, and handles global keyboard shortcuts.

import { ask } from "./api.js";
import * as chat from "./chat.js";
import * as reader from "./document.js";
import { $, el, show, trouble } from "./dom.js";
import * as filters from "./filters.js";
import * as map from "./map.js";
import * as search from "./search.js";
import { change, onChange, read, state } from "./state.js";

const FIELDS = { search: "query", chat: "question" }; // ids of the elements that get the focus

async function start() {
  let indexes;
  try {
    ({ indexes } = await ask("indexes"));
  } catch (error) {
    return trouble(error);
  }
  if (!indexes.length) return trouble(new Error("No index is available."));
  $("index").replaceChildren(...indexes.map(({ name, pooler }) => el("option", { value: name }, pooler ? `${name} · ${pooler}` : name)));
  $("index").addEventListener("change", () => change({ index: $("index").value, chosen: {}, where: "", beside: "", doc: "" }));
  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => {
      change({ view: button.dataset.view }, true);
      $(FIELDS[state.view] ?? "main").focus();
    });
  }
  filters.start();
  search.start(indexes, map.ring);
  map.start();
  chat.start();
  onChange(() => render(indexes));
  addEventListener("popstate", read);
  addEventListener("keydown", key);
  $("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the URL fragment holds the state of the page
    $("main").focus();
  });
  const typed = $("query").value; // typed while the page was still loading
  read();
  if (typed && !state.q) change({ q: typed });
  if (state.view in FIELDS && !state.doc) $(FIELDS[state.view]).focus();
}

function render(indexes) {
  if (!indexes.some(({ name }) => name === state.index)) state.index = indexes[0].name;
  if (!["search", "map", "chat"].includes(state.view)) state.view = "search";
  $("index").value = state.index;
  for (const button of document.querySelectorAll("[data-view]")) {
    const here = button.dataset.view === state.view;
    if (here) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
    show($(button.dataset.view), here);
  }
  reader.render();
  const known = filters.render();
  search.render(known);
  known.then(map.render);
}

function key(event) {
  if (event.key === "/" && !event.target.closest("input, textarea, select, dialog") && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    if (state.view !== "search") change({ view: "search" }, true);
    $("query").focus();
    $("query").select();
  }
  if (event.key === "Escape" && state.doc && !$("key").open && !event.defaultPrevented) {
    event.preventDefault();
    reader.close();
  }
}

start();
