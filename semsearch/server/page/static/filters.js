// Facets of an index to choose from, and the filter that results from the choice.

import { ask } from "./api.js";
import { $, el, show, trouble } from "./dom.js";
import { change, state } from "./state.js";

let facets = []; // [{field, kind, values: [{value, count}]}] of the index that is shown
let shownOf = null;

// Returns the fields, most informative first: by entropy, weighted by how many documents the listed values cover.
export function telling() {
  const most = Math.max(...facets.map(({ values }) => sum(values)));
  const worth = ({ values }) => {
    const all = sum(values);
    const named = typeof values[0].value === "number" ? 0.5 : 1; // a word says more about a document than a number
    return named * (all / most) * values.reduce((told, { count }) => told - (count / all) * Math.log(count / all), 0);
  };
  return facets.toSorted((a, b) => worth(b) - worth(a)).map(({ field }) => field);
}

function sum(values) {
  return values.reduce((all, { count }) => all + count, 0);
}

// Returns the filter in the server's syntax; undefined for none.
export function filter() {
  const parts = state.where.trim() ? [`(${state.where})`] : [];
  for (const [field, values] of Object.entries(state.chosen)) parts.push(among(field, values));
  return parts.join(" and ") || undefined;
}

export function start() {
  $("where").addEventListener("input", () => change({ where: $("where").value }));
  $("clear").addEventListener("click", () => {
    change({ where: "", chosen: {} });
    $("where").focus();
  });
  const wide = matchMedia("(min-width: 60rem)");
  $("filters-fold").open = wide.matches; // on a phone, the hits come first
  wide.addEventListener("change", () => ($("filters-fold").open = wide.matches));
}

export async function render() {
  if ($("where").value !== state.where) $("where").value = state.where;
  const n = Object.values(state.chosen).flat().length + (state.where.trim() ? 1 : 0);
  $("filters-count").textContent = n ? `(${n})` : "";
  show($("clear"), n > 0);
  if (shownOf === state.index) return tick();
  shownOf = state.index;
  facets = [];
  $("facets").replaceChildren();
  try {
    const found = await ask(`facets?${new URLSearchParams({ index: state.index })}`);
    if (found.index !== state.index) return; // another index was chosen in the meantime
    facets = found.facets;
    $("facets").replaceChildren(...facets.map(fieldset));
    tick();
  } catch (error) {
    shownOf = null;
    trouble(error);
  }
}

// Shows next to the expression why it is invalid.
export function complain(message) {
  $("where-trouble").textContent = message;
  show($("where-trouble"), Boolean(message));
  $("where").setAttribute("aria-invalid", String(Boolean(message)));
}

function fieldset({ field, values }, number) {
  const ordered = values.every(({ value }) => typeof value === "number") ? values.toSorted((a, b) => a.value - b.value) : values;
  const rows = ordered.map(({ value, count }) => {
    const box = el("input", { type: "checkbox", onchange: (event) => choose(field, value, event.target.checked) });
    box.facet = [field, value];
    return el("label", { class: "facet" }, box, el("span", { dir: "auto" }, String(value)), el("small", {}, String(count)));
  });
  const few = number < 3 || rows.some((row) => has(...row.firstChild.facet));
  return el("details", { class: "field", open: few }, el("summary", { dir: "auto" }, field),
    el("div", { role: "group", "aria-label": field }, rows));
}

function tick() {
  for (const box of $("facets").querySelectorAll("input")) box.checked = has(...box.facet);
}

function has(field, value) {
  return Object.hasOwn(state.chosen, field) && state.chosen[field].includes(value);
}

function choose(field, value, on) {
  const before = Object.hasOwn(state.chosen, field) ? state.chosen[field] : [];
  const after = on ? [...before, value] : before.filter((one) => one !== value);
  const chosen = Object.entries({ ...state.chosen, [field]: after }).filter(([, values]) => values.length);
  change({ chosen: Object.fromEntries(chosen) });
}

function among(field, values) {
  const kind = facets.find((facet) => facet.field === field)?.kind ?? "unknown";
  const name = `\`${field.replaceAll("`", "``")}\``;
  const tests = kind === "list" ? [] : [`${name} in (${values.map(literal).join(", ")})`];
  if (kind !== "value") tests.push(...values.map((value) => `${name} contains ${literal(value)}`));
  return `(${tests.join(" or ")})`;
}

function literal(value) {
  return typeof value === "string" ? `'${value.replaceAll("'", "''")}'` : String(value);
}
