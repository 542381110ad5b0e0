// Map of the corpus: documents as points, close together if their texts are similar.

import { ask } from "./api.js";
import { $, announce, el, trouble } from "./dom.js";
import { open } from "./document.js";
import { telling } from "./filters.js";
import { found } from "./search.js";
import { state } from "./state.js";

const MANY = 1000; // maximum number of points
const COLORS = 8; // distinguishable colors, the last for all other values

let drawn = ""; // index and field that are shown, as JSON
let colored = null; // the field to color by; empty for none, null until one is chosen
let points = [];
let circles = [];
let here = 0; // number of the current point

export function start() {
  $("colors").addEventListener("change", () => {
    colored = $("colors").value;
    render();
  });
}

export async function render() {
  if (state.view !== "map") return;
  offer();
  const now = JSON.stringify([state.index, colored]);
  if (now === drawn) return ring();
  drawn = now;
  if (!points.length) $("point").textContent = "Drawing the map…";
  try {
    const asked = new URLSearchParams({ index: state.index, n: MANY, ...(colored ? { field: colored } : {}) });
    const answer = await ask(`map?${asked}`);
    if (now !== drawn) return;
    trouble(null);
    points = answer.points;
    draw();
  } catch (error) {
    drawn = "";
    trouble(error);
  }
}

function offer() {
  const offered = telling();
  if (colored === null || (colored && !offered.includes(colored))) colored = offered[0] ?? "";
  $("colors").replaceChildren(el("option", { value: "" }, "none"), ...offered.map((field) => el("option", { value: field }, field)));
  $("colors").value = colored;
}

function draw() {
  const counts = new Map();
  for (const { value } of points) if (value !== null) counts.set(value, (counts.get(value) ?? 0) + 1);
  const values = [...counts].sort((a, b) => b[1] - a[1]).map(([value]) => value);
  const named = values.length > COLORS ? values.slice(0, COLORS - 1) : values;
  const color = (value) => (value === null || !colored ? "none" : named.includes(value) ? named.indexOf(value) : "other");
  const [left, top, width, height] = frame();
  const size = Math.max(width, height);
  circles = points.map((point, number) =>
    el("circle", { cx: point.x.toFixed(4), cy: (-point.y).toFixed(4), r: (size * 0.007).toFixed(4), class: `c-${color(point.value)}`, dataset: { number } }));
  const svg = el("svg", { viewBox: `${left} ${top} ${width} ${height}`, role: "application", tabindex: "0", "aria-roledescription": "map",
    "aria-label": `${points.length} documents of ${state.index}; arrow keys move, Enter opens`,
    onkeydown: move, onclick: (event) => go(event.target.dataset.number),
    onpointerover: (event) => point(event.target.dataset.number), onfocus: () => point(here) }, circles);
  svg.style.aspectRatio = `${width} / ${height}`;
  $("drawing").replaceChildren(svg, el("p", { id: "tip", "aria-hidden": "true", hidden: true }));
  const others = values.length > named.length ? [["other", `${values.length - named.length} other values`]] : [];
  const legend = [...named.map((value, number) => [number, value]), ...others];
  $("legend").replaceChildren(...(colored ? legend : []).map(([number, value]) =>
    el("button", { type: "button", class: "quiet", "aria-pressed": "false", dir: "auto", onclick: (event) => only(event.currentTarget, `c-${number}`) },
      el("i", { class: `c-${number}` }), String(value))));
  here = 0;
  $("point").textContent = "";
  ring();
}

// Returns the rectangle around all points, with a margin and a moderate aspect ratio.
function frame() {
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => -y)];
  const [left, right] = [Math.min(...xs, 1), Math.max(...xs, -1)];
  const [top, bottom] = [Math.min(...ys, 1), Math.max(...ys, -1)];
  const margin = 0.05 * Math.max(right - left, bottom - top, 0.1);
  const width = Math.max(right - left, (bottom - top) * 0.8, 0.1) + 2 * margin;
  const height = Math.max(bottom - top, (right - left) * 0.5, 0.1) + 2 * margin;
  return [(left + right - width) / 2, (top + bottom - height) / 2, width, height];
}

// Draws rings around the hits of the last search.
export function ring() {
  const ids = new Set(found());
  circles.forEach((circle, number) => circle.classList.toggle("ring", ids.has(points[number]?.id)));
}

// Highlights one value of the legend, until it is clicked again.
function only(button, name) {
  const on = button.getAttribute("aria-pressed") !== "true";
  for (const other of $("legend").children) other.setAttribute("aria-pressed", String(on && other === button));
  for (const circle of circles) circle.classList.toggle("dim", on && !circle.classList.contains(name));
}

function point(number) {
  if (number === undefined || !points[number]) return;
  circles[here]?.classList.remove("here");
  here = Number(number);
  circles[here].classList.add("here");
  const { title, id, value } = points[here];
  const told = `${title || id}${value === null ? "" : ` · ${value}`}`;
  const tip = $("tip");
  const [box, spot] = [$("drawing").getBoundingClientRect(), circles[here].getBoundingClientRect()];
  tip.textContent = told;
  tip.hidden = false;
  const left = Math.min(spot.x - box.x + 14, box.width - tip.offsetWidth - 4);
  tip.style.translate = `${Math.max(0, left)}px ${spot.y - box.y + 14}px`;
  $("point").textContent = told;
}

function go(number) {
  if (points[number]) open({ id: points[number].id, index: state.index, start: 0, end: 0 });
}

const AXES = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

// Moves to the nearest point in a direction; sideways distance counts double.
function move(event) {
  if (event.key === "Enter") return go(here);
  const axis = AXES[event.key];
  if (!axis || !points.length) return;
  event.preventDefault();
  const from = points[here];
  let best = [Infinity, here];
  points.forEach((to, number) => {
    const along = (to.x - from.x) * axis[0] + (to.y - from.y) * axis[1];
    const across = Math.abs((to.x - from.x) * axis[1]) + Math.abs((to.y - from.y) * axis[0]);
    if (along > 1e-6 && across <= along && along + 2 * across < best[0]) best = [along + 2 * across, number];
  });
  if (best[1] === here) announce("No more points in that direction.");
  point(best[1]);
}
